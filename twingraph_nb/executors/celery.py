"""Platform `celery`: tasks on Celery workers behind a Redis broker.

The workers are started with ``twingraph worker celery`` and share a secret with the kernel:
what travels is encrypted and signed with it, both ways. Redis is broker and answers in one;
`backend` names another Redis for what is said and for large values.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any, ClassVar

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError, PortabilityError, TwingraphError
from twingraph_nb.executors.base import Capabilities, Job, Outcome, Report
from twingraph_nb.executors.celery_broker import Broker
from twingraph_nb.executors.celery_link import Link
from twingraph_nb.executors.celery_protocol import (
    KEEP,
    LARGEST,
    LOST,
    QUEUE,
    hidden,
    redis_at,
    secret_of,
)
from twingraph_nb.executors.parcels import Load
from twingraph_nb.executors.payload_stores import Stores
from twingraph_nb.executors.recalled import Engine, Recalled, never_started
from twingraph_nb.executors.travel import Hearing, Travel, environ_of, settling
from twingraph_nb.executors.worker import BEGAN
from twingraph_nb.remote import FAILED, RESULT, TURNED
from twingraph_nb.settings import Settings
from twingraph_nb.wire import Buffer

__all__ = ["CeleryExecutor"]

_NOWHERE = 3.0
"""Seconds after which a message that nobody holds was never sent: while a worker takes it from its
queue, it is in no list for a moment."""
_DEFAULT = "redis://127.0.0.1:6379/0"
_TOO_LARGE = (
    f"its inputs hold {{:,}} bytes in one piece, and {LARGEST:,} are the most that goes through "
    "Redis: say payloads= with a folder or bucket that the workers reach, or pass a file's path"
)


class CeleryExecutor:
    """Runs tasks on Celery workers.

    The broker is the component's, else `TWINGRAPH_CELERY_BROKER`, `CELERY_BROKER_URL`, or a Redis
    on this machine. A job may run twice when its worker is lost in the middle; never more than
    three times.
    """

    name: ClassVar[str] = "celery"
    capabilities: ClassVar[Capabilities] = Capabilities(isolated=True, stops=True, attaches=True)

    def __init__(self, settings: Settings) -> None:
        self._home = settings.home
        self._links: dict[tuple[str, str], asyncio.Task[Link]] = {}
        self._stores = Stores(self.name, settings.payloads, spare=KEEP)
        self._travel = Travel(self.name, plain=False, stores=self._stores)

    async def open(self) -> None:
        pass

    async def probe(self) -> str:
        broker = await self._broker(_broker_of({}), _backend_of({}))
        try:
            versions = await asyncio.to_thread(broker.reach)
            workers = await asyncio.to_thread(broker.workers)
        finally:
            await asyncio.to_thread(lambda: broker.close(leave=True))
        return f"{versions}, {len(workers)} worker{'' if len(workers) == 1 else 's'}"

    async def run(self, job: Job, report: Report) -> Outcome:
        hearing = Hearing(job, report, self._travel)
        answer: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
        try:
            sent, frames = await self._travel.packed(job)
            environ = environ_of(job)
        except TwingraphError as exc:
            return Outcome(error=exc)
        link = await self._link(job.component)
        held = await self._travel.held(job, frames)
        shared = {digest: frames[at] for at, digest, _, where in held.parts if not where}
        if (size := _largest(held.rest, *([one] for one in shared.values()))) > LARGEST:
            held.release()
            return Outcome(error=PortabilityError(job.name, self.name, [_TOO_LARGE.format(size)]))
        meta = (job.hash, job.name, job.attempt, "", environ, held.parts)
        lane = (str(job.component.options.get("queue", QUEUE)), job.component.policy.priority)
        load = Load(
            job,
            sent,
            meta,
            held.rest,
            hearing,
            settling(answer),
            lane=lane,
            shared=shared,
            ticketed=report.ticket,
        )
        link.submit(load)
        try:
            kind, said = await answer
        except asyncio.CancelledError:
            await link.cancel(load)
            raise
        finally:
            held.release()
        if isinstance(said, ExecutorError):
            raise said
        if isinstance(said, BaseException):
            return Outcome(error=said)
        return await self._travel.outcome(job, kind, said, hearing)

    async def attach(self, ticket: str, job: Job, report: Report) -> Outcome:
        """Go on hearing a job that a kernel which died had sent.

        Raises:
            NotStarted: it was never sent.
            ExecutorError: nothing is known of it any more.
        """
        known = Recalled.read(job, ticket)
        place, url = str(known.facts["broker"]), _broker_of({})
        known.see_that_it_is_there(Engine.by_address(place), "Resume on the machine of that Redis")
        session = str(known.facts["session"])
        broker = await self._broker(url if hidden(url) == place else place, "", session)
        try:
            return await self._heard_out(broker, known, report)
        finally:
            broker.closed.set()
            await asyncio.to_thread(lambda: broker.close(leave=True))

    async def close(self) -> None:
        links, self._links = self._links, {}
        for link in links.values():
            link.cancel()
        for found in await asyncio.gather(*links.values(), return_exceptions=True):
            if isinstance(found, Link):
                await found.close()
        await self._stores.close()
        self._travel.clear()

    # -- inside --------------------------------------------------------------------------------

    async def _link(self, component: Component) -> Link:
        """The link to the component's broker, made at its first job."""
        key = (_broker_of(component.options), _backend_of(component.options))
        task = self._links.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._links[key] = asyncio.create_task(self._linked(*key))
        return await asyncio.shield(task)

    async def _linked(self, url: str, backend: str) -> Link:
        broker = await self._broker(url, backend)
        try:
            await asyncio.to_thread(broker.reach)
        except BaseException:
            await asyncio.to_thread(lambda: broker.close(leave=True))
            raise
        return Link(broker)

    async def _broker(self, url: str, backend: str, session: str = "") -> Broker:
        broker, answers = redis_at(url), redis_at(backend or url)
        secret = await asyncio.to_thread(lambda: secret_of(self._home))
        return await asyncio.to_thread(lambda: Broker(broker, answers, secret, session))

    async def _heard_out(self, broker: Broker, known: Recalled, report: Report) -> Outcome:
        await asyncio.to_thread(broker.reach)
        tag, number, queue = (known.facts[word] for word in ("tag", "number", "queue"))
        hearing = Hearing(known.job, report, self._travel)
        loop = asyncio.get_running_loop()
        last, begun, later = b"0", False, loop.time() + _NOWHERE
        while True:
            waits = tag in await asyncio.to_thread(broker.pending)
            last, messages = await asyncio.to_thread(broker.read, last)
            for message in messages:
                if message.tag != tag:
                    continue
                begun = True
                if message.kind == LOST:
                    raise ExecutorError("its worker was lost each time it ran")
                if message.kind == TURNED:
                    hearing.chunks.clear()
                    label = bytes(message.frames[0]).decode()
                    hearing.hear(BEGAN, [f"Celery worker on {label}"])
                elif message.kind in (RESULT, FAILED):
                    kind, frames = message.kind, message.frames[1:]
                    return await self._travel.outcome(known.job, kind, frames, hearing)
                else:
                    hearing.hear(message.kind, message.frames)
            if waits and not begun and loop.time() > later:
                if await asyncio.to_thread(broker.recall, tag, number, queue):
                    raise never_started(known, "message of")
                later = loop.time() + _NOWHERE
            if not waits and not messages:
                raise ExecutorError("nothing is known of the job any more: it is run again")


def _broker_of(options: Any) -> str:
    found = options.get("broker") or os.environ.get("TWINGRAPH_CELERY_BROKER")
    return str(found or os.environ.get("CELERY_BROKER_URL") or _DEFAULT)


def _backend_of(options: Any) -> str:
    return str(options.get("backend") or os.environ.get("TWINGRAPH_CELERY_BACKEND") or "")


def _largest(*given: Sequence[Buffer]) -> int:
    """Bytes of what is the most to put into Redis as one."""
    return max(sum(memoryview(one).nbytes for one in frames) for frames in given)
