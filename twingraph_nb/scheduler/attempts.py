"""Attempts of tasks: from the decision to launch one to its outcome."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, cast

from twingraph_nb.component import Component
from twingraph_nb.context import current_report
from twingraph_nb.errors import ResultError, TaskCancelled, TaskError, TaskTimeout
from twingraph_nb.events import TaskCancelled as TaskCancelledEvent
from twingraph_nb.events import TaskDone, TaskErred, TaskReused, TaskStarted
from twingraph_nb.executors.base import (
    Executor,
    HandsOver,
    Job,
    Outcome,
    RemoteValue,
    TakesRemote,
)
from twingraph_nb.graph.outputs import texts_of
from twingraph_nb.graph.refs import resolve
from twingraph_nb.graph.summary import summary
from twingraph_nb.graph.task import Task
from twingraph_nb.platforms import PLATFORMS
from twingraph_nb.scheduler.failures import error_info, retry_wanted, user_part
from twingraph_nb.scheduler.handed import Handed
from twingraph_nb.scheduler.limits import Admission, Claim
from twingraph_nb.scheduler.live import LiveRun, TaskReport, fetched
from twingraph_nb.scheduler.reuse import Found, Reuse

if TYPE_CHECKING:
    from twingraph_nb.scheduler.drive import Driver

__all__ = ["Attempts"]

_HERE = {platform.name for platform in PLATFORMS.values() if platform.here}
"""Platforms whose tasks take cores and memory of this machine."""


class Attempts:
    """Launches what the state says, where there is a place, and tells how it ended."""

    def __init__(
        self,
        driver: Driver,
        executor: Callable[[str], Executor],
        admission: Admission,
        reuse: Reuse,
    ) -> None:
        self._driver, self._executor = driver, executor
        self._admission, self._reuse = admission, reuse
        self._opened: dict[str, Executor] = {}
        self._handing: dict[str, HandsOver] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._base = copy_context()
        self.group: Callable[[LiveRun, Task], Coroutine[object, object, None]]
        """Gives the work of a map's or nested pipeline's task; set by the driver."""

    def launch(self, run: LiveRun, number: int, attempt: int) -> None:
        """Start an attempt, now or when there is a place for it."""
        task = run.open.get(number)
        if task is None:
            return
        for other, _, _ in task.needs:
            if not other.done:  # of another run: the state of this run does not know it
                other.when_done(
                    lambda: self._driver.call(lambda: self._relaunch(run, number, attempt))
                )
                return
        if task.form != "call":
            self._begin_group(run, task, attempt)
        elif task.component.quick and not run.options.max_parallel:
            self._begin(run, task, attempt, None)
        elif run.options.max_parallel or _lane(task.component):
            claim = _claim(run, task, attempt)
            if claim.cpus > self._admission.cpus or claim.memory > self._admission.memory:
                self.fail(run, task, attempt, _too_large(task, self._admission))
            elif self._admission.ask(claim):
                self._begin(run, task, attempt, claim)
        else:
            self._begin(run, task, attempt, None)

    def _relaunch(self, run: LiveRun, number: int, attempt: int) -> None:
        if run.finished is None and run.state.state_of(number) == "ready":
            self.launch(run, number, attempt)

    def _begin_group(self, run: LiveRun, task: Task, attempt: int) -> None:
        driver = self._driver
        driver.happen(run, TaskStarted(driver.now(), task.number, attempt))
        self._spawn(run, task, self.group(run, task))

    def _begin(self, run: LiveRun, task: Task, attempt: int, claim: Claim | None) -> None:
        component = task.component
        policy = component.policy
        if policy.cache is None and policy.timeout is None:
            handing = self._handing.get(component.platform)
            if (
                handing is not None
                and component.style in handing.handed_styles
                and not (task.needs and any(map(_is_remote, task.needs)))
            ):
                self._hand_over(handing, run, task, attempt, claim)
                return
        self._spawn(run, task, self._go(run, task, attempt, claim))

    def _hand_over(
        self,
        executor: HandsOver,
        run: LiveRun,
        task: Task,
        attempt: int,
        claim: Claim | None,
    ) -> None:
        """Run an attempt without a coroutine of its own."""
        report = TaskReport(run, task, attempt)
        handed = Handed(self, run, task, report, claim)
        try:
            arguments = _arguments(task) if task.needs else task.bound or {}
            self._reuse.name(task, arguments)
        except Exception as exc:  # of a task of another run, of a digest
            handed.done(Outcome(error=exc))
            return
        job = Job(task.hash, task.name, task.component, arguments, attempt)
        handed.stop = executor.hand_over(job, report, handed.done)
        run.running[task.number] = handed

    def _spawn(self, run: LiveRun, task: Task, work: Coroutine[object, object, None]) -> None:
        run.running[task.number] = asyncio.Task(
            work, loop=self._driver.loop, name=task.name, context=self._base.copy()
        )

    def release(self, claim: Claim) -> None:
        """Give a place back, and start what it lets in."""
        freed = [claim]
        while freed:
            for admitted in self._admission.free(freed.pop()):
                run, task, attempt = cast("tuple[LiveRun, Task, int]", admitted.item)
                if run.finished is None and run.state.state_of(task.number) == "ready":
                    self._begin(run, task, attempt, admitted)
                else:
                    freed.append(admitted)

    async def _go(self, run: LiveRun, task: Task, attempt: int, claim: Claim | None) -> None:
        """Run one attempt of one task to its end."""
        policy = task.component.policy
        report = TaskReport(run, task, attempt)
        current_report.set(report)
        try:
            platform = task.component.platform
            executor = self._opened.get(platform) or await self._open(platform)
            if task.needs:
                await _bring(task, executor)
            arguments = _arguments(task) if task.needs else task.bound or {}
            if policy.cache is None:
                self._reuse.name(task, arguments)
            elif (found := await self._reuse.find(task, arguments)) is not None:
                self._reused(run, task, found)
                return
            job = Job(task.hash, task.name, task.component, arguments, attempt)
            if policy.timeout is None:
                outcome = await executor.run(job, report)
            else:
                outcome = await _timed(executor, job, report, policy.timeout)
            error = outcome.error
            if error is None:
                if self._reuse.wants(task, report.seconds, outcome.value):
                    await self._succeed(run, task, outcome.value, report)
                else:
                    self._finish(run, task, outcome.value, report)
                return
        except asyncio.CancelledError as exc:
            self._driver.write_log(report)
            self.cancelled(run, task, str(exc.args[0]) if exc.args else "")
            return
        except Exception as exc:  # of the platform, of a task of another run, of a digest
            error = exc
        finally:
            if claim is not None:
                self.release(claim)
        self._driver.write_log(report)
        self.fail(run, task, attempt, error)

    async def _succeed(self, run: LiveRun, task: Task, value: object, report: TaskReport) -> None:
        """Keep the outputs, then finish."""
        if isinstance(value, RemoteValue):
            value = await value.fetch()
        kept, why_not = await self._reuse.keep(task, value)
        if why_not:
            report.log("system", f"not kept: {why_not}\n")
        self._finish(run, task, value, report, kept)

    def _finish(
        self,
        run: LiveRun,
        task: Task,
        value: object,
        report: TaskReport,
        kept: Mapping[str, str] | None = None,
    ) -> None:
        texts = texts_of(task.component, value)
        if report.pending:
            self._driver.write_log(report)
        self._done(run, task, value, texts, kept)

    def handed_back(self, run: LiveRun, task: Task, outcome: Outcome, report: TaskReport) -> None:
        """An attempt that was handed over has ended."""
        error = outcome.error
        if error is None:
            value = outcome.value
            if self._reuse.wants(task, report.seconds, value):
                self._spawn(run, task, self._keep(run, task, value, report))
                return
            try:
                self._finish(run, task, value, report)
                return
            except ResultError as exc:
                error = exc
        self._driver.write_log(report)
        self.fail(run, task, report.attempt, error)

    async def _keep(self, run: LiveRun, task: Task, value: object, report: TaskReport) -> None:
        try:
            await self._succeed(run, task, value, report)
        except asyncio.CancelledError as exc:
            self.cancelled(run, task, str(exc.args[0]) if exc.args else "")
        except Exception as exc:  # of the output's shape
            self._driver.write_log(report)
            self.fail(run, task, report.attempt, exc)

    async def _open(self, platform: str) -> Executor:
        async with self._opening.setdefault(platform, asyncio.Lock()):
            executor = self._opened.get(platform)
            if executor is None:
                executor = self._executor(platform)
                await executor.open()
                self._opened[platform] = executor
                if isinstance(executor, HandsOver):
                    self._handing[platform] = executor
            return executor

    # -- outcomes ----------------------------------------------------------------------------

    def _done(
        self,
        run: LiveRun,
        task: Task,
        value: object,
        texts: Mapping[str, str] | None,
        kept: Mapping[str, str] | None = None,
    ) -> None:
        number = task.number
        run.running.pop(number, None)
        if run.open.pop(number, None) is None:
            return
        task.settle(value)
        digest = task.digest.hex() if task.digest is not None and kept else None
        driver = self._driver
        driver.happen(run, TaskDone(driver.now(), number, texts, digest, kept))
        task.wake()

    def done_group(self, run: LiveRun, task: Task, value: object) -> None:
        """A map or nested pipeline has its value."""
        self._done(run, task, value, {"value": summary(value)})

    def _reused(self, run: LiveRun, task: Task, found: Found) -> None:
        number = task.number
        run.running.pop(number, None)
        if run.open.pop(number, None) is None:
            return
        task.settle(found.value)
        now, kept = self._driver.now(), found.kept
        self._driver.happen(
            run,
            TaskReused(
                now,
                number,
                task.digest.hex() if task.digest is not None else "",
                texts_of(task.component, found.value),
                kept.run,
                kept.hash,
                now - kept.at,
            ),
        )
        task.wake()

    def cancelled(self, run: LiveRun, task: Task, why: str) -> None:
        """The attempt was cancelled and no longer runs."""
        run.running.pop(task.number, None)
        if run.open.pop(task.number, None) is not None:
            run.fallen[task.number] = task.name
            task.settle(None, TaskCancelled(task.name, why))
            driver = self._driver
            driver.happen(run, TaskCancelledEvent(driver.now(), task.number, why))
            task.wake()

    def fail(self, run: LiveRun, task: Task, attempt: int, error: BaseException) -> None:
        """The attempt failed; the state says whether there is another."""
        number, component, driver = task.number, task.component, self._driver
        run.running.pop(number, None)
        if number not in run.open:
            return
        error = user_part(error)
        last = (
            task.form != "call"
            or attempt > component.policy.retries
            or not retry_wanted(error, component.policy)
            or run.state.stopping
        )
        source = component.source if component is not None else None
        info = error_info(error, task.name, source, note=last)
        observed = task.waiters > 0 or _is_item(run, task)
        if last:
            del run.open[number]
            run.fallen[number] = task.name
            task.settle(None, error)
            if not observed and run.error is None:
                run.error = error
        driver.happen(
            run,
            TaskErred(driver.now(), number, attempt, info, not last, observed, random.random()),
        )
        if last:
            task.wake()


async def _timed(executor: Executor, job: Job, report: TaskReport, seconds: float) -> Outcome:
    """Run a job whose time counts from when it has a place."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            report.on_start = lambda: limit.reschedule(loop.time() + seconds)
            return await executor.run(job, report)
    except TimeoutError:
        return Outcome(error=TaskTimeout(job.name, seconds))


