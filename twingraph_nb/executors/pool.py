"""A pool of workers: who runs what, and what happens when one of them dies."""

from __future__ import annotations

import asyncio
import pickle
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twingraph_nb.errors import ExecutorError, WorkerDied
from twingraph_nb.executors.payloads import Held
from twingraph_nb.executors.worker import BEGAN, LASTS, Ending, Ticket, Worker
from twingraph_nb.remote import (
    CHECKPOINT,
    CHUNK,
    FAILED,
    GAVE,
    JOB,
    LOG,
    PROGRESS,
    READY,
    RESULT,
    SECONDS,
    TAG,
)
from twingraph_nb.wire import Message, WireError

__all__ = ["Pool"]

Start = Callable[
    [
        asyncio.AbstractEventLoop,
        Callable[[Worker, Message], None],
        Callable[[Worker, Ending], None],
    ],
    Worker,
]

_AHEAD = 32  # jobs a worker may have at a time
_AHEAD_SECONDS = 0.004  # of work; more would keep a job from a worker that gets free
_SHORT = 0.002  # seconds; longer jobs are never sent ahead
_STALL = 0.02  # seconds after which jobs behind one that runs long are taken back
_LOOK = 0.5  # seconds between looks for jobs that last: one that is seen twice does
_GRACE = 1.0  # seconds between asking a worker to end and ending it
_STARTS = 3  # times a job is sent to a worker that does not get as far as running it


