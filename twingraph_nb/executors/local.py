"""Platform `local`: async components on the scheduler's loop, sync ones in threads."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, ClassVar

from twingraph_nb.context import current_report
from twingraph_nb.executors.base import Capabilities, Job, Outcome, Report, Stop
from twingraph_nb.executors.coroutines import Coroutines, told
from twingraph_nb.executors.threads import Threads

if TYPE_CHECKING:
    from twingraph_nb.executors.native import NativeExecutor

__all__ = ["LocalExecutor"]


class LocalExecutor:
    """Runs tasks in the kernel's own process, values by reference.

    What is written in another language runs in a process of its own, see `NativeExecutor`.
    """

    name: ClassVar[str] = "local"
    capabilities: ClassVar[Capabilities] = Capabilities()
    handed_styles: ClassVar[frozenset[str]] = frozenset({"sync", "async", "stream"})

    def __init__(self, threads: Threads, processes: int = 2) -> None:
        self._threads = threads
        self._processes = processes
        self._natives: NativeExecutor | None = None
        self._coroutines = Coroutines()
        self._base = copy_context()

    async def open(self) -> None:
        pass

    async def run(self, job: Job, report: Report) -> Outcome:
        if job.component.language != "python":
            return await self._in_their_language().run(job, report)
        style = job.component.style
        try:
            if style == "async":
                report.started()
                return Outcome(await job.call())  # type: ignore[misc]
            if style == "async_stream":
                report.started()
                return Outcome(await _collected(job, report))
            call, priority = _ThreadCall(job, report), job.component.policy.priority
            return Outcome(await self._threads.run(call, priority, begun=report.started))
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return Outcome(error=exc)  # the component raised it itself
        except BaseException as exc:
            return Outcome(error=told(job.name, exc))

    def hand_over(self, job: Job, report: Report, done: Callable[[Outcome], None]) -> Stop:
        if job.component.language != "python":
            return self._in_their_language().hand_over(job, report, done)
        if job.component.style == "async":
            return self._coroutines.submit(job, report, done)
        return self._threads.submit(
            _ThreadCall(job, report),
            lambda work: done(
                Outcome(work.value)
                if work.error is None
                else Outcome(error=told(job.name, work.error))
            ),
            begun=report.started,
            context=self._base.copy(),
            priority=job.component.policy.priority,
        )

    async def attach(self, ticket: str, job: Job, report: Report) -> Outcome:
        raise NotImplementedError("a task in the kernel ends with the kernel")

    async def close(self) -> None:
        if self._natives is not None:
            await self._natives.close()
        self._threads.close()

    def _in_their_language(self) -> NativeExecutor:
        """What runs components in other languages; most sessions have none and do not load it."""
        if self._natives is None:
            native = importlib.import_module("twingraph_nb.executors.native")
            self._natives = native.NativeExecutor(self._processes)
        return self._natives


class _ThreadCall:
    """The call of a sync component, as a thread does it."""

    __slots__ = ("job", "report")

    def __init__(self, job: Job, report: Report) -> None:
        self.job, self.report = job, report

    def __call__(self) -> object:
        current_report.set(self.report)
        if self.job.component.style == "sync":
            return self.job.call()
        chunks: list[object] = []
        for chunk in self.job.call():  # type: ignore[attr-defined]
            chunks.append(chunk)
            self.report.chunk(chunk)
        return chunks


async def _collected(job: Job, report: Report) -> list[object]:
    chunks: list[object] = []
    async for chunk in job.call():  # type: ignore[attr-defined]
        chunks.append(chunk)
        report.chunk(chunk)
    return chunks
