"""The driver: does what `RunState` decides. Lives on the scheduler's own thread and loop."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

from twingraph_nb.clock import clock
from twingraph_nb.context import route_prints
from twingraph_nb.errors import (
    LazyValueError,
    RunError,
    TaskCancelled,
    TaskError,
    TaskSkipped,
)
from twingraph_nb.events import (
    Batch,
    BodyDone,
    BodyErred,
    CancelAsked,
    Event,
    RunFinished,
    Sink,
    TaskAdded,
    TaskDone,
    TaskErred,
    TaskReused,
    TaskUnobserved,
    TaskWoken,
)
from twingraph_nb.events import TaskCancelled as TaskCancelledEvent
from twingraph_nb.events import TaskSkipped as TaskSkippedEvent
from twingraph_nb.executors.base import Executor
from twingraph_nb.executors.threads import Threads
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.summary import summaries
from twingraph_nb.graph.task import Task
from twingraph_nb.scheduler.attempts import Attempts
from twingraph_nb.scheduler.blocks import joined
from twingraph_nb.scheduler.bodies import Bodies
from twingraph_nb.scheduler.commands import BODY, Cancel, Command, Finish, Launch, Record, WakeAt
from twingraph_nb.scheduler.facts import component_used
from twingraph_nb.scheduler.inputs import wires_of
from twingraph_nb.scheduler.limits import Admission
from twingraph_nb.scheduler.live import LiveRun, TaskReport
from twingraph_nb.scheduler.orders import obey
from twingraph_nb.scheduler.reuse import Keeper, Reuse
from twingraph_nb.scheduler.state import HANDLERS
from twingraph_nb.scheduler.unheard import Unseen, hear
from twingraph_nb.store.commands import Answer

__all__ = ["Driver"]

_FLUSH_WAIT = 5.0
"""Seconds to wait for a scheduler's thread that a component blocks."""
_WRITE_WAIT = 60.0
"""Seconds to wait for a busy disk before events are read back from it."""
_AT_ONCE = 50
"""Calls taken in before other work of the loop gets a turn."""
_MAY_END = frozenset(
    {BodyDone, BodyErred, TaskCancelledEvent, TaskDone, TaskErred, TaskReused, TaskUnobserved}
)
"""Events after which a run may be over."""
_FLUSH_EVERY = 0.005
"""Seconds that events may wait for others before they go to the sinks together."""


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
        now: Callable[[], float] = clock,
    ) -> None:
        self.loop, self.threads, self.keeper, self.now = loop, threads, keeper, now
        self.sinks: list[Sink] = []
        self.runs: dict[str, LiveRun] = {}  # that have not finished
        self.handles: weakref.WeakValueDictionary[str, Run] = weakref.WeakValueDictionary()
        self.begun: Callable[[], object] = lambda: None  # called when a run has begun
        self.thread = 0
        self.unseen = Unseen()
        self.reuse = Reuse(keeper, keep_after)
        self.attempts = Attempts(self, executor, admission, self.reuse)
        self._bodies = Bodies(self, self.attempts)
        self.attempts.group = self._bodies.group
        self._inbox: deque[Callable[[], None] | tuple[LiveRun, Task]] = deque()
        self._woken = self._drains = self._draining = False
        self._dirty: dict[str, LiveRun] = {}
        self._flushing = False
        self._talking: set[TaskReport] = set()
        self._base = copy_context()

    # -- from any thread ---------------------------------------------------------------------

    def post(self, run: LiveRun, task: Task) -> None:
        """Take in a new task, in the order of the calls."""
        if threading.get_ident() == self.thread:
            while self._inbox:
                self._take_in()
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
            self.loop.call_soon_threadsafe(self._wake)

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

    def command(
        self, run: LiveRun, kind: str, facts: Mapping[str, object] | None = None, who: str = "user"
    ) -> Future[Answer]:
        """Do what is asked of a run; see `orders`. From any thread."""
        told: Future[Answer] = Future()
        self.call(lambda: told.set_result(obey(self, run, kind, facts or {}, who)))
        return told

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

    def running(self) -> dict[str, int]:
        """Give how many tasks each platform runs now. On the scheduler's thread."""
        found: dict[str, int] = {}
        for run in self.runs.values():
            for number in run.running:
                task = run.open.get(number)
                if task is not None and task.form == "call" and task.component is not None:
                    platform = task.component.platform
                    found[platform] = found.get(platform, 0) + 1
        return found

    def history(self, run_id: str) -> list[Batch]:
        """Give all events of a run so far. Not from the scheduler's own thread."""
        self.flush()
        handle = self.handles.get(run_id)
        past = None if handle is None else handle.link.past  # type: ignore[attr-defined]
        if past is not None:
            return list(past)
        if self.keeper is None:
            return []
        self.keeper.flush(_WRITE_WAIT)
        return self.keeper.events(run_id)

    def flush(self) -> None:
        """See that all events so far are with the sinks, and all that was printed in the logs."""
        if threading.get_ident() == self.thread:
            self._flush()
            return
        done = threading.Event()
        self.call(self._flush)
        self.call(done.set)
        done.wait(_FLUSH_WAIT)

    def flush_to_disk(self) -> bool:
        """See that all events so far are on disk; False if there is none, or it takes nothing."""
        self.flush()
        return self.keeper is not None and bool(self.keeper.flush())

    def close(self) -> None:
        """Let the threads of pipelines and of the store's values end. On the scheduler's thread."""
        self._bodies.close()
        self.reuse.close()

    # -- events ------------------------------------------------------------------------------

    def happen(self, run: LiveRun, event: Event) -> None:
        """Record an event, let the state take it in, and obey."""
        kind = type(event)
        if self._inbox and run.state.unfinished < 2 and kind in _MAY_END:
            one = kind is TaskDone or kind is TaskReused  # then another that is open is enough
            while self._inbox and not self._draining and not (one and run.state.unfinished > 1):
                self._take_in()  # calls made before this: the run must not end without them
        if run.finished is not None:
            return
        outbox = run.outbox
        if not outbox:
            self._dirty[run.id] = run
            if not self._flushing:
                self._flush_soon()
        outbox.append(event)
        handler = HANDLERS.get(kind)
        if handler is None:
            return
        commands = handler(run.state, event)
        if commands:
            self._obey(run, commands)

    def _obey(self, run: LiveRun, commands: Iterable[Command]) -> None:
        for command in commands:
            kind = type(command)
            if kind is Launch:
                self.attempts.launch(run, command.task, command.attempt)  # type: ignore[union-attr]
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
                run.skips[event.task] = event.because
                because = run.fallen.get(event.because, f"task {event.because}")
                self._fell(run, task, TaskSkipped(task.name, because))
        elif isinstance(event, TaskCancelledEvent):
            task = run.open.pop(event.task, None)
            launched = run.running.get(event.task)
            if launched is not None:  # it waits for a place with its executor
                self.loop.call_soon(launched.cancel, event.why)
            if task is not None:
                self._fell(run, task, TaskCancelled(task.name, event.why))

    @staticmethod
    def _fell(run: LiveRun, task: Task, error: TaskError) -> None:
        run.fallen[task.number] = task.name
        task.settle(None, error)
        task.wake()

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
            self.write_log(report)
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

    def write_log(self, report: TaskReport) -> None:
        """Record what a task has printed since the last time."""
        run = report.link
        for event in report.take(self.now()):
            report.task.add_log(event.text)
            self.happen(run, event)

    # -- tasks -------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Begin to drain the inbox, unless that goes on already."""
        if not self._drains:
            self._drain()

    def _drain(self) -> None:
        """Take in some of what was posted, and the rest after what that started has had a turn.

        Small tasks are over before the next come in, so that few are alive at once.
        """
        try:
            self._take_in()
        finally:
            if not self._inbox:
                self._woken = False
            self._drains = bool(self._inbox)  # also what was posted before that was said
            if self._drains:
                self.loop.call_soon(self._drain)

    def _take_in(self) -> None:
        route_prints()
        inbox, before = self._inbox, self._draining
        self._draining = True
        try:
            for _ in range(_AT_ONCE):
                if not inbox:
                    break
                thing = inbox.popleft()
                if type(thing) is tuple:
                    self._add(*thing)
                else:
                    thing()  # type: ignore[operator]
        finally:
            self._draining = before

    def _add(self, run: LiveRun, task: Task) -> None:
        if run.finished is not None:
            task.settle(None, RunError(f"run {run.id} is over: {task.name} was called too late"))
            task.wake()
            return
        if run.unheard:
            hear(run, task.group)
        component = task.component
        key = ""
        if component is not None:
            key = component.digest
            if key not in run.known:
                run.known.add(key)
                self.happen(run, component_used(component, self.now()))
        run.open[task.number] = task
        if task.group is not None:
            joined(run, task)
        wires, others = wires_of(run, task) if task.needs else ((), ())
        task.abroad = bool(others)
        shown: Any = task.bound
        if shown and task.form != "call":
            shown = shown["shown"]  # the arguments as the user gave them
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
                summaries(shown) if shown else None,
                others,
                task.number in run.last,
            ),
        )

    # -- runs --------------------------------------------------------------------------------

    def begin(self, run: LiveRun, event: Event) -> None:
        """Take in a run. From any thread."""
        run.past = [] if self.keeper is None else None
        self.handles[run.id] = run.handle

        def act() -> None:
            self.runs[run.id] = run
            self.happen(run, event)
            self.begun()
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
        body = run.running.pop(BODY, None)
        if body is not None:
            body.cancel()
        run.outbox.append(RunFinished(self.now(), command.state, command.error))
        run.finished = self.now()
        self.runs.pop(run.id, None)
        self._dirty[run.id] = run
        self._flush()
        run.settle(command.state, command.error)
