"""Which version of a component came after which, worked out from what the database holds.

Several machines use versions of one component, and none of them knows all: so the links follow
from the vertices that are there, whoever wrote them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from gremlin_python.process.traversal import Bytecode, P, T

from twingraph_nb.lineage.changes import Changes
from twingraph_nb.lineage.remote_upsert import g, requests
from twingraph_nb.lineage.schema import edge_id

__all__ = ["link_versions"]

_ROUNDS = 5
"""Times it is looked again; another machine may write at the same moment."""
_LABEL = "new_version_of"


async def link_versions(
    ask: Callable[[Bytecode], Awaitable[list[Any]]], names: Iterable[str]
) -> None:
    """Make the links between the versions of these components right, and see that they stay so."""
    wanted = P.within(sorted(names))
    mine = g.V().has("Component", "name", wanted)
    versions = mine.clone().has("first_used").project("id", "name", "at")
    versions = versions.by(T.id).by("name").by("first_used")
    links = mine.clone().out_e(_LABEL).id_()
    for _ in range(_ROUNDS):
        right = chained(await ask(versions.bytecode))
        there = set(await ask(links.bytecode))
        if there == right.keys():
            return
        missing = Changes()
        for id in right.keys() - there:
            missing.edge(_LABEL, *right[id])
        for request in requests(missing):
            await ask(request.bytecode())
        wrong = there - right.keys()
        if wrong:
            await ask(g.E(*wrong).drop().bytecode)


def chained(found: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Give the links, id -> (version, the one before it), each name's versions by first use."""
    rows = sorted((row["name"], row["at"], row["id"]) for row in found)
    pairs = zip(rows[1:], rows, strict=False)
    return {
        edge_id(_LABEL, new[2], old[2]): (new[2], old[2]) for new, old in pairs if new[0] == old[0]
    }
