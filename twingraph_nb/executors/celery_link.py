"""The jobs of one kernel at one broker: sent in parcels, heard over one stream, cancelled."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from twingraph_nb.errors import ExecutorError, WorkerDied
from twingraph_nb.executors.celery_broker import REFUSED, Broker, reading_again
from twingraph_nb.executors.celery_protocol import ASIDE, LOST, REVOKED, hidden
from twingraph_nb.executors.parcels import Load, Paces, Parcel, parcels_of
from twingraph_nb.executors.payloads import Shelf
from twingraph_nb.executors.recalled import Engine, ticket_of
from twingraph_nb.executors.worker import BEGAN
from twingraph_nb.remote import FAILED, GAVE, LOG, RESULT, SECONDS, TAG, TURNED
from twingraph_nb.wire import Message

__all__ = ["Link"]

_UNUSED = 512 << 20  # bytes of inputs that stay in Redis although no job needs them now
_AT_ONCE = 16  # messages sent before what has been learned meanwhile counts
_ALONE = 0.5  # seconds a worker has to give back what waits behind a job
_LOOK = 0.01  # seconds between looks whether it has
_UNHEARD = 3.0  # seconds without a worker, after which the task's log says so
_GONE = 10.0  # seconds a worker has to say that it ended a job

_T = TypeVar("_T")


class Link:
    """All on one loop; what blocks is done in two threads, one that sends and one that reads."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._loop = asyncio.get_running_loop()
        self._loads: dict[int, Load] = {}
        self._parcels: dict[int, Parcel] = {}
        self._waiting: list[Load] = []
        self._paces = Paces()
        self._tags = self._numbers = 0
        self._places = 2
        self._pumping: asyncio.Task[None] | None = None
        self._withdrawn: list[Load] = []
        self._withdrawing: asyncio.Task[None] | None = None
        self._used: list[int] = []
        self._shelf = Shelf(_UNUSED)
        self._surplus: list[str] = []
        self._side: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(1, "twingraph-celery")
        self._reader = threading.Thread(target=self._read, name="twingraph-celery-answers")
        self._reader.daemon = True
        self._reader.start()
        self._looking = self._loop.call_later(_UNHEARD, self._look)

    def submit(self, load: Load) -> None:
        """Take a job; it is sent with others that come in the same turn of the loop."""
        self._tags += 1
        load.tag, load.since = self._tags, self._loop.time()
        self._loads[load.tag] = load
        for digest, content in load.shared.items():
            self._shelf.use(digest, memoryview(content).nbytes)
        self._send_later([load])

    async def cancel(self, load: Load) -> None:
        """Return once the job is off the queue, or the process that ran it is gone."""
        load.cancelled = True
        if load.tag not in self._loads:
            return
        load.gone = self._loop.create_future()
        if load in self._waiting:
            self._waiting.remove(load)
            self._over(load)
            return
        self._withdrawn.append(load)
        if self._withdrawing is None:
            self._withdrawing = self._loop.create_task(self._withdraw())
        await asyncio.wait([load.gone], timeout=2 * _GONE)
        self._over(load)

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

    def _send_later(self, loads: Sequence[Load]) -> None:
        self._waiting += loads
        if self._pumping is None:
            self._pumping = self._loop.create_task(self._pump())

    async def _pump(self) -> None:
        await asyncio.sleep(0)
        while self._waiting and not self._broker.closed.is_set():
            groups = parcels_of(self._waiting, self._paces, self._places)[:_AT_ONCE]
            taken = {load for group in groups for load in group}
            self._waiting = [load for load in self._waiting if load not in taken]
            parcels = [self._parcel(group) for group in groups]
            try:
                await self._blocking(functools.partial(self._broker.send, parcels))
            except Exception as exc:  # a client library may raise anything: no job may hang
                said = exc if isinstance(exc, ExecutorError) else ExecutorError(f"Celery: {exc}")
                for load in taken:
                    self._finish(load, FAILED, said)
        self._pumping = None

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

    def _again(self, loads: Iterable[Load]) -> None:
        """Send jobs once more, in another message."""
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
                tags = [tag for (tag,) in TAG.iter_unpack(frames[0])]
                self._given(self._loads[tag] for tag in tags if tag in self._loads)
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

    def _began(self, load: Load, label: str) -> None:
        load.began += 1
        if load.cancelled:
            return
        if load.began == 1:
            load.hearing.hear(BEGAN, [f"Celery worker on {label}"])
        else:
            load.hearing.chunks.clear()
            _tell(load, f"its worker was lost; it runs again on {label}")

    def _refused(self, load: Load | None, why: str) -> None:
        if load is not None:
            self._finish(load, FAILED, ExecutorError(f"{load.job.name}: {why}"))
            return
        for one in self._loads.values():
            _tell(one, why)

    def _revoked(self, number: int) -> None:
        parcel = self._parcels.pop(number, None)
        if parcel is None:
            return
        for load in list(parcel.loads):
            if load.cancelled:
                self._over(load)
        self._again(list(parcel.loads))  # none, unless a message came between

    def _given(self, loads: Iterable[Load]) -> None:
        """A worker gives jobs back that had to wait behind a long one."""
        given = list(loads)
        for load in given:
            self._paces.note(load.pace, _ALONE)
            if load.cancelled:
                self._over(load)
        self._again(given)

    def _recovered(self, missing: Iterable[int]) -> None:
        """The broker is back, and has lost these."""
        lost = [self._loads[tag] for tag in missing if tag in self._loads]
        if lost:
            self._broker.anew()
        for load in lost:
            _tell(load, "the broker came back without it; it is sent again")
        self._again(load for load in lost if not load.cancelled)

    def _lost(self, exc: ExecutorError) -> None:
        for load in list(self._loads.values()):
            self._finish(load, FAILED, exc)

    def _finish(self, load: Load, kind: int, said: Any) -> None:
        self._over(load)
        if not load.cancelled:
            load.settle(kind, said)

    def _over(self, load: Load) -> None:
        """Nothing more is to come of it."""
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

    async def _withdraw(self) -> None:
        while self._withdrawn:
            loads, self._withdrawn = self._withdrawn, []
            try:
                await self._off(loads)
            except ExecutorError as exc:  # the broker is gone: so is all that could be ended
                for load in loads:
                    _tell(load, f"it could not be cancelled: {exc}")
                    self._over(load)
        self._withdrawing = None

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
                _tell(
                    load,
                    f"no worker takes from queue {queue!r}; start one: {command} --queue {queue}",
                )

    def _aside(self, work: Any) -> None:
        task = self._loop.create_task(_quietly(work))
        self._side.add(task)
        task.add_done_callback(self._side.discard)

    async def _blocking(self, call: Callable[[], _T]) -> _T:
        return await self._loop.run_in_executor(self._threads, call)


async def _quietly(work: Any) -> None:
    """What is done beside the jobs; when the broker is gone, they are told by the reader."""
    try:
        await work
    except ExecutorError:
        pass


def _tell(load: Load, text: str) -> None:
    load.hearing.hear(LOG, [b"s" + text.encode() + b"\n"])