def _is_item(run: LiveRun, task: Task) -> bool:
    """Tell whether it is an item of a map, which has its own say in errors."""
    parent = None if task.group is None else run.open.get(task.group)
    return parent is not None and parent.form == "map"


def _lane(component: Component) -> str:
    """The pool whose places a component's tasks take; "" when nothing limits them."""
    lane = component.memo.get("lane")
    if lane is None:
        policy = component.policy
        lane = component.platform
        if lane == "local" and not (policy.cpus or policy.memory or policy.max_parallel):
            lane = ""  # its threads keep to priorities themselves
        component.memo["lane"] = lane
    return str(lane)


def _claim(run: LiveRun, task: Task, attempt: int) -> Claim:
    component = task.component
    policy = component.policy
    here = component.platform in _HERE
    return Claim(
        (run, task, attempt),
        _lane(component),
        run.id,
        run.options.max_parallel,
        component.digest,
        policy.max_parallel,
        policy.cpus if here else 0.0,
        policy.memory if here else 0,
        policy.priority,
    )


def _is_remote(need: tuple[Task, str, str]) -> bool:
    return isinstance(need[0].peek(), RemoteValue)


async def _bring(task: Task, executor: Executor) -> None:
    """Bring the values here that the task needs, but for those its platform takes as they are."""
    for other, port, name in task.needs:
        value = other.peek()
        if not name or not isinstance(value, RemoteValue):
            continue
        whole = not port or len(other.ports) == 1
        direct = whole and (task.bound or {}).get(name) is other
        if direct and isinstance(executor, TakesRemote) and executor.takes(value, task.component):
            continue
        await fetched(other)


def _arguments(task: Task) -> dict[str, object]:
    """The arguments with the values of what they need put in."""
    arguments = dict(task.bound or {})
    resolved: set[str] = set()
    for other, _, port in task.needs:
        if not port:  # order only; of another run it may have failed
            if other.exception() is not None:
                other.result()
        elif arguments[port] is other:
            arguments[port] = other.peek() if other.exception() is None else other.result()
            resolved.add(port)
        elif port not in resolved:
            arguments[port] = resolve(arguments[port])
            resolved.add(port)
    return arguments


def _too_large(task: Task, admission: Admission) -> TaskError:
    policy = task.component.policy
    if policy.cpus > admission.cpus:
        return TaskError(f"{task.name} asks for {policy.cpus:g} cpus; there are {admission.cpus:g}")
    asked, there = policy.memory / 2**20, admission.memory / 2**20
    return TaskError(f"{task.name} asks for {asked:.0f} MiB of memory; there are {there:.0f} MiB")