class Pool:
    """Workers started when they are needed, up to `size`; all on one asyncio loop.

    start: makes a worker. idle: seconds after which one without a job is ended; None = never.
    lasting: jobs are told when they have run for a while.
    """

    def __init__(
        self, size: int, start: Start, idle: float | None = None, *, lasting: bool = False
    ) -> None:
        self._size, self._start, self._idle = size, start, idle
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Ticket] = deque()
        self._workers: list[Worker] = []
        self._tags = 0
        self._pace: dict[object, float] = {}
        self._pumping = self._watching = self._looking = self._closed = False
        self._lasting = lasting
        self._ends: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.TimerHandle | None = None

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Those there are now."""
        return tuple(self._workers)

    @property
    def busy(self) -> bool:
        """True while a job waits or runs, or a worker is there."""
        return bool(self._queue or self._workers or self._ends)

    def submit(self, ticket: Ticket) -> None:
        """Take a job; it is sent with all others that come in the same turn of the loop."""
        self._queue.append(ticket)
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    async def cancel(self, ticket: Ticket) -> None:
        """Return once the job is off the queue, or the worker that ran it is gone."""
        ticket.cancelled = True
        worker = ticket.worker
        if worker is None:
            if ticket in self._queue:
                self._queue.remove(ticket)
            return
        ticket.gone = self._loop.create_future()
        if len(worker.tickets) > 1:
            # Take back all of them first: the one behind must not begin while the worker ends.
            worker.alone = True
            worker.take_back([t.tag for t in worker.tickets])
            self._loop.call_later(_GRACE / 2, self._end_if_on, worker, ticket)
        else:
            self._end(worker, ticket.grace)
        await ticket.gone

    async def close(self) -> None:
        """End all workers and wait until they are gone; raises what kept one from its end."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        for worker in list(self._workers):
            self._end(worker, 0.2 if worker.tickets else 0.0)
        errors: list[Exception] = []
        while self._ends:
            ends = set(self._ends)
            said = await asyncio.gather(*ends, return_exceptions=True)
            errors += [one for one in said if isinstance(one, Exception)]
            # Not left to their callbacks: since Python 3.12 a gather of what is done already
            # does not give the loop a turn, and this would go round for ever.
            self._ends -= ends
        if errors:
            raise errors[0]

    # -- sending -------------------------------------------------------------------------------

    def _pump(self) -> None:
        self._pumping = False
        used: set[Worker] = set()
        while self._queue and not self._closed:
            ticket = self._queue[0]
            try:
                worker = self._free(ticket)
            except OSError as exc:
                self._queue.popleft()
                said = f"a worker could not be started: {exc}"
                ticket.settle(FAILED, ExecutorError(said))
                continue
            if worker is None:
                break
            self._queue.popleft()
            if worker not in used:
                worker.prepare()
                used.add(worker)
            self._give(worker, ticket)
        for worker in used:
            worker.flush()
        if not self._watching and any(len(w.tickets) > 1 for w in used):
            self._watching = True
            self._loop.call_later(_STALL, self._watch, {})
        if self._lasting and used and not self._looking:
            self._looking = True
            self._loop.call_later(_LOOK, self._look, {})

    def _free(self, ticket: Ticket) -> Worker | None:
        """A worker for the job: an idle one, a new one, or one whose jobs are all short."""
        bundle, idle = ticket.bundle, None
        for worker in self._workers:
            if worker.tickets:
                continue
            if bundle.ref and worker.outdated(bundle):
                self._end(worker, 0.0)
            elif not worker.ending:
                if bundle.key in worker.known:
                    return worker
                idle = idle or worker
        if idle is not None:
            return idle
        if len(self._workers) < self._size:
            worker = self._start(self._loop, self._heard, self._ended)
            self._workers.append(worker)
            return worker
        pace = self._pace.get(ticket.pace, 1.0)
        if pace > _SHORT:
            return None
        most = min(_AHEAD, 1 + int(_AHEAD_SECONDS / max(pace, 1e-6)))
        best = None
        for worker in self._workers:
            if (
                len(worker.tickets) < most
                and worker.ready
                and not (worker.ending or worker.alone or worker.single)
                and not (bundle.ref and worker.outdated(bundle))
            ):
                best, most = worker, len(worker.tickets)
        return best

    def _give(self, worker: Worker, ticket: Ticket) -> None:
        self._tags += 1
        ticket.tag, ticket.worker = self._tags, worker
        if not worker.tickets:
            worker.alone = self._pace.get(ticket.pace, 1.0) > _SHORT
        worker.tickets.append(ticket)
        if len(worker.tickets) == 1:
            self._begin_first(worker)
        number = worker.teach(ticket.bundle)
        parts = worker.apart(ticket) if ticket.parts else ()
        if not parts:
            head = pickle.dumps((number, *ticket.meta), 5)
            worker.send([head, *ticket.frames], kind=JOB, tag=ticket.tag)
            return
        head = pickle.dumps((number, *ticket.meta, parts), 5)
        worker.send([head, *Held(ticket.frames, parts).rest], kind=JOB, tag=ticket.tag)

    @staticmethod
    def _begin_first(worker: Worker) -> None:
        """A worker runs its jobs in order: the first is the one that runs."""
        if worker.ready and worker.tickets and not worker.tickets[0].cancelled:
            worker.tickets[0].listener(BEGAN, [worker.label])

    def _watch(self, before: dict[Worker, int]) -> None:
        """Take back what waits behind a job that turned out to be long."""
        now = {w: w.tickets[0].tag for w in self._workers if len(w.tickets) > 1}
        for worker, tag in now.items():
            if before.get(worker) == tag:
                worker.take_back([t.tag for t in list(worker.tickets)[1:]])
        self._watching = bool(now)
        if now:
            self._loop.call_later(_STALL, self._watch, now)

    def _look(self, before: dict[Worker, tuple[int, bool]]) -> None:
        """Tell the jobs that were there when we looked last that they last, each once."""
        now: dict[Worker, tuple[int, bool]] = {}
        told = []
        for worker in self._workers:
            if worker.tickets and worker.ready:
                first = worker.tickets[0]
                tag, done = before.get(worker, (0, False))
                lasts = tag == first.tag
                now[worker] = (first.tag, lasts)
                if lasts and not (done or first.cancelled):
                    told.append((worker, first))
        self._looking = any(worker.tickets for worker in self._workers)
        if self._looking:
            self._loop.call_later(_LOOK, self._look, now)
        for worker, ticket in told:
            ticket.listener(LASTS, [worker, ticket.tag])

    # -- hearing -------------------------------------------------------------------------------

    def _heard(self, worker: Worker, message: Message) -> None:
        kind = message.kind
        _check(message)
        if kind in (RESULT, FAILED):
            ticket = worker.done(message.tag)
            if ticket is not None:
                self._begin_first(worker)
                self._finish(ticket, kind, message.frames)
                if worker.single:
                    self._end(worker, 0.0)
        elif kind in (LOG, PROGRESS, CHUNK, CHECKPOINT):
            found = worker.find(message.tag)
            if found is not None and not found.cancelled:
                found.listener(kind, message.frames)
        elif kind == GAVE:
            self._given_back(worker, message.frames)
        elif kind == READY:
            worker.ready = True
            self._begin_first(worker)

    def _finish(self, ticket: Ticket, kind: int, frames: list[Any]) -> None:
        (took,) = SECONDS.unpack(frames[0])
        took = took if took >= 0.0 else 1.0  # nan, if its code says so
        before = self._pace.get(ticket.pace)
        if before is None and len(self._pace) > 1000:
            self._pace.clear()
        # One long job among short ones counts at once, and is forgotten slowly.
        pace = took if before is None else max(0.9 * before + 0.1 * took, 0.5 * took)
        self._pace[ticket.pace] = pace
        ticket.worker = None
        self._left(ticket)
        if not ticket.cancelled:
            ticket.settle(kind, frames[1:])
        if self._idle is not None and self._reaper is None:
            self._reaper = self._loop.call_later(self._idle, self._reap, self._idle)
        if self._queue and not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _left(self, ticket: Ticket) -> None:
        if ticket.gone is not None and not ticket.gone.done():
            ticket.gone.set_result(None)

    def _given_back(self, worker: Worker, frames: list[Any]) -> None:
        asked = {tag for (tag,) in TAG.iter_unpack(frames[0])}
        given = {tag for (tag,) in TAG.iter_unpack(frames[1])}
        back = [t for t in worker.tickets if t.tag in given]
        for ticket in back:
            worker.tickets.remove(ticket)
        self._again(back)
        for ticket in worker.tickets:
            if ticket.cancelled and ticket.tag in asked:
                self._end(worker, ticket.grace)

    def _again(self, tickets: Sequence[Ticket]) -> None:
        """Put jobs that have not begun back to the front of the queue."""
        for ticket in reversed(tickets):
            ticket.worker = None
            if ticket.cancelled:
                self._left(ticket)
            else:
                self._queue.appendleft(ticket)
        if self._queue and not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    # -- ending --------------------------------------------------------------------------------

    def _end_if_on(self, worker: Worker, ticket: Ticket) -> None:
        if ticket.worker is worker:
            self._end(worker, ticket.grace)

    def _end(self, worker: Worker, grace: float | None) -> None:
        if worker.ending:
            return
        worker.ending = True
        task = self._loop.create_task(worker.end(_GRACE if grace is None else grace))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    def _reap(self, idle: float) -> None:
        """End workers that had nothing to do for a while."""
        self._reaper = None
        now = self._loop.time()
        for worker in self._workers:
            if not worker.tickets and now - worker.idle_since >= idle:
                self._end(worker, 0.0)
        if any(not w.ending for w in self._workers):
            self._reaper = self._loop.call_later(idle / 4, self._reap, idle)

    def _ended(self, worker: Worker, ending: Ending) -> None:
        """A worker is gone: its running job fails, the others go to another worker."""
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        left, again = list(worker.tickets), []
        worker.tickets.clear()
        for ticket in left:
            ran = ticket.tag == ending.running
            ticket.starts += not ran
            if self._closed or ticket.cancelled or ran:
                ticket.worker = None
                self._left(ticket)
                if not ticket.cancelled:
                    ticket.settle(FAILED, WorkerDied(ticket.name, ending.cause, worker.kind))
            elif ending.error is not None:
                ticket.settle(FAILED, ending.error)
            elif ticket.starts >= _STARTS and ticket is left[0]:
                said = f"a {worker.kind} ended before it could run {ticket.name}: it {ending.cause}"
                ticket.settle(FAILED, ExecutorError(said))
            else:
                again.append(ticket)
        self._again(again)
        if ending.error is not None and not self._workers:
            while self._queue:  # nobody is left who might do better
                self._queue.popleft().settle(FAILED, ending.error)
        elif self._queue and not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)


def _check(message: Message) -> None:
    """Refuse what is no message of ours: a far side's code may write what it likes."""
    kind, frames = message.kind, message.frames
    if kind in (RESULT, FAILED):
        fits = bool(frames) and len(frames[0]) == SECONDS.size
    else:
        fits = kind != GAVE or (len(frames) == 2 and not any(len(f) % TAG.size for f in frames))
    if not fits:
        raise WireError(f"a message of kind {kind} without what belongs to it")
