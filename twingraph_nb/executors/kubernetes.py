"""Platform `kubernetes`: a Job for each task, or warm pods that stay for the next task.

Inputs, variables and secrets go to a pod's standard input, so no description holds them and no
disk is shared. Results come on its standard output, of which its node keeps a log for a while.
A Job goes on when its kernel dies, and its answer waits for the next one; so does a warm pod in the
middle of a task that lasts, any other ends.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import kubernetes

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError, TwingraphError
from twingraph_nb.executors.base import Capabilities, Job, Outcome, Report
from twingraph_nb.executors.kubernetes_api import Cluster, Failed, reached
from twingraph_nb.executors.kubernetes_native import PodHome
from twingraph_nb.executors.kubernetes_recalled import heard_out
from twingraph_nb.executors.kubernetes_setup import Setup, job_name, setup_of, ticket_facts
from twingraph_nb.executors.kubernetes_watch import PodWatch
from twingraph_nb.executors.kubernetes_worker import KubernetesWorker
from twingraph_nb.executors.lasting import Lasting
from twingraph_nb.executors.native_crews import Natives
from twingraph_nb.executors.owner import KEPT, LONGEST, POD_OWNER, is_orphan
from twingraph_nb.executors.payload_stores import Stores
from twingraph_nb.executors.pool import Pool
from twingraph_nb.executors.pooled import pooled
from twingraph_nb.executors.recalled import Recalled, name_of, ticket_of
from twingraph_nb.executors.travel import Travel
from twingraph_nb.settings import Settings

__all__ = ["KubernetesExecutor"]

T = TypeVar("T")

_LOST = (0, 401)
"""No answer, or one that does not know us: the server may have another address or token now."""
_ANOTHER = "Choose that cluster: KUBECONFIG, or kubectl config use-context"
_JOBS = 100
"""Jobs of one component at once; the cluster says which of them run."""


@dataclass
class _Place:
    """One namespace of a cluster: its watch, its warm pods, and how many Jobs it may have.

    others: the watches of pods that kernels which died have left, by their label.
    """

    cluster: Cluster
    watch: PodWatch
    natives: Natives = field(default_factory=Natives)
    pools: dict[str, Pool] = field(default_factory=dict)
    rooms: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    others: dict[str, PodWatch] = field(default_factory=dict)


class KubernetesExecutor:
    """Runs tasks in pods of a cluster. They talk over the pod's standard streams."""

    name: ClassVar[str] = "kubernetes"
    capabilities: ClassVar[Capabilities] = Capabilities(isolated=True, stops=True, attaches=True)

    def __init__(self, settings: Settings) -> None:
        self._workers = settings.processes
        self._clusters: dict[tuple[str, str], asyncio.Task[Cluster]] = {}
        self._places: dict[tuple[str, str, str], asyncio.Task[_Place]] = {}
        self._entered: list[_Place] = []
        self._jobs: set[Pool] = set()  # one each, until its pod is gone
        self._closing: set[asyncio.Task[None]] = set()
        self._stores = Stores(self.name, settings.payloads)
        self._travel = Travel(self.name, stores=self._stores)

    async def open(self) -> None:
        pass

    async def run(self, job: Job, report: Report) -> Outcome:
        try:
            setup = setup_of(job)
            place = await self._place(setup)
            await self._tidy()  # what an attempt before this one could not end
        except ExecutorError:
            raise
        except TwingraphError as exc:
            return Outcome(error=exc)
        setup = replace(setup, namespace=setup.namespace or place.cluster.namespace)
        try:
            if setup.warm:
                return await self._in_warm_pod(place, setup, job, report)
            room = place.rooms.setdefault(setup.key, asyncio.Semaphore(setup.workers or _JOBS))
            async with room:
                return await self._as_job(place, setup, job, report)
        except Failed as exc:
            if exc.status in _LOST:
                self._forget(place)
            raise

    async def attach(self, ticket: str, job: Job, report: Report) -> Outcome:
        known = Recalled.read(job, ticket)
        keys = ("kubeconfig", "context", "namespace", "owner")
        kubeconfig, context, namespace, owner = (str(known.facts[key]) for key in keys)
        cluster = await self._cluster((kubeconfig, context))
        known.see_that_it_is_there(await cluster.which(), _ANOTHER)
        place = await self._place(Setup("", kubeconfig, context, namespace))
        watch = place.others.get(owner)
        if watch is None:
            watch = place.others[owner] = PodWatch(place.cluster, namespace, owner)
        return await heard_out(place.cluster, watch, known, report, self._travel)

    def finds(self, component: Component) -> bool:
        """True for Jobs in Python: in other pods a task is named once it lasts."""
        return not component.options.get("warm") and component.language == "python"

    async def close(self) -> None:
        await _made(self._places.values())  # those that are being entered
        pools = [pool for place in self._entered for pool in place.pools.values()]
        natives = [place.natives.close() for place in self._entered]
        await asyncio.gather(*natives, *[pool.close() for pool in (*pools, *self._jobs)])
        await asyncio.gather(*self._closing)
        await self._tidy()
        for place in self._entered:
            for watch in (place.watch, *place.others.values()):
                watch.close()
            place.cluster.close()
        for cluster in await _made(self._clusters.values()):
            cluster.close()
        await self._stores.close()
        self._entered.clear()
        self._places.clear()
        self._clusters.clear()
        self._travel.clear()

    async def probe(self) -> str:
        """Give the versions of client and server; see `Probes`."""
        cluster = await asyncio.to_thread(reached, "", "")
        cluster.close()
        return f"client {kubernetes.__version__}, server {cluster.version or 'unknown'}"

    async def _in_warm_pod(self, place: _Place, setup: Setup, job: Job, report: Report) -> Outcome:
        if job.component.language != "python":
            return await place.natives.run(job, report, self._home(place, setup, job))
        hearing = None
        if setup.lasts:
            which, facts = place.cluster.which, ticket_facts(setup)
            hearing = Lasting(job, report, self._travel, setup.linger, engine=which, facts=facts)
        return await pooled(self._pool(place, setup), self._travel, job, report, hearing=hearing)

    async def _as_job(self, place: _Place, setup: Setup, job: Job, report: Report) -> Outcome:
        """Run in a pod of its own; it is removed while the next task runs already."""
        name = ""
        if setup.keeps:
            name = name_of(job)
            report.ticket(ticket_of(job, engine=await place.cluster.which(), **ticket_facts(setup)))
        if job.component.language != "python":
            return await place.natives.run(job, report, self._home(place, setup, job))
        start = functools.partial(
            KubernetesWorker, cluster=place.cluster, watch=place.watch, setup=setup, name=name
        )
        pool = Pool(1, start)
        self._jobs.add(pool)
        try:
            return await pooled(pool, self._travel, job, report)
        finally:
            closing = asyncio.create_task(self._removed(pool))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _home(self, place: _Place, setup: Setup, job: Job) -> PodHome:
        size, component = self._workers, job.component
        name = "" if setup.warm else job_name(component.name)
        return PodHome(place.cluster, place.watch, setup, component, size=size, name=name)

    async def _tidy(self) -> None:
        """Remove what could not be removed when it was over."""
        for place in self._entered:
            if place.cluster.left:
                await place.cluster.tidy()

    async def _removed(self, pool: Pool) -> None:
        await pool.close()
        self._jobs.discard(pool)

    def _forget(self, place: _Place) -> None:
        """Read the kubeconfig again for the next task; what runs there still goes on."""
        for key, entered in tuple(self._places.items()):
            if entered.done() and not _is_broken(entered) and entered.result() is place:
                del self._places[key]
                self._clusters.pop(key[:2], None)

    def _pool(self, place: _Place, setup: Setup) -> Pool:
        pool = place.pools.get(setup.key)
        if pool is None:
            start = functools.partial(
                KubernetesWorker, cluster=place.cluster, watch=place.watch, setup=setup
            )
            size = setup.workers or self._workers
            pool = Pool(size, start, setup.idle, lasting=setup.lasts)
            place.pools[setup.key] = pool
        return pool

    async def _cluster(self, where: tuple[str, str]) -> Cluster:
        known = self._clusters.get(where)
        if known is None or _is_broken(known):
            known = asyncio.create_task(asyncio.to_thread(reached, *where))
            self._clusters[where] = known
        return await asyncio.shield(known)

    async def _place(self, setup: Setup) -> _Place:
        where = (setup.kubeconfig, setup.context)
        cluster = await self._cluster(where)
        namespace = setup.namespace or cluster.namespace
        key = (*where, namespace)
        place = self._places.get(key)
        if place is None or _is_broken(place):
            place = asyncio.create_task(self._enter(cluster, namespace))
            self._places[key] = place
        try:
            return await asyncio.shield(place)
        except Failed as exc:
            if exc.status in _LOST:
                self._clusters.pop(where, None)
            raise

    async def _enter(self, cluster: Cluster, namespace: str) -> _Place:
        """Begin to watch a namespace, and remove what kernels that are gone have left there."""
        watch = PodWatch(cluster, namespace)
        try:
            await watch.ready()
            await _swept(cluster, namespace)
        except BaseException:  # a cancelled start must end the watch too
            watch.close()
            raise
        place = _Place(cluster, watch)
        self._entered.append(place)
        return place


