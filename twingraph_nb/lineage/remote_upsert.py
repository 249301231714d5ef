"""Facts as traversals that write them: once, twice or late, the graph becomes the same.

Rows of the same shape go together: the traversal is always the same few steps, and what is
written are values in a list that it is given. Only steps and patterns that Gremlin Server and
Amazon Neptune both have since TinkerPop 3.6; each traversal ends in `count()`, because `iterate()`
adds `discard()`, which a server before 3.8 does not know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from gremlin_python.process.graph_traversal import GraphTraversalSource, __
from gremlin_python.process.traversal import (
    Bytecode,
    Cardinality,
    Direction,
    Merge,
    P,
    T,
    TraversalStrategies,
)
from gremlin_python.structure.graph import Graph as Unbound

from twingraph_nb.lineage.changes import Changes, EdgeFact
from twingraph_nb.lineage.remote_rows import Row, Rows
from twingraph_nb.lineage.schema import label_of

__all__ = ["MOVING", "REVISION", "Request", "edge_row", "g", "requests", "vertex_row"]

g = GraphTraversalSource(Unbound(), TraversalStrategies())
"""Builds traversals; they are sent as bytecode by somebody else."""

REVISION = "revision"
"""Property of runs and tasks: the number of the run's events that are told of here. Who comes
with an older one changes nothing of what moves."""

MOVING = frozenset(
    {
        "state", "attempts", "error", "error_type", "error_cell", "error_line", "worker", "ticket",
        "paused", "finished", "seconds", "question", "asks", "why", "incomplete",
    }
)  # fmt: skip
"""Properties that may be told of again with another value; the others never change."""

_LONGEST = 2**63
_ROW = 120
"""Characters that a row takes beside its values, roughly."""

Guard = tuple[str, Literal["gt", "lte"], float]
"""(property, how, value): where the vertex has that, what moves is left as it is."""
_Shape = tuple[tuple[str, ...], tuple[str, ...], Guard | None]


@dataclass(frozen=True, slots=True)
class Request:
    """Rows that one traversal writes. size: characters in them, roughly."""

    shape: _Shape | str
    rows: Sequence[Row]
    size: int

    def bytecode(self) -> Bytecode:
        """The traversal; it gives one number."""
        rows = g.inject(()).unfold().as_("r")
        if self.shape == "edges":
            made = rows.merge_e(__.select("e")).option(Merge.on_create, _of("p"))
        elif isinstance(self.shape, str):  # a property that has several values
            value = _of("value")
            made = rows.merge_v(__.select("v")).property(Cardinality.set_, self.shape, value)
        else:
            again = __.side_effect(_updated(*self.shape)).constant({})
            made = rows.merge_v(__.select("v")).option(Merge.on_create, _of("p"))
            made = made.option(Merge.on_match, again)
        code: Bytecode = made.count().bytecode
        code.step_instructions[0][1] = Rows(self.rows)  # put there, for inject() would copy all
        return code

    def halves(self) -> tuple[Request, ...]:
        """The same in two requests; one row stays one."""
        if len(self.rows) < 2:
            return (self,)
        middle = len(self.rows) // 2
        return tuple(
            Request(self.shape, rows, self.size // 2)
            for rows in (self.rows[:middle], self.rows[middle:])
        )


def _of(name: str) -> Any:
    return __.select("r").select(name)


def _updated(fixed: Sequence[str], moving: Sequence[str], guard: Guard | None) -> Any:
    """The steps that bring a vertex up to date which is there already."""
    steps = __.identity()
    for key in fixed:
        steps = steps.property(Cardinality.single, key, _of("p").select(key))
    if guard is not None:
        key, how, value = guard
        steps = steps.not_(__.has(key, P.gt(value) if how == "gt" else P.lte(value)))
    for key in moving:
        steps = steps.property(Cardinality.single, key, _of("p").select(key))
    return steps


class _Sorted:
    """Rows by shape, each in requests of a size."""

    def __init__(self, most: int, largest: int) -> None:
        self._most, self._largest = most, largest
        self._open: dict[_Shape | str, list[Row]] = {}
        self._sizes: dict[_Shape | str, int] = {}

    def add(self, shape: _Shape | str, row: Row, size: int) -> Iterator[Request]:
        """Take a row; gives what is full now."""
        before = self._sizes.get(shape, 0)
        if before and before + size > self._largest:
            yield self._request(shape)
        self._open.setdefault(shape, []).append(row)
        self._sizes[shape] = self._sizes.get(shape, 0) + size
        if len(self._open[shape]) >= self._most:
            yield self._request(shape)

    def rest(self) -> Iterator[Request]:
        """Give what is left."""
        for shape in list(self._open):
            yield self._request(shape)

    def _request(self, shape: _Shape | str) -> Request:
        return Request(shape, self._open.pop(shape), self._sizes.pop(shape))


def requests(
    changes: Changes,
    guards: Mapping[str, Guard] = {},
    *,
    most: int = 200,
    largest: int = 1_000_000,
    leave: Collection[str] = (),
) -> Iterator[Request]:
    """Give what writes these facts, vertices before the edges between them.

    Args:
        guards: by the id of a vertex, when its moving properties are to be left as they are. A
            component moves as a whole.
        most: rows in a request at most.
        largest: characters in a request, roughly.
        leave: labels of edges that are not written.
    """
    kept = {id: fact for id, fact in changes.edges.items() if fact[0] not in leave}
    vertices, several = _Sorted(most, largest), _Sorted(most, largest)
    values: list[Request] = []
    for id, (label, told) in changes.vertices.items():
        shape, row, many = vertex_row(id, label, told, guards.get(id))
        yield from vertices.add(shape, row, _size(row["p"]))
        for key, each in many:
            values += several.add(key, {"v": row["v"], "value": _clean(each)}, _ROW)
    for id in _ends(kept.values()):
        if id not in changes.vertices:  # to be told of by somebody else, or long ago
            shape, row, _ = vertex_row(id, label_of(id), {}, None)
            yield from vertices.add(shape, row, _ROW)
    yield from vertices.rest()
    yield from values
    yield from several.rest()
    edges = _Sorted(most, largest)
    for id, fact in kept.items():
        row = edge_row(id, fact)
        yield from edges.add("edges", row, _size(row["p"]))
    yield from edges.rest()


def vertex_row(
    id: str, label: str, told: Mapping[str, object], guard: Guard | None
) -> tuple[_Shape, Row, list[tuple[str, object]]]:
    """Give the shape and the row of a vertex, and the values of properties that have several."""
    values: Row = {}
    several: list[tuple[str, object]] = []
    for key, value in told.items():
        if type(value) is tuple:
            several += [(_text(key), each) for each in value]
        else:
            values[_text(key)] = _clean(value)
    shape = _shape(tuple(values), label == "Component", guard)
    if guard is not None:
        values[guard[0]] = guard[2]
    return shape, {"v": {T.id: _text(id), T.label: label}, "p": values}, several


@lru_cache(1024)
def _shape(keys: tuple[str, ...], moves: bool, guard: Guard | None) -> _Shape:
    """What is done with properties of a vertex that is there: (written, if not older, guard)."""
    if guard is None:
        return tuple(sorted(keys)), (), None
    moving = sorted(key for key in keys if moves or key in MOVING)
    return tuple(sorted(set(keys) - set(moving))), (*moving, guard[0]), guard


def edge_row(id: str, fact: EdgeFact) -> Row:
    """Give the row of an edge."""
    label, out, in_, more = fact
    ends = {Direction.OUT: _text(out), Direction.IN: _text(in_)}
    told = {_text(key): _clean(value) for key, value in more.items()}
    return {"e": {T.id: _text(id), T.label: label, **ends}, "p": told}


def _ends(edges: Iterable[EdgeFact]) -> dict[str, None]:
    return {id: None for _, out, in_, _ in edges for id in (out, in_)}


def _clean(value: object) -> object:
    """A value that each server has a type for."""
    kind = type(value)
    if kind is str:
        return _text(value)  # type: ignore[arg-type]
    if kind is bool or kind is float:
        return value
    if kind is int and -_LONGEST <= value < _LONGEST:  # type: ignore[operator]
        return value
    return _text(str(value))


def _text(text: str) -> str:
    """Text that can be sent: halves of characters become question marks."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()


def _size(told: Mapping[str, object]) -> int:
    size = _ROW
    for value in told.values():
        if type(value) is str:
            size += len(value)
    return size
