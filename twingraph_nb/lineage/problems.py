"""What can be wrong with a question to the graph; each class writes its own sentence."""

from __future__ import annotations

from collections.abc import Iterable

from twingraph_nb.errors import LineageError, suggestion

__all__ = [
    "DuplicateId",
    "Failed",
    "NotSupported",
    "QueryLimit",
    "QueryStopped",
    "ReadOnlyGraph",
    "TimeLimit",
    "TransactionOpen",
    "TraversalError",
    "UnknownElement",
    "UnknownStep",
]


class ReadOnlyGraph(LineageError):
    """A change to a graph that only answers questions."""

    def __init__(self, step: str = "") -> None:
        self.step = step
        what = f"The provided traversal has a mutating step and thus is not read only: {step}()"
        super().__init__(
            what if step else "this graph is read-only: copy it into a `Graph()` to change it"
        )


class UnknownElement(LineageError):
    """A vertex or an edge that is not there."""

    def __init__(self, kind: str, id: object) -> None:
        self.kind, self.id = kind, id
        super().__init__(f"Vertex does not exist: {id}" if kind == "vertex" else f"no {kind} {id}")


class DuplicateId(LineageError, ValueError):
    """A second vertex or edge with an id that is taken."""

    def __init__(self, kind: str, id: object) -> None:
        self.kind, self.id = kind, id
        super().__init__(f"{kind} with id already exists: {id}")


class UnknownStep(LineageError):
    """A step that Gremlin does not have."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        super().__init__(f"there is no step {name}(){suggestion(name, known)}")


class NotSupported(LineageError):
    """A step, or a use of one, that the embedded engine does not answer."""

    def __init__(self, step: str, why: str) -> None:
        self.step, self.why = step, why
        super().__init__(f"{step}() is not supported by the embedded engine: {why}")


class TransactionOpen(LineageError):
    """A second transaction on one graph; changes of two could not be told apart."""

    def __init__(self) -> None:
        super().__init__("this graph is in a transaction: commit it or roll it back first")


class TraversalError(LineageError):
    """A traversal that is not well-formed, or that met a value it cannot work with."""


class QueryLimit(LineageError):
    """A query that would take too long, too many results or too much memory."""

    def __init__(self, what: str, limit: object, advice: str) -> None:
        self.what, self.limit = what, limit
        super().__init__(f"the query was stopped: {what} (limit {limit}); {advice}")


class TimeLimit(QueryLimit):
    """A query that took too long."""


class QueryStopped(LineageError):
    """A query that was ended from outside, since nobody waits for its results."""

    def __init__(self) -> None:
        super().__init__("the query was stopped")


class Failed(TraversalError):
    """What the step fail() raises."""

    def __init__(self, message: str, value: object) -> None:
        self.value = value
        super().__init__(f"fail() Step Triggered: {message}; at {value!r}")
