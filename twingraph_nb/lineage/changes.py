"""Facts on their way into a graph, each with an id of its own."""

from __future__ import annotations

import bisect
from collections.abc import Mapping

from twingraph_nb.lineage.schema import edge_id

__all__ = ["Changes", "EdgeFact", "Versions", "VertexFact"]

VertexFact = tuple[str, dict[str, object]]
"""(label, properties); a tuple of texts as a value means several values."""
EdgeFact = tuple[str, str, str, Mapping[str, object]]
"""(label, id of the vertex it leaves, id of the one it enters, properties)."""


class Changes:
    """Facts, by id. gone: edges that are no longer so."""

    def __init__(self) -> None:
        self.vertices: dict[str, VertexFact] = {}
        self.edges: dict[str, EdgeFact] = {}
        self.gone: set[str] = set()

    def vertex(self, id: str, label: str, properties: Mapping[str, object] = {}) -> str:
        """Add what is known of a vertex; gives its id."""
        found = self.vertices.get(id)
        if found is None:
            self.vertices[id] = (label, dict(properties))
        else:
            found[1].update(properties)
        return id

    def edge(
        self, label: str, out: str, in_: str, *more: str, properties: Mapping[str, object] = {}
    ) -> None:
        """Add an edge; `more` tells apart several of one label between two vertices."""
        id = edge_id(label, out, in_, *more)
        self.edges[id] = (label, out, in_, properties)
        self.gone.discard(id)

    def no_edge(self, label: str, out: str, in_: str) -> None:
        """Say that an edge is no longer so."""
        id = edge_id(label, out, in_)
        self.edges.pop(id, None)
        self.gone.add(id)


class Versions:
    """Links each component to the one of its name that was first used before it."""

    def __init__(self) -> None:
        self._known: dict[str, list[tuple[float, str]]] = {}  # name -> (first use, digest)
        self._first: dict[str, float] = {}

    def used(self, name: str, digest: str, at: float, to: Changes) -> None:
        """Take in that a component was used; runs may come in any order."""
        first, known = self._first.get(digest), self._known.setdefault(name, [])
        if first is not None:
            if at >= first:
                return
            self._removed(known, known.index((first, digest)), to)
        self._first[digest] = at
        me = to.vertex(f"component:{digest}", "Component", {"first_used": at})
        place = bisect.bisect_left(known, (at, digest))
        older = f"component:{known[place - 1][1]}" if place else ""
        newer = f"component:{known[place][1]}" if place < len(known) else ""
        known.insert(place, (at, digest))
        if older and newer:
            to.no_edge("new_version_of", newer, older)
        if older:
            to.edge("new_version_of", me, older)
        if newer:
            to.edge("new_version_of", newer, me)

    @staticmethod
    def _removed(known: list[tuple[float, str]], place: int, to: Changes) -> None:
        me = f"component:{known.pop(place)[1]}"
        older = f"component:{known[place - 1][1]}" if place else ""
        newer = f"component:{known[place][1]}" if place < len(known) else ""
        if older:
            to.no_edge("new_version_of", me, older)
        if newer:
            to.no_edge("new_version_of", newer, me)
        if older and newer:
            to.edge("new_version_of", newer, older)
