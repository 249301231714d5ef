"""Platform `process`: tasks in worker processes of this machine.

Workers of the kernel's own Python exchange values by pickle; for other interpreters and
environments see `places.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ClassVar

from twingraph_nb.errors import ExecutorError, TwingraphError
from twingraph_nb.executors.base import Capabilities, Job, Outcome, Report, Stop
from twingraph_nb.executors.places import Place, Places, blamed, wanted_of
from twingraph_nb.executors.pool import Pool
from twingraph_nb.executors.pooled import Handed, Running, pooled
from twingraph_nb.executors.process_worker import ProcessWorker
from twingraph_nb.executors.travel import Hearing, Travel
from twingraph_nb.settings import Settings

__all__ = ["ProcessExecutor"]


class ProcessExecutor:
    """Runs tasks in a pool of worker processes, which outlive the tasks and may die alone."""

    name: ClassVar[str] = "process"
    capabilities: ClassVar[Capabilities] = Capabilities(isolated=True, stops=True)
    handed_styles: ClassVar[frozenset[str]] = frozenset({"sync", "async", "stream", "async_stream"})

    def __init__(self, settings: Settings) -> None:
        self._processes = settings.processes
        self._own: Place | None = None
        self._places = Places(settings)

    @property
    def pids(self) -> tuple[int, ...]:
        """The worker processes there are now."""
        places = (*((self._own,) if self._own else ()), *self._places.made)
        workers = (worker for place in places for worker in place.pool.workers)
        return tuple(w.pid for w in workers if isinstance(w, ProcessWorker))

    async def open(self) -> None:
        pool = Pool(self._processes, ProcessWorker)
        self._own = Place(pool, Travel(self.name, plain=False, far=False))

    async def run(self, job: Job, report: Report) -> Outcome:
        assert self._own is not None, "open() comes first"
        wanted, place = wanted_of(job.component), self._own
        if wanted is not None:
            try:
                place = await self._places.get(wanted, job, report)
            except ExecutorError:
                raise
            except TwingraphError as exc:
                return Outcome(error=exc)
        outcome = await pooled(place.pool, place.travel, job, report, folder=_folder())
        if outcome.error is not None and place.python:
            return Outcome(error=blamed(job, outcome.error, place))
        return outcome

    def hand_over(self, job: Job, report: Report, done: Callable[[Outcome], None]) -> Stop:
        assert self._own is not None, "open() comes first"
        if wanted_of(job.component) is None:
            place = self._own
            hearing = Hearing(job, report, place.travel)
            handed = Handed(place.pool, place.travel, job, hearing, done)
            if handed.begin(_folder()):
                return handed
        return Running(self.run(job, report), done)

    async def attach(self, ticket: str, job: Job, report: Report) -> Outcome:
        raise NotImplementedError("a task in a worker process ends with the kernel")

    async def close(self) -> None:
        await self._places.close()
        if self._own is not None:
            await self._own.pool.close()
            self._own.travel.clear()
            self._own = None


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed meanwhile
        return ""
