"""What is yet to be sent to a graph database: live events first, then what the store has."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from twingraph_nb.errors import RunError, StoreError
from twingraph_nb.events import Batch
from twingraph_nb.lineage.projection import RunLike
from twingraph_nb.lineage.remote_cursors import Cursors
from twingraph_nb.lineage.remote_slices import Slice, Slicer

__all__ = ["Backlog", "Queue", "Sources"]

HELD_EVENTS = 200_000
"""Kept in memory while nothing can be sent: some 50 MB."""
SLICE_EVENTS = 2_000
_AGAIN = 1.0
"""Seconds until a run is read again whose events have a gap."""


class Row(RunLike, Protocol):
    """What the writer needs to know of a run in a store."""

    @property
    def parent(self) -> str | None: ...


class RunStore(Protocol):
    """What the writer needs of a store."""

    def runs(self, limit: int | None = 50, parent: str | None = None) -> Sequence[Row]: ...
    def run(self, run_id: str) -> Row: ...
    def events(self, run_id: str, start: int = 0) -> list[Batch]: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where events come from beside the queue.

    store: where all runs are recorded, or None. history: gives what there is of a run of this
    process without a store. forgotten: ids of the runs that must not be in the graph. runs: of
    this process so far. everything: send all that the store has.
    """

    store: RunStore | None = None
    history: Callable[[str], Sequence[Batch]] = lambda run: ()
    forgotten: Callable[[], Collection[str]] = tuple
    runs: Sequence[str] = ()
    everything: bool = False


class Queue:
    """Events on their way from the scheduler's thread to the writer's.

    put, taken: how many events so far. lost: how many of each run could not be kept.
    """

    def __init__(self, *, has_store: bool, most: int = HELD_EVENTS) -> None:
        self.put = self.taken = 0
        self.lost: dict[str, int] = {}
        self.reread: set[str] = set()  # runs to be read from the store
        self._has_store, self._most = has_store, most
        self._batches: deque[Batch] = deque()
        self._lock = threading.Lock()
        self.fresh: deque[str] = deque()  # runs that nobody has noted yet
        self._seen: set[str] = set()

    def __len__(self) -> int:
        return self.put - self.taken

    def add(self, batches: Sequence[Batch]) -> bool:
        """Take batches; true when there is a new run among them.

        When it is full, the store has them; without one they are lost.
        """
        new = False
        with self._lock:
            for batch in batches:
                count = len(batch.events)
                if batch.run not in self._seen:
                    self._seen.add(batch.run)
                    self.fresh.append(batch.run)
                    new = True
                if batch.run in self.lost or (self.put - self.taken + count > self._most):
                    self._full(batch, count)
                else:
                    self.put += count
                    self._batches.append(batch)
        return new

    def _full(self, batch: Batch, count: int) -> None:
        if not self._has_store:  # the beginning is kept: the rest cannot be read without it
            self.lost[batch.run] = self.lost.get(batch.run, 0) + count
            return
        self.reread.update(held.run for held in self._batches)
        self.reread.add(batch.run)
        self._batches.clear()
        self.taken = self.put

    def take(self, most: int) -> dict[str, list[Batch]]:
        """Give some batches, by run."""
        found: dict[str, list[Batch]] = {}
        with self._lock:
            count = 0
            while self._batches and count < most:
                batch = self._batches.popleft()
                count += len(batch.events)
                found.setdefault(batch.run, []).append(batch)
            self.taken += count
        return found


