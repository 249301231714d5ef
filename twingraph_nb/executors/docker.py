"""Platform `docker`: tasks in containers that stay for the next task, or in one for each.

A container goes on when its kernel dies in the middle of a task that lasts: the answer waits for
the next kernel. Any other that stays ends with its kernel.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import docker
from docker.errors import DockerException, NotFound
from requests.exceptions import RequestException

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError, TwingraphError
from twingraph_nb.executors.base import Capabilities, Job, Outcome, Report, Stop
from twingraph_nb.executors.docker_container import (
    ALWAYS,
    IF_MARKED,
    MARKED,
    SESSION,
    ImageGone,
    removed,
)
from twingraph_nb.executors.docker_engine import connected, engine_at, version
from twingraph_nb.executors.docker_images import Images
from twingraph_nb.executors.docker_native import ContainerHome
from twingraph_nb.executors.docker_recalled import heard_out
from twingraph_nb.executors.docker_setup import Setup, setup_of
from twingraph_nb.executors.docker_worker import DockerWorker
from twingraph_nb.executors.lasting import Lasting
from twingraph_nb.executors.native_crews import Natives
from twingraph_nb.executors.owner import KEPT, LONGEST, OWNER, is_orphan
from twingraph_nb.executors.payload_stores import FolderStore, Stores
from twingraph_nb.executors.pool import Pool
from twingraph_nb.executors.pooled import Handed, Running, pooled
from twingraph_nb.executors.recalled import Engine, Recalled, name_of, ticket_of
from twingraph_nb.executors.stamps import Stamps
from twingraph_nb.executors.travel import Hearing, Travel
from twingraph_nb.settings import Settings

__all__ = ["DockerExecutor"]

_SPARE = 60.0  # seconds above its timeout after which a task ends that no kernel watches
_LAST_TRIES = 3  # to remove what is left in the end; whoever knew of it has tried for longer
_PAYLOADS = "/twingraph-payloads"
"""Where containers find the session's folder of `payloads`."""
_ANOTHER = "Resume where that engine is, or set DOCKER_HOST to it"

_NO_NETWORK = {
    "ConnectError",
    "ConnectionError",
    "NameResolutionError",
    "URLError",
    "gaierror",
}
"""Errors, of several libraries, of those who look for a network in vain."""


@dataclass
class _Engine:
    """One Docker engine: its client, its images, the pools of containers there, and how many
    containers for one task there may be. at: where it is. id: what tells it from others, None
    before that was asked. left: some of dead kernels still run."""

    api: Any
    images: Images
    at: str
    id: str | None = None
    left: bool = False
    natives: Natives = field(default_factory=Natives)
    pools: dict[str, Pool] = field(default_factory=dict)
    rooms: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    async def which(self) -> Engine:
        """Say which engine it is; that takes it up to 0.1 s, so it is asked once."""
        if self.id is None:
            self.id = await asyncio.to_thread(_id, self.api)
        return Engine(self.id or "", self.at)