async def _swept(cluster: Cluster, namespace: str) -> None:
    try:
        for name in _orphans(await cluster.jobs(namespace, POD_OWNER)):
            await cluster.delete_job(namespace, name)
        for name in _orphans(await cluster.pods(namespace, POD_OWNER)):
            await cluster.delete_pod(namespace, name, 0)
    except Failed:
        pass  # a user who may not remove them may still run tasks


def _orphans(found: Iterable[Mapping[str, Any]]) -> list[str]:
    facts = [one["metadata"] for one in found if not _may_be_wanted(one)]
    return [str(one["name"]) for one in facts if is_orphan(str(one["labels"][POD_OWNER]))]


def _may_be_wanted(found: Mapping[str, Any]) -> bool:
    """Tell whether a run that is resumed may ask for it: it runs, or its answer waits."""
    facts, state = found["metadata"], found.get("status") or {}
    over = state.get("phase") in ("Succeeded", "Failed") or state.get("completionTime")
    if KEPT not in facts["labels"] or over or state.get("failed"):
        return False
    made = datetime.fromisoformat(str(facts["creationTimestamp"]))
    return time.time() - made.timestamp() < LONGEST


async def _made(tasks: Iterable[asyncio.Task[T]]) -> list[T]:
    """What came of tasks that did not fail."""
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [one for one in found if not isinstance(one, BaseException)]


def _is_broken(task: asyncio.Task[T]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
