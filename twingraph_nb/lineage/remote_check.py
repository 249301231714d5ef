"""What a database holds of our runs, asked or taken away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gremlin_python.process.graph_traversal import __
from gremlin_python.process.traversal import Bytecode

from twingraph_nb.lineage.remote_upsert import REVISION, g

__all__ = ["Ask", "erase", "revisions"]

Ask = Callable[[Bytecode], Awaitable[list[Any]]]
"""Sends a traversal and gives its results."""
_AT_ONCE = 100


async def revisions(ask: Ask, runs: Sequence[str]) -> dict[str, int]:
    """Give how many events of each run the database holds the outcome of; 0 without any."""
    found = dict.fromkeys(runs, 0)
    for start in range(0, len(runs), _AT_ONCE):
        ids = [f"run:{run}" for run in runs[start : start + _AT_ONCE]]
        told = g.V(*ids).has(REVISION).project("run", REVISION).by("run").by(REVISION)
        for row in await ask(told.bytecode):
            found[row["run"]] = row[REVISION]
    return found


async def erase(ask: Ask, run: str) -> None:
    """Take a run, its tasks and the values that only they made out of the database."""
    tasks = g.V(f"run:{run}").in_("in_run")
    values = await ask(tasks.clone().out("produces").dedup().id_().bytecode)
    await ask(tasks.clone().drop().bytecode)
    await ask(g.V(f"run:{run}").drop().bytecode)
    for start in range(0, len(values), _AT_ONCE):
        alone = g.V(*values[start : start + _AT_ONCE]).not_(__.in_("produces"))
        await ask(alone.drop().bytecode)
