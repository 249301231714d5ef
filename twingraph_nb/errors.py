"""Every error of the package: one tree, each class writes its own sentence.

TwingraphError
|-- DefinitionError            a component or pipeline cannot be made from this cell or function
|   |-- UnknownOption          option or config key that nobody knows
|   |-- UnknownPlatform        no such platform, or one that is not built yet
|   |-- AmbiguousCell          the signature of a cell cannot be inferred
|   `-- CellSyntaxError        the cell is not valid Python
|-- WiringError                a call does not fit the component
|   |-- ArgumentError          missing, surplus or unknown arguments
|   |-- PortTypeError          the types of two connected ports do not fit
|   |-- CycleError             tasks wait on each other
|   `-- LazyValueError         an output that is not there yet was used as a plain value
|-- PortabilityError           the component cannot travel to its platform
|-- TaskError                  what happened to a task, other than the user's own exception
|   |-- TaskCancelled
|   |-- TaskSkipped            something it needs failed
|   |-- TaskTimeout            (also a TimeoutError)
|   |-- WorkerDied             the process that ran it ended: signal, exit code, out of memory
|   `-- ResultError            the result cannot be sent back or does not fit the output ports
|-- RunError                   a run failed, was cancelled or is not known
|   `-- RunTimeout             (also a TimeoutError)
|-- ExecutorError              a platform failed before the user's code did: a retry is safe
|-- StoreError                 the event log cannot be read or written
`-- NotebookError              a batch run of a notebook cannot start or did not end well
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AmbiguousCell",
    "ArgumentError",
    "CellSyntaxError",
    "CycleError",
    "DefinitionError",
    "ExecutorError",
    "LazyValueError",
    "NotebookError",
    "PortTypeError",
    "PortabilityError",
    "ResultError",
    "RunError",
    "RunTimeout",
    "StoreError",
    "TaskCancelled",
    "TaskError",
    "TaskSkipped",
    "TaskTimeout",
    "TwingraphError",
    "UnknownOption",
    "UnknownPlatform",
    "WiringError",
    "WorkerDied",
    "suggestion",
]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Give ``" (did you mean 'x'?)"`` for the nearest known name, or the empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


class TwingraphError(Exception):
    """Anything this package raises on its own account."""


class DefinitionError(TwingraphError):
    """A component or pipeline cannot be made from this cell or function."""


class UnknownOption(DefinitionError):
    """An option or config key that nobody knows."""

    def __init__(self, name: str, known: Iterable[str], *, where: str) -> None:
        self.name, self.known, self.where = name, tuple(sorted(known)), where
        super().__init__(
            f"{where}: unknown option {name!r}{suggestion(name, self.known)}; "
            f"known are {', '.join(self.known)}"
        )


class UnknownPlatform(DefinitionError):
    """A platform that does not exist, or is not built yet."""

    def __init__(self, name: str, built: Iterable[str], *, planned: Iterable[str] = (), where: str):
        self.name, self.built = name, tuple(sorted(built))
        if name in set(planned):
            said = f"platform {name!r} is not built yet"
        else:
            said = f"no platform is called {name!r}{suggestion(name, self.built)}"
        super().__init__(f"{where}: {said}; use one of {', '.join(self.built)}")


class AmbiguousCell(DefinitionError):
    """The signature of a cell cannot be inferred; carries the line to write."""

    def __init__(self, why: str, *, write: str, where: str) -> None:
        self.why, self.write = why, write
        super().__init__(f"{where}: {why}. Write the signature yourself, for example:\n    {write}")


class CellSyntaxError(DefinitionError):
    """The cell is not valid Python."""

    def __init__(self, message: str, *, where: str, line: int, text: str = "") -> None:
        self.line, self.text = line, text
        shown = f"\n    {text.strip()}" if text.strip() else ""
        super().__init__(f"{where}, line {line}: {message}{shown}")


class WiringError(TwingraphError):
    """A call does not fit the component."""


class ArgumentError(WiringError):
    """Missing, surplus or unknown arguments."""

    def __init__(self, component: str, problem: str, signature: str) -> None:
        self.component, self.problem = component, problem
        super().__init__(f"{component}: {problem}; the component is {component}{signature}")


class PortTypeError(WiringError):
    """The types of two connected ports do not fit."""

    def __init__(self, component: str, port: str, wanted: str, given: str, source: str) -> None:
        self.component, self.port = component, port
        super().__init__(
            f"{component}: input {port!r} wants {wanted}, but {source} gives {given}; "
            f"convert it in between, or change one of the annotations"
        )


class CycleError(WiringError):
    """Tasks wait on each other."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        super().__init__(
            f"these tasks wait on each other: {' -> '.join(self.names)}; remove one of the edges"
        )


class LazyValueError(WiringError):
    """An output that is not there yet was used as a plain value."""

    def __init__(self, what: str, use: str) -> None:
        super().__init__(
            f"{what} is not there yet, so it cannot be used {use}: "
            f"write `{what}.result()`, or `await {what}` in an async function"
        )


class PortabilityError(TwingraphError):
    """A component cannot travel to its platform; names what stays behind and the cure."""

    def __init__(self, component: str, platform: str, problems: Iterable[str]) -> None:
        self.component, self.platform, self.problems = component, platform, tuple(problems)
        told = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{component} cannot travel to platform {platform!r}:{told}")


class TaskError(TwingraphError):
    """What happened to a task, other than the user's own exception."""


class TaskCancelled(TaskError):
    """The task was cancelled before it finished."""

    def __init__(self, task: str, why: str = "") -> None:
        self.task, self.why = task, why
        super().__init__(f"{task} was cancelled" + (f": {why}" if why else ""))


class TaskSkipped(TaskError):
    """The task never ran because something it needs did not succeed."""

    def __init__(self, task: str, because: str) -> None:
        self.task, self.because = task, because
        super().__init__(f"{task} was skipped because {because} did not succeed")


class TaskTimeout(TaskError, TimeoutError):
    """The task did not finish within its timeout."""

    def __init__(self, task: str, seconds: float, doing: str = "did not finish within") -> None:
        self.task, self.seconds = task, seconds
        super().__init__(f"{task} {doing} {seconds:g} s")


class WorkerDied(TaskError):
    """The process that ran the task ended: a signal, an exit code, or out of memory."""

    def __init__(self, task: str, cause: str) -> None:
        self.task, self.cause = task, cause
        super().__init__(f"the worker process that ran {task} {cause}")


class ResultError(TaskError):
    """The result cannot be sent back, or does not fit the output ports."""


class RunError(TwingraphError):
    """A run failed, was cancelled, or is not known."""


class RunTimeout(RunError, TimeoutError):
    """The whole run did not finish within its timeout."""

    def __init__(self, run: str, seconds: float) -> None:
        self.run, self.seconds = run, seconds
        super().__init__(f"run {run} did not finish within {seconds:g} s")


class ExecutorError(TwingraphError):
    """A platform failed before the user's code did: a retry is safe."""


class StoreError(TwingraphError):
    """The event log cannot be read or written."""


class NotebookError(TwingraphError):
    """A batch run of a notebook cannot start or did not end well."""
