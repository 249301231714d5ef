"""Components in other languages on a platform with images: their crews, and how each is built.

A compiled language is compiled where it runs if the image has its compiler, else here, to a file
that needs nothing of the image.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, Protocol

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError, ToolchainMissing, TwingraphError
from twingraph_nb.executors.base import Job, NamesLate, Outcome, Report
from twingraph_nb.executors.crew import Call, Crew, Place, carried_out
from twingraph_nb.executors.native_far import FarWorker, Vessel
from twingraph_nb.executors.native_program import program_of, variables_of
from twingraph_nb.executors.native_recalled import DOOR
from twingraph_nb.executors.recalled import Engine, ticket_of
from twingraph_nb.languages import Built, Speaker, cache_folder, language_of
from twingraph_nb.languages.foreign import spoken_by
from twingraph_nb.languages.registry import BUILT_LANGUAGES

__all__ = ["Home", "Natives"]


class Home(Protocol):
    """Where workers of a component are to be, as its options say.

    kind: what one is, in sentences. workers: how many there may be. idle: seconds after which one
    without a call ends. single: one ends after one call. brings: the component's files go to a
    worker's stdin. key: equal for homes that may share workers. stock: equal for those of which
    `has` says the same. linger: seconds that an answer waits when its kernel has died, 0 = its
    worker ends with that. facts: for tickets. which: asks which engine or cluster it is.
    """

    platform: ClassVar[str]
    kind: ClassVar[str]
    brings: ClassVar[bool]
    image: str
    workers: int
    idle: float
    single: bool
    key: str
    stock: str
    linger: float
    facts: Mapping[str, object]
    which: Callable[[], Awaitable[Engine]]

    def vessel(self, built: Built) -> Vessel:
        """Give one that is not started yet."""
        ...

    async def has(self, program: str) -> bool:
        """Find out whether the image has a program, by starting it.

        Raises:
            ExecutorError: nothing of that image can be started.
        """
        ...


class Natives:
    """The workers of other languages on one engine or cluster."""

    def __init__(self) -> None:
        self._crews: dict[object, Crew[FarWorker]] = {}
        self._compilers: dict[tuple[str, str], asyncio.Task[bool]] = {}
        self._keeping: set[asyncio.Task[None]] = set()

    async def run(self, job: Job, report: Report, home: Home) -> Outcome:
        """Run the job to its outcome; cancelling this removes its worker.

        Raises:
            ExecutorError: no worker could be started.
        """
        try:
            environ = variables_of(job, home.platform)
        except TwingraphError as exc:
            return Outcome(error=exc)
        return await carried_out(self._crew(job.component, home, environ), job, report)

    async def close(self) -> None:
        """Remove all workers."""
        workers = [worker for crew in self._crews.values() for worker in crew.workers]
        for crew in self._crews.values():
            crew.close()
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        await asyncio.gather(*(worker.gone for worker in workers))
        self._crews.clear()
        for asking in self._compilers.values():
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):  # nobody asks any more
                await asking
        self._compilers.clear()

    # -- inside --------------------------------------------------------------------------------

    def _crew(
        self, component: Component, home: Home, environ: Mapping[str, str]
    ) -> Crew[FarWorker]:
        # The file's name too: errors show the cell's own lines.
        where = (component.digest, component.source.filename)
        key = (*where, home.key, tuple(sorted(environ.items())))
        crew = self._crews.get(key)
        if crew is None:
            self._crews = {k: one for k, one in self._crews.items() if not one.resting}
            keeps = home.linger > 0 and component.language in BUILT_LANGUAGES
            crew = self._crews[key] = Crew(
                component,
                home.workers,
                home.idle,
                build=lambda: self._built(component, home),
                start=_starting(component, home, environ, DOOR if keeps else ""),
                here=_everywhere,
                kind=home.kind,
                single=home.single,
                lasts=functools.partial(self._keep, home) if keeps else None,
            )
        return crew

    def _keep(self, home: Home, call: Call[FarWorker]) -> None:
        task = asyncio.ensure_future(_kept(home, call))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _built(self, component: Component, home: Home) -> Built:
        """What runs in the image."""
        build, cache = language_of(component.language).build, cache_folder()
        inside = await asyncio.to_thread(build, component, cache=cache, where="inside")
        if not inside.prepare:
            return inside
        compiler = inside.prepare[0][0]
        if await self._has(home, compiler):
            return inside
        try:
            return await asyncio.to_thread(build, component, cache=cache, where="static")
        except ToolchainMissing as exc:
            raise ExecutorError(
                f"{component.name} is {spoken_by(component)}, and image {home.image!r} has no "
                f"{compiler!r} to compile it, nor has this machine ({', '.join(exc.tried)}): "
                "take an image with a compiler (image=...), or install one here"
            ) from exc

    async def _has(self, home: Home, program: str) -> bool:
        key = (program, home.stock)
        asking = self._compilers.get(key)
        if asking is None or (asking.done() and (asking.cancelled() or asking.exception())):
            asking = self._compilers[key] = asyncio.ensure_future(home.has(program))
        return await asyncio.shield(asking)


async def _kept(home: Home, call: Call[FarWorker]) -> None:
    """Have the worker of a call that lasts outlive this kernel, until the call is over.

    What no ticket tells of, or is not marked, ends with us or is ended by the next session.
    """
    report, worker = call.report, call.worker
    engine = await home.which()
    if worker is None or not isinstance(report, NamesLate) or not await report.named():
        return
    vessel = worker.vessel
    facts = {**home.facts, **vessel.whereabouts}
    if not report.ticket(ticket_of(call.job, engine=engine, door=DOOR, tag=call.tag, **facts)):
        return
    try:
        await vessel.mark(True)
    except ExecutorError as exc:
        if call.worker is worker:
            report.log("system", f"if this kernel dies, the task runs again: {exc}\n")
        return
    if call.worker is worker:
        worker.keep(call.tag, home.linger)
    await call.over()
    with contextlib.suppress(ExecutorError):  # it is gone, or is removed all the same
        await vessel.mark(False)


def _starting(
    component: Component, home: Home, environ: Mapping[str, str], told: str
) -> Callable[[Built, Speaker, Place], FarWorker]:
    """How a worker is started once the component is built."""

    def start(built: Built, speaker: Speaker, place: Place) -> FarWorker:
        program = program_of(component, built, environ, brings=home.brings)
        return FarWorker(home.vessel(built), speaker, place, program, told=told)

    return start


def _everywhere() -> Place:
    return "", {}
