"""Who may start: attempts wait for places, named limits, open breakers, and not for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import cast

from twingraph_nb.component import Component
from twingraph_nb.errors import TaskError, TaskTimeout, suggestion
from twingraph_nb.executors.base import Executor, Job, Outcome
from twingraph_nb.graph.task import Task
from twingraph_nb.limit import Limit
from twingraph_nb.platforms import PLATFORMS
from twingraph_nb.scheduler.guards import Guards
from twingraph_nb.scheduler.limits import Admission, Claim
from twingraph_nb.scheduler.live import LiveRun, TaskReport

__all__ = ["Places", "lane_of"]

_Item = tuple[LiveRun, Task, int]
_HERE = {platform.name for platform in PLATFORMS.values() if platform.here}
"""Platforms whose tasks take cores and memory of this machine."""
_NOT_STARTED = "did not start within"


class Places:
    """Has attempts begin when there is a place for them, and gives their places back.

    begin: starts one that has a place. fail: ends one that will get none.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        admission: Admission,
        begin: Callable[[LiveRun, Task, int, Claim | None], None],
        fail: Callable[[LiveRun, Task, int, BaseException], None],
    ) -> None:
        self._loop, self._admission = loop, admission
        self._begin, self._fail = begin, fail
        self._guards = Guards()
        self._alarm: asyncio.TimerHandle | None = None
        self._late: list[Claim] = []
        admission.wanted = lambda claim: _wanted(*cast("_Item", claim.item))

    def ask(self, run: LiveRun, task: Task, attempt: int) -> None:
        """Begin an attempt, now or when there is a place for it."""
        admission, policy = self._admission, task.component.policy
        limits: tuple[Limit, ...] = ()
        if policy.limit or policy.breaker is not None:
            try:
                limits = self._checked(task.component)
            except Exception as exc:  # a name that means two things, an open breaker
                self._fail(run, task, attempt, exc)
                return
        claim = _claim(run, task, attempt, limits)
        if claim.cpus > admission.cpus or claim.memory > admission.memory:
            self._fail(run, task, attempt, _too_large(task, admission))
            return
        if admission.ask(claim, self._loop.time()):
            self._begin(run, task, attempt, claim)
            return
        if policy.queue_timeout is not None:
            claim.until = self._loop.time() + policy.queue_timeout
            self._loop.call_at(claim.until, self._too_late, claim)
        if claim.limits:
            self._set_alarm()

    def _checked(self, component: Component) -> tuple[Limit, ...]:
        """Its limits by name; raises if it need not even wait to hear that it cannot start."""
        limits = self._guards.limits(component)
        if component.policy.cache is None:  # else what is in the store may do
            breaker = self._guards.breaker(component)
            if breaker is not None and (refused := breaker.refused()) is not None:
                raise refused
        return limits

    def release(self, claim: Claim) -> None:
        """Give a place back, and start what it lets in."""
        admitted = self._admission.free(claim, self._loop.time())
        if admitted:
            self._start(admitted)

    def withdraw(self, run: LiveRun) -> list[tuple[Task, int]]:
        """Take a run's tasks off those that wait; gives them with their attempts, in order."""
        items = [cast("_Item", claim.item) for claim in self._admission.drop_run(run.id)]
        self._start(self._admission.tick(self._loop.time()))
        return [(task, attempt) for _, task, attempt in items]

    def limit(self, platform: str, most: int) -> None:
        """Let at most so many tasks of a platform run at once; 0 = no limit."""
        if platform:
            self._admission.lanes[platform] = most

    def change(self, limit: Limit) -> str:
        """Let this hold for a limit by name, instead of what components say of it; gives why it
        cannot, or ""."""
        said = self._guards.said(limit.name, timed=bool(limit.period))
        if not said:
            names = self._guards.names
            known = ", ".join(names) or "none so far"
            kind = "in a time" if limit.period else "at once"
            near = suggestion(limit.name, names)
            return f"no component has a limit {limit.name!r} {kind}{near}; by name: {known}"
        for one in said:
            self._admission.change(one, limit)
        self._start(self._admission.tick(self._loop.time()))
        self._set_alarm()
        return ""

    def _start(self, admitted: list[Claim]) -> None:
        """Start what was admitted; the place of what is not wanted any more goes to others."""
        admission, limited = self._admission, False
        while admitted:
            claim = admitted.pop(0)
            limited = limited or bool(claim.limits)
            run, task, attempt = cast("_Item", claim.item)
            if _wanted(run, task, attempt):
                self._begin(run, task, attempt, claim)
            else:
                admitted.extend(admission.free(claim, self._loop.time()))
        if limited:
            self._set_alarm()

    def _too_late(self, claim: Claim) -> None:
        """Its wait is over; those of the same turn of the loop are taken off together."""
        if not self._late:
            self._loop.call_soon(self._fail_late)
        self._late.append(claim)

    def _fail_late(self) -> None:
        late, self._late = self._late, []
        for claim in self._admission.drop(late):
            run, task, attempt = cast("_Item", claim.item)
            if _wanted(run, task, attempt):
                seconds = task.component.policy.queue_timeout or 0.0
                self._fail(run, task, attempt, TaskTimeout(task.name, seconds, _NOT_STARTED))
        self._start(self._admission.tick(self._loop.time()))

    def _set_alarm(self) -> None:
        """Look again when the next token of a limit comes back."""
        at = self._admission.wake()
        alarm = self._alarm
        if at is None or (alarm is not None and alarm.when() <= at):
            return
        if alarm is not None:
            alarm.cancel()
        self._alarm = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._start(self._admission.tick(self._loop.time()))
        self._set_alarm()

    # -- while it runs -----------------------------------------------------------------------

    async def guarded(
        self, component: Component, opened: Callable[[str], Awaitable[Executor]]
    ) -> Executor:
        """Open its platform; that it cannot be opened counts for its breaker.

        Raises:
            BreakerOpen: it was not tried.
        """
        breaker = self._guards.breaker(component)
        if breaker is None:
            return await opened(component.platform)
        with breaker.enter() as passed:
            executor = await opened(component.platform)
            passed.left()  # only work says that it is sound
            return executor

    async def run(
        self, executor: Executor, job: Job, report: TaskReport, claim: Claim | None
    ) -> Outcome:
        """Run a job under the eyes of its breaker and its clocks.

        Raises:
            BreakerOpen: it was not started.
            ExecutorError: of the platform.
        """
        breaker = self._guards.breaker(job.component)
        with contextlib.nullcontext() if breaker is None else breaker.enter() as passed:
            outcome = await self._timed(executor, job, report, claim)
            if passed is not None:
                error = outcome.error
                if isinstance(error, TaskTimeout) and not report.seconds:
                    passed.left()  # it never started, so it says nothing
                else:
                    passed.ended(error)
            return outcome

    async def _timed(
        self, executor: Executor, job: Job, report: TaskReport, claim: Claim | None
    ) -> Outcome:
        """Run a job: its wait for a place has an end, and its time counts from when it has one."""
        policy, now = job.component.policy, self._loop.time
        seconds, patience = policy.timeout, policy.queue_timeout
        if seconds is None and patience is None:
            return await executor.run(job, report)
        until = None if patience is None else now() + patience
        if claim is not None and claim.until:
            until = claim.until
        begun = False
        try:
            async with asyncio.timeout_at(until) as limit:

                def begin() -> None:
                    nonlocal begun
                    begun = True
                    if not limit.expired():
                        limit.reschedule(None if seconds is None else now() + seconds)

                report.on_start = begin
                return await executor.run(job, report)
        except TimeoutError:
            if begun:
                return Outcome(error=TaskTimeout(job.name, seconds or 0.0))
            return Outcome(error=TaskTimeout(job.name, patience or 0.0, _NOT_STARTED))


