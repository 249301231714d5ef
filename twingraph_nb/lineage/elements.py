"""Vertices, edges and their properties, as gremlinpython knows them, but live in a graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from gremlin_python.structure import graph as theirs

if TYPE_CHECKING:
    from twingraph_nb.lineage.graph import Graph

__all__ = ["Edge", "Element", "Many", "Property", "Vertex", "VertexProperty"]

Side = Literal["out", "in", "both"]


class Many(tuple["VertexProperty", ...]):
    """The vertex properties of one key, where plain values would not do."""

    __slots__ = ()


class Element(theirs.Element):
    """What vertices, edges and vertex properties share.

    Attributes:
        graph: the graph it lives in.
        content: property name -> value, as it is kept (a vertex may hold a `Many`).
    """

    def __init__(self, graph: Graph, id: object, label: str, content: dict[str, object]) -> None:
        self.graph = graph
        self.id = id
        self.label = label
        self.content = content

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, theirs.Element)
            and _kind(self) is _kind(other)
            and bool(self.id == other.id)
        )

    def __hash__(self) -> int:
        return hash(self.id)

    def keys(self) -> list[str]:
        """The names of the properties, in the order of their making."""
        return list(self.content)

    def values(self, key: str) -> Iterator[object]:
        """The values of one property: none, one, or several on a vertex."""
        if key in self.content:
            yield self.content[key]

    def value(self, key: str, default: object = None) -> object:
        """The first value of a property, or the default."""
        return next(self.values(key), default)

    def items(self) -> Iterator[tuple[str, object]]:
        """Every name with every value of it."""
        for key in list(self.content):
            for value in self.values(key):
                yield key, value

    def entries(self, *keys: str) -> Iterator[VertexProperty | Property]:
        """The properties of these names (of all, when none is named) as objects."""
        for key in keys or list(self.content):
            if key in self.content:
                yield Property(key, self.content[key], self)

    @property
    def properties(self) -> list[VertexProperty | Property]:
        """All properties as objects, as gremlinpython shows them."""
        return list(self.entries())


class Vertex(Element, theirs.Vertex):
    """A vertex. Its edges are in `out_edges` and `in_edges`: label -> id -> edge."""

    def __init__(self, graph: Graph, id: object, label: str, content: dict[str, object]) -> None:
        Element.__init__(self, graph, id, label, content)
        self.out_edges: dict[str, dict[object, Edge]] = {}
        self.in_edges: dict[str, dict[object, Edge]] = {}

    __hash__ = Element.__hash__

    def values(self, key: str) -> Iterator[object]:
        """The values of one property: none, one or several."""
        if key in self.content:
            held = self.content[key]
            if type(held) is Many:
                for cell in held:
                    yield cell.value
            else:
                yield held

    def cells(self, key: str) -> Many:
        """The vertex properties of one key, made (and kept) when there are none yet."""
        if key not in self.content:
            return Many()
        held = self.content[key]
        if type(held) is Many:
            return held
        with self.graph.lock:
            made = Many((VertexProperty(self.graph, self.graph._next_id(), key, held, self),))
            self.content[key] = made
            return made

    def entries(self, *keys: str) -> Iterator[VertexProperty | Property]:
        """The vertex properties of these names, of all when none is named."""
        for key in keys or list(self.content):
            yield from self.cells(key)

    def edges(self, side: Side, *labels: str) -> list[Edge]:
        """The edges on one side or on both (a loop twice), of these labels or of all."""
        found: list[Edge] = []
        for edges in self._sides(side):
            for label in labels or list(edges):
                found.extend(edges.get(label, {}).values())
        return found

    def neighbours(self, side: Side, *labels: str) -> list[Vertex]:
        """The vertices at the other ends of those edges, once an edge."""
        found: list[Vertex] = []
        if side != "in":
            for label in labels or list(self.out_edges):
                found.extend([edge.in_ for edge in list(self.out_edges.get(label, {}).values())])
        if side != "out":
            for label in labels or list(self.in_edges):
                found.extend([edge.out for edge in list(self.in_edges.get(label, {}).values())])
        return found

    def _sides(self, side: Side) -> list[dict[str, dict[object, Edge]]]:
        if side == "both":
            return [self.out_edges, self.in_edges]
        return [self.out_edges if side == "out" else self.in_edges]


class Edge(Element, theirs.Edge):
    """An edge from `out` to `in_`."""

    def __init__(
        self,
        graph: Graph,
        id: object,
        label: str,
        out: Vertex,
        in_: Vertex,
        content: dict[str, object],
    ) -> None:
        Element.__init__(self, graph, id, label, content)
        self.out = out
        self.in_ = in_

    __hash__ = Element.__hash__

    @property
    def outV(self) -> Vertex:
        """The vertex it leaves, by gremlinpython's name."""
        return self.out

    @property
    def inV(self) -> Vertex:
        """The vertex it enters, by gremlinpython's name."""
        return self.in_


class VertexProperty(Element, theirs.VertexProperty):
    """One value of a vertex, with an id and properties of its own."""

    value: Any

    def __init__(self, graph: Graph, id: object, key: str, value: object, vertex: Vertex) -> None:
        Element.__init__(self, graph, id, key, {})
        self.value = value
        self.key = key
        self.vertex = vertex

    __hash__ = Element.__hash__


class Property(theirs.Property):
    """A name and a value of an edge or of a vertex property."""

    key: str
    value: object
    element: Element

    def __hash__(self) -> int:
        return hash(self.key)


_KINDS: tuple[type, ...] = (theirs.Vertex, theirs.Edge, theirs.VertexProperty)


def _kind(element: theirs.Element) -> type:
    return next((kind for kind in _KINDS if isinstance(element, kind)), type(element))
