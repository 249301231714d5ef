"""What may be removed: old runs that have ended, and values that nothing names any more."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twingraph_nb.store.log import read_runs
from twingraph_nb.store.rows import RunRow

__all__ = [
    "Sweep",
    "give_back",
    "plan_sweep",
    "remove_components",
    "remove_results",
    "remove_run",
]

PAGES_AT_ONCE = 2000  # in one transaction, so that other processes get their turn


@dataclass(frozen=True, slots=True)
class Sweep:
    """What goes: ids of runs, digests of results; and the blobs that stay.

    events, bytes: of the runs' records. components_before: components not used since then go.
    """

    runs: tuple[str, ...]
    results: tuple[str, ...]
    wanted: frozenset[str]
    events: int
    bytes: int
    components_before: float


def plan_sweep(connection: sqlite3.Connection, before: float, keep_last: int) -> Sweep:
    """Say what may go.

    Args:
        before: runs that ended before this time (seconds since the epoch) may go.
        keep_last: so many of the newest runs stay in any case.
    """
    rows = read_runs(connection, limit=None)
    doomed = _doomed(rows, before, keep_last)
    left = [row for row in rows if row.id not in doomed]
    events = size = 0
    for run in doomed:
        counted = connection.execute(
            "SELECT coalesce(sum(n), 0), coalesce(sum(length(body)), 0) FROM events WHERE run = ?",
            (run,),
        ).fetchone()
        events, size = events + counted[0], size + counted[1]
    results, wanted = _results(connection, before, {row.id for row in left})
    return Sweep(
        runs=tuple(doomed),
        results=results,
        wanted=wanted,
        events=events,
        bytes=size,
        components_before=min([before, *(row.started for row in left)]),
    )


def remove_run(connection: sqlite3.Connection, run: str) -> None:
    """Remove the events and the row of a run, and what was asked of it."""
    connection.execute("DELETE FROM events WHERE run = ?", (run,))
    connection.execute("DELETE FROM commands WHERE run = ?", (run,))
    connection.execute("DELETE FROM runs WHERE id = ?", (run,))


def remove_results(connection: sqlite3.Connection, digests: Sequence[str], before: float) -> None:
    """Remove results, but for those that somebody has used meanwhile."""
    connection.executemany(
        "DELETE FROM results WHERE digest = ? AND used < ?", [(one, before) for one in digests]
    )


def remove_components(connection: sqlite3.Connection, before: float) -> None:
    """Remove components that no run has used since."""
    connection.execute("DELETE FROM components WHERE at < ?", (before,))


def give_back(connection: sqlite3.Connection) -> bool:
    """Give some of the freed space back to the disk; False when there is no more."""
    free = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
    for _ in range(min(free, PAGES_AT_ONCE)):
        # Python's sqlite3 takes one step of it, and each step frees one page.
        connection.execute("PRAGMA incremental_vacuum")
    return free > PAGES_AT_ONCE


def _doomed(rows: Sequence[RunRow], before: float, keep_last: int) -> Mapping[str, None]:
    """Ended and old enough; a run and what it started go together or not at all."""
    stay = {row.id for row in rows[:keep_last]}
    stay |= {
        row.id for row in rows if row.state == "running" or (row.finished or row.seen) >= before
    }
    parents = {row.id: row.parent for row in rows}
    tops = {_top(run, parents) for run in stay}
    return {row.id: None for row in rows if _top(row.id, parents) not in tops}


def _top(run: str, parents: Mapping[str, str | None]) -> str:
    seen = {run}
    while (parent := parents.get(run)) and parent in parents and parent not in seen:
        seen.add(parent)
        run = parent
    return run


def _results(
    connection: sqlite3.Connection, before: float, left: set[str]
) -> tuple[tuple[str, ...], frozenset[str]]:
    gone, wanted = [], set()
    for digest, run, used, outputs in connection.execute(
        "SELECT digest, run, used, outputs FROM results"
    ):
        if used < before and run not in left:
            gone.append(digest)
        else:
            wanted.update(json.loads(outputs).values())
    wanted.update(row[0] for row in connection.execute("SELECT arguments FROM runs"))
    return tuple(gone), frozenset(wanted)
