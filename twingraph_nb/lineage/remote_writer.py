"""Writes the graph of executions to a database elsewhere, on a thread of its own, in batches.

The event log in the store is the spool. While the database is away nothing is lost, and a run
takes no notice; later everything is sent from where it stopped. What the database itself says it
has counts more than what was sent, so one that comes back empty gets everything again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twingraph_nb.errors import StoreError
from twingraph_nb.events import Batch
from twingraph_nb.lineage.remote_address import Address
from twingraph_nb.lineage.remote_backlog import Backlog, Queue, Sources
from twingraph_nb.lineage.remote_check import erase, revisions
from twingraph_nb.lineage.remote_cursors import Cursors
from twingraph_nb.lineage.remote_slices import Slice
from twingraph_nb.lineage.remote_upsert import Request
from twingraph_nb.lineage.remote_versions import link_versions
from twingraph_nb.lineage.remote_wire import Away, Denied, RemoteError, Wire

__all__ = ["RemoteStatus", "RemoteWriter"]

ROWS = 200
"""Elements in a request to begin with; halved when one is refused, doubled when all is well."""
_MOST_ROWS = 800
_QUIET = 0.2
"""Seconds without an event before something is written: a short run is then not disturbed, and a
short task is written once."""
_LATE = 1.0
"""Seconds after which events are written although there are always new ones."""
_SHARE = 0.04
"""Part of the time that may be used while tasks run: they need the interpreter."""
_FEW, _MANY = 300, 2_000
"""Events in a slice while tasks run, and otherwise."""
_AGAIN = 0.5
"""Seconds until it is looked again for what is not in the store yet."""
_FORGETS = 1.0
"""Seconds until it is looked again whether somebody wants a run out of the graph."""
_FIRST_DELAY, _LONGEST_DELAY = 0.25, 30.0
"""Seconds before another attempt."""
_LOOKED_AT = 100
"""Newest runs that a database is asked for when it is connected."""
_PATIENCE = 2.0
"""Seconds that the end of a session waits for a database that does not answer."""
_LONGEST_END = 20.0
"""Seconds that it waits for one that does."""
_log = logging.getLogger(__name__)

State = Literal["connecting", "connected", "away", "refused", "closed"]


@dataclass(frozen=True, slots=True)
class RemoteStatus:
    """How the writing goes. Its text is a sentence without credentials.

    behind: events that are not there yet. why: what is wrong, or "". dropped: events that
    nothing could keep. written: vertices and edges so far.
    """

    address: str
    state: State
    behind: int
    why: str = ""
    dropped: int = 0
    written: int = 0

    def __str__(self) -> str:
        said = f"{self.address}: {self.state}"
        if self.behind:
            said += f", behind by {_events(self.behind)}"
        if self.dropped:
            said += f", {_events(self.dropped)} dropped for want of a store"
        return f"{said} ({self.why})" if self.why else said


def _events(count: int) -> str:
    return f"{count:,} event{'s' * (count != 1)}"


class RemoteWriter:
    """Keeps a graph database in step with the runs of a process. A `Sink`."""

    def __init__(
        self,
        address: Address,
        sources: Sources,
        *,
        home: Path | None,
        say: Callable[[str], None] = lambda sentence: None,
        answer: float = 60.0,
    ) -> None:
        """Begin to write.

        Args:
            sources: where what was missed is read.
            home: folder of the file that says how far each run has come; None keeps it in memory.
            say: told a sentence when something is wrong, on the writer's thread.
            answer: seconds that the database may take for an answer.
        """
        self.address = address
        self._sources, self._home, self._say = sources, home, say
        self._queue = Queue(has_store=sources.store is not None)
        self._wire = Wire(address, answer=answer)
        self._state: State = "connecting"
        self._why = self._said = ""
        self._written = self._beats = 0
        self._reading = 1  # events taken out of the queue; until it is known, there may be some
        self._rows = ROWS
        self._closing = self._hurry = False
        self._idle = False
        self._last = 0.0  # event
        self._slice: Slice | None = None
        self._requests: deque[Request] = deque()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name="twingraph-lineage", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<RemoteWriter {self.status}>"

    # -- from any thread ---------------------------------------------------------------------

    def emit(self, batches: Sequence[Batch]) -> None:
        """Take events; on the scheduler's thread, so they are only put aside."""
        self._last = time.monotonic()
        if self._queue.add(batches) or self._idle:
            self._poke()

    @property
    def status(self) -> RemoteStatus:
        """How the writing goes."""
        behind = self._reading + len(self._queue)
        dropped = sum(self._queue.lost.values())
        return RemoteStatus(
            str(self.address), self._state, behind, self._why, dropped, self._written
        )

    def settle(self, timeout: float) -> bool:
        """Wait until all there is has been written; false if it is not, after `timeout` s."""
        self._hurry = True
        self._poke()
        end = time.monotonic() + timeout
        try:
            while not (settled := self._is_settled()) and time.monotonic() < end:
                self._thread.join(0.01)
                if not self._thread.is_alive():
                    break
        finally:
            self._hurry = False
        return settled

    def close(self, patience: float = _PATIENCE, longest: float = _LONGEST_END) -> None:
        """End it. Writes what is left, as long as the database answers.

        Args:
            patience: seconds without an answer after which it is left for later.
            longest: seconds in all after which it is.
        """
        self._closing = self._hurry = True
        self._poke()
        now = start = since = time.monotonic()
        beats = -1
        while not self._is_settled() and self._thread.is_alive():
            if beats != self._beats:
                beats, since = self._beats, now
            given_up = self._state in ("away", "refused") or now - since >= patience
            if given_up or now - start >= longest or not self.status.behind:
                break
            self._thread.join(0.02)
            now = time.monotonic()
        left = self.status
        if self._begun.is_set():
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(1.0)
        self._state = "closed"
        if left.behind:
            then = (
                "`twingraph lineage push` or the next session sends it from the store"
                if self._sources.store is not None
                else "nothing is recorded, so that is lost"
            )
            self._say(f"lineage: {self.address} lacks the last {_events(left.behind)}; {then}")

    def _is_settled(self) -> bool:
        return self._idle and not len(self._queue)

    def _poke(self) -> None:
        if self._begun.is_set():
            with contextlib.suppress(RuntimeError):  # its loop has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    # -- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._live())
        except asyncio.CancelledError:
            pass
        except Exception as exc:  # a defect here must be seen, and must not end the session
            _log.exception("the writer of lineage")
            self._trouble(f"the writer has failed: {type(exc).__name__}: {exc}", "away")

    async def _live(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cursors = Cursors(self._home, str(self.address))
        self._backlog = Backlog(self._sources, self._queue, self._cursors, time.monotonic)
        self._begun.set()
        try:
            with contextlib.suppress(StoreError):  # whoever writes to it says so
                self._backlog.begin()
            self._count()
            await self._write()
        finally:
            await self._wire.close()
            self._cursors.close()

    async def _write(self) -> None:
        failures = 0
        while True:
            self._idle = False
            self._backlog.register()
            try:
                if not self._wire.is_open:
                    await self._connect()
                    self._state = "connected"
                await self._erase()
                worked = await self._step()
                failures = 0
                self._well()
            except RemoteError as exc:
                self._beats += 1
                failures += 1
                passing = self._written and isinstance(exc, Away | Denied)
                if failures == 1 and passing and not self._said:
                    continue  # connections end, transactions collide: if the next works, fine
                self._trouble(str(exc), "away" if isinstance(exc, Away) else "refused")
                delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** (failures - 1))
                await self._pause(delay * random.uniform(0.5, 1.0), at_least=_FIRST_DELAY)
                continue
            if not worked:
                await self._rest_until_woken()

    async def _connect(self) -> None:
        """Open the connection, and see what the database has of what it was sent."""
        await self._wire.open()
        runs = [run for run, cursor in self._cursors.runs().items() if cursor.sent]
        missing = await self._missing(runs[-_LOOKED_AT:] or ["nothing"])
        if missing:
            missing = await self._missing(runs)
        for run, there in missing.items():
            self._cursors.note(run, there)
            self._backlog.again(run)
            if self._slice is not None and self._slice.run == run:
                self._slice = None
        # All of a slice goes to one connection: what the one before took may be gone with it.
        again = () if self._slice is None else self._slice.requests(self._rows)
        self._requests = deque(again)

    def _unwanted(self) -> list[str]:
        """The runs that may be there and must not be in the graph any more."""
        return [run for run in self._sources.forgotten() if run in self._cursors]

    async def _erase(self) -> None:
        for run in self._unwanted():
            if self._slice is not None and self._slice.run == run:
                self._slice = None
                self._requests.clear()
            self._backlog.leave(run)
            await erase(self._wire.ask, run)
            self._cursors.forget(run)

    async def _missing(self, runs: Sequence[str]) -> dict[str, int]:
        found = await revisions(self._wire.ask, runs)
        return {run: there for run, there in found.items() if there < self._cursors.of(run).sent}

    async def _step(self) -> bool:
        """Send a slice, or what is left of the one before; false when there is none."""
        start = time.perf_counter()
        if self._slice is None:
            self._reading += len(self._queue)
            self._slice = self._backlog.next(_FEW if self._tasks_run else _MANY)
            self._count()
            if self._slice is None:
                return False
            self._requests.extend(self._slice.requests(self._rows))
        await self._send(start)
        one = self._slice
        if one.names:
            await link_versions(self._wire.ask, one.names)
        self._cursors.note(one.run, one.until, over=one.over)
        self._slice = None
        self._rows = min(_MOST_ROWS, self._rows + ROWS // 10)
        self._count()
        return True

    def _count(self) -> None:
        size = 0 if self._slice is None else self._slice.size
        self._reading = size + self._backlog.behind - len(self._queue)

    async def _send(self, start: float) -> None:
        """Send the requests one by one; the next is packed while one is answered."""
        packed = None
        while self._requests:
            request = self._requests[0]
            packed = packed or self._wire.packed(request.bytecode())
            asking = asyncio.ensure_future(self._wire.ask_packed(packed))
            await asyncio.sleep(0)  # it goes out now
            packed = None
            if len(self._requests) > 1:
                packed = self._wire.packed(self._requests[1].bytecode())
            worked = time.perf_counter() - start
            try:
                await asking
            except (Away, Denied):
                self._rows = max(1, self._rows // 2)  # it may have been too much at once
                if len(request.rows) > 1:
                    self._requests.popleft()
                    self._requests.extendleft(reversed(request.halves()))
                raise
            self._requests.popleft()
            self._beats += 1
            self._written += len(request.rows)
            await self._give_way(worked)
            start = time.perf_counter()

    @property
    def _tasks_run(self) -> bool:
        return not self._hurry and time.monotonic() - self._last < _QUIET

    async def _give_way(self, worked: float) -> None:
        """Let the tasks run that go on now: they share the interpreter with this thread."""
        if self._tasks_run:
            await self._pause(worked / _SHARE)

    async def _rest_until_woken(self) -> None:
        self._idle = not self._backlog.waits
        while len(self._queue) == 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FORGETS if self._idle else _AGAIN):
                    await self._wake.wait()
                    self._wake.clear()
                    break
            if not self._idle or self._unwanted():
                break
        late = self._loop.time() + _LATE
        while self._tasks_run and self._loop.time() < late:
            await self._pause(_QUIET)

    async def _pause(self, seconds: float, *, at_least: float = 0.0) -> None:
        """Wait; less when the session ends or somebody waits for it to be done."""
        start = self._loop.time()
        while True:
            until = start + (min(seconds, at_least) if self._hurry else seconds)
            left = until - self._loop.time()
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()
                    self._wake.clear()
            self._backlog.register()

    def _well(self) -> None:
        self._state, self._why = "connected", ""
        if self._said:
            self._said = ""
            self._say(f"lineage: {self.address} is connected")

    def _trouble(self, why: str, state: State) -> None:
        """Say once what is wrong; again only when it is something else."""
        self._state, self._why = state, why.removeprefix(f"{self.address} ")
        if why != self._said:
            self._said = why
            self._say(f"lineage: {why}; runs go on without it, and it is tried again")
