"""Results that can be used again: which outputs an equal task gave, and where they are."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from math import inf

from twingraph_nb.store.rows import Kept

__all__ = [
    "forget_blob",
    "note_used",
    "read_component",
    "read_last_source",
    "read_result",
    "write_result",
]


AHEAD = 60.0
"""Seconds that the clock of who made a result may be ahead of ours."""


def read_result(
    connection: sqlite3.Connection, digest: str, max_age: float | None
) -> tuple[Kept, float] | None:
    """Give the result of a digest and when it was last used, if it is at most `max_age` s old.

    One that seems to come from the future has no age: a clock was set meanwhile.
    """
    now = time.time()
    since, until = (-inf, inf) if max_age is None else (now - max_age, now + AHEAD)
    row = connection.execute(
        "SELECT component, run, hash, at, outputs, used FROM results"
        " WHERE digest = ? AND at BETWEEN ? AND ?",
        (digest, since, until),
    ).fetchone()
    if row is None:
        return None
    component, run, hash, at, outputs, used = row
    return Kept(digest, component, run, hash, at, json.loads(outputs)), used


def write_result(connection: sqlite3.Connection, kept: Kept) -> None:
    """Keep it; a newer result of the same digest takes the place of an older one."""
    connection.execute(
        "INSERT OR REPLACE INTO results (digest, component, run, hash, at, outputs, used)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            kept.digest,
            kept.component,
            kept.run,
            kept.hash,
            kept.at,
            json.dumps(dict(kept.outputs)),
            kept.at,
        ),
    )


def note_used(connection: sqlite3.Connection, digest: str, at: float) -> None:
    """Note that the result was useful at that time."""
    connection.execute("UPDATE results SET used = max(used, ?) WHERE digest = ?", (at, digest))


def forget_blob(connection: sqlite3.Connection, blob: str) -> None:
    """Drop each result that names the blob."""
    connection.execute("DELETE FROM results WHERE instr(outputs, ?)", (blob,))


def read_component(connection: sqlite3.Connection, digest: str) -> Mapping[str, object] | None:
    """Give name, source and the other facts of a component, or None."""
    row = connection.execute(
        "SELECT name, source, facts FROM components WHERE digest = ?", (digest,)
    ).fetchone()
    return None if row is None else {"name": row[0], "source": row[1], **json.loads(row[2])}


def read_last_source(connection: sqlite3.Connection, name: str) -> str | None:
    """Give the source of the version of a component that a run used last, or None."""
    row = connection.execute(
        "SELECT source FROM components WHERE name = ? ORDER BY at DESC LIMIT 1", (name,)
    ).fetchone()
    return None if row is None else str(row[0])
