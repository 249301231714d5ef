"""A property graph in memory: vertices, edges, properties of properties, and indexes.

Elements are those of gremlinpython (`isinstance(v, gremlin_python.structure.graph.Vertex)`), but
live: they know their neighbours and show what the graph holds now. Values are kept as plain
Python; a `VertexProperty` object is made when somebody asks for one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

from gremlin_python.statics import long

from twingraph_nb.lineage.elements import Edge, Element, Many, Property, Vertex, VertexProperty
from twingraph_nb.lineage.index import PropertyIndex
from twingraph_nb.lineage.problems import (
    DuplicateId,
    ReadOnlyGraph,
    TransactionOpen,
    UnknownElement,
)

__all__ = ["Edge", "Element", "Graph", "Property", "Vertex", "VertexProperty"]

Cardinality = Literal["single", "list", "set"]

VERTEX, EDGE = "vertex", "edge"
"""Labels of elements that are made without one, as TinkerPop has them."""


class Graph:
    """A property graph in memory.

    Attributes:
        vertices: id -> vertex, in the order of their making. To be read, not written.
        edges: id -> edge, likewise.
        allow_null: whether null can be a property's value; else setting it removes the property.
        read_only: a graph that refuses changes (`ReadOnlyGraph`).
        lock: hold it to make several changes appear at once.
    """

    def __init__(self, *, read_only: bool = False, allow_null: bool = False) -> None:
        self.vertices: dict[object, Vertex] = {}
        self.edges: dict[object, Edge] = {}
        self.read_only = read_only
        self.allow_null = allow_null
        self.lock = threading.RLock()
        self._last_id = -1
        self._index = PropertyIndex(self.vertices, self.lock)
        self._undo: list[Callable[[], object]] | None = None

    def add_vertex(
        self,
        label: str = VERTEX,
        id: object = None,
        properties: Mapping[str, object] | None = None,
    ) -> Vertex:
        """The new vertex. Without an id it gets the next free number.

        Raises:
            ReadOnlyGraph: the graph refuses changes.
            DuplicateId: there is a vertex with this id.
        """
        with self.lock:
            self._change()
            if id is None:
                id = self._next_id()
            elif id in self.vertices:
                raise DuplicateId("Vertex", id)
            vertex = Vertex(self, id, label, dict(properties or {}))
            self.vertices[id] = vertex
            self._index.added(vertex)
            if self._undo is not None:
                self._undo.append(lambda: self._drop_vertex(vertex))
            return vertex

    def add_edge(
        self,
        label: str,
        out: Vertex,
        in_: Vertex,
        id: object = None,
        properties: Mapping[str, object] | None = None,
    ) -> Edge:
        """The new edge, from `out` to `in_`. Without an id it gets the next free number.

        Raises:
            ReadOnlyGraph: the graph refuses changes.
            DuplicateId: there is an edge with this id.
        """
        with self.lock:
            self._change()
            if id is None:
                id = self._next_id()
            elif id in self.edges:
                raise DuplicateId("Edge", id)
            edge = Edge(self, id, label, out, in_, dict(properties or {}))
            self.edges[id] = edge
            out.out_edges.setdefault(label, {})[id] = edge
            in_.in_edges.setdefault(label, {})[id] = edge
            if self._undo is not None:
                self._undo.append(lambda: self._drop_edge(edge))
            return edge

    def set_property(self, element: Element, key: str, value: object) -> None:
        """Give a vertex, an edge or a vertex property one value for this key.

        Raises:
            ReadOnlyGraph: the graph refuses changes.
        """
        with self.lock:
            self._change()
            self._remember(element, key)
            element.content[key] = value
            if isinstance(element, Vertex):
                self._index.set(element, key, [value])

    def add_property(
        self,
        vertex: Vertex,
        key: str,
        value: object,
        cardinality: Cardinality = "list",
        id: object = None,
        meta: Mapping[str, object] | None = None,
    ) -> VertexProperty:
        """The property of the vertex that holds this value now.

        Args:
            cardinality: `single` replaces, `list` adds, `set` adds unless the value is there.
            id: of the property; the next free number when None.
            meta: properties of the property.
        """
        with self.lock:
            self._change()
            self._remember(vertex, key)
            held = () if cardinality == "single" else tuple(vertex.cells(key))
            if cardinality == "set":
                for cell in held:
                    if type(cell.value) is type(value) and cell.value == value:
                        cell.content.update(meta or {})
                        return cell
            made = VertexProperty(self, self._next_id() if id is None else id, key, value, vertex)
            made.content.update(meta or {})
            vertex.content[key] = Many((*held, made))
            self._index.set(vertex, key, [cell.value for cell in (*held, made)])
            return made

    def remove(self, element: Element | Property) -> None:
        """Take a vertex (with its edges), an edge or a property out of the graph.

        Raises:
            ReadOnlyGraph: the graph refuses changes.
        """
        with self.lock:
            self._change()
            if isinstance(element, Vertex):
                for edge in [*element.edges("out"), *element.edges("in")]:
                    if edge.id in self.edges:
                        self.remove(edge)
                if self.vertices.get(element.id) is element:
                    self._drop_vertex(element)
                    self._note(lambda: self._restore_vertex(element))
            elif isinstance(element, Edge):
                if self.edges.get(element.id) is element:
                    self._drop_edge(element)
                    self._note(lambda: self._restore_edge(element))
            elif isinstance(element, VertexProperty):
                self._remove_cell(element)
            else:
                self._remember(element.element, element.key)
                element.element.content.pop(element.key, None)

    def remove_key(self, element: Element, key: str) -> None:
        """Take all values of one property from an element."""
        with self.lock:
            self._change()
            self._remember(element, key)
            element.content.pop(key, None)
            if isinstance(element, Vertex):
                self._index.set(element, key, [])

    def find(self, key: str, value: object, label: str | None = None) -> Iterator[Vertex]:
        """The vertices with this value of this property, by a hash index made at first use.

        Numbers are equal across their types, as in `has(key, value)`; a truth value is no number.
        """
        for vertex in self._index.find(key, value):
            if label is None or vertex.label == label:
                yield vertex

    def labelled(self, label: str) -> Iterable[Vertex]:
        """The vertices with this label, by an index."""
        return self._index.labelled(label)

    def vertex(self, id: object) -> Vertex:
        """The vertex with this id.

        Raises:
            UnknownElement: there is none.
        """
        found = self.vertices.get(id)
        if found is None:
            raise UnknownElement("vertex", id)
        return found

    def begin(self) -> None:
        """Start a transaction: changes from here, of every thread, can be taken back.

        Raises:
            TransactionOpen: the graph is in one.
        """
        with self.lock:
            if self._undo is not None:
                raise TransactionOpen()
            self._undo = []

    def commit(self) -> None:
        """Keep the changes since `begin`."""
        with self.lock:
            self._undo = None

    def rollback(self) -> None:
        """Take back the changes since `begin`."""
        with self.lock:
            undo, self._undo = self._undo, None
            for step in reversed(undo or ()):
                step()

    def __repr__(self) -> str:
        return f"graph[vertices:{len(self.vertices)} edges:{len(self.edges)}]"

    def _change(self) -> None:
        if self.read_only:
            raise ReadOnlyGraph()

    def _note(self, step: Callable[[], object]) -> None:
        if self._undo is not None:
            self._undo.append(step)

    def _next_id(self) -> long:
        self._last_id += 1
        while self._last_id in self.vertices or self._last_id in self.edges:
            self._last_id += 1
        return long(self._last_id)

    def _remember(self, element: Element, key: str) -> None:
        if self._undo is None:
            return
        there, old = key in element.content, element.content.get(key)

        def back() -> None:
            if there:
                element.content[key] = old
            else:
                element.content.pop(key, None)
            if isinstance(element, Vertex):
                self._index.set(element, key, list(element.values(key)))

        self._undo.append(back)

    def _remove_cell(self, cell: VertexProperty) -> None:
        vertex, key = cell.vertex, cell.key
        self._remember(vertex, key)
        left = tuple(other for other in vertex.cells(key) if other is not cell)
        if left:
            vertex.content[key] = Many(left)
        else:
            vertex.content.pop(key, None)
        self._index.set(vertex, key, [other.value for other in left])

    def _drop_vertex(self, vertex: Vertex) -> None:
        del self.vertices[vertex.id]
        self._index.removed(vertex)

    def _restore_vertex(self, vertex: Vertex) -> None:
        self.vertices[vertex.id] = vertex
        self._index.added(vertex)

    def _drop_edge(self, edge: Edge) -> None:
        del self.edges[edge.id]
        edge.out.out_edges[edge.label].pop(edge.id, None)
        edge.in_.in_edges[edge.label].pop(edge.id, None)

    def _restore_edge(self, edge: Edge) -> None:
        self.edges[edge.id] = edge
        edge.out.out_edges[edge.label][edge.id] = edge
        edge.in_.in_edges[edge.label][edge.id] = edge
