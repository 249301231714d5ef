"""Attempts of tasks: from the decision to launch one to its outcome."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

from twingraph_nb.context import current_report
from twingraph_nb.errors import BreakerOpen, ResultError, TaskCancelled
from twingraph_nb.events import TaskCancelled as TaskCancelledEvent
from twingraph_nb.events import TaskDone, TaskErred, TaskHeld, TaskReused, TaskStarted
from twingraph_nb.executors.base import (
    Executor,
    HandsOver,
    Job,
    Outcome,
    RemoteValue,
    is_found_again,
)
from twingraph_nb.graph.outputs import texts_of
from twingraph_nb.graph.summary import summary
from twingraph_nb.graph.task import Task
from twingraph_nb.limit import Limit
from twingraph_nb.scheduler.blocks import contained, fell_inside
from twingraph_nb.scheduler.earlier import Finished, attached
from twingraph_nb.scheduler.failures import error_info, tries_again, user_part
from twingraph_nb.scheduler.handed import Handed
from twingraph_nb.scheduler.inputs import any_remote, arguments_of, is_named
from twingraph_nb.scheduler.limits import Admission, Claim
from twingraph_nb.scheduler.live import LiveRun, TaskReport
from twingraph_nb.scheduler.opened import Opened
from twingraph_nb.scheduler.places import Places, lane_of
from twingraph_nb.scheduler.questions import is_question
from twingraph_nb.scheduler.reuse import KeptResult, Reuse
from twingraph_nb.scheduler.standin import stand_in, standing_in
from twingraph_nb.scheduler.unheard import hear, hold, may_ask

if TYPE_CHECKING:
    from twingraph_nb.scheduler.drive import Driver

__all__ = ["Attempts"]


class Attempts:
    """Launches what the state says, where there is a place, and tells how it ended."""

    def __init__(
        self,
        driver: Driver,
        executor: Callable[[str], Executor],
        admission: Admission,
        reuse: Reuse,
    ) -> None:
        self._driver = driver
        self._reuse = reuse
        self._places = Places(driver.loop, admission, self._begin, self.fail)
        self.release = self._places.release
        self._looks: list[tuple[LiveRun, Task, int]] = []
        self._opened = Opened(executor, self._places)
        self._base = copy_context()
        self.group: Callable[[LiveRun, Task], Coroutine[object, object, None]]
        """Gives the work of a map's or nested pipeline's task; set by the driver."""

    def launch(self, run: LiveRun, number: int, attempt: int) -> None:
        """Start an attempt, unless something has to be waited for."""
        task = run.open.get(number)
        if task is None:
            return
        if (run.state.paused or run.choosing is not None) and run.holds(number, attempt):
            return
        for other, _, _ in task.needs if task.abroad else ():
            if not other.done:
                again = partial(self._relaunch, run, number, attempt)
                other.when_done(partial(self._driver.call, again))
                return
        if task.form != "call":
            self._begin_group(run, task, attempt)
        elif run.earlier is not None and is_named(task):
            # In the loop's next turn: what is found lets others begin, in a chain one by one.
            if not self._looks:
                self._driver.loop.call_soon(self._look_all)
            self._looks.append((run, task, attempt))
        else:
            self._ask(run, task, attempt)

    def _look_all(self) -> None:
        looks, self._looks = self._looks, []
        for run, task, attempt in looks:
            self._look(run, task, attempt)

    def _look(self, run: LiveRun, task: Task, attempt: int) -> None:
        """Take over what an earlier run has done of just this work, else have it begin."""
        if task.number not in run.open or run.holds(task.number, attempt):
            return
        try:
            found = self._reuse.recalled(run, task)
        except Exception as exc:  # of the store, of a digest
            self.fail(run, task, attempt, exc)
            return
        if found is not None:
            self.reused(run, task, *found)
        else:
            self._ask(run, task, attempt)

    def _ask(self, run: LiveRun, task: Task, attempt: int) -> None:
        """Begin an attempt, now or when there is a place for it."""
        if task.component.quick and (not run.options.max_parallel or is_question(task)):
            self._begin(run, task, attempt, None)
        elif run.options.max_parallel or lane_of(task.component):
            policy = task.component.policy
            if policy.limit and (policy.cache is not None or run.earlier is not None):
                self._spawn(run, task, self._look_first(run, task, attempt))
            else:
                self._places.ask(run, task, attempt)
        else:
            self._begin(run, task, attempt, None)

    def _relaunch(self, run: LiveRun, number: int, attempt: int) -> None:
        if run.finished is None and run.state.state_of(number) == "ready":
            self.launch(run, number, attempt)

    def _begin_group(self, run: LiveRun, task: Task, attempt: int) -> None:
        driver = self._driver
        driver.happen(run, TaskStarted(driver.now(), task.number, attempt))
        self._spawn(run, task, self.group(run, task))

    def hold(self, run: LiveRun) -> None:
        """Take back what is ready but does not run: the run is paused."""
        for task, attempt in self._places.withdraw(run):
            run.held[task.number] = attempt
        self._take_back_ready(run)

    def _take_back_ready(self, run: LiveRun) -> None:
        self._driver.threads.settle()  # what a thread has begun runs
        for number in list(run.running):
            if number >= 0 and run.state.state_of(number) == "ready":
                self.take_back(run, number)

    def take_back(self, run: LiveRun, number: int) -> None:
        """End the attempt of a task, which then is ready again."""
        run.recalled.add(number)
        run.running[number].cancel("taken back")

    def limit(self, run: LiveRun, name: str, limit: int) -> None:
        """Let a new limit hold for what begins from now on: of the run, or of the platform
        `name`."""
        self._places.limit(name, limit)
        waiting = self._places.withdraw(run)
        self._take_back_ready(run)
        for task, attempt in waiting:
            self.launch(run, task.number, attempt)

    def change(self, limit: Limit) -> str:
        """Let this hold for a limit by name; see `Places.change`."""
        return self._places.change(limit)

    def _begin(self, run: LiveRun, task: Task, attempt: int, claim: Claim | None) -> None:
        if run.state.paused:
            run.held[task.number] = attempt
            if claim is not None:
                self._places.release(claim)
            return
        component = task.component
        policy = component.policy
        if not policy.watched:
            handing = self._opened.handing.get(component.platform)
            if (
                handing is not None
                and not (run.earlier and run.earlier.begun(task.digest))
                and task.number not in run.saved
                and component.style in handing.handed_styles
                and not (task.needs and any_remote(task))
            ):
                self._hand_over(handing, run, task, attempt, claim)
                return
        self._spawn(run, task, self._go(run, task, attempt, claim))

    def _hand_over(
        self, executor: HandsOver, run: LiveRun, task: Task, attempt: int, claim: Claim | None
    ) -> None:
        """Run an attempt without a coroutine of its own."""
        handed = Handed(self, run, task, attempt, claim)
        try:
            arguments = arguments_of(task)
            self._reuse.name(task, arguments)
        except Exception as exc:  # of a task of another run, of a digest
            handed(Outcome(error=exc))
            return
        component = task.component
        if task.digest is None and is_found_again(
            self._opened.executors[component.platform], component
        ):
            self._spawn(run, task, self._go(run, task, attempt, claim))  # a ticket needs its digest
            return
        job = Job(task.hash, task.name, component, arguments, attempt)
        handed.stop = executor.hand_over(job, handed, handed)
        run.running[task.number] = handed

    def _spawn(self, run: LiveRun, task: Task, work: Coroutine[object, object, None]) -> None:
        run.running[task.number] = asyncio.Task(
            work, loop=self._driver.loop, name=task.name, context=self._base.copy()
        )

    async def _go(self, run: LiveRun, task: Task, attempt: int, claim: Claim | None) -> None:
        """Run one attempt of one task to its end."""
        policy = task.component.policy
        report = TaskReport(run, task, attempt)
        current_report.set(report)
        try:
            executor = await self._opened.of(task.component)
            if await self._known(run, task, executor):
                return
            arguments = arguments_of(task)
            if policy.cache is None:
                fully = is_found_again(executor, task.component)
                await self._reuse.named(task, arguments, fully=fully)
            if run.saved or run.earlier is not None:
                saved = run.saved.get(task.number)
                report.restored = await self._reuse.restored(run.earlier, task, saved)
            job = Job(task.hash, task.name, task.component, arguments, attempt, report.restored)
            found_again = None
            if run.earlier is not None and executor.capabilities.attaches:
                found_again = await attached(run.earlier, executor, task, job, report)
            if found_again is not None:
                outcome = found_again
            elif policy.watched:
                outcome = await self._places.run(executor, job, report, claim)
            else:
                outcome = await executor.run(job, report)
            error = outcome.error
            if error is None:
                if found_again or self._reuse.wants(task, report.seconds, outcome.value):
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

    async def _look_first(self, run: LiveRun, task: Task, attempt: int) -> None:
        """Take what is known already, which costs no token of a limit; else ask for a place."""
        try:
            if await self._known(run, task, await self._opened.of(task.component)):
                return
        except asyncio.CancelledError as exc:
            self.cancelled(run, task, str(exc.args[0]) if exc.args else "")
        except Exception as exc:  # of the platform, of a task of another run, of a digest
            self.fail(run, task, attempt, exc)
        else:
            run.running.pop(task.number, None)
            if task.number in run.open:
                self._places.ask(run, task, attempt)

    async def _known(self, run: LiveRun, task: Task, executor: Executor) -> bool:
        """Take over what an earlier run or an equal task has done; else the inputs are here."""
        found = await self._reuse.known(run, task, executor)
        if found is not None:
            self.reused(run, task, *found)
        return found is not None

    async def _succeed(self, run: LiveRun, task: Task, value: object, report: TaskReport) -> None:
        """Keep the outputs, then finish."""
        if isinstance(value, RemoteValue):
            value = await value.fetch()
        arguments = arguments_of(task)
        kept, why_not = await self._reuse.keep(task, arguments, value)
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

    def handed_back(self, report: Handed, outcome: Outcome) -> None:
        """An attempt that was handed over has ended."""
        run, task, error = report.link, report.task, outcome.error
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
        if not run.ended(number):
            return
        task.settle(value)
        digest = task.digest.hex() if task.digest is not None and kept else None
        driver = self._driver
        driver.happen(run, TaskDone(driver.now(), number, texts, digest, kept))
        task.wake()

    def done_group(self, run: LiveRun, task: Task, value: object) -> None:
        """A map or nested pipeline has its value."""
        self._done(run, task, value, {"value": summary(value)})

    def reused(self, run: LiveRun, task: Task, value: object, kept: KeptResult) -> None:
        number = task.number
        run.running.pop(number, None)
        if run.open.pop(number, None) is None:
            return
        task.settle(value)
        now = self._driver.now()
        texts = kept.texts if isinstance(kept, Finished) else texts_of(task.component, value)
        self._driver.happen(
            run,
            TaskReused(
                now,
                number,
                task.digest.hex() if task.digest is not None else "",
                texts,
                kept.run,
                kept.hash,
                now - kept.at,
                kept.outputs,
            ),
        )
        task.wake()

    def _ready_again(self, run: LiveRun, task: Task) -> None:
        number, driver = task.number, self._driver
        begun = run.state.state_of(number) == "running"
        attempt = run.state.attempt_of(number) + (not begun)
        driver.happen(run, TaskHeld(driver.now(), number))
        self.launch(run, number, attempt)

    def cancelled(self, run: LiveRun, task: Task, why: str) -> None:
        """The attempt was cancelled and no longer runs."""
        run.running.pop(task.number, None)
        if task.number in run.recalled:
            run.recalled.discard(task.number)
            if not run.state.stopping:
                self._ready_again(run, task)
                return
        if run.ended(task.number):
            run.fallen[task.number] = task.name
            task.settle(None, TaskCancelled(task.name, why))
            driver = self._driver
            driver.happen(run, TaskCancelledEvent(driver.now(), task.number, why))
            task.wake()

    def fail(
        self, run: LiveRun, task: Task, attempt: int, error: BaseException, *, final: bool = False
    ) -> None:
        """The attempt failed; the state says whether there is another, or who stands in."""
        number, component, driver = task.number, task.component, self._driver
        run.running.pop(number, None)
        if number not in run.open:
            return
        if run.unheard:
            hear(run, number)
        error = user_part(error)
        over = final or task.form != "call" or run.state.stopping
        again = not over and tries_again(error, attempt, task, run.id) and run.may_retry(error)
        fallback = "" if over or again else standing_in(task, error)
        last = not again and not fallback
        source = component.source if component is not None else None
        info = error_info(error, task.name, source, note=not again)
        held = last and not task.waiters and may_ask(run, task)
        waited = held or task.waiters > 0
        observed = waited or contained(run, task)
        if last:
            del run.open[number]
            run.fallen[number] = task.name
            if not observed:
                run.unclaimed(task, error)
            elif not waited:
                fell_inside(run, task, error)
            task.settle(None, error)
        wait = error.again if again and isinstance(error, BreakerOpen) else 0.0
        luck = random.random()
        driver.happen(
            run,
            TaskErred(driver.now(), number, attempt, info, again, observed, luck, wait, fallback),
        )
        if held:
            hold(run, task, error, info)
        if last:
            task.wake()
        elif fallback:
            self._spawn(run, task, self._stand_in(run, task, attempt, error, fallback))

    async def _stand_in(
        self, run: LiveRun, task: Task, attempt: int, error: BaseException, who: str
    ) -> None:
        """Finish a task that has failed with what its fallback gives."""
        report = TaskReport(run, task, attempt)
        current_report.set(report)
        report.log("system", f"{who} stands in, because of {type(error).__name__}: {error}\n")
        try:
            value = await stand_in(run, task, report)
            task.digest = None  # it is not what the component gives: what needs it must not say so
            self._finish(run, task, value, report)
        except asyncio.CancelledError as exc:
            self._driver.write_log(report)
            self.cancelled(run, task, str(exc.args[0]) if exc.args else "")
        except Exception as exc:  # of the one that stands in
            exc.__context__ = exc.__context__ or error
            exc.add_note(f"in the fallback of {task.name}, after {type(error).__name__}: {error}")
            self._driver.write_log(report)
            self.fail(run, task, attempt, exc, final=True)
