"""Steps that go through the graph: V, E, out, inE, otherV, properties, values, id, label ..."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from gremlin_python.process.traversal import Direction, P
from gremlin_python.structure import graph as theirs

from twingraph_nb.lineage.compiler import Scope, StepFunction, step
from twingraph_nb.lineage.containers import is_collection
from twingraph_nb.lineage.elements import Edge, Element, Property, Vertex, VertexProperty
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.instructions import Instruction, given
from twingraph_nb.lineage.modulators import is_token, token
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.traverser import FULL, NO_PATH, Run, Traverser, Walk
from twingraph_nb.lineage.visible import entries_of

__all__ = ["by_id", "flat_ids", "looked_up"]

_NEXT = frozenset({"out", "in", "both"})
_BULK = 50_000
"""Traversers that are looked at together, to go on from equal ones once."""


def flat_ids(args: Iterable[Any]) -> list[Any]:
    """Ids as they were given: collections opened, elements made their ids, null left out."""
    found: list[Any] = []
    for value in args:
        value = given(value)
        if is_collection(value):
            found.extend(flat_ids(value))
        elif isinstance(value, theirs.Element):
            found.append(value.id)
        elif value is not None:
            found.append(value)
    return found


def by_id(held: dict[object, Any], wanted: Any) -> Any:
    """The element with this id; the text of a number finds the number, as in TinkerGraph."""
    try:
        found = held.get(wanted)
    except TypeError:
        return None
    if found is None and isinstance(wanted, str) and wanted.isascii() and wanted.isdigit():
        return held.get(int(wanted))
    return None if isinstance(wanted, bool) else found


def looked_up(scope: Scope, kind: str, args: list[Any]) -> Callable[[], Iterable[Any]]:
    """What finds the elements that a V() or E() begins with."""
    graph = scope.run.graph
    held: dict[object, Any] = graph.vertices if kind == "V" else graph.edges
    if args:
        ids = flat_ids(args)
        return lambda: [found for found in (by_id(held, one) for one in ids) if found is not None]
    if kind == "V":
        found = _indexed(scope)
        if found is not None:
            return found
    return lambda: list(held.values())


def _indexed(scope: Scope) -> Callable[[], Iterable[Any]] | None:
    """An index that answers the has() that follow; they are tested all the same."""
    graph = scope.run.graph
    label: str | None = None
    for spot in scope.ahead:
        args = spot.args
        if spot.name == "hasLabel" and len(args) == 1 and isinstance(args[0], str):
            label = args[0]
        elif spot.name == "has" and len(args) == 3 and isinstance(args[0], str):
            label, args = args[0], args[1:]
        if spot.name == "has" and len(args) == 2 and isinstance(args[0], str):
            value = args[1].value if _is_eq(args[1]) else args[1]
            if isinstance(value, str | int | float) and not isinstance(value, P):
                key, wanted = args[0], value
                return lambda: list(graph.find(key, wanted, label))
            if (rough := _rough(value)) is not None:
                return partial(_sifted, graph, label, args[0], rough)
        if spot.name not in ("has", "hasLabel", "hasId"):
            break
    if label is not None:
        wanted_label = label
        return lambda: graph.labelled(wanted_label)
    return None


def _rough(p: Any) -> Callable[[str], bool] | None:
    """A quick test that all texts pass which this predicate lets through; None if it has none."""
    wanted = p.value if isinstance(p, P) else None
    if type(wanted) is str and p.operator == "containing":
        return lambda text: wanted in text
    if type(wanted) is str and p.operator == "startingWith":
        return lambda text: text.startswith(wanted)
    if type(wanted) is list and p.operator == "within" and {str}.issuperset(map(type, wanted)):
        return frozenset(wanted).__contains__
    return None


def _sifted(graph: Graph, label: str | None, key: str, keeps: Callable[[str], bool]) -> list[Any]:
    """The vertices whose text passes, and those that have something else there than one text.

    Ten times as fast as a traverser for each of them.
    """
    several = list(graph.vertices.values()) if label is None else graph.labelled(label)
    return [
        vertex
        for vertex in several
        if key in vertex.content and (type(held := vertex.content[key]) is not str or keeps(held))
    ]


def _is_counted(scope: Scope, spot: Instruction) -> bool:
    """Whether only the number of the results matters, for a count() is next."""
    following = scope.ahead[0] if scope.ahead else None
    return (
        following is not None
        and following.name == "count"
        and not following.args
        and not spot.labels
        and not scope.run.one_bulk
    )


def _is_eq(value: Any) -> bool:
    return isinstance(value, P) and value.operator == "eq"


@step("V", "E")
def start_elements(scope: Scope, spot: Instruction) -> StepFunction:
    run = scope.run
    find = looked_up(scope, spot.name, spot.args)
    starts = not scope.parents and not scope.behind
    grow = scope.grow(spot.labels)

    counted = _is_counted(scope, spot)

    def begin(walk: Walk) -> Walk:
        sees = run.sees
        if counted and sees is None:
            everything = list(find())
            if everything:
                yield Traverser(everything[0], len(everything))
            return
        plain = run.track == NO_PATH and run.sack is None
        for found in find():
            run.tick()
            if sees is None or sees(found):
                yield Traverser(found) if plain else run.start(found, spot.labels)

    def again(walk: Walk) -> Walk:
        sees = run.sees
        for t in walk:
            for found in find():
                run.tick()
                if sees is None or sees(found):
                    yield grow(t, found)

    return begin if starts else again


def _element(t: Traverser, kind: type, name: str) -> Any:
    if isinstance(t.obj, kind):
        return t.obj
    raise TraversalError(
        f"{name}() goes on from a {kind.__name__.lower()}, and this is {t.obj!r}, "
        f"a {type(t.obj).__name__}"
    )


def _labels_of(spot: Instruction) -> tuple[str, ...]:
    return tuple(spot.args)


def adjacent(scope: Scope, spot: Instruction, side: Any, labels: tuple[str, ...]) -> StepFunction:
    """From vertices to the vertices next to them."""
    run, name = scope.run, spot.name
    grow = scope.grow(spot.labels)
    if labels and labels.count(None) == len(labels):
        return lambda walk: iter(())

    counted = _is_counted(scope, spot)

    def function(walk: Walk) -> Walk:
        sees = run.sees
        for t in walk:
            vertex = t.obj
            if type(vertex) is not Vertex:
                vertex = _element(t, Vertex, name)
            if sees is None:
                found = vertex.neighbours(side, *labels)
            else:
                found = _seen_neighbours(run, vertex, side, labels)
            run.tick(len(found) + 1)
            if counted:
                if found:
                    yield Traverser(vertex, t.bulk * len(found))
                continue
            for other in found:
                yield grow(t, other)

    far = not _NEXT.isdisjoint([spot.name for spot in scope.behind])
    if far and run.track != FULL and not run.one_bulk:
        return lambda walk: function(_bulked(run, walk))
    return function


def _bulked(run: Run, walk: Walk) -> Walk:
    """Equal traversers made one, a piece of the walk at a time; the pieces grow."""
    size, piece = 16, []
    for t in walk:
        piece.append(t)
        if len(piece) >= size:
            yield from run.merged(piece)
            size, piece = min(size * 4, _BULK), []
    yield from run.merged(piece) if len(piece) > 1 else piece


def _seen_neighbours(run: Run, vertex: Vertex, side: Any, labels: tuple[str, ...]) -> list[Vertex]:
    sees, crosses = run.sees, run.crosses
    return [
        other
        for edge, other in _edges_with_ends(vertex, side, labels)
        if (crosses is None or crosses(edge)) and (sees is None or sees(other))
    ]


def _edges_with_ends(
    vertex: Vertex, side: str, labels: tuple[str, ...]
) -> Iterator[tuple[Edge, Vertex]]:
    if side != "in":
        for edge in vertex.edges("out", *labels):
            yield edge, edge.in_
    if side != "out":
        for edge in vertex.edges("in", *labels):
            yield edge, edge.out


@step("out", "in", "both")
def to_vertices(scope: Scope, spot: Instruction) -> StepFunction:
    return adjacent(scope, spot, spot.name, _labels_of(spot))


def incident(scope: Scope, spot: Instruction, side: Any, labels: tuple[str, ...]) -> StepFunction:
    """From vertices to their edges."""
    run, name = scope.run, spot.name
    if labels and labels.count(None) == len(labels):
        return lambda walk: iter(())

    def values(t: Traverser) -> Iterable[Edge]:
        found: list[Edge] = _element(t, Vertex, name).edges(side, *labels)
        run.tick(len(found) + 1)
        return found if run.sees is None else filter(run.sees, found)

    return scope.flattened(spot, values)


@step("outE", "inE", "bothE")
def to_edges(scope: Scope, spot: Instruction) -> StepFunction:
    return incident(scope, spot, spot.name[:-1], _labels_of(spot))


@step("toE", "to")
def to_side(scope: Scope, spot: Instruction) -> StepFunction:
    side = spot.args[0].name.lower().replace("from_", "out").replace("to", "in")
    labels = tuple(given(value) for value in spot.args[1:])
    make = adjacent if spot.name == "to" else incident
    return make(scope, spot, side, labels)


@step("outV", "inV", "bothV")
def to_ends(scope: Scope, spot: Instruction) -> StepFunction:
    return _ends(scope, spot, spot.name)


@step("toV")
def to_end(scope: Scope, spot: Instruction) -> StepFunction:
    side = {Direction.OUT: "outV", Direction.IN: "inV"}.get(spot.args[0], "bothV")
    return _ends(scope, spot, side)


def _ends(scope: Scope, spot: Instruction, side: str) -> StepFunction:
    run = scope.run

    def values(t: Traverser) -> list[Vertex]:
        edge = _element(t, Edge, side)
        ends = (
            [edge.out, edge.in_] if side == "bothV" else [edge.out if side == "outV" else edge.in_]
        )
        return ends if run.sees is None else [end for end in ends if run.sees(end)]

    return scope.flattened(spot, values)


@step("otherV")
def to_other_end(scope: Scope, spot: Instruction) -> StepFunction:
    def value(t: Traverser) -> Any:
        edge = _element(t, Edge, "otherV")
        node = t.path
        while node is not None:
            if isinstance(node[1], Vertex) and node[1].id in (edge.out.id, edge.in_.id):
                return edge.in_ if node[1] == edge.out else edge.out
            node = node[0]
        raise TraversalError("otherV() needs the vertex from which the edge was reached")

    return scope.mapped(spot, value)


@step("properties")
def to_properties(scope: Scope, spot: Instruction) -> StepFunction:
    keys, run = _labels_of(spot), scope.run
    if keys and all(key is None for key in keys):
        return lambda walk: iter(())
    return scope.flattened(spot, lambda t: list(entries_of(run, t.obj, keys)))


@step("values")
def to_values(scope: Scope, spot: Instruction) -> StepFunction:
    keys, run = _labels_of(spot), scope.run
    if keys and all(key is None for key in keys):
        return lambda walk: iter(())

    def values(t: Traverser) -> Iterable[Any]:
        obj = t.obj
        if run.sees is not None or not isinstance(obj, Element):
            return [entry.value for entry in entries_of(run, obj, keys)]
        if not keys:
            return [value for _, value in obj.items()]
        return [value for key in keys for value in obj.values(key)]

    return scope.flattened(spot, values)


@step("id", "label", "key")
def to_token(scope: Scope, spot: Instruction) -> StepFunction:
    name = spot.name
    return scope.mapped(spot, lambda t: token(name, t.obj))


@step("value")
def to_value(scope: Scope, spot: Instruction) -> StepFunction:
    return scope.mapped(spot, lambda t: token("value", t.obj))


@step("element")
def to_element(scope: Scope, spot: Instruction) -> StepFunction:
    def value(t: Traverser) -> Any:
        if isinstance(t.obj, VertexProperty):
            return t.obj.vertex
        if isinstance(t.obj, Property):
            return t.obj.element
        raise TraversalError(f"element() goes on from a property, and this is {t.obj!r}")

    return scope.mapped(spot, value)


def token_or_key(value: Any) -> bool:
    """Whether an argument names what has() looks at."""
    return isinstance(value, str) or is_token(value)