class DockerExecutor:
    """Runs tasks in containers; those of equal setup share a few that stay."""

    name: ClassVar[str] = "docker"
    capabilities: ClassVar[Capabilities] = Capabilities(isolated=True, stops=True, attaches=True)
    handed_styles: ClassVar[frozenset[str]] = frozenset({"sync", "async", "stream", "async_stream"})

    def __init__(self, settings: Settings) -> None:
        self._workers = settings.processes
        self._engines: dict[str, asyncio.Task[_Engine]] = {}
        self._stores = Stores(self.name, settings.payloads, mounted=_PAYLOADS)
        self._travel = Travel(self.name, stores=self._stores)
        self._known: dict[str, tuple[_Engine, Pool, Setup]] = {}
        self._alone: set[Pool] = set()  # of one container each, until that is gone
        self._removing: set[asyncio.Task[None]] = set()
        self._session = secrets.token_hex(8)
        self._stamps = Stamps()
        self._closed = False

    async def open(self) -> None:
        pass

    async def run(self, job: Job, report: Report) -> Outcome:
        try:
            setup = setup_of(job)
            stamp = await self._stamps.of(setup.taken)
            setup = replace(setup, session=self._session, stamp=stamp)
            engine = await self._engine(setup.host)
            image = await engine.images.ready(setup, _telling(report))
        except ExecutorError:
            raise
        except TwingraphError as exc:
            return Outcome(error=exc)
        try:
            return await self._ran(engine, setup, image, job, report)
        except ImageGone:
            engine.images.forget()
            raise

    def hand_over(self, job: Job, report: Report, done: Callable[[Outcome], None]) -> Stop:
        known = self._known.get(job.component.digest)
        if known is not None and self._is_fresh(known[2]):
            engine, pool, setup = known

            def hinted(outcome: Outcome) -> None:
                if isinstance(outcome.error, ImageGone):
                    engine.images.forget()
                    self._known.pop(job.component.digest, None)
                elif outcome.error is not None:
                    _hint(outcome.error, setup)
                done(outcome)

            hearing = self._hearing(engine, setup, job, report)
            handed = Handed(pool, self._travel, job, hearing, hinted)
            if handed.begin():
                return handed
        return Running(self.run(job, report), done)

    async def attach(self, ticket: str, job: Job, report: Report) -> Outcome:
        known = Recalled.read(job, ticket)
        engine = await self._engine(str(known.facts["host"]))
        known.see_that_it_is_there(await engine.which(), _ANOTHER)
        return await heard_out(engine.api, known, report, self._travel)

    def finds(self, component: Component) -> bool:
        """True for containers of one task in Python: any other is named once it lasts."""
        return bool(component.options.get("fresh")) and component.language == "python"

    async def close(self) -> None:
        """Remove all containers, also those whose making was never heard of.

        Raises:
            ExecutorError: some are left. Any other: what went wrong on the way.
        """
        self._closed = True
        made = await asyncio.gather(*self._engines.values(), return_exceptions=True)
        engines = [one for one in made if isinstance(one, _Engine)]
        pools = [*self._alone, *(pool for engine in engines for pool in engine.pools.values())]
        for engine in engines:
            engine.images.close()
        closing = [*(pool.close() for pool in pools), *(one.natives.close() for one in engines)]
        said = await asyncio.gather(*closing, *self._removing, return_exceptions=True)
        left = [asyncio.to_thread(_left, engine, self._session) for engine in engines]
        said += await asyncio.gather(*left, self._stores.close(), return_exceptions=True)
        self._engines.clear()
        self._known.clear()
        self._travel.clear()
        for error in said:
            if isinstance(error, Exception):
                raise error

    async def probe(self) -> str:
        """Give the versions of client and engine; see `Probes`."""
        return f"client {docker.__version__}, engine {await asyncio.to_thread(version)}"

    async def _ran(
        self, engine: _Engine, setup: Setup, image: str, job: Job, report: Report
    ) -> Outcome:
        if job.component.language != "python":
            home = ContainerHome(engine.api, setup, image, self._workers, engine.which)
            return await engine.natives.run(job, report, home)
        setup = await self._with_payloads(job, setup)
        if setup.keeps:
            return await self._in_its_own(engine, setup, image, job, report)
        pool = self._pool(engine, setup, image)
        self._known[job.component.digest] = (engine, pool, setup)
        hearing = self._hearing(engine, setup, job, report)
        outcome = await pooled(pool, self._travel, job, report, hearing=hearing)
        if outcome.error is not None:
            _hint(outcome.error, setup)
        return outcome

    async def _in_its_own(
        self, engine: _Engine, setup: Setup, image: str, job: Job, report: Report
    ) -> Outcome:
        """Run in a container that goes on when this kernel dies."""
        room = engine.rooms.setdefault(
            f"{image} {setup.key}", asyncio.Semaphore(setup.workers or self._workers)
        )
        limit = job.component.policy.timeout
        start = functools.partial(
            DockerWorker,
            api=engine.api,
            setup=setup,
            image=image,
            name=name_of(job),
            limit=limit + _SPARE if limit else 0.0,
        )
        await room.acquire()
        pool = Pool(1, start)
        self._alone.add(pool)
        try:
            report.ticket(ticket_of(job, engine=await engine.which(), host=setup.host))
            outcome = await pooled(pool, self._travel, job, report)
        finally:
            removing = asyncio.create_task(self._removed(pool, room))
            self._removing.add(removing)
            removing.add_done_callback(self._removing.discard)
        if outcome.error is not None:
            _hint(outcome.error, setup)
        return outcome

    async def _removed(self, pool: Pool, room: asyncio.Semaphore) -> None:
        """Remove a container while its outcome counts already; its place is free after that."""
        await pool.close()
        self._alone.discard(pool)
        room.release()

    def _is_fresh(self, setup: Setup) -> bool:
        """True if what its containers are made of need not be looked at again yet."""
        return self._stamps.are_fresh(setup.taken) and self._stamps.are_fresh(setup.built_from)

    async def _engine(self, host: str) -> _Engine:
        if self._closed:
            raise ExecutorError("the session is closed")
        known = self._engines.get(host)
        if known is None or (known.done() and known.exception() is not None):
            known = asyncio.create_task(asyncio.to_thread(_reached, host, self._stamps))
            self._engines[host] = known
        return await asyncio.shield(known)

    async def _with_payloads(self, job: Job, setup: Setup) -> Setup:
        """The setup with the folder of its payloads mounted, if that is where they go."""
        payloads = self._stores.of(job.component)
        if payloads is None or not isinstance(payloads.store, FolderStore):
            return setup
        await payloads.ready()  # the engine would make a missing folder as root
        return replace(setup, volumes={**setup.volumes, **payloads.store.mounts})

    def _hearing(self, engine: _Engine, setup: Setup, job: Job, report: Report) -> Hearing:
        if setup.lasts:
            which, facts = engine.which, {"host": setup.host}
            return Lasting(job, report, self._travel, setup.linger, engine=which, facts=facts)
        return Hearing(job, report, self._travel)

    def _pool(self, engine: _Engine, setup: Setup, image: str) -> Pool:
        key = f"{image} {setup.key}"
        pool = engine.pools.get(key)
        if pool is None:
            start = functools.partial(DockerWorker, api=engine.api, setup=setup, image=image)
            size = setup.workers or self._workers
            pool = Pool(size, start, setup.idle, lasting=setup.lasts)
            engine.pools[key] = pool
        return pool


