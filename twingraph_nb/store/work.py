"""One transaction of the writer: made from what was emitted, and written as a whole."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator

from twingraph_nb.errors import StoreError
from twingraph_nb.events import Batch, ComponentUsed, Event
from twingraph_nb.store.encoding import as_plain, encode_safely
from twingraph_nb.store.projection import Change, Live, component_facts

__all__ = ["Errand", "Work"]

ROW_EVENTS = 2000  # events in one row at most, so that reading from the middle stays cheap
STATEMENT_ROWS = 100  # SQLite takes 32,766 values in a statement, 5 for each row
Row = tuple[str, int, int, int, bytes]


class Errand:
    """Something else the writer does within a transaction; it may be waited for."""

    __slots__ = ("_done", "_error", "act", "after", "value")

    def __init__(self, act: Callable[[sqlite3.Connection], object], after: int) -> None:
        self.act = act
        self.after = after  # so many events must have been taken before
        self.value: object = None
        self._error = ""
        self._done = threading.Event()

    def finish(self, error: str = "") -> None:
        """Wake who waits. `error`: why it was not done."""
        self._error = error
        self._done.set()

    def wait(self, timeout: float | None) -> object:
        """Give what the act gave.

        Raises:
            StoreError: it was not done, or not within `timeout` seconds.
        """
        if not self._done.wait(timeout):
            raise StoreError(f"the store did not answer within {timeout:g} s")
        if self._error:
            raise StoreError(self._error)
        return self.value


class Work:
    """What one transaction writes. Making it reads nothing; writing it again is harmless."""

    def __init__(self) -> None:
        self.errands: list[Errand] = []
        self._rows: list[Row] = []
        self._changes: list[tuple[Live, Change, int]] = []

    def take(self, batches: Iterable[Batch], lives: dict[str, Live]) -> None:
        """Turn batches into rows and changes; `lives` are the runs seen so far."""
        fresh: dict[str, list[Event]] = {}
        lost: dict[str, list[Event]] = {}
        for batch in batches:
            live = lives.get(batch.run)
            if live is None:
                live = lives[batch.run] = Live(batch.run)
            if batch.seq != live.next and not live.incomplete:
                live.incomplete = f"events from number {live.next} on could not be recorded"
            into = lost if live.incomplete else fresh
            into.setdefault(batch.run, []).extend(batch.events)
            if into is fresh:
                live.next += len(batch.events)
        for run, events in fresh.items():
            self._add_rows(lives[run], events)
            self._changes.append((lives[run], lives[run].fold(events), len(events)))
        for run, events in lost.items():
            self._changes.append((lives[run], lives[run].fold(events), 0))

    def write(self, connection: sqlite3.Connection) -> None:
        """Write all of it, or nothing.

        Raises:
            sqlite3.Error: nothing was written.
        """
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._write_rows(connection)
            for live, change, recorded in self._changes:
                _apply(connection, live, change, recorded)
            for errand in self.errands:
                errand.value = errand.act(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _write_rows(self, connection: sqlite3.Connection) -> None:
        # Each statement lets go of the interpreter lock, and a busy scheduler thread gives it
        # back only after 5 ms (sys.getswitchinterval): so few statements with many rows.
        for at in range(0, len(self._rows), STATEMENT_ROWS):
            rows = self._rows[at : at + STATEMENT_ROWS]
            connection.execute(
                f"INSERT INTO events VALUES {', '.join(['(?, ?, ?, ?, ?)'] * len(rows))}",
                [value for row in rows for value in row],
            )

    def parts(self) -> Iterator[Work]:
        """Give the same as one work for each run and errand: one cannot spoil the others."""
        for errand in self.errands:
            part = Work()
            part.errands = [errand]
            yield part
        for run in {change[0].id: None for change in self._changes}:
            part = Work()
            part._rows = [row for row in self._rows if row[0] == run]
            part._changes = [change for change in self._changes if change[0].id == run]
            yield part

    def give_up(self, why: str) -> None:
        """Forget it; what follows these events in their run is not recorded either."""
        for errand in self.errands:
            errand.finish(why)
        for live, _, _ in self._changes:
            live.incomplete = live.incomplete or f"events could not be recorded: {why}"
        self._rows, self._changes, self.errands = [], [], []

    def start_over(self, lives: dict[str, Live]) -> None:
        """The file is a new, empty one: what came before is lost to the runs that go on."""
        held = {row[0] for row in self._rows if row[1] == 0}
        for live in lives.values():
            if live.next and live.id not in held and not live.incomplete:
                live.incomplete = "its first events are lost: the file was removed while it ran"
        gone = {live.id for live in lives.values() if live.incomplete}
        self._rows = [row for row in self._rows if row[0] not in gone]
        self._changes = [
            (live, change, 0 if live.id in gone else n) for live, change, n in self._changes
        ]

    @property
    def empty(self) -> bool:
        """True when there is nothing to write."""
        return not (self._rows or self._changes or self.errands)

    def _add_rows(self, live: Live, events: list[Event]) -> None:
        first = live.next - len(events)
        for at in range(0, len(events), ROW_EVENTS):
            part = events[at : at + ROW_EVENTS]
            body = encode_safely(part)
            self._rows.append((live.id, first + at, len(part), zlib.crc32(body), body))


def _apply(connection: sqlite3.Connection, live: Live, change: Change, recorded: int) -> None:
    sets = {**change.sets, "incomplete": live.incomplete}
    counts = {**change.counts, "events": recorded}
    told = [f"{name} = ?" for name in sets] + [f"{name} = {name} + ?" for name in counts]
    update = f"UPDATE runs SET {', '.join(told)} WHERE id = ?"
    values = (*_storable(sets.values()), *counts.values(), live.id)
    if not connection.execute(update, values).rowcount:
        at = change.sets.get("seen")
        first = live.first_row(at if isinstance(at, float) else time.time())
        connection.execute(
            f"INSERT INTO runs ({', '.join(first)}) VALUES ({', '.join('?' * len(first))})",
            _storable(first.values()),
        )
        connection.execute(update, values)
    for used in change.components:
        _keep_component(connection, used)


def _keep_component(connection: sqlite3.Connection, used: ComponentUsed) -> None:
    facts = json.dumps(component_facts(used), default=repr)
    connection.execute(
        "INSERT INTO components VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (digest) DO UPDATE SET at = max(at, excluded.at)",
        _storable((used.digest, used.name, used.source, facts, used.at)),
    )


def _storable(values: Iterable[object]) -> tuple[object, ...]:
    """SQLite refuses half surrogates, which file names may have, and takes NaN for NULL."""
    return tuple(as_plain(value) for value in values)
