"""Jobs on their way to one far side: taken in, sent in parcels, heard of, withdrawn."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.parcels import Load, Paces, Parcel
from twingraph_nb.executors.worker import BEGAN
from twingraph_nb.remote import FAILED, LOG

__all__ = ["Courier", "tell"]

_T = TypeVar("_T")


class Courier:
    """What the links to Celery and Dask share. All on one loop; what blocks is done in a thread.

    engine: its name. worker: what comes before a worker's name. alone: seconds that a job has taken
    when it is given back, since others had to wait behind it. patience: seconds that a running job
    has to end when it is cancelled, None for as long as that takes.
    """

    engine: ClassVar[str]
    worker: ClassVar[str]
    alone: ClassVar[float]
    patience: ClassVar[float | None] = None

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loads: dict[int, Load] = {}
        self._waiting: list[Load] = []
        self._withdrawn: list[Load] = []
        self._paces = Paces()
        self._tags = self._numbers = 0
        self._pumping: asyncio.Task[None] | None = None
        self._withdrawing: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(1, f"twingraph-{self.engine.lower()}")

    def submit(self, load: Load) -> None:
        """Take a job; it is sent with others that come in the same turn of the loop."""
        self._tags += 1
        load.tag, load.since = self._tags, self._loop.time()
        self._loads[load.tag] = load
        self._send_later([load])

    async def cancel(self, load: Load) -> None:
        """Return once the job will never begin, or what ran it is gone."""
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
        await asyncio.wait([load.gone], timeout=self.patience)
        self._over(load)

    # -- what each does in its own way ---------------------------------------------------------

    @property
    def _shut(self) -> bool:
        """True when nothing is sent any more."""
        raise NotImplementedError

    async def _prepare(self) -> None:
        """Learn what has to be known before jobs are sent."""

    def _groups(self) -> list[list[Load]]:
        """Give which jobs of those that wait travel together next."""
        raise NotImplementedError

    def _parcel(self, loads: Sequence[Load]) -> Parcel:
        raise NotImplementedError

    def _send(self, parcels: Sequence[Parcel]) -> None:
        """Hand parcels over. In the thread."""
        raise NotImplementedError

    async def _off(self, loads: Sequence[Load]) -> None:
        """Take cancelled jobs back, or end what runs them."""
        raise NotImplementedError

    def _again(self, loads: Iterable[Load]) -> None:
        """Send jobs once more, in another message."""
        raise NotImplementedError

    def _over(self, load: Load) -> None:
        """Nothing more is to come of it."""
        raise NotImplementedError

    # -- the same for all ----------------------------------------------------------------------

    def _send_later(self, loads: Sequence[Load]) -> None:
        self._waiting += loads
        if self._pumping is None:
            self._pumping = self._loop.create_task(self._pump())

    async def _pump(self) -> None:
        await asyncio.sleep(0)
        await self._prepare()
        while self._waiting and not self._shut:
            groups = self._groups()
            taken = {load for group in groups for load in group}
            self._waiting = [load for load in self._waiting if load not in taken]
            parcels = [self._parcel(group) for group in groups]
            try:
                await self._blocking(functools.partial(self._send, parcels))
            except Exception as exc:  # a client library may raise anything: no job may hang
                known = isinstance(exc, ExecutorError)
                said = exc if known else ExecutorError(f"{self.engine}: {exc}")
                for load in taken:
                    self._finish(load, FAILED, said)
        self._pumping = None

    def _began(self, load: Load, label: str) -> None:
        load.began += 1
        if load.cancelled:
            return
        if load.began == 1:
            load.hearing.hear(BEGAN, [f"{self.worker} {label}"])
        else:
            load.hearing.chunks.clear()
            tell(load, f"its worker was lost; it runs again on {label}")

    def _given(self, tags: Iterable[int]) -> None:
        """A worker gives jobs back that had to wait behind a long one."""
        given = [self._loads[tag] for tag in tags if tag in self._loads]
        for load in given:
            self._paces.note(load.pace, self.alone)
            if load.cancelled:
                self._over(load)
        self._again(given)

    def _lost(self, exc: ExecutorError) -> None:
        """The far side is gone for good."""
        for load in list(self._loads.values()):
            self._finish(load, FAILED, exc)

    def _finish(self, load: Load, kind: int, said: Any) -> None:
        self._over(load)
        if not load.cancelled:
            load.settle(kind, said)

    async def _withdraw(self) -> None:
        while self._withdrawn:
            loads, self._withdrawn = self._withdrawn, []
            try:
                await self._off(loads)
            except ExecutorError as exc:  # the far side is gone: so is all that could be ended
                for load in loads:
                    tell(load, f"it could not be cancelled: {exc}")
                    self._over(load)
        self._withdrawing = None

    async def _blocking(self, call: Callable[[], _T]) -> _T:
        return await self._loop.run_in_executor(self._threads, call)


def tell(load: Load, text: str) -> None:
    """Say something in the log of a job's task."""
    load.hearing.hear(LOG, [b"s" + text.encode() + b"\n"])
