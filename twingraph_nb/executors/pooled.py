"""A job in a pool, to its outcome: with a coroutine that waits for it, or without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from twingraph_nb.errors import ExecutorError, TwingraphError
from twingraph_nb.executors.base import Job, Outcome, Report
from twingraph_nb.executors.pool import Pool
from twingraph_nb.executors.travel import Hearing, Travel, environ_of, settling, ticket_of
from twingraph_nb.executors.worker import Ticket

__all__ = ["Handed", "Running", "pooled"]


async def pooled(
    pool: Pool,
    travel: Travel,
    job: Job,
    report: Report,
    *,
    folder: str = "",
    hearing: Hearing | None = None,
) -> Outcome:
    """Run a job in a pool, to its outcome; cancelling this frees what it holds.

    Args:
        folder: see `travel.ticket_of`. hearing: of just this job, in place of a plain one.
    Raises:
        ExecutorError: no worker could be started.
    """
    hearing = hearing or Hearing(job, report, travel)
    answer: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
    try:
        sent, frames = await travel.packed(job)
        environ_of(job)  # what is missing is said before anything is stored
        held = await travel.held(job, frames)
    except ExecutorError:
        raise
    except TwingraphError as exc:
        return Outcome(error=exc)
    ticket: Ticket = ticket_of(
        job, sent, frames, hearing, settling(answer), folder=folder, parts=held.parts
    )
    pool.submit(ticket)
    try:
        kind, said = await answer
    except asyncio.CancelledError:
        await pool.cancel(ticket)
        raise
    finally:
        held.release()
    if isinstance(said, ExecutorError):
        raise said
    if isinstance(said, BaseException):
        return Outcome(error=said)
    return await travel.outcome(job, kind, said, hearing)


class Handed:
    """A small job in a pool that no coroutine waits for; stands for it when it is to be stopped.

    `done` is called once with its outcome, later, unless it was cancelled before.
    """

    __slots__ = (
        "_done",
        "_gone",
        "_hearing",
        "_job",
        "_over",
        "_pool",
        "_reading",
        "_ticket",
        "_travel",
    )

    def __init__(
        self,
        pool: Pool,
        travel: Travel,
        job: Job,
        hearing: Hearing,
        done: Callable[[Outcome], None],
    ) -> None:
        self._pool, self._travel = pool, travel
        self._job, self._hearing, self._done = job, hearing, done
        self._over = False
        self._ticket: Ticket | None = None
        self._reading: asyncio.Task[None] | None = None
        self._gone: asyncio.Future[None] | None = None

    def begin(self, folder: str = "") -> bool:
        """Submit the job; False if it is too large to be packed on the loop's thread."""
        try:
            packed = self._travel.packed_now(self._job)
            if packed is None or self._travel.is_large(packed[1]):
                return False
            self._ticket = ticket_of(self._job, *packed, self._hearing, self._settle, folder=folder)
        except TwingraphError as exc:
            asyncio.get_running_loop().call_soon(self._end, Outcome(error=exc))
        else:
            self._pool.submit(self._ticket)
        return True

    def cancel(self, why: str = "") -> asyncio.Future[None] | None:
        """Stop it; gives what is done when it really has ended, None if that is at once."""
        self._over = True
        if self._reading is not None or self._ticket is None:
            return None
        if self._gone is None:
            self._gone = asyncio.ensure_future(self._pool.cancel(self._ticket))
        return self._gone

    def _settle(self, kind: int, said: Any) -> None:
        if isinstance(said, BaseException):
            self._end(Outcome(error=said))
            return
        outcome = self._travel.outcome_now(self._job, kind, said, self._hearing)
        if outcome is not None:
            self._end(outcome)
        else:
            self._reading = asyncio.ensure_future(self._read(kind, said))

    async def _read(self, kind: int, said: Any) -> None:
        self._end(await self._travel.outcome(self._job, kind, said, self._hearing))

    def _end(self, outcome: Outcome) -> None:
        if not self._over:
            self._over = True
            self._done(outcome)


class Running:
    """A job that a coroutine waits for after all; stands for it when it is to be stopped."""

    def __init__(
        self, work: Coroutine[object, object, Outcome], done: Callable[[Outcome], None]
    ) -> None:
        self._done = done
        self._task = asyncio.ensure_future(work)
        self._task.add_done_callback(self._ended)

    def cancel(self, why: str = "") -> asyncio.Future[Outcome]:
        self._done = _nobody
        self._task.cancel()
        return self._task

    def _ended(self, task: asyncio.Task[Outcome]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        self._done(task.result() if error is None else Outcome(error=error))


def _nobody(outcome: Outcome) -> None:
    """Hears of a job that was cancelled."""
