"""Platform `process`: tasks in worker processes of this machine, values by pickle."""

from __future__ import annotations

import asyncio
import os
from typing import Any, ClassVar

from twingraph_nb.errors import ExecutorError, TwingraphError
from twingraph_nb.executors.base import Capabilities, Job, Outcome, Report
from twingraph_nb.executors.pool import Pool
from twingraph_nb.executors.process_worker import ProcessWorker
from twingraph_nb.executors.travel import Hearing, Travel, settling, ticket_of
from twingraph_nb.executors.worker import Ticket
from twingraph_nb.settings import Settings

__all__ = ["ProcessExecutor", "pooled"]


class ProcessExecutor:
    """Runs tasks in a pool of worker processes, which outlive the tasks and may die alone."""

    name: ClassVar[str] = "process"
    capabilities: ClassVar[Capabilities] = Capabilities(isolated=True, stops=True)

    def __init__(self, settings: Settings) -> None:
        self._processes = settings.processes
        self._pool: Pool | None = None
        self._travel = Travel(self.name, plain=False, far=False)

    @property
    def pids(self) -> tuple[int, ...]:
        """The worker processes there are now."""
        workers = self._pool.workers if self._pool else ()
        return tuple(w.pid for w in workers if isinstance(w, ProcessWorker))

    async def open(self) -> None:
        self._pool = Pool(self._processes, ProcessWorker)

    async def run(self, job: Job, report: Report) -> Outcome:
        assert self._pool is not None, "open() comes first"
        return await pooled(self._pool, self._travel, job, report, folder=_folder())

    async def attach(self, ticket: str, report: Report) -> Outcome:
        raise NotImplementedError("a task in a worker process ends with the kernel")

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None
        self._travel.clear()


async def pooled(
    pool: Pool, travel: Travel, job: Job, report: Report, *, folder: str = ""
) -> Outcome:
    """Run a job in a pool, to its outcome; cancelling this frees what it holds.

    Raises:
        ExecutorError: no worker could be started.
    """
    hearing = Hearing(job, report, travel)
    answer: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
    try:
        sent, frames = await travel.packed(job)
        ticket: Ticket = ticket_of(job, sent, frames, hearing, settling(answer), folder=folder)
    except TwingraphError as exc:
        return Outcome(error=exc)
    pool.submit(ticket)
    try:
        kind, said = await answer
    except asyncio.CancelledError:
        await pool.cancel(ticket)
        raise
    if isinstance(said, ExecutorError):
        raise said
    if isinstance(said, BaseException):
        return Outcome(error=said)
    return await travel.outcome(job, kind, said, hearing)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed meanwhile
        return ""
