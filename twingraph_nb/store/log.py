"""Reading the log: runs as rows, events of a run, and finding a run by what a person typed."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence

import msgspec

from twingraph_nb.errors import RunError, StoreError, suggestion
from twingraph_nb.events import Batch, Event, decode
from twingraph_nb.store.process import is_gone
from twingraph_nb.store.rows import RunRow

__all__ = ["each_batch", "read_events", "read_run", "read_runs", "resolve_run"]

LAST = "last"
_COLUMNS = (
    "id, name, form, state, parent, started, finished, seen, tasks, done, reused, failed,"
    " skipped, cancelled, events, error, incomplete, params, origin, resumes, arguments"
)
_SELECT = f"SELECT {_COLUMNS} FROM runs"
NEWEST = "ORDER BY started DESC, id DESC"


def read_runs(
    connection: sqlite3.Connection, limit: int | None = 50, parent: str | None = None
) -> list[RunRow]:
    """Give runs, newest first.

    Args:
        limit: how many at most; None = all.
        parent: only those that this run started.
    """
    where, values = ("WHERE parent = ?", [parent]) if parent is not None else ("", [])
    rows = connection.execute(
        f"{_SELECT} {where} {NEWEST} LIMIT ?", (*values, -1 if limit is None else limit)
    )
    return [_row(row) for row in rows]


def read_run(connection: sqlite3.Connection, run: str) -> RunRow:
    """Give one run.

    Raises:
        RunError: it is not known.
    """
    row = connection.execute(f"{_SELECT} WHERE id = ?", (run,)).fetchone()
    if row is None:
        raise RunError(f"run {run} is not in the store")
    return _row(row)


def read_events(connection: sqlite3.Connection, run: str, start: int = 0) -> list[Batch]:
    """Give the events of a run from number `start` on, in order, without gaps.

    Raises:
        StoreError: what is recorded is damaged; names the run and the first bad event.
    """
    rows = connection.execute(
        "SELECT seq, crc, body FROM events WHERE run = :run AND seq >= coalesce("
        "(SELECT max(seq) FROM events WHERE run = :run AND seq <= :start), 0) ORDER BY seq",
        {"run": run, "start": start},
    )
    return [
        Batch(run, max(seq, start), tuple(events[max(0, start - seq) :]))
        for seq, crc, body in rows
        if seq + len(events := _decode(run, seq, crc, body)) > start
    ]


def each_batch(connection: sqlite3.Connection, run: str) -> Iterator[Batch]:
    """Give what `read_events` gives from the first on, decoded one row at a time."""
    rows = connection.execute(
        "SELECT seq, crc, body FROM events WHERE run = ? ORDER BY seq", (run,)
    )
    for seq, crc, body in rows:
        yield Batch(run, seq, _decode(run, seq, crc, body))


def resolve_run(connection: sqlite3.Connection, text: str) -> str:
    """Give the id of the run that `text` means: an id, the only id that starts so, or "last".

    "last" is the newest run that no other run started.

    Raises:
        RunError: no run, or several; names the nearest or all of them.
    """
    if text == LAST:
        found = connection.execute(f"SELECT id FROM runs WHERE parent IS NULL {NEWEST}").fetchone()
        if found is None:
            raise RunError("no run is recorded yet")
        return str(found[0])
    ids = _starting_with(connection, text)
    if text in ids or len(ids) == 1:
        return text if text in ids else ids[0]
    if ids:
        more = " and more" if len(ids) > 8 else ""
        raise RunError(
            f"{len(ids)} runs start with {text!r}: {', '.join(ids[:8])}{more}; write more of the id"
        )
    known = connection.execute(f"SELECT id FROM runs {NEWEST} LIMIT 500")
    near = suggestion(text, [LAST, *(row[0] for row in known)])
    raise RunError(f"no run is called {text!r}{near}; `twingraph runs` lists them")


def _starting_with(connection: sqlite3.Connection, text: str) -> Sequence[str]:
    if not text:
        return []
    rows = connection.execute(
        f"SELECT id FROM runs WHERE substr(id, 1, ?) = ? {NEWEST}", (len(text), text)
    )
    return [row[0] for row in rows]


def _row(values: Sequence[object]) -> RunRow:
    told = dict(zip(_COLUMNS.split(", "), values, strict=True))
    told["params"] = json.loads(str(told["params"]))
    origin = told["origin"] = json.loads(str(told["origin"]))
    if told["state"] == "running" and is_gone(origin):
        told["state"] = "interrupted"
    pid = origin.get("pid", "")
    return RunRow(
        **told,  # type: ignore[arg-type]
        notebook=origin.get("notebook", ""),
        host=origin.get("host", ""),
        pid=int(pid) if pid.isdigit() else 0,
    )


def _decode(run: str, seq: int, crc: int, body: bytes) -> Sequence[Event]:
    try:
        if zlib.crc32(body) == crc:
            return decode(body)
        why = "its bytes have changed on disk"
    except msgspec.MsgspecError as exc:
        why = str(exc)
    raise StoreError(
        f"the record of run {run} is damaged from event {seq} on ({why}); "
        f"restore the file, or remove the run with `twingraph gc`"
    )
