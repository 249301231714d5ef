"""Async components on the scheduler's loop: calls that wait for nothing share an asyncio task."""

from __future__ import annotations

import asyncio
import time
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import cast

from twingraph_nb.component import Component
from twingraph_nb.context import current_report
from twingraph_nb.errors import TaskError
from twingraph_nb.executors.base import Job, Outcome, Report

__all__ = ["Call", "Coroutines", "told"]

_TURN = 0.005
"""Seconds of calls before other work of the loop gets a turn: about a hundred and fifty no-ops."""
_ENDED = object()
_WAITS = "waits"
"""Noted of a component that has waited: each of its calls gets an asyncio task of its own."""


class Call:
    """One call; stands for it when it is to be stopped."""

    __slots__ = ("_coroutine", "_done", "_report", "job", "over", "task")

    def __init__(self, job: Job, report: Report, done: Callable[[Outcome], None]) -> None:
        self.job, self._report, self._done = job, report, done
        self.over = False  # it was asked to stop
        self.task: asyncio.Task[None] | None = None  # if it has one of its own

    def cancel(self, why: str = "") -> asyncio.Task[None] | None:
        """Stop it; gives what is done when it has ended, None if it has not begun.

        If it ends in its own way all the same, that is told as if nobody had asked.
        """
        self.over = True
        if self.task is not None:
            self.task.cancel(why)
        return self.task

    async def whole(self) -> None:
        """Make the call in this asyncio task, which is its own."""
        current_report.set(self._report)
        self._report.started()
        try:
            outcome = Outcome(await self.job.call())  # type: ignore[misc]
        except BaseException as exc:
            outcome = self._failed(exc)
        self._done(outcome)

    def begin(self, context: Context) -> object:
        """Make the call until it waits; gives what for, or `_ENDED`."""
        said = context.run(self._first)
        if type(said) is not Outcome:
            return said
        self._done(said)
        return _ENDED

    async def rest(self, context: Context, waits_for: object) -> None:
        """Go on with what has begun, in the same asyncio task, which is its own from now on."""
        self.task = cast("asyncio.Task[None]", asyncio.current_task())
        self.task.set_name(self.job.name)
        try:
            outcome = Outcome(await self._steps(context, waits_for))
        except BaseException as exc:
            outcome = self._failed(exc)
        self._done(outcome)

    def _first(self) -> object:
        current_report.set(self._report)
        self._report.started()
        try:
            self._coroutine: Coroutine[object, None, object] = self.job.call()  # type: ignore[assignment]
            return self._coroutine.send(None)
        except StopIteration as stop:
            return Outcome(stop.value)
        except BaseException as exc:
            return self._failed(exc)

    @types.coroutine
    def _steps(self, context: Context, waits_for: object) -> Generator[object, None, object]:
        call = self._coroutine
        try:
            while True:
                try:
                    yield waits_for
                except BaseException as exc:
                    waits_for = context.run(call.throw, exc)
                else:
                    waits_for = context.run(call.send, None)
        except StopIteration as stop:
            return stop.value

    def _failed(self, exc: BaseException) -> Outcome:
        if isinstance(exc, asyncio.CancelledError):
            if self.over:
                raise exc
            return Outcome(error=exc)  # the component raised it itself
        return Outcome(error=told(self.job.name, exc))


class Coroutines:
    """Makes calls one after the other in one asyncio task, each in a context of its own.

    A call that waits keeps that asyncio task, and another one goes on with the line: so a small
    call needs no turn of the loop, which costs more than it does. Components that have waited
    once get an asyncio task for each call.
    """

    def __init__(self) -> None:
        self._line: deque[Call] = deque()
        self._served = False
        self._base = copy_context()

    def submit(self, job: Job, report: Report, done: Callable[[Outcome], None]) -> Call:
        """Have a call made, soon; see `HandsOver`. On the loop's thread."""
        call = Call(job, report, done)
        if _WAITS in job.component.memo:
            self._spawn(call)
        else:
            self._line.append(call)
            if not self._served:
                self._serve()
        return call

    def _spawn(self, call: Call) -> None:
        call.task = asyncio.Task(call.whole(), name=call.job.name, context=self._base.copy())

    def _serve(self) -> None:
        self._served = True
        asyncio.Task(self._served_line(), context=self._base)

    async def _served_line(self) -> None:
        line, until = self._line, time.monotonic() + _TURN
        me = cast("asyncio.Task[None]", asyncio.current_task())
        waits_for = _ENDED
        try:
            while line and waits_for is _ENDED:
                call = line.popleft()
                if not call.over:
                    context = self._base.copy()
                    waits_for = call.begin(context)
                    if me.cancelling() or time.monotonic() >= until:
                        break
        finally:
            self._served = False
            if waits_for is not _ENDED:
                self._part(call.job.component)
            if self._line:
                self._serve()
        if waits_for is not _ENDED:
            await call.rest(context, waits_for)

    def _part(self, component: Component) -> None:
        """Take its calls off the line, for they will wait too."""
        component.memo[_WAITS] = True
        line, self._line = self._line, deque()
        for call in line:
            if call.job.component is not component:
                self._line.append(call)
            elif not call.over:
                self._spawn(call)


def told(name: str, exc: BaseException) -> BaseException:
    """Give the error of a task: what ends programs must not end the thread or the loop."""
    if isinstance(exc, Exception):
        return exc
    if isinstance(exc, SystemExit):
        said = f"called sys.exit({exc.code!r})"
        return TaskError(f"{name} {said}; a component ends by `return` or by raising an error")
    return TaskError(f"{name} raised {type(exc).__name__}, which ends a program, not a task")
