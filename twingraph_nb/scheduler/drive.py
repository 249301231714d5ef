"""The driver: does what `RunState` decides. Lives on the scheduler's own thread and loop."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextvars import copy_context
from typing import Protocol

from twingraph_nb.component import Component
from twingraph_nb.context import current_report, route_prints
from twingraph_nb.errors import (
    ExecutorError,
    LazyValueError,
    ResultError,
    RunError,
    RunTimeout,
    StoreError,
    TaskCancelled,
    TaskError,
    TaskSkipped,
    TaskTimeout,
)
from twingraph_nb.events import Batch, CancelAsked, ComponentUsed, Event, RunFinished, Sink
from twingraph_nb.events import TaskAdded, TaskCancelled as TaskCancelledEvent, TaskDone, TaskErred
from twingraph_nb.events import TaskReused, TaskSkipped as TaskSkippedEvent, TaskStarted, TaskWoken
from twingraph_nb.executors.base import Executor, Job, Outcome
from twingraph_nb.executors.threads import Interrupted, Threads
from twingraph_nb.graph.refs import resolve
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.summary import summaries, summary
from twingraph_nb.graph.task import Scope, Task, current_scope
from twingraph_nb.scheduler.bodies import Bodies
from twingraph_nb.scheduler.digests import Digests, is_heavy
from twingraph_nb.scheduler.failures import error_info, retry_wanted, user_part
from twingraph_nb.scheduler.limits import Admission, Claim
from twingraph_nb.scheduler.live import LiveRun, TaskReport
from twingraph_nb.scheduler.state import BODY, HANDLERS, Cancel, Command, Finish, Launch, Record, WakeAt

__all__ = ["Driver", "Keeper"]

_FLUSH_EVERY = 0.005
"""Seconds that events may wait for others before they go to the sinks together."""


class Keeper(Protocol):
    """The part of the store that the driver needs: finding and keeping outputs."""

    def find(self, digest: str, max_age: float | None = None) -> object | None: ...
    def keep(
        self, digest: str, component: str, run: str, hash: str, outputs: Mapping[str, object]
    ) -> dict[str, str]: ...
    def load(self, blob: str) -> object: ...
    def flush(self, timeout: float = 5.0) -> object: ...
    def events(self, run_id: str, start: int = 0) -> list[Batch]: ...


class Driver:
    """Carries out the commands of all runs of a session.

    sinks: who gets the events. now: the clock, seconds since the epoch.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        executor: Callable[[str], Executor],
        threads: Threads,
        admission: Admission,
        keeper: Keeper | None,
        *,
        keep_after: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.loop, self.threads, self.keeper, self.now = loop, threads, keeper, now
        self.sinks: list[Sink] = []
        self.runs: dict[str, LiveRun] = {}  # that have not finished
        self.handles: weakref.WeakValueDictionary[str, Run] = weakref.WeakValueDictionary()
        self.thread = 0
        self._executor, self._opened = executor, {}  # type: ignore[var-annotated]
        self._admission, self._keep_after = admission, keep_after
        self._digests = Digests()
        self._bodies = Bodies(self)
        self._inbox: deque[Callable[[], None] | tuple[LiveRun, Task]] = deque()
        self._woken = False
        self._dirty: dict[str, LiveRun] = {}
        self._flushing = False
        self._talking: set[TaskReport] = set()
        self._base = copy_context()

    # -- from any thread ---------------------------------------------------------------------

    def post(self, run: LiveRun, task: Task) -> None:
        """Take in a new task, in the order of the calls."""
        if threading.get_ident() == self.thread:
            if self._inbox:
                self._drain()
            self._add(run, task)
        else:
            self._put((run, task))

    def call(self, act: Callable[[], None]) -> None:
        """Do something on the scheduler's thread, after what was posted before."""
        self._put(act)

    def _put(self, thing: Callable[[], None] | tuple[LiveRun, Task]) -> None:
        self._inbox.append(thing)
        if not self._woken:
            self._woken = True
            self.loop.call_soon_threadsafe(self._drain)

    def tell(self, run: LiveRun, event: Event) -> None:
        """Record an event that a running task caused."""
        if threading.get_ident() == self.thread:
            self.happen(run, event)
        else:
            self._put(lambda: self.happen(run, event))

    def has_logs(self, report: TaskReport) -> None:
        """Remember that a report holds lines to be written down."""
        if report not in self._talking:
            self._talking.add(report)
            if threading.get_ident() == self.thread:
                self._flush_soon()
            else:
                self._put(self._flush_soon)

    def ask_cancel(self, run: LiveRun, task: int | None, who: str, why: str) -> None:
        """Ask to cancel a task, or the run."""
        self.call(lambda: self._cancel(run, task, who, why))

    def ask_interrupt(self, run: LiveRun, task: Task) -> None:
        """The user stopped waiting: cancel the task and what only it needed (or its run)."""
        if threading.get_ident() != self.thread:
            self.call(lambda: self._interrupt(run, task))

    def wait(self, lock: threading.Lock, timeout: float | None, what: str) -> bool:
        """Block the calling thread until the lock is free."""
        if threading.get_ident() == self.thread:
            raise LazyValueError(what, "by a blocking .result() in async code")
        if self.threads.inside:
            return self.threads.wait(lock, timeout)
        return lock.acquire(timeout=-1 if timeout is None else timeout)

    def history(self, run_id: str) -> list[Batch]:
        """Give all events of a run so far. Not from the scheduler's own thread."""
        if threading.get_ident() != self.thread:
            done = threading.Event()
            self.call(lambda: (self._flush(), done.set()))  # type: ignore[func-returns-value]
            done.wait(5.0)
        handle = self.handles.get(run_id)
        past = None if handle is None else handle.link.past  # type: ignore[attr-defined]
        if past is not None:
            return list(past)
        if self.keeper is None:
            return []
        self.keeper.flush()
        return self.keeper.events(run_id)

    def flush_logs(self) -> None:
        """See that all that was printed so far is in the logs."""
        if threading.get_ident() == self.thread:
            self._flush()
            return
        done = threading.Event()
        self.call(lambda: (self._flush(), done.set()))  # type: ignore[func-returns-value]
        done.wait(5.0)

    def flush_to_disk(self) -> None:
        """See that all events so far are on disk."""
        self.flush_logs()
        if self.keeper is not None:
            self.keeper.flush()

    # -- events ------------------------------------------------------------------------------

    def happen(self, run: LiveRun, event: Event) -> None:
        """Record an event, let the state take it in, and obey."""
        if run.finished is not None:
            return
        outbox = run.outbox
        if not outbox:
            self._dirty[run.id] = run
            if not self._flushing:
                self._flush_soon()
        outbox.append(event)
        handler = HANDLERS.get(type(event))
        if handler is None:
            return
        commands = handler(run.state, event)
        if commands:
            self._obey(run, commands)

    def _obey(self, run: LiveRun, commands: Iterable[Command]) -> None:
        for command in commands:
            kind = type(command)
            if kind is Launch:
                self._launch(run, command.task, command.attempt)  # type: ignore[union-attr]
            elif kind is Record:
                self._recorded(run, command.event)  # type: ignore[union-attr]
            elif kind is Cancel:
                running = run.running.get(command.task)  # type: ignore[union-attr]
                if running is not None:
                    # Not at once: a coroutine cancelled before its first step never gets to
                    # say that it was. Its first step is in the loop's queue before this.
                    self.loop.call_soon(running.cancel, command.why)  # type: ignore[union-attr]
            elif kind is WakeAt:
                self._wake_later(run, command)  # type: ignore[arg-type]
            else:
                self._finish(run, command)  # type: ignore[arg-type]

    def _recorded(self, run: LiveRun, event: Event) -> None:
        """Write down what the state decided; its tasks are over."""
        run.outbox.append(event)
        if isinstance(event, TaskSkippedEvent):
            task = run.open.pop(event.task, None)
            if task is not None:
                task.settle(None, TaskSkipped(task.name, self._name_of(run, event.because)))
                task.wake()
        elif isinstance(event, TaskCancelledEvent):
            task = run.open.pop(event.task, None)
            if task is not None:
                task.settle(None, TaskCancelled(task.name, event.why))
                task.wake()

    @staticmethod
    def _name_of(run: LiveRun, number: int) -> str:
        return next((t.name for t in run.handle.tasks if t.number == number), f"task {number}")

    def _wake_later(self, run: LiveRun, command: WakeAt) -> None:
        def wake() -> None:
            self.happen(run, TaskWoken(self.now(), command.task))

        self.loop.call_later(max(0.0, command.at - self.now()), wake)

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.loop.call_later(_FLUSH_EVERY, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        while self._talking:
            report = self._talking.pop()
            self._write_log(report)
        if not self._dirty:
            return
        batches = []
        for run in self._dirty.values():
            batch = Batch(run.id, run.seq, run.outbox)
            run.seq += len(run.outbox)
            run.outbox = []
            batches.append(batch)
            if run.past is not None:
                run.past.append(batch)
        self._dirty.clear()
        for sink in list(self.sinks):
            sink.emit(batches)

    def _write_log(self, report: TaskReport) -> None:
        run = report.link
        for event in report.take(self.now()):
            run.logs.setdefault(event.task, []).append(event.text)
            self.happen(run, event)

    # -- tasks -------------------------------------------------------------------------------

    def _drain(self) -> None:
        self._woken = False
        inbox = self._inbox
        while inbox:
            thing = inbox.popleft()
            if type(thing) is tuple:
                self._add(*thing)
            else:
                thing()  # type: ignore[operator]

    def _add(self, run: LiveRun, task: Task) -> None:
        if run.finished is not None:
            task.settle(None, RunError(f"run {run.id} is over: {task.name} was called too late"))
            task.wake()
            return
        component = task.component
        key = ""
        if component is not None:
            key = component.digest
            if key not in run.known:
                run.known.add(key)
                self.happen(run, _component_used(component, self.now()))
        run.open[task.number] = task
        wires = (
            tuple([(t.number, out, port) for t, out, port in task.needs if t.link is run])
            if task.needs
            else ()
        )
        self.happen(
            run,
            TaskAdded(
                self.now(),
                task.number,
                task.hash,
                task.name,
                key,
                wires,
                task.form,
                task.group,
                task.index,
                summaries(_shown(task)) if task.bound else None,
            ),
        )

    def _launch(self, run: LiveRun, number: int, attempt: int) -> None:
        task = run.open.get(number)
        if task is None:
            return
        if task.needs:
            for other, _, _ in task.needs:
                if not other.done:  # of another run: the state of this run does not know it

                    def again() -> None:
                        self.call(lambda: self._relaunch(run, number, attempt))

                    other.when_done(again)
                    return
        if task.form != "call":
            self._spawn(run, task, attempt, self._bodies.group(run, task))
        elif run.options.max_parallel or _lane(task.component):
            claim = _claim(run, task, attempt)
            if claim.cpus > self._admission.cpus or claim.memory > self._admission.memory:
                self._err(run, task, attempt, _too_large(task, self._admission))
            elif self._admission.ask(claim):
                self._spawn(run, task, attempt, self._go(run, task, attempt, claim))
        else:
            self._spawn(run, task, attempt, self._go(run, task, attempt, None))

    def _relaunch(self, run: LiveRun, number: int, attempt: int) -> None:
        if run.finished is None and run.state.state_of(number) == "ready":
            self._launch(run, number, attempt)

    def _spawn(
        self, run: LiveRun, task: Task, attempt: int, work: Coroutine[object, object, None]
    ) -> None:
        self.happen(run, TaskStarted(self.now(), task.number, attempt))
        run.running[task.number] = asyncio.Task(
            work, loop=self.loop, name=task.name, context=self._base.copy()
        )

    def _release(self, claim: Claim) -> None:
        for admitted in self._admission.free(claim):
            run, task, attempt = admitted.item  # type: ignore[misc]
            if run.finished is None and run.state.state_of(task.number) == "ready":
                self._spawn(run, task, attempt, self._go(run, task, attempt, admitted))
            else:
                self._release(admitted)

    async def _go(self, run: LiveRun, task: Task, attempt: int, claim: Claim | None) -> None:
        """Run one attempt of one task to its end."""
        component = task.component
        policy, keeper = component.policy, self.keeper
        report = TaskReport(run, task, attempt)
        current_report.set(report)  # type: ignore[arg-type]
        current_scope.set(report)  # type: ignore[arg-type]
        route_prints()
        try:
            arguments = _arguments(task) if task.needs else task.bound or {}
            if keeper is not None:
                if policy.cache is not None:
                    if await self._reuse(run, task, arguments):
                        return
                elif not is_heavy(task.bound or {}):
                    task.digest = self._digests.of(task, arguments)
            executor = self._opened.get(component.platform) or await self._open(component.platform)
            began = self.loop.time()
            job = Job(task.hash, task.name, component, arguments, attempt)
            if policy.timeout is None:
                outcome = await executor.run(job, report)
            else:
                outcome = await self._timed(executor, job, report, policy.timeout)
            error = outcome.error
            if error is None:
                kept = None
                if keeper is not None and (
                    policy.cache is not None or self.loop.time() - began > self._keep_after
                ):
                    kept = await self._keep(run, task, outcome.value, report)
                self._succeed(run, task, outcome.value, kept, report)
                return
        except asyncio.CancelledError as exc:
            self._write_log(report)
            self._cancelled(run, task, str(exc.args[0]) if exc.args else "")
            return
        except Exception as exc:  # of the platform, of a task of another run, of a digest
            error = exc
        finally:
            if claim is not None:
                self._release(claim)
        self._write_log(report)
        self._err(run, task, attempt, error)

    async def _timed(
        self, executor: Executor, job: Job, report: TaskReport, seconds: float
    ) -> Outcome:
        try:
            async with asyncio.timeout(seconds):
                return await executor.run(job, report)
        except TimeoutError:
            return Outcome(error=TaskTimeout(job.name, seconds))

    async def _open(self, platform: str) -> Executor:
        executor = self._executor(platform)
        if platform not in self._opened:
            await executor.open()
            self._opened[platform] = executor
        return executor

    async def _reuse(self, run: LiveRun, task: Task, arguments: Mapping[str, object]) -> bool:
        assert self.keeper is not None
        policy = task.component.policy
        if is_heavy(task.bound or {}):
            task.digest = await self.threads.run(lambda: self._digests.of(task, arguments))  # type: ignore[assignment]
        else:
            task.digest = self._digests.of(task, arguments)
        if task.digest is None:
            return False
        max_age = None if policy.cache is True else float(policy.cache or 0)
        try:
            found = self.keeper.find(task.digest.hex(), max_age)
            if found is None:
                return False
            blobs: dict[str, str] = found.outputs  # type: ignore[attr-defined]
            values = await self.threads.run(
                lambda: {port: self.keeper.load(blob) for port, blob in blobs.items()}  # type: ignore[union-attr]
            )
        except StoreError:
            return False
        value = _whole(task.component, values)  # type: ignore[arg-type]
        task.settle(value)
        run.open.pop(task.number, None)
        run.running.pop(task.number, None)
        age = self.now() - found.at  # type: ignore[attr-defined]
        self.happen(
            run,
            TaskReused(
                self.now(),
                task.number,
                task.digest.hex(),
                _summaries(task.component, value),
                found.run,  # type: ignore[attr-defined]
                found.hash,  # type: ignore[attr-defined]
                age,
            ),
        )
        task.wake()
        return True

    async def _keep(
        self, run: LiveRun, task: Task, value: object, report: TaskReport
    ) -> dict[str, str] | None:
        keeper, component = self.keeper, task.component
        if task.digest is None or keeper is None:
            if component.policy.cache is not None:
                report.log("system", "not kept: an input has no stable content to name it by\n")
            return None
        digest = task.digest.hex()
        try:
            outputs = _by_port(component, value)
            return await self.threads.run(
                lambda: keeper.keep(digest, component.name, run.id, task.hash, outputs)
            )  # type: ignore[return-value]
        except (StoreError, ResultError) as exc:
            report.log("system", f"not kept: {exc}\n")
            return None

    def _succeed(
        self,
        run: LiveRun,
        task: Task,
        value: object,
        kept: dict[str, str] | None,
        report: TaskReport,
    ) -> None:
        number, component = task.number, task.component
        if report.talking:
            self._write_log(report)
        outputs = (
            (None if value is None else {component.outputs[0].name: summary(value)})
            if len(component.outputs) == 1
            else _summaries(component, value)
        )
        run.running.pop(number, None)
        if run.open.pop(number, None) is None:
            return
        task.settle(value)
        digest = task.digest.hex() if task.digest is not None and kept else None
        self.happen(run, TaskDone(self.now(), number, outputs, digest, kept))
        task.wake()

    def succeed_group(self, run: LiveRun, task: Task, value: object) -> None:
        """A map or nested pipeline has its value."""
        run.running.pop(task.number, None)
        if run.open.pop(task.number, None) is not None:
            task.settle(value)
            self.happen(run, TaskDone(self.now(), task.number, {"value": summary(value)}))
            task.wake()

    def _cancelled(self, run: LiveRun, task: Task, why: str) -> None:
        run.running.pop(task.number, None)
        if run.open.pop(task.number, None) is not None:
            task.settle(None, TaskCancelled(task.name, why))
            self.happen(run, TaskCancelledEvent(self.now(), task.number, why))
            task.wake()

    cancelled_group = _cancelled

    def _err(self, run: LiveRun, task: Task, attempt: int, error: BaseException) -> None:
        run.running.pop(task.number, None)
        if task.number not in run.open:
            return
        component = task.component
        source = component.source if component is not None else None
        error = user_part(error)
        state = run.state
        last = (
            component is None
            or attempt > component.policy.retries
            or not (wanted := retry_wanted(error, component.policy))
            or state.stopping
        )
        info = error_info(error, task.name, source, note=last)
        observed = task.waiters > 0 or self._in_map(run, task)
        if last:
            run.open.pop(task.number)
            task.settle(None, error)
            if not observed and run.error is None:
                run.error = error
        now = self.now()
        self.happen(
            run,
            TaskErred(now, task.number, attempt, info, not last, observed, random.random()),
        )
        if last:
            task.wake()

    fail_group = _err

    @staticmethod
    def _in_map(run: LiveRun, task: Task) -> bool:
        parent = None if task.group is None else run.open.get(task.group)
        return parent is not None and parent.form == "map"

    # -- runs --------------------------------------------------------------------------------

    def begin(self, run: LiveRun, event: Event) -> None:
        """Take in a run. From any thread."""
        run.past = [] if self.keeper is None else None
        self.handles[run.id] = run.handle

        def act() -> None:
            self.runs[run.id] = run
            self.happen(run, event)
            if run.options.timeout is not None:
                self.loop.call_later(run.options.timeout, self._bodies.time_out, run)

        self.call(act)

    def run_body(self, run: LiveRun, function: Callable[..., object], *args: object) -> None:
        """Start a pipeline's function. From any thread."""

        def act() -> None:
            body = self._bodies.root(run, function, args)
            run.running[BODY] = self.loop.create_task(body, context=self._base.copy())

        self.call(act)

    def _cancel(self, run: LiveRun, number: int | None, who: str, why: str) -> None:
        if run.finished is None:
            self.happen(run, CancelAsked(self.now(), number, who, why))

    def _interrupt(self, run: LiveRun, task: Task) -> None:
        if task.number < 0:
            self._cancel(run, None, "user", "interrupted")
            return
        stack, seen = [task], set()
        while stack:
            one = stack.pop()
            if one.done or id(one) in seen:
                continue
            seen.add(id(one))
            stack.extend(need[0] for need in one.needs if need[0].link is run)
            self._cancel(run, one.number, "user", "interrupted")

    def _finish(self, run: LiveRun, command: Finish) -> None:
        root = run.handle.root
        body = run.running.pop(BODY, None)
        if body is not None and not body.done():
            body.cancel()
        run.outbox.append(RunFinished(self.now(), command.state, command.error))
        run.finished = self.now()
        self.runs.pop(run.id, None)
        self._dirty[run.id] = run
        self._flush()
        if command.state == "succeeded":
            root.settle(run.value)
        else:
            root.settle(None, run.error or _run_error(run, command))
        root.wake()


def _lane(component: Component) -> str:
    """The pool whose places a component's tasks take; "" when nothing limits them."""
    lane = component.memo.get("lane")
    if lane is None:
        policy = component.policy
        lane = component.platform
        if lane == "local" and component.style in ("async", "async_stream"):
            lane = "loop" if policy.cpus or policy.memory or policy.max_parallel else ""
        component.memo["lane"] = lane
    return lane  # type: ignore[return-value]


def _claim(run: LiveRun, task: Task, attempt: int) -> Claim:
    component = task.component
    policy = component.policy
    return Claim(
        (run, task, attempt),
        _lane(component),
        run.id,
        run.options.max_parallel,
        component.digest,
        policy.max_parallel,
        policy.cpus,
        policy.memory,
        policy.priority,
    )


def _arguments(task: Task) -> dict[str, object]:
    """The arguments with the values of what they need put in."""
    bound = task.bound or {}
    if not task.needs:
        return bound
    arguments = dict(bound)
    for port in {need[2] for need in task.needs}:
        if port:
            arguments[port] = resolve(arguments[port])
    for need in task.needs:
        if not need[2] and need[0].exception() is not None:
            need[0].result()
    return arguments


def _shown(task: Task) -> Mapping[str, object]:
    """The arguments as the user gave them."""
    bound = task.bound or {}
    return bound if task.form == "call" else bound["shown"]  # type: ignore[return-value]


def _component_used(component: Component, now: float) -> ComponentUsed:
    source = component.source
    return ComponentUsed(
        now,
        component.digest,
        component.name,
        component.language,
        component.platform,
        source.text,
        source.where,
        component.version,
        tuple((p.name, str(p)) for p in component.inputs),
        tuple((p.name, str(p)) for p in component.outputs),
        component.policy.changed(),
    )


def _by_port(component: Component, value: object) -> dict[str, object]:
    ports = component.outputs
    if len(ports) == 1:
        return {ports[0].name: value}
    try:
        if isinstance(value, Mapping):
            return {p.name: value[p.name] for p in ports}
        return {p.name: getattr(value, p.name) for p in ports}
    except (KeyError, AttributeError):
        names = ", ".join(p.name for p in ports)
        raise ResultError(
            f"{component.name} must give {names}, but gave {type(value).__name__}"
        ) from None


def _summaries(component: Component, value: object) -> dict[str, str] | None:
    try:
        return summaries(_by_port(component, value))
    except ResultError:
        return {"value": summary(value)}


def _whole(component: Component, values: dict[str, object]) -> object:
    """Put the outputs together as the component gives them."""
    ports = component.outputs
    if len(ports) == 1:
        return values[ports[0].name]
    made = getattr(component.function, "__annotations__", {}).get("return")
    if isinstance(made, type) and hasattr(made, "_fields"):
        return made(**values)
    return values


def _too_large(task: Task, admission: Admission) -> TaskError:
    policy = task.component.policy
    if policy.cpus > admission.cpus:
        return TaskError(f"{task.name} asks for {policy.cpus:g} cpus; there are {admission.cpus:g}")
    asked, there = policy.memory / 2**20, admission.memory / 2**20
    return TaskError(f"{task.name} asks for {asked:.0f} MiB of memory; there are {there:.0f} MiB")


def _run_error(run: LiveRun, command: Finish) -> BaseException:
    if command.error is not None and command.error.type == "RunTimeout":
        return RunTimeout(run.id, run.options.timeout or 0.0)
    said = command.error.message if command.error is not None else command.state
    return RunError(f"run {run.handle.name} ({run.id}): {said}")
