"""A run while it goes on: its handles, its state, and what it still has to tell."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Literal

from twingraph_nb.component import Component
from twingraph_nb.errors import RunError
from twingraph_nb.events import (
    Answered,
    Batch,
    ErrorInfo,
    Event,
    RunFinished,
    RunForm,
    RunStateName,
    TaskCheckpointed,
    TaskForm,
    TaskLogged,
    TaskProgressed,
    TaskStarted,
    TaskStateName,
    TaskStreamed,
    TaskTicketed,
)
from twingraph_nb.executors.base import Stop
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.scope import current_scope
from twingraph_nb.graph.task import Task
from twingraph_nb.policy import RunOptions
from twingraph_nb.scheduler.answering import Asking, take_answer
from twingraph_nb.scheduler.choosing import Choosing
from twingraph_nb.scheduler.earlier import Earlier
from twingraph_nb.scheduler.failures import run_error
from twingraph_nb.scheduler.forced import Forced
from twingraph_nb.scheduler.inputs import arguments_of, fetched
from twingraph_nb.scheduler.state import RunState
from twingraph_nb.scheduler.unheard import blocked, hear
from twingraph_nb.selection import Selection

if TYPE_CHECKING:
    from concurrent.futures import Future

    from twingraph_nb.scheduler.blocks import Block
    from twingraph_nb.scheduler.drive import Driver

__all__ = ["LiveRun", "TaskReport"]

_LOG_LIMIT = 4 * 2**20
"""Characters of one task's log that are kept: one that prints for ever must not fill the disk."""
_AS_TASK: Mapping[RunStateName, TaskStateName] = {
    "running": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
    "interrupted": "failed",
}