def lane_of(component: Component) -> str:
    """Give the pool whose places a component's tasks take; "" when nothing limits them."""
    lane = component.memo.get("lane")
    if lane is None:
        lane = component.platform
        if lane == "local" and not component.policy.limited:
            lane = ""  # its threads keep to priorities themselves
        component.memo["lane"] = lane
    return str(lane)


def _wanted(run: LiveRun, task: Task, attempt: int) -> bool:
    """Tell whether an attempt that waited may still start."""
    if run.finished is not None or run.state.state_of(task.number) != "ready":
        return False
    return run.state.attempt_of(task.number) == attempt - 1


def _claim(run: LiveRun, task: Task, attempt: int, limits: tuple[Limit, ...]) -> Claim:
    component = task.component
    policy = component.policy
    here = component.platform in _HERE
    return Claim(
        (run, task, attempt),
        lane_of(component),
        run.id,
        run.options.max_parallel,
        component.digest,
        policy.max_parallel,
        policy.cpus if here else 0.0,
        policy.memory if here else 0,
        policy.priority,
        limits,
    )


def _too_large(task: Task, admission: Admission) -> TaskError:
    policy = task.component.policy
    if policy.cpus > admission.cpus:
        return TaskError(f"{task.name} asks for {policy.cpus:g} cpus; there are {admission.cpus:g}")
    asked, there = policy.memory / 2**20, admission.memory / 2**20
    return TaskError(f"{task.name} asks for {asked:.0f} MiB of memory; there are {there:.0f} MiB")
