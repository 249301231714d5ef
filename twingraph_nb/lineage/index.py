"""Hash indexes over the vertices of a graph: by label, and by the values of a property."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twingraph_nb.lineage.elements import Vertex

__all__ = ["PropertyIndex"]

Bucket = dict["Vertex", None]


class PropertyIndex:
    """What finds vertices by label or value; a property is indexed when it is first asked for."""

    def __init__(
        self, vertices: Mapping[object, Vertex], lock: AbstractContextManager[object]
    ) -> None:
        self._vertices = vertices
        self._lock = lock
        self._labels: dict[str, Bucket] = {}
        self._keys: dict[str, dict[object, Bucket]] = {}
        self._held: dict[str, dict[Vertex, tuple[object, ...]]] = {}

    def added(self, vertex: Vertex) -> None:
        """Take a vertex in."""
        self._labels.setdefault(vertex.label, {})[vertex] = None
        for key in self._keys:
            self.set(vertex, key, list(vertex.values(key)))

    def removed(self, vertex: Vertex) -> None:
        """Forget a vertex."""
        self._labels[vertex.label].pop(vertex, None)
        for key in self._keys:
            self.set(vertex, key, [])

    def set(self, vertex: Vertex, key: str, values: list[object]) -> None:
        """Let a vertex be found by these values of this key, and by no others."""
        buckets = self._keys.get(key)
        if buckets is None:
            return
        held = self._held[key]
        for entry in held.pop(vertex, ()):
            buckets[entry].pop(vertex, None)
        if values:
            _enter(buckets, held, vertex, values)

    def labelled(self, label: str) -> list[Vertex]:
        """The vertices with this label, in the order of their making."""
        return list(self._labels.get(label, ()))

    def find(self, key: str, value: object) -> Iterable[Vertex]:
        """The vertices that hold this value, in the order in which they got it."""
        if key not in self._keys:
            with self._lock:
                self._build(key)
        if value != value:  # not a number: equal to nothing
            return ()
        entry = _entry(value)
        found = list(self._keys[key].get(entry, ()))
        if entry is not UNHASHABLE:
            return found
        return [v for v in found if any(held == value for held in v.values(key))]

    def _build(self, key: str) -> None:
        if key in self._keys:  # another thread was faster
            return
        held: dict[Vertex, tuple[object, ...]] = {}
        buckets: dict[object, Bucket] = {}
        for vertex in self._vertices.values():
            if key in vertex.content:
                _enter(buckets, held, vertex, vertex.values(key))
        self._held[key], self._keys[key] = held, buckets


def _enter(
    buckets: dict[object, Bucket],
    held: dict[Vertex, tuple[object, ...]],
    vertex: Vertex,
    values: Iterable[object],
) -> None:
    entries = tuple(_entry(value) for value in values)
    held[vertex] = entries
    for entry in entries:
        buckets.setdefault(entry, {})[vertex] = None


class _Mark:
    """A bucket for values that cannot be looked up by hash: lists, sets, maps."""


UNHASHABLE = _Mark()


def _entry(value: object) -> object:
    if isinstance(value, bool):
        return (bool, value)
    try:
        hash(value)
    except TypeError:
        return UNHASHABLE
    return value
