"""The jobs of one kernel on one Dask cluster: sent together, heard on one topic, cancelled."""

from __future__ import annotations

import asyncio
import functools
import pickle
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from distributed import Future

from twingraph_nb.errors import ExecutorError, WorkerDied
from twingraph_nb.executors.courier import Courier
from twingraph_nb.executors.dask_cluster import Cluster
from twingraph_nb.executors.dask_heart import watched
from twingraph_nb.executors.dask_inputs import Inputs
from twingraph_nb.executors.dask_kept import Keeping, messages
from twingraph_nb.executors.dask_values import DaskValue, Hole
from twingraph_nb.executors.parcels import Load, Parcel, parcels_of
from twingraph_nb.executors.process_worker import cause_of
from twingraph_nb.remote import FAILED, GAVE, RESULT, SECONDS, TAG, TURNED
from twingraph_nb.remote_dask import ABOUT, ASIDE, DIED, STAYED
from twingraph_nb.wire import Message, unpack

__all__ = ["Link"]

_LARGE = 1 << 16  # bytes; larger frames are put onto the cluster first, not into the graph
_LOOK = 0.05  # seconds
_UNHEARD = 2.0  # seconds after the end of a future in which its last words may still come


class Link(Courier):
    """All on one loop; what blocks is done in a thread."""

    engine = "Dask"
    worker = "Dask worker"
    alone = 1.0

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self._cluster = cluster
        self.address = cluster.address
        self._topic = f"twingraph-{secrets.token_hex(8)}"
        self._futures: dict[int, Future] = {}  # by the number of the parcel, until all is heard
        self._held: dict[str, Future] = {}  # large components
        self._inputs = Inputs(cluster.hold)
        self._keeping = Keeping(cluster, self._topic)
        self._fetches: list[tuple[Future, asyncio.Future[Any]]] = []
        self._turns: dict[int, asyncio.Task[None]] = {}  # of jobs that say something large
        self._places = 1
        self._fetching: asyncio.Task[None] | None = None
        self._closed = self._silent = False
        self._heart = self._loop.create_task(watched(cluster, self._waits, self._lost))

    @property
    def alive(self) -> bool:
        """False once the cluster is gone for good."""
        return self._cluster.connected and not self._silent

    async def listen(self) -> None:
        """Begin to hear what workers say."""
        call = self._loop.call_soon_threadsafe
        await self._blocking(
            lambda: self._cluster.listen(self._topic, lambda said: call(self._said, said))
        )

    async def fetch(self, value: DaskValue) -> object:
        """Bring a value; with all others that are asked for in the same turn of the loop."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._fetches.append((value.future, answer))
        if self._fetching is None:
            self._fetching = self._loop.create_task(self._bring())
        found = await answer
        return await asyncio.to_thread(lambda: unpack(found[value.tag].blob))

    async def close(self) -> None:
        """End all jobs, and leave the cluster."""
        await asyncio.gather(*[self.cancel(load) for load in list(self._loads.values())])
        self._closed = True
        self._heart.cancel()
        for task in (self._pumping, self._fetching, *self._turns.values()):
            if task is not None:
                await asyncio.wait([task])
        self._futures.clear()
        self._held.clear()
        self._inputs.clear()
        await self._blocking(lambda: self._cluster.close(self._topic))
        await asyncio.to_thread(self._threads.shutdown)

    # -- sending -------------------------------------------------------------------------------

    @property
    def _shut(self) -> bool:
        return self._closed

    async def _prepare(self) -> None:
        try:
            self._places = await self._blocking(self._cluster.places)
        except ExecutorError:
            pass  # `_send` finds it gone too, and tells the jobs

    def _groups(self) -> list[list[Load]]:
        groups = parcels_of(self._waiting, self._paces, self._places)
        unknown = [g for g in groups if not self._paces.known(g[0].pace)]
        return groups[: 4 * self._places] if unknown and len(groups) > 64 else groups

    def _parcel(self, loads: Sequence[Load]) -> Parcel:
        self._numbers += 1
        made = Parcel(self._numbers, loads)
        if len(loads) == 1 and self._paces.long(loads[0].pace):
            made.key = self._keeping.ticketed(loads[0])
        return made

    def _send(self, parcels: Sequence[Parcel]) -> None:
        """Those without needs go in one call a lane."""
        lanes: dict[Any, list[tuple[Parcel, bytes, str]]] = {}
        for parcel in parcels:
            order, held = self._order(parcel)
            key = parcel.key or f"{parcel.loads[0].job.name}-{self._topic}-{parcel.number}"
            lane = parcel.loads[0].lane
            if held:
                future = self._cluster.submit_with(order, key, held, _options(lane))
                self._sent(parcel, future)
            else:
                lanes.setdefault(lane, []).append((parcel, order, key))
        for lane, several in lanes.items():
            orders, keys = [one[1] for one in several], [one[2] for one in several]
            futures = self._cluster.submit(orders, keys, _options(lane))
            for (parcel, _, _), future in zip(several, futures, strict=True):
                self._sent(parcel, future)
        self._keeping.keep([one.key for one in parcels if one.key])

    def _sent(self, parcel: Parcel, future: Future) -> None:
        self._futures[parcel.number] = future
        call = self._loop.call_soon_threadsafe
        future.add_done_callback(lambda done: call(self._done, parcel, done))

    def _order(self, parcel: Parcel) -> tuple[bytes, list[Future]]:
        """The message of a parcel, and the futures that it needs."""
        held: list[Future] = []

        def placed(frame: Any) -> Any:
            view = memoryview(frame)
            if isinstance(view.obj, Hole):
                held.append(view.obj.value.future)
                return len(held) - 1, view.obj.value.tag
            if view.nbytes > _LARGE:
                held.append(self._inputs.future(view))
                return len(held) - 1, 0
            return bytes(view)

        bundles = {}
        for load in parcel.loads:
            if load.bundle.key not in bundles:
                sent = load.bundle
                frames = [
                    self._component(sent.key, at, frame, held)
                    for at, frame in enumerate(sent.frames)
                ]
                bundles[sent.key] = (sent.ref, sent.stamp, frames)
        jobs = [
            (load.tag, load.bundle.key, load.meta, [placed(one) for one in load.frames])
            for load in parcel.loads
        ]
        order = {"about": ABOUT, "topic": self._topic, "bundles": bundles, "jobs": jobs}
        return pickle.dumps(order, 5), held

    def _component(self, key: str, at: int, frame: Any, held: list[Future]) -> Any:
        """A frame of a component; a large one is put onto the cluster once."""
        view = memoryview(frame)
        if view.nbytes <= _LARGE:
            return bytes(view)
        name = f"{key}-{at}"
        if name not in self._held:
            self._held[name] = self._cluster.hold(bytes(view))
        held.append(self._held[name])
        return len(held) - 1, 0

    # -- hearing -------------------------------------------------------------------------------

    def _said(self, said: bytes) -> None:
        for message in messages(said):
            if message.kind == GAVE:
                self._given(tag for (tag,) in TAG.iter_unpack(message.frames[0]))
                continue
            load = self._loads.get(message.tag)
            if load is None:
                continue
            before = self._turns.get(load.tag)
            if before is None and message.kind != ASIDE:
                self._hear(load, message)
            else:  # what comes after something large waits until that is here
                task = self._loop.create_task(self._after(before, load, message))
                self._turns[load.tag] = task

    async def _after(self, before: asyncio.Task[None] | None, load: Load, message: Message) -> None:
        if before is not None:
            await asyncio.wait([before])
        if message.kind == ASIDE:
            worker, number = (bytes(one).decode() for one in message.frames)
            try:
                found = await self._blocking(lambda: self._cluster.fetch(worker, int(number)))
            except ExecutorError:
                found = None
            for one in messages(found or b""):
                self._hear(load, one)
        else:
            self._hear(load, message)
        if self._turns.get(load.tag) is asyncio.current_task():
            del self._turns[load.tag]

    def _hear(self, load: Load, message: Message) -> None:
        kind, frames = message.kind, message.frames
        if load.tag not in self._loads:
            return
        if kind in (RESULT, FAILED, STAYED):
            self._paces.note(load.pace, SECONDS.unpack(frames[0])[0])
            self._finish(load, kind, self._stays(load, frames) if kind == STAYED else frames[1:])
        elif kind == DIED:
            code, tail = pickle.loads(frames[0])
            cause = cause_of(code, 0, tail)
            self._finish(load, FAILED, WorkerDied(load.job.name, cause, "process on Dask"))
        elif kind == TURNED:
            self._began(load, bytes(frames[0]).decode())
        elif not load.cancelled:
            load.hearing.hear(kind, frames)

    def _stays(self, load: Load, frames: Sequence[Any]) -> DaskValue | ExecutorError:
        future = self._futures.get(load.parcel.number) if load.parcel is not None else None
        if future is None:
            return ExecutorError(f"the result of {load.job.name} is not on the cluster any more")
        return DaskValue(self, future, load.tag, int(bytes(frames[1])))

    def _again(self, loads: Iterable[Load]) -> None:
        again = [load for load in loads if load.tag in self._loads]
        for load in again:
            self._unpack(load)
        self._send_later(again)

    def _done(self, parcel: Parcel, future: Future) -> None:
        """Dask is through with a message; what was not heard of it is looked up."""
        if not parcel.loads:
            return
        if future.status == "finished":
            work = self._look_up(parcel, future)
        else:
            work = self._failed(parcel, future)
        task = self._loop.create_task(work)
        self._turns[-parcel.number] = task
        task.add_done_callback(lambda _: self._turns.pop(-parcel.number, None))

    async def _failed(self, parcel: Parcel, future: Future) -> None:
        """Dask itself gave up on a message."""
        error: object = "the cluster is gone"
        if future.status == "error":
            try:
                error = await self._blocking(lambda: future.exception(timeout=5))
            except (OSError, TimeoutError) as exc:
                error = exc
        for load in [load for load in parcel.loads if not load.cancelled]:
            said: BaseException
            if type(error).__name__ == "KilledWorker":
                cause = "was lost each time it ran: killed, or out of memory?"
                said = WorkerDied(load.job.name, cause, "Dask worker")
            else:
                said = ExecutorError(f"Dask could not run {load.job.name}: {error}")
            self._finish(load, FAILED, said)

    async def _look_up(self, parcel: Parcel, future: Future) -> None:
        """See to jobs whose last words do not come: the news of them got lost."""
        left = self._loop.time() + _UNHEARD
        while parcel.loads and self._loop.time() < left and not self._closed:
            await asyncio.sleep(_LOOK)
        if not parcel.loads or self._closed:
            return
        found, lost = {}, "none came"
        try:
            (found,) = await self._blocking(lambda: self._cluster.gather([future]))
        except Exception as exc:  # Dask raises what it likes for data that is lost
            lost = str(exc)
        for load in list(parcel.loads):
            one = found.get(load.tag)
            if one is not None:
                (message,) = messages(bytes(one.blob))
                self._finish(load, one.kind, message.frames)
            elif load.tag not in self._turns:
                said = f"the answer of {load.job.name} got lost on Dask ({lost})"
                self._finish(load, FAILED, ExecutorError(said))

    def _waits(self) -> bool:
        return bool(self._loads) or self._fetching is not None

    def _lost(self, exc: ExecutorError) -> None:
        self._silent = True
        super()._lost(exc)

    def _over(self, load: Load) -> None:
        self._loads.pop(load.tag, None)
        self._unpack(load)
        if load.gone is not None and not load.gone.done():
            load.gone.set_result(None)

    def _unpack(self, load: Load) -> None:
        parcel, load.parcel = load.parcel, None
        if parcel is not None:
            parcel.loads.remove(load)
            if not parcel.loads:
                self._futures.pop(parcel.number, None)
                if parcel.key and not self._closed:
                    self._keeping.drop(parcel.key, self._threads.submit)

    # -- ending and bringing -------------------------------------------------------------------

    async def _off(self, loads: Sequence[Load]) -> None:
        parcels = {x.parcel for x in loads if x.parcel is not None}
        dead = [p.number for p in parcels if all(x.cancelled for x in p.loads)]
        tags = [x.tag for x in loads]

        def end() -> None:
            futures = [self._futures[n] for n in dead if n in self._futures]
            self._cluster.cancel(futures, tags, self._topic)

        await self._blocking(end)
        for load in loads:
            self._over(load)

    async def _bring(self) -> None:
        await asyncio.sleep(0)
        while self._fetches:
            wanted, self._fetches = self._fetches, []
            try:
                futures = [future for future, _ in wanted]
                found = await self._blocking(functools.partial(self._cluster.gather, futures))
            except Exception as exc:  # Dask raises what it likes for data that is lost
                for _, answer in wanted:
                    if not answer.done():
                        said = f"a result is not on the Dask cluster any more: {exc}"
                        answer.set_exception(ExecutorError(said))
                continue
            for (_, answer), one in zip(wanted, found, strict=True):
                if not answer.done():
                    answer.set_result(one)
        self._fetching = None


def _options(lane: Any) -> dict[str, Any]:
    priority, resources = lane
    return {"priority": priority, **({"resources": dict(resources)} if resources else {})}
