"""Platform `dask`: tasks on a Dask cluster, where their results stay until somebody looks.

The cluster is the component's `address` or `client`, else the notebook's default client, else
`TWINGRAPH_DASK_ADDRESS`, else one of this machine, started at the first task. Workers need not
have this package. What travels is pickled, secrets with it: who listens between kernel, scheduler
and workers reads it, unless the cluster uses TLS (`client` of such a cluster).
"""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Mapping
from contextvars import Context
from typing import Any, ClassVar

import distributed
from distributed import Client

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError, TwingraphError
from twingraph_nb.executors.base import (
    Capabilities,
    Job,
    Outcome,
    RemoteParts,
    RemoteValue,
    Report,
)
from twingraph_nb.executors.dask_cluster import Cluster
from twingraph_nb.executors.dask_kept import heard_out
from twingraph_nb.executors.dask_link import Link
from twingraph_nb.executors.dask_values import DaskValue, Hole
from twingraph_nb.executors.parcels import Load
from twingraph_nb.executors.recalled import Engine, Recalled
from twingraph_nb.executors.travel import Hearing, Travel, environ_of, settling
from twingraph_nb.settings import Settings
from twingraph_nb.wire import unpack

__all__ = ["DaskExecutor"]

_HOLE = 1 << 14  # bytes; a smaller buffer would be pickled with the rest


class DaskExecutor:
    """Runs tasks on a Dask cluster. A task runs again when its worker is lost in the middle."""

    name: ClassVar[str] = "dask"
    capabilities: ClassVar[Capabilities] = Capabilities(isolated=True, stops=True, attaches=True)

    def __init__(self, settings: Settings) -> None:
        self._processes = settings.processes
        self._links: dict[str, asyncio.Task[Link]] = {}
        self._gone: list[Link] = []  # their cluster is; to be closed with the rest
        self._travel = Travel(self.name, plain=False)

    async def open(self) -> None:
        pass

    async def probe(self) -> str:
        address, security = _place({})
        if not address:
            return f"client {distributed.__version__}, a cluster of this machine at first use"

        def look() -> str:
            cluster = Cluster(address, security)
            try:
                return cluster.versions
            finally:
                cluster.close("")

        return await asyncio.to_thread(look)

    def takes(self, value: RemoteValue, component: Component) -> bool:
        link = self._links.get(_place(component.options)[0])
        here = link.result() if link is not None and link.done() and not _failed(link) else None
        parts = value.parts if isinstance(value, RemoteParts) else (value,)
        remote = [part for part in parts if isinstance(part, RemoteValue)]
        return all(isinstance(part, DaskValue) and part.link is here for part in remote)

    async def run(self, job: Job, report: Report) -> Outcome:
        hearing = Hearing(job, report, self._travel)
        answer: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
        try:
            sent, frames = await self._travel.packed(_with_holes(job))
            meta = (job.hash, job.name, job.attempt, "", environ_of(job))
        except TwingraphError as exc:
            return Outcome(error=exc)
        link = await self._link(job.component)
        options, policy = job.component.options, job.component.policy
        resources: Any = options.get("resources") or {}
        lane = (policy.priority, tuple(sorted(resources.items())))
        load = Load(
            job, sent, meta, frames, hearing, settling(answer), lane=lane, ticketed=report.ticket
        )
        link.submit(load)
        try:
            kind, said = await answer
        except asyncio.CancelledError:
            await link.cancel(load)
            raise
        if isinstance(said, ExecutorError):
            raise said
        if isinstance(said, BaseException):
            return Outcome(error=said)
        if isinstance(said, DaskValue):
            if job.component.style in ("stream", "async_stream"):
                return Outcome(hearing.chunks)
            return Outcome(said)
        return await self._travel.outcome(job, kind, said, hearing)

    async def attach(self, ticket: str, job: Job, report: Report) -> Outcome:
        known = Recalled.read(job, ticket)
        known.see_that_it_is_there(
            Engine.by_address(str(known.facts["address"])), "Resume on the machine of that cluster"
        )
        address, security = _place({})
        if address != known.facts["address"]:
            address, security = str(known.facts["address"]), None
        cluster = await asyncio.to_thread(Cluster, address, security)
        try:
            return await heard_out(cluster, known, report, self._travel)
        finally:
            await asyncio.to_thread(cluster.close, "")

    async def close(self) -> None:
        links, self._links = self._links, {}
        gone, self._gone = self._gone, []
        for link in links.values():
            link.cancel()
        for found in await asyncio.gather(*links.values(), return_exceptions=True):
            if isinstance(found, Link):
                gone.append(found)
        await asyncio.gather(*[link.close() for link in gone])
        self._travel.clear()

    async def _link(self, component: Component) -> Link:
        """The link to the component's cluster, made at its first job."""
        address, security = _place(component.options)
        task = self._links.get(address)
        if task is None or (task.done() and (_failed(task) or not task.result().alive)):
            if task is not None and not _failed(task):
                self._gone.append(task.result())
            workers: Any = component.options.get("workers") or self._processes
            task = asyncio.create_task(self._linked(address, security, workers))
            self._links[address] = task
        return await asyncio.shield(task)

    async def _linked(self, address: str, security: object, workers: int) -> Link:
        link = Link(await asyncio.to_thread(lambda: Cluster(address, security, workers)))
        await link.listen()
        return link


def _failed(task: asyncio.Task[Link]) -> bool:
    return task.cancelled() or task.exception() is not None


def _place(options: Mapping[str, object]) -> tuple[str, object]:
    """The address of the cluster, "" for one of our own, and what it takes to connect."""
    if options.get("address"):
        return str(options["address"]), None
    client: Any = options.get("client")
    if client is None and not os.environ.get("TWINGRAPH_DASK_ADDRESS"):
        try:  # with no context: this thread's may be that of a `with Client()` which is over
            client = Context().run(distributed.default_client)
        except ValueError:
            client = None
    if client is None:
        return os.environ.get("TWINGRAPH_DASK_ADDRESS", ""), None
    if not isinstance(client, Client) or client.scheduler is None:
        raise ExecutorError(f"platform 'dask' wants a connected distributed.Client, not {client!r}")
    return str(client.scheduler.address), client.security


class _Hollow:
    """Pickled as what the far side puts in place of a hole."""

    def __init__(self, value: DaskValue) -> None:
        self._hole = Hole(_HOLE)
        self._hole.value = value

    def __reduce_ex__(self, protocol: Any) -> Any:
        return unpack, (pickle.PickleBuffer(self._hole),)


def _with_holes(job: Job) -> Job:
    """The job with a hole for each input that is on the cluster."""
    if not any(isinstance(value, RemoteValue) for value in job.arguments.values()):
        return job
    filled = {name: _hollowed(value) for name, value in job.arguments.items()}
    return Job(job.hash, job.name, job.component, filled, job.attempt)


def _hollowed(value: object) -> object:
    if isinstance(value, DaskValue):
        return _Hollow(value)
    if isinstance(value, RemoteParts):
        return [_hollowed(part) for part in value.parts]
    return value