class Backlog:
    """Gives slices in the order in which they are to be sent; for one thread.

    behind: events in what is known of but not given yet.
    """

    def __init__(
        self, sources: Sources, queue: Queue, cursors: Cursors, clock: Callable[[], float]
    ) -> None:
        self._sources, self._queue, self._cursors, self._clock = sources, queue, cursors, clock
        self._slicer = Slicer()
        self._ready: deque[Slice] = deque()
        self._runs: dict[str, int] = {}  # to be read, with how many events they lack
        self._reading: Iterator[Slice] | None = None
        self._read_run = ""
        self._looked: dict[str, float] = {}
        self._told: dict[str, int] = {}  # losses

    @property
    def behind(self) -> int:
        """How many events are known of that are not given out yet."""
        unread = sum(max(1, events) for events in self._runs.values())  # how many may be unknown
        return len(self._queue) + sum(one.size for one in self._ready) + unread

    def begin(self) -> None:
        """Look for what earlier sessions have left over, and for this process's own runs.

        Raises:
            StoreError: the store cannot be read.
        """
        gone, known = self._sources.forgotten(), set(self._cursors.runs())
        for run in self._sources.runs:
            self._want(run)
        store = self._sources.store
        if store is None:
            return
        rows = store.runs(limit=None)
        known.update(row.parent for row in rows if row.id in known and row.parent)
        for row in reversed(rows):  # oldest first
            cursor = self._cursors.of(row.id)
            wanted = row.id in known or self._sources.everything
            if not wanted or row.id in gone or row.id in self._runs:
                continue
            if row.state == "running" and row.id in known:
                continue  # its process is at it
            if row.events > cursor.sent or (row.state == "interrupted" and not cursor.over):
                self._want(row.id, max(0, row.events - cursor.sent))

    @property
    def waits(self) -> bool:
        """Whether something is to be looked at again before long."""
        return bool(self._slicer.waiting)

    def register(self) -> None:
        """Note the runs that have begun, so that a later session knows of them."""
        while self._queue.fresh:
            run = self._queue.fresh.popleft()
            if run not in self._cursors:
                self._cursors.note(run)

    def again(self, run: str) -> None:
        """Send a run from what the cursor says, for the database has less than it had."""
        self.leave(run)
        self._want(run)

    def leave(self, run: str) -> None:
        """Send no more of what is known of a run."""
        self._slicer.forget(run)
        self._ready = deque(one for one in self._ready if one.run != run)
        self._runs.pop(run, None)
        if run == self._read_run:
            self._reading, self._read_run = None, ""

    def next(self, most: int = SLICE_EVENTS) -> Slice | None:
        """Give what is to be sent next, or None when there is nothing now.

        Args:
            most: events in it, roughly.
        """
        gone = self._sources.forgotten()
        while True:
            self._look(gone, most)
            if not self._ready:
                return None
            one = self._ready.popleft()
            if one.run not in gone:
                return one

    # -- inside ------------------------------------------------------------------------------

    def _want(self, run: str, events: int = 0) -> None:
        self._runs[run] = max(events, self._runs.get(run, 0))
        if run not in self._cursors:
            self._cursors.note(run)

    def _look(self, gone: Collection[str], most: int) -> None:
        if self._ready:
            return
        for run, batches in self._queue.take(most).items():
            if run not in gone and (found := self._slicer.take(run, batches)):
                self._ready.append(found)
        self._losses()
        while not self._ready and (self._reading is not None or self._choose()):
            found = next(self._reading, None) if self._reading is not None else None
            if found is None:
                self._reading, self._read_run = None, ""
            else:
                lacks = self._runs.get(found.run, 0)
                if lacks:
                    self._runs[found.run] = max(0, lacks - found.size)
                self._ready.append(found)

    def _choose(self) -> bool:
        """Begin to read a run; False when none is to be read now."""
        now = self._clock()
        while self._queue.reread:
            self._want(self._queue.reread.pop())
        for run in self._slicer.waiting:
            if now - self._looked.get(run, float("-inf")) >= _AGAIN:
                self._want(run)
        if not self._runs:
            return False
        run = next(iter(self._runs))
        self._looked[run] = now
        self._reading, self._read_run = self._read(run), run
        return True

    def _read(self, run: str) -> Iterator[Slice]:
        store, start = self._sources.store, self._slicer.next(run)
        try:
            batches = store.events(run, start) if store else self._sources.history(run)
        except StoreError as exc:
            self._runs.pop(run, None)
            yield self._slicer.incomplete(run, str(exc))
            return
        sent = self._cursors.of(run).sent
        for part in _parts(batches, sent):
            found = self._slicer.take(run, part)
            if found is not None and found.until > sent:  # what is there need not go again
                yield found
        self._runs.pop(run, None)
        if store is not None and self._slicer.is_open(run) and _state(store, run) == "interrupted":
            yield self._slicer.interrupted(run)

    def _losses(self) -> None:
        for run, count in list(self._queue.lost.items()):
            if self._told.get(run) != count:
                self._told[run] = count
                why = f"its last {count} events or more were dropped: nothing could keep them"
                self._ready.append(self._slicer.incomplete(run, why))


def _state(store: RunStore, run: str) -> str:
    try:
        return store.run(run).state
    except RunError:  # it has been removed meanwhile
        return ""


def _parts(batches: Sequence[Batch], sent: int) -> Iterator[list[Batch]]:
    """The batches in parts of a slice's size, with a cut at the events that were sent."""
    part: list[Batch] = []
    count = 0
    for batch in batches:
        for one in _cut(batch, sent):
            part.append(one)
            count += len(one.events)
            if count >= SLICE_EVENTS or one.seq + len(one.events) == sent:
                yield part
                part, count = [], 0
    if part:
        yield part


def _cut(batch: Batch, at: int) -> Iterator[Batch]:
    """A batch, in two where it crosses a number."""
    place = at - batch.seq
    if 0 < place < len(batch.events):
        yield Batch(batch.run, batch.seq, batch.events[:place])
        yield Batch(batch.run, at, batch.events[place:])
    else:
        yield batch