class LiveRun:
    """What the driver keeps of a run; the link of its handles."""

    def __init__(
        self,
        driver: Driver,
        run_id: str,
        name: str,
        form: RunForm,
        parent: str | None,
        options: RunOptions,
        now: float,
    ) -> None:
        self.driver, self.id, self.options = driver, run_id, options
        self.started, self.finished = now, None  # type: float, float | None
        self.state = RunState()
        self.open: dict[int, Task] = {}  # tasks that have not finished
        self.running: dict[int, Stop] = {}  # and BODY
        self.fallen: dict[int, str] = {}  # names of tasks that did not succeed
        self.skips: dict[int, int] = {}  # which of these each skipped task has needed
        self.known: set[str] = set()  # digests of components said so far
        self.outbox: list[Event] = []
        self.seq = 0
        self.past: list[Batch] | None = None  # kept when there is no store
        self.error: BaseException | None = None
        self.value: object = None
        self.earlier: Earlier | None = None  # what it takes over, if it resumes another run
        self.forced = Forced()
        self.choosing: Choosing | None = None
        self.again: Callable[[Selection], Run] | None = None  # starts a run that resumes this one
        self.held: dict[int, int] = {}  # while it is paused: ready tasks, and their next attempts
        self.questions: dict[int, Asking] = {}  # that wait for an answer
        self.answered: dict[int, Answered] = {}  # who was first
        self.blocks: set[int] = set()  # tasks that stand for groups and attempts
        self.plain: set[int | None] = set()  # pipelines whose function runs in a thread; None: own
        self.blocked: set[int | None] = set()  # whose code waits
        self.unheard: dict[int | None, list[tuple[Task, BaseException, ErrorInfo]]] = {}
        self.saved: dict[int, str] = {}  # blob of the state that a task saved last
        self.recalled: set[int] = set()  # tasks whose attempt is ended so that they wait again
        self.last: set[int] = set()  # tasks that tidy up, and what they call
        self.retries = 0  # of all its tasks so far
        self._numbers = itertools.count()
        root = Task(self, -1, f"{run_id}-run", None, name, None, "pipeline")  # type: ignore[arg-type]
        self.handle = Run(self, name, form, parent, root)
        self.handle.tasks.running = self.open

    def may_retry(self, error: BaseException) -> bool:
        """Take a retry out of the run's budget; False, with a note, if there is none left."""
        most = self.options.max_retries
        if most is not None and self.retries >= most:
            error.add_note(f"no other attempt: the run's {most} retries are used up")
            return False
        self.retries += 1
        return True

    def hash_of(self, number: int) -> str:
        """Give the hash of a task."""
        return f"{self.id}{number:08x}"

    def ended(self, number: int) -> bool:
        """Take a task out of the open ones; False if it is not there (any more)."""
        if self.unheard:
            hear(self, number)
        return self.open.pop(number, None) is not None

    def settle(self, state: RunStateName, error: ErrorInfo | None) -> None:
        """Tell all who wait for the run how it ended."""
        root = self.handle.root
        if state == "succeeded":
            root.settle(self.value)
        else:
            if state == "failed":
                self.driver.unseen.add(root)
            root.settle(None, self.error or run_error(self, state, error))
        root.wake()

    def choose(self, own: Selection, common: Selection) -> Selection:
        """Let only what is selected run; before its first call.

        Args:
            own: for this run. common: for all runs of its notebook, if there is none of its own.
        """
        chosen = own or (common.for_calls() if self.handle.form == "session" else common)
        if not chosen:
            return chosen
        self.forced = Forced(chosen.anew)
        self.choosing = Choosing(self, chosen, lenient=not own)
        if chosen.from_:
            self.earlier = copy(self.earlier or Earlier(""))  # others go on with the same one
            self.earlier.all = True
        return chosen

    def holds(self, number: int, attempt: int) -> bool:
        """Tell whether a task that is ready must wait: the run is paused, or it is not chosen."""
        if self.state.paused:
            self.held[number] = attempt
            return True
        if self.choosing is None:
            return False
        if self.choosing.holds(number, attempt):
            return True
        if (task := self.open.get(number)) is not None and task.form == "call":
            self.forced.why(task)  # of each, in this order, also where nothing could be reused
        return False

    # -- calls, from any thread --------------------------------------------------------------

    def new_task(
        self,
        component: Component | None,
        bound: dict[str, object],
        needs: Sequence[tuple[Task, str, str]],
        *,
        name: str,
        form: TaskForm = "call",
        group: int | None = None,
        index: int | None = None,
        above: tuple[int, ...] = (),
        last: bool = False,
    ) -> Task:
        """Make a task and hand it to the driver; `last`: it runs although the run is stopping."""
        number = next(self._numbers)
        if last or (self.last and not self.last.isdisjoint(above)):
            self.last.add(number)
        task = Task(
            self,
            number,
            self.hash_of(number),
            component,  # type: ignore[arg-type]
            name,
            bound,
            form,
            group=group,
            index=index,
        )
        task.above = above
        task.needs = needs or ()
        self.handle.tasks.add(task)
        if form != "call":
            self.forced.called(task)
        (self.driver if self.choosing is None else self.choosing).post(self, task)
        return task

    # -- Link and RunLink --------------------------------------------------------------------

    @property
    def run_state(self) -> RunStateName:
        return self.state.state

    def state_of(self, task: Task) -> TaskStateName:
        if task.number < 0:
            return _AS_TASK[self.state.state]
        state = self.state.state_of(task.number)
        return "cancelled" if state == "waiting" and task.done else state  # called too late

    def cancel(self, why: str = "", who: str = "user") -> None:
        self.driver.ask_cancel(self, None, who, why)

    def cancel_task(self, task: Task, why: str = "") -> None:
        number = None if task.number < 0 else task.number
        self.driver.ask_cancel(self, number, "user", why)

    def looks(self, task: Task, group: int | None) -> None:
        choosing = self.choosing
        if choosing is not None:
            self.driver.call(lambda: choosing.look(task, group))

    def asked(self, task: Task) -> None:
        self.driver.unseen.discard(self, task)

    def unclaimed(self, task: Task, error: BaseException) -> None:
        """Nobody waits for a task that has failed: its error is the run's."""
        if self.error is None:
            self.error = error
        if self.handle.form == "session":  # which goes on: who made the call may still ask
            self.driver.unseen.add(task)

    def close_block(self, task: Task, block: Block, error: BaseException | None) -> None:
        if self.choosing is not None:
            self.choosing.close_block(task.number, block)
        self.driver.call(lambda: block.close(error))

    def interrupted(self, task: Task) -> None:
        self.driver.ask_interrupt(self, task)

    def pause(self) -> None:
        self.driver.command(self, "pause")

    def unpause(self) -> None:
        self.driver.command(self, "continue")

    def answer(self, task: int | None, value: object) -> str:
        facts = {"task": task, "value": value}
        if threading.get_ident() == self.driver.thread:
            said = take_answer(self, facts, "user")
        else:
            said = self.driver.command(self, "answer", facts).result()
        if said.refused:
            raise RunError(f"run {self.id}: {said.text}")
        return said.text

    def resume(self, selected: Selection) -> Run:
        if self.again is None:
            raise RunError(f"run {self.id} is not a pipeline's: call what you need again")
        return self.again(selected)

    def wait(self, lock: threading.Lock, timeout: float | None, what: str) -> bool:
        scope = current_scope()
        if scope is None or not isinstance(scope.link, LiveRun):
            return self.driver.wait(lock, timeout, what)
        with blocked(scope.link, scope.above):
            return self.driver.wait(lock, timeout, what)

    def fetch(self, task: Task) -> Future[object]:
        return asyncio.run_coroutine_threadsafe(fetched(task), self.driver.loop)

    def log_of(self, task: Task) -> str:
        self.driver.flush()
        return task.log

    async def events(self) -> AsyncIterator[Event]:
        """Every event from the first to RunFinished, history first."""
        loop = asyncio.get_running_loop()
        arrived: deque[Batch] = deque()
        news = asyncio.Event()
        watch = _Watch(self.id, arrived, loop, news)
        self.driver.sinks.append(watch)
        seen = 0
        try:
            arrived.extendleft(reversed(self.driver.history(self.id)))
            while True:
                while arrived:
                    batch = arrived.popleft()
                    for event in batch.events[max(0, seen - batch.seq) :]:
                        seen += 1
                        yield event
                        if isinstance(event, RunFinished):
                            return
                news.clear()
                if not arrived:
                    await news.wait()
        finally:
            self.driver.sinks.remove(watch)


