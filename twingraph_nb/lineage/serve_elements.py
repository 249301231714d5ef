"""The properties of elements as both formats of the protocol write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from twingraph_nb.lineage.elements import Element, Many, Vertex

__all__ = ["Cell", "cells_of", "entries_of"]

Entries = Sequence[tuple[str, object]]
"""(name, value) of each property."""


class Cell(NamedTuple):
    """One value of a vertex: its id, name, value, and the properties of the property."""

    id: object
    key: str
    value: object
    properties: Entries


def cells_of(vertex: Any) -> Iterator[Cell]:
    """Give the values of a vertex.

    A plain value has an id as soon as a query asks for it as an object. Showing it is no reason
    to make one, which would stay: a served graph would grow with what is looked at. Until then it
    goes by the id of its vertex and its name.
    """
    if not isinstance(vertex, Vertex):  # one that a client sent, and that is echoed
        return
    for key in list(vertex.content):
        held = vertex.content.get(key)
        if type(held) is Many:
            for cell in held:
                yield Cell(cell.id, key, cell.value, tuple(cell.content.items()))
        else:
            yield Cell(f"{vertex.id}/{key}", key, held, ())


def entries_of(element: Any) -> Entries:
    """Give the properties of an edge or of a vertex property."""
    return tuple(element.content.items()) if isinstance(element, Element) else ()
