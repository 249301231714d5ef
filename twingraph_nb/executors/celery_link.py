"""The jobs of one kernel at one broker: sent in parcels, heard over one stream, cancelled."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from twingraph_nb.errors import ExecutorError, WorkerDied
from twingraph_nb.executors.celery_broker import REFUSED, Broker, reading_again
from twingraph_nb.executors.celery_protocol import ASIDE, LOST, REVOKED, hidden
from twingraph_nb.executors.courier import Courier, tell
from twingraph_nb.executors.parcels import Load, Parcel, parcels_of
from twingraph_nb.executors.payloads import Shelf
from twingraph_nb.executors.recalled import Engine, ticket_of
from twingraph_nb.remote import FAILED, GAVE, RESULT, SECONDS, TAG, TURNED
from twingraph_nb.wire import Message

__all__ = ["Link"]

_UNUSED = 512 << 20  # bytes of inputs that stay in Redis although no job needs them now
_AT_ONCE = 16  # messages sent before what has been learned meanwhile counts
_ALONE = 0.5  # seconds a worker has to give back what waits behind a job
_LOOK = 0.01  # seconds between looks whether it has
_UNHEARD = 3.0  # seconds without a worker, after which the task's log says so
_GONE = 10.0  # seconds a worker has to say that it ended a job


class Link(Courier):
    """All on one loop; what blocks is done in two threads, one that sends and one that reads."""

    engine = "Celery"
    worker = "Celery worker on"
    alone = _ALONE
    patience = 2 * _GONE

    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self._broker = broker
        self._parcels: dict[int, Parcel] = {}
        self._places = 2
        self._used: list[int] = []
        self._shelf = Shelf(_UNUSED)
        self._surplus: list[str] = []
        self._side: set[asyncio.Task[None]] = set()
        self._reader = threading.Thread(target=self._read, name="twingraph-celery-answers")
        self._reader.daemon = True
        self._reader.start()
        self._looking = self._loop.call_later(_UNHEARD, self._look)

    def submit(self, load: Load) -> None:
        super().submit(load)
        for digest, content in load.shared.items():
            self._shelf.use(digest, memoryview(content).nbytes)

    async def close(self) -> None:
        """End all jobs and threads, and remove what is left in Redis."""
        left = list(self._loads.values())
        self._looking.cancel()
        await asyncio.gather(*[self.cancel(load) for load in left])
        self._broker.closed.set()
        if self._pumping is not None:
            await asyncio.wait([self._pumping])
        if self._side:
            await asyncio.wait(self._side)
        await self._blocking(self._broker.wake)
        await asyncio.to_thread(self._reader.join)
        await self._blocking(lambda: self._broker.close([load.tag for load in left]))
        await asyncio.to_thread(self._threads.shutdown)

    # -- sending -------------------------------------------------------------------------------

    @property
    def _shut(self) -> bool:
        return self._broker.closed.is_set()

    def _groups(self) -> list[list[Load]]:
        return parcels_of(self._waiting, self._paces, self._places)[:_AT_ONCE]

    def _parcel(self, loads: Sequence[Load]) -> Parcel:
        self._numbers += 1
        made = self._parcels[self._numbers] = Parcel(self._numbers, loads)
        load = loads[0]
        if len(loads) == 1 and load.ticketed is not None and self._paces.long(load.pace):
            facts = {"session": self._broker.session, "tag": load.tag, "number": made.number}
            place = hidden(self._broker.url)
            facts |= {"queue": load.lane[0], "broker": place, "engine": Engine.by_address(place)}
            load.ticketed(ticket_of(load.job, **facts))  # before it is sent
        return made

    def _send(self, parcels: Sequence[Parcel]) -> None:
        self._broker.send(parcels)

    def _again(self, loads: Iterable[Load]) -> None:
        again = [load for load in loads if load.tag in self._loads]
        for load in again:
            self._unpack(load)
            load.sending += 1
        self._send_later(again)

    # -- hearing -------------------------------------------------------------------------------

    def _read(self) -> None:
        call = self._loop.call_soon_threadsafe
        reading_again(
            self._broker,
            lambda messages: call(self._heard, messages) if messages else None,
            lambda missing: call(self._recovered, missing),
            lambda exc: call(self._lost, exc),
            lambda: {tag for tag, load in list(self._loads.items()) if load.parcel is not None},
        )

    def _heard(self, messages: Sequence[Message]) -> None:
        for message in messages:
            kind, frames = message.kind, message.frames
            if kind == REVOKED:
                self._revoked(message.tag)
                continue
            if kind == GAVE:
                self._given(tag for (tag,) in TAG.iter_unpack(frames[0]))
                continue
            load = self._loads.get(message.tag)
            if kind == REFUSED:
                self._refused(load, str(frames[0]))
            elif load is None:
                continue
            elif kind in (RESULT, FAILED):
                self._paces.note(load.pace, SECONDS.unpack(frames[0])[0])
                self._finish(load, kind, frames[1:])
            elif kind == LOST:
                times = bytes(frames[0]).decode()
                cause = f"was lost {times} times while it ran: killed, or out of memory?"
                self._finish(load, FAILED, WorkerDied(load.job.name, cause, "Celery worker"))
            elif kind == TURNED:
                self._began(load, bytes(frames[0]).decode())
            elif not load.cancelled:
                load.hearing.hear(kind, frames)

    def _refused(self, load: Load | None, why: str) -> None:
        if load is not None:
            self._finish(load, FAILED, ExecutorError(f"{load.job.name}: {why}"))
            return
        for one in self._loads.values():
            tell(one, why)

    def _revoked(self, number: int) -> None:
        parcel = self._parcels.pop(number, None)
        if parcel is None:
            return
        for load in list(parcel.loads):
            if load.cancelled:
                self._over(load)
        self._again(list(parcel.loads))  # none, unless a message came between

    def _recovered(self, missing: Iterable[int]) -> None:
        """The broker is back, and has lost these."""
        lost = [self._loads[tag] for tag in missing if tag in self._loads]
        if lost:
            self._broker.anew()
        for load in lost:
            tell(load, "the broker came back without it; it is sent again")
        self._again(load for load in lost if not load.cancelled)

    def _over(self, load: Load) -> None:
        if self._loads.pop(load.tag, None) is not None:
            self._surplus += self._shelf.leave(load.shared)
            if load.size > ASIDE:
                self._used.append(load.tag)
            if self._used or self._surplus:
                self._loop.call_soon(self._forget)
        self._unpack(load)
        if load.gone is not None and not load.gone.done():
            load.gone.set_result(None)

    def _unpack(self, load: Load) -> None:
        parcel, load.parcel = load.parcel, None
        if parcel is not None:
            parcel.loads.remove(load)
            if not parcel.loads:
                self._parcels.pop(parcel.number, None)

    def _forget(self) -> None:
        used, self._used = self._used, []
        gone, self._surplus = [one for one in self._surplus if one not in self._shelf], []
        if (used or gone) and not self._broker.closed.is_set():
            # Handed to the thread at once: what is sent later must come after this.
            forget = functools.partial(self._broker.forget, used, gone)
            self._aside(self._loop.run_in_executor(self._threads, forget))

    # -- ending --------------------------------------------------------------------------------

    async def _off(self, loads: Sequence[Load]) -> None:
        taken = await self._blocking(lambda: self._broker.withdraw([x.tag for x in loads]))
        running = {x for x in loads if x.tag in taken}
        for parcel in {x.parcel for x in running if x.parcel is not None}:
            self._aside(self._kill(parcel))
        queued = [x for x in loads if x not in running]
        empty = [
            (x.lane, x.parcel.number)
            for x in queued
            if x.parcel is not None and all(y.cancelled for y in x.parcel.loads)
        ]
        if empty:
            queues, numbers = {str(lane[0]) for lane, _ in empty}, {n for _, n in empty}
            await self._blocking(lambda: self._broker.purge(queues, numbers))
        for load in queued:
            self._over(load)

    async def _kill(self, parcel: Parcel) -> None:
        """End the process that works on a parcel, once only cancelled jobs are in it."""
        until = self._loop.time() + _ALONE
        while not all(x.cancelled for x in parcel.loads) and self._loop.time() < until:
            await asyncio.sleep(_LOOK)
        if parcel.loads:
            await self._blocking(lambda: self._broker.revoke(parcel.number))

    # -- the rest ------------------------------------------------------------------------------

    def _look(self) -> None:
        self._looking = self._loop.call_later(_UNHEARD, self._look)
        if any(not load.began for load in self._loads.values()):
            self._aside(self._count_workers())

    async def _count_workers(self) -> None:
        """Learn how many places there are; say in the log of a job that nobody comes for it."""
        workers = await self._blocking(self._broker.workers)
        queues = {worker["queue"] for worker in workers}
        self._places = max(1, sum(int(worker["processes"]) for worker in workers))
        late = self._loop.time() - _UNHEARD
        for load in self._loads.values():
            queue = load.lane[0]
            if queue not in queues and not load.began and not load.warned and load.since < late:
                load.warned = True
                command = f"twingraph worker celery --broker {hidden(self._broker.url)}"
                tell(
                    load,
                    f"no worker takes from queue {queue!r}; start one: {command} --queue {queue}",
                )

    def _aside(self, work: Any) -> None:
        task = self._loop.create_task(_quietly(work))
        self._side.add(task)
        task.add_done_callback(self._side.discard)


async def _quietly(work: Any) -> None:
    """What is done beside the jobs; when the broker is gone, they are told by the reader."""
    try:
        await work
    except ExecutorError:
        pass
