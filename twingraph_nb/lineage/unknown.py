"""Names in a query that nothing in the graph has: Gremlin gives nothing for them, and says nothing.

A property, label or edge that is misspelt is no error in Gremlin. A person wants to be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from gremlin_python.process.traversal import Bytecode

from twingraph_nb.errors import suggestion
from twingraph_nb.lineage import schema
from twingraph_nb.lineage.graph import Graph

__all__ = ["property_names", "schema_properties", "unknown_names"]

_LABELS = {"hasLabel": "label"} | dict.fromkeys(
    ("out", "in", "both", "outE", "inE", "bothE", "toE"), "edge"
)
_KEYS = frozenset({"values", "valueMap", "properties", "propertyMap", "elementMap", "hasNot"})
_LOOKED_AT = 20_000
"""Vertices that are looked at while somebody waits for a completion: some 30 ms."""
_WITH_LABEL = 3
"""Arguments of `has(label, key, value)`."""


def property_names(graph: Graph) -> set[str]:
    """Give the names of properties that there are, of the newest vertices at least."""
    with graph.lock:
        newest = islice(reversed(graph.vertices.values()), _LOOKED_AT)
        return {name for vertex in newest for name in vertex.content}


def schema_properties() -> set[str]:
    """Give the names of properties that the schema has, of vertices and edges."""
    others = schema.OTHER_PROPERTIES.values()
    return {"name", *schema.TASK_PROPERTIES, *schema.EDGE_PROPERTIES}.union(*others)


def unknown_names(bytecode: Bytecode, graph: Graph) -> list[str]:
    """Give a sentence for each name in a query that neither the schema nor the graph knows."""
    asked = list(dict.fromkeys(_names(bytecode)))
    with graph.lock:
        known = _Known(graph)
        return [
            f"the graph has no {kind} {name!r}{suggestion(name, known.of(kind))}"
            for kind, name in asked
            if not known.has(kind, name)
        ]


class _Known:
    """The names of a graph; its elements are looked through only for what the schema has not."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._names: dict[str, set[str]] = {
            "property": schema_properties(),
            "label": {*schema.VERTICES, *schema.EDGES},
            "edge": {*schema.EDGES},
        }
        self._complete: set[str] = set()

    def of(self, kind: str) -> set[str]:
        """All names of a kind: property, label or edge."""
        if kind not in self._complete:
            self._complete.add(kind)
            self._names[kind] |= set(self._found(kind))
        return self._names[kind]

    def has(self, kind: str, name: str) -> bool:
        return name in self._names[kind] or name in self.of(kind)

    def _found(self, kind: str) -> Iterator[str]:
        vertices, edges = self._graph.vertices.values(), self._graph.edges.values()
        if kind != "edge":
            for vertex in vertices:
                yield from (vertex.label,) if kind == "label" else vertex.content
        for edge in edges:
            yield from edge.content if kind == "property" else (edge.label,)


def _names(bytecode: Bytecode) -> Iterator[tuple[str, str]]:
    """(kind, name) of what the steps name, also of those within others."""
    for step, *arguments in bytecode.step_instructions:
        yield from _of_step(step, [one for one in arguments if isinstance(one, str)], arguments)
        for one in arguments:
            inner = getattr(one, "bytecode", one)
            if isinstance(inner, Bytecode):
                yield from _names(inner)


def _of_step(step: str, texts: list[str], arguments: list[object]) -> Iterable[tuple[str, str]]:
    if step in _LABELS:
        return [(_LABELS[step], text) for text in texts]
    if step in _KEYS:
        return [("property", text) for text in texts]
    if step != "has" or not isinstance(arguments[0], str):
        return ()
    if len(arguments) == _WITH_LABEL:
        second = arguments[1]
        keys = [("property", second)] if isinstance(second, str) else []
        return [("label", arguments[0]), *keys]
    return [("property", arguments[0])]