def _reached(host: str, stamps: Stamps) -> _Engine:
    """Connect to an engine, and remove what kernels that are gone have left there."""
    api = connected(host)
    return _Engine(api, Images(api, stamps), engine_at(host), left=_swept(api))


def _id(api: Any) -> str | None:
    """What tells an engine from others; None if it does not answer.

    Engines of one machine, or of copies of one, may have the same ID, so there is more to it.
    """
    try:
        first, again = api.info(), api.info()
    except (DockerException, RequestException, OSError):
        return None
    id = first.get("ID") if first.get("ID") == again.get("ID") else ""  # Podman's is made up
    return " ".join(filter(None, (id, first.get("Name"), first.get("DockerRootDir"))))


def _left(engine: _Engine, session: str) -> None:
    """Look again for what is left, of this session and of others, and let go of the engine.

    Raises:
        ExecutorError: containers of this session could not be removed.
    """
    try:
        if engine.left:
            _swept(engine.api)
        ours = engine.api.containers(all=True, filters={"label": f"{SESSION}={session}"})
        whys = {one["Id"][:12]: removed(engine.api, one["Id"], _LAST_TRIES) for one in ours}
        whys = {name: why for name, why in whys.items() if why}
    except (DockerException, RequestException, OSError):
        return  # it is away: the next session looks
    finally:
        engine.api.close()
    if whys:
        names = ", ".join(whys)
        raise ExecutorError(f"containers {names} are left: {next(iter(whys.values()))}")


def _swept(api: Any) -> bool:
    """Remove what kernels that are gone have left; True if some of it is still there."""
    left = False
    try:
        found = api.containers(all=True, filters={"label": OWNER})
    except (DockerException, RequestException):
        return True
    for one in found:
        if _may_be_wanted(one):
            left = left or is_orphan(one["Labels"][OWNER])
            continue
        try:
            api.remove_container(one["Id"], force=True, v=True)
        except NotFound:
            pass  # another kernel was quicker
        except (DockerException, RequestException):
            left = True  # or is just at it, or the engine takes its time
    return left


def _may_be_wanted(found: Mapping[str, Any]) -> bool:
    """Tell whether a kernel may ask for a container of somebody's.

    That of another boot or machine may live, but needs nothing that has ended long ago.
    """
    runs = found["State"] == "running"
    old = time.time() - float(found["Created"]) >= LONGEST
    if is_orphan(found["Labels"][OWNER]):
        return _is_kept(found) and runs and not old
    return runs or not old


def _is_kept(found: Mapping[str, Any]) -> bool:
    said = found["Labels"].get(KEPT)
    named = any(name.startswith(f"/{MARKED}") for name in found["Names"] or ())
    return said == ALWAYS or (said == IF_MARKED and named)


def _telling(report: Report) -> Any:
    return lambda line: report.log("system", f"{line}\n")


def _hint(error: BaseException, setup: Setup) -> None:
    """Say what the container lacks, where that may be why the task failed."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if setup.network == "none" and names & _NO_NETWORK:
        error.add_note("containers have no network unless the component says so: network='bridge'")
    if isinstance(error, OSError) and error.errno == errno.EROFS and not setup.writable:
        error.add_note("a container may write to /tmp only: mount what it needs, or writable=True")
    if isinstance(error, PermissionError) and not setup.user:
        error.add_note("a task is not root in its container: name who it is to be with user='0:0'")
    lacks = getattr(error, "name", None)
    if isinstance(error, ModuleNotFoundError) and isinstance(lacks, str) and not setup.build:
        package = lacks.partition(".")[0]
        error.add_note(f"image {setup.image!r} lacks it: take another, or add build=[{package!r}]")
