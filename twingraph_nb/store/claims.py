"""Who goes on with an earlier run, so that no two do; and which runs belong to it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence

from twingraph_nb.errors import RunError
from twingraph_nb.store.log import read_run
from twingraph_nb.store.process import is_gone
from twingraph_nb.store.rows import RunRow

__all__ = ["family", "read_claim", "write_claim"]

_SAME_PROCESS = ("host", "pid", "pid_started")


def write_claim(
    connection: sqlite3.Connection, run: str, by: str, origin: Mapping[str, str]
) -> None:
    """Note that the run `by`, of the process `origin`, resumes this run.

    Raises:
        RunError: another one does, and its process lives; names both.
    """
    held = connection.execute("SELECT by, origin FROM claims WHERE run = ?", (run,)).fetchone()
    if held is not None and held[0] != by:
        _refuse_if_alive(connection, run, held[0], json.loads(held[1]))
    connection.execute(
        "INSERT OR REPLACE INTO claims (run, by, origin, at) VALUES (?, ?, ?, ?)",
        (run, by, json.dumps(dict(origin)), time.time()),
    )


def read_claim(connection: sqlite3.Connection, run: str) -> str | None:
    """Give the run that resumed this one last, or None."""
    row = connection.execute("SELECT by FROM claims WHERE run = ?", (run,)).fetchone()
    return None if row is None else str(row[0])


def family(connection: sqlite3.Connection, run: RunRow, rows: Sequence[RunRow]) -> list[RunRow]:
    """Give the runs whose finished tasks count as this run's, oldest first.

    Of a notebook's batch run: what its kernel started. Of a run that a kernel or script started:
    all of that process, for a notebook is resumed as a whole.
    """
    if run.form == "notebook":
        return [one for one in rows if one.parent == run.id]
    ours = [run.origin.get(key) for key in _SAME_PROCESS]
    if not all(ours):
        return [run]
    return [one for one in rows if [one.origin.get(key) for key in _SAME_PROCESS] == ours]


def _refuse_if_alive(
    connection: sqlite3.Connection, run: str, by: str, origin: Mapping[str, str]
) -> None:
    if is_gone(origin):
        return
    try:
        if read_run(connection, by).state != "running":
            return
    except RunError:
        pass  # it has not said anything yet: its process lives, so it will
    raise RunError(
        f"run {run} is being resumed by run {by} in process {origin.get('pid', '?')} on "
        f"{origin.get('host', 'another machine')}; wait for it, or stop that one first"
    )
