"""How long the records of all runs are, asked again and again."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from twingraph_nb.store.process import is_gone

__all__ = ["Lengths", "RunLength"]


class RunLength(NamedTuple):
    """One run: its state as a `RunRow` has it, and how many events of it are recorded."""

    id: str
    state: str
    events: int


class Lengths:
    """Looks how long the records are; sees all that was committed before the look.

    A look costs some microseconds when nothing was written since the last one on the same
    connection, which SQLite's `data_version` tells. Safe to use from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: tuple[sqlite3.Connection, int] | None = None
        self._found: Sequence[RunLength] = ()
        self._others: list[Mapping[str, str]] = []  # origins of what runs in other processes

    def look(self, connection: sqlite3.Connection) -> Sequence[RunLength]:
        """Give all runs, oldest first; the same object as before if nothing has changed."""
        with self._lock:
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            known = self._asked
            same = known is not None and known[0] is connection and known[1] == version
            if not same or any(map(is_gone, self._others)):  # who is killed writes nothing
                self._read(connection)
                self._asked = connection, version
            return self._found

    def _read(self, connection: sqlite3.Connection) -> None:
        found, others = [], []
        for run, state, events, origin in connection.execute(
            "SELECT id, state, events, CASE state WHEN 'running' THEN origin END"
            " FROM runs ORDER BY started"
        ):
            if origin is not None and (by := json.loads(origin)).get("pid") != str(os.getpid()):
                if is_gone(by):
                    state = "interrupted"
                else:
                    others.append(by)
            found.append(RunLength(run, state, events))
        self._found, self._others = found, others