class _Watch:
    """A sink that wakes an event loop."""

    def __init__(
        self,
        run: str,
        arrived: deque[Batch],
        loop: asyncio.AbstractEventLoop,
        news: asyncio.Event,
    ) -> None:
        self._run, self._arrived, self._loop, self._news = run, arrived, loop, news

    def emit(self, batches: Sequence[Batch]) -> None:
        mine = [batch for batch in batches if batch.run == self._run]
        if mine:
            self._arrived.extend(mine)
            try:
                self._loop.call_soon_threadsafe(self._news.set)
            except RuntimeError:
                pass  # the watching loop was closed


class TaskReport:
    """Takes what a running task says, from any thread. It is also the scope of its calls."""

    __slots__ = (
        "_began",
        "_size",
        "attempt",
        "group",
        "link",
        "on_start",
        "pending",
        "restored",
        "task",
    )

    lazy = False

    def __init__(self, run: LiveRun, task: Task, attempt: int) -> None:
        self.link, self.task, self.attempt = run, task, attempt
        self.group = task.number
        self.on_start: Callable[[], None] | None = None
        self._began = 0.0
        self.restored: Sequence[object] = ()
        self.pending: deque[tuple[str, str]] | None = None
        self._size = 0

    @property
    def hash(self) -> str:
        return self.task.hash

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def above(self) -> tuple[int, ...]:
        return (*self.task.above, self.task.number)

    def started(self, worker: str = "") -> None:
        if not self._began:
            run, number = self.link, self.group
            driver = run.driver
            now = self._began = driver.now()
            if number in run.open:
                event = TaskStarted(now, number, self.attempt, worker)
                if threading.get_ident() == driver.thread:
                    driver.happen(run, event)
                else:
                    driver.tell(run, event)
            if self.on_start is not None:
                self.on_start()

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return self.link.driver.now() - self._began if self._began else 0.0

    def log(self, stream: Literal["stdout", "stderr", "system"], text: str) -> None:
        if self._size > _LOG_LIMIT or not text:
            return
        self._size += len(text)
        if self._size > _LOG_LIMIT:
            stream, text = "system", f"\n[the log is cut here: over {_LOG_LIMIT} characters]\n"
        if self.pending is None:
            self.pending = deque()
        self.pending.append((stream, text))
        self.link.driver.has_logs(self)

    def take(self, now: float) -> list[TaskLogged]:
        """Give what was logged since the last time, pieces of one stream joined."""
        pending, events = self.pending, []
        parts: list[str] = []
        stream = ""
        while pending:
            kind, text = pending.popleft()
            if kind != stream and parts:
                events.append(TaskLogged(now, self.task.number, stream, "".join(parts)))  # type: ignore[arg-type]
                parts = []
            stream = kind
            parts.append(text)
        if parts:
            events.append(TaskLogged(now, self.task.number, stream, "".join(parts)))  # type: ignore[arg-type]
        return events

    def checkpoint(self, state: object) -> None:
        driver = self.link.driver
        if driver.keeper is None:
            return
        blob = driver.keeper.put(state, "a checkpoint", self.task.name)
        digest = self.task.digest.hex() if self.task.digest is not None else ""
        self.link.saved[self.task.number] = blob
        driver.tell(self.link, TaskCheckpointed(driver.now(), self.task.number, blob, digest))
        if threading.get_ident() != driver.thread:
            driver.flush_to_disk()

    def progress(self, fraction: float, message: str = "") -> None:
        driver = self.link.driver
        driver.tell(self.link, TaskProgressed(driver.now(), self.task.number, fraction, message))

    def chunk(self, value: object) -> None:
        chunks = self.task.chunks
        chunks.put(value)
        driver = self.link.driver
        driver.tell(self.link, TaskStreamed(driver.now(), self.task.number, len(chunks.items)))

    async def named(self) -> bool:
        """See that the task has a digest, however large its arguments are; see `NamesLate`."""
        task = self.task
        if task.digest is None:
            arguments = arguments_of(task)
            await self.link.driver.reuse.named(task, arguments, fully=True)
        return task.digest is not None and task.number in self.link.open

    def ticket(self, ticket: str) -> bool:
        driver = self.link.driver
        digest = self.task.digest.hex() if self.task.digest is not None else ""
        driver.tell(self.link, TaskTicketed(driver.now(), self.task.number, ticket, digest))
        return driver.flush_to_disk() and bool(digest)
