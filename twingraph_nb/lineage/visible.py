"""The properties of an element that an execution sees: those of the graph and computed ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from twingraph_nb.lineage.elements import Element, Property, Vertex, VertexProperty
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.traverser import Run

__all__ = ["entries_of"]


def entries_of(run: Run, obj: Any, keys: tuple[str, ...]) -> Iterable[VertexProperty | Property]:
    """The properties of an element that can be seen."""
    if not isinstance(obj, Element):
        raise TraversalError(
            f"properties belong to elements, and this is {obj!r}, a {type(obj).__name__}"
        )
    found = obj.entries(*keys)
    if run.computed and isinstance(obj, Vertex):
        found = itertools.chain(found, _computed(run, obj, keys))
    return found if run.sees is None else filter(run.sees, found)


def _computed(run: Run, vertex: Vertex, keys: tuple[str, ...]) -> Iterator[VertexProperty]:
    """What pageRank() and the like have found for a vertex."""
    for name, values in run.computed.items():
        if (not keys or name in keys) and vertex in values:
            yield VertexProperty(run.graph, f"~{name}", name, values[vertex], vertex)
