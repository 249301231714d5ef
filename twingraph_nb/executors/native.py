"""Components in other languages on platform `local`: resident workers, started at first use."""

from __future__ import annotations

import asyncio
import functools
import os
from typing import ClassVar

from twingraph_nb.component import Component
from twingraph_nb.executors.base import Capabilities, Job, Outcome, Report
from twingraph_nb.executors.crew import Call, Crew, Done, Place, carried_out
from twingraph_nb.executors.native_worker import NativeWorker
from twingraph_nb.languages import Built, cache_folder, language_of
from twingraph_nb.languages.foreign import spoken_by

__all__ = ["NativeExecutor"]

_IDLE = 60.0  # seconds after which a worker without work ends


class NativeExecutor:
    """Runs components in other languages in workers of their own, several of a component."""

    name: ClassVar[str] = "native"
    capabilities: ClassVar[Capabilities] = Capabilities(isolated=True, stops=True)
    handed_styles: ClassVar[frozenset[str]] = frozenset({"sync", "stream"})

    def __init__(self, processes: int = 2, idle: float = _IDLE) -> None:
        self._processes, self._idle = processes, idle
        self._crews: dict[tuple[str, str], Crew[NativeWorker]] = {}

    @property
    def pids(self) -> tuple[int, ...]:
        """The worker processes there are now."""
        return tuple(w.pid for crew in self._crews.values() for w in crew.workers)

    async def open(self) -> None:
        pass

    async def run(self, job: Job, report: Report) -> Outcome:
        return await carried_out(self._crew(job.component), job, report)

    def hand_over(self, job: Job, report: Report, done: Done) -> Call[NativeWorker]:
        """Run the job as soon as a worker is free; see `HandsOver`."""
        crew = self._crew(job.component)
        call = Call(crew, job, report, done)
        crew.submit(call)
        return call

    async def attach(self, ticket: str, job: Job, report: Report) -> Outcome:
        raise NotImplementedError("a task in a worker process ends with the kernel")

    async def close(self) -> None:
        workers = [worker for crew in self._crews.values() for worker in crew.workers]
        for crew in self._crews.values():
            crew.close()
        await asyncio.gather(*(worker.gone for worker in workers))

    def _crew(self, component: Component) -> Crew[NativeWorker]:
        key = (component.digest, component.source.filename)  # errors show the cell's own lines
        crew = self._crews.get(key)
        if crew is None:
            self._crews = {k: one for k, one in self._crews.items() if not one.resting}
            spoken = spoken_by(component)
            crew = self._crews[key] = Crew(
                component,
                self._processes,
                self._idle,
                build=functools.partial(_built, component),
                start=functools.partial(NativeWorker, spoken=spoken),
                here=_here,
                kind=f"{spoken} worker",
            )
        return crew


async def _built(component: Component) -> Built:
    build = language_of(component.language).build
    return await asyncio.to_thread(build, component, cache=cache_folder())


def _here() -> Place:
    # A copy of os.environ decodes each variable, which would be a fifth of a small call's time.
    environ = dict(getattr(os.environ, "_data", None) or os.environb)
    try:
        return os.getcwd(), environ
    except OSError:  # the folder was removed meanwhile
        return "", environ
