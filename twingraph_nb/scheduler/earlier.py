"""What earlier runs have finished or left running: what a resumed run need not do again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Generic, TypeVar

import msgspec

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError, NotStarted, TaskTimeout
from twingraph_nb.events import (
    Answered,
    Asked,
    Batch,
    Event,
    TaskAdded,
    TaskCancelled,
    TaskCheckpointed,
    TaskDone,
    TaskErred,
    TaskReused,
    TaskTicketed,
)
from twingraph_nb.executors.base import Executor, Job, Outcome, Report
from twingraph_nb.graph.outputs import whole
from twingraph_nb.graph.remote_value import RemoteValue
from twingraph_nb.graph.task import Task

__all__ = ["Earlier", "Finished", "KeptValue", "attached"]


_T = TypeVar("_T")


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A task of an earlier run that is done and whose outputs are kept.

    run, hash: who made them. outputs: blob of each port. texts: what a person sees of them.
    There are as many as tasks, so the garbage collector need not look at each (`gc=False`).
    """

    run: str
    hash: str
    at: float
    outputs: Mapping[str, str]
    texts: Mapping[str, str] | None = None


class _Lines(Generic[_T]):
    """What waits under each digest, first in, first out. Nearly all have one, so a deque (some
    600 bytes) is made only for the others."""

    def __init__(self) -> None:
        self._lines: dict[str, _T | deque[_T]] = {}

    def add(self, digest: str, one: _T) -> None:
        there = self._lines.get(digest)
        if there is None:
            self._lines[digest] = one
        elif isinstance(there, deque):
            there.append(one)
        else:
            self._lines[digest] = deque((there, one))

    def take(self, digest: bytes) -> _T | None:
        there = self._lines.get(digest.hex())
        if not isinstance(there, deque):
            return self._lines.pop(digest.hex(), None)  # type: ignore[return-value]
        return there.popleft() if there else None

    def copy(self) -> _Lines[_T]:
        other: _Lines[_T] = _Lines()
        other._lines = {
            digest: there.copy() if isinstance(there, deque) else there
            for digest, there in self._lines.items()
        }
        return other


class Earlier:
    """The tasks of earlier runs by digest; each is given away once.

    Two equal calls of a run are two tasks, which may have given different values (a random
    number, the time): the first call gets what the first one gave, the second the second.

    about: the run that is resumed. all: whatever is kept counts, of any run.
    """

    def __init__(self, about: str) -> None:
        self.about, self.all = about, False
        self._finished: _Lines[Finished] = _Lines()
        self._tickets: _Lines[str] = _Lines()
        self._checkpoints: _Lines[str] = _Lines()
        self._questions: _Lines[tuple[str, int]] = _Lines()
        self._seen: set[str] = set()
        self._runs: set[str] = set()
        self._asking: set[str] = set()

    def add(self, run: str, batches: Iterable[Batch]) -> None:
        """Take in the log of a run; newer runs first, then those which they had resumed."""
        self._runs.add(run)
        hashes: dict[int, str] = {}
        open_tickets: dict[int, tuple[str, str]] = {}
        saved: dict[int, tuple[str, str]] = {}
        asked: dict[int, str] = {}
        answered: set[int] = set()
        found: list[tuple[int, str, Finished]] = []
        for event in _events(batches):
            kind = type(event)
            if kind is TaskAdded:
                hashes[event.task] = event.hash  # type: ignore[attr-defined]
            elif kind is TaskDone:
                assert isinstance(event, TaskDone)
                hash_ = hashes.pop(event.task)
                open_tickets.pop(event.task, None)
                saved.pop(event.task, None)
                asked.pop(event.task, None)
                if event.digest and event.kept:
                    done = Finished(run, hash_, event.at, event.kept, event.outputs)
                    found.append((event.task, event.digest, done))
            elif kind is TaskReused:
                assert isinstance(event, TaskReused)
                if event.digest and event.kept:
                    made = event.at - event.age
                    done = Finished(event.run, event.hash, made, event.kept, event.outputs)
                    found.append((event.task, event.digest, done))
            elif kind is TaskTicketed:
                assert isinstance(event, TaskTicketed)
                if event.digest:
                    open_tickets[event.task] = (event.digest, event.ticket)
            elif kind is TaskCheckpointed:
                assert isinstance(event, TaskCheckpointed)
                if event.digest:
                    saved[event.task] = (event.digest, event.blob)
            elif kind is Asked:
                assert isinstance(event, Asked)
                if event.digest:
                    asked[event.task] = event.digest
            elif kind is Answered:
                answered.add(event.task)  # type: ignore[attr-defined]
            elif kind is TaskErred or kind is TaskCancelled:
                number: int = event.task  # type: ignore[attr-defined]
                open_tickets.pop(number, None)
                if number in answered:  # with no: it is asked again
                    asked.pop(number, None)
        for _, digest, done in sorted(found, key=lambda one: one[0]):
            if done.hash not in self._seen:
                self._seen.add(done.hash)
                self._finished.add(digest, done)
        for _, (digest, ticket) in sorted(open_tickets.items()):
            self._tickets.add(digest, ticket)
        for _, (digest, blob) in sorted(saved.items()):
            self._checkpoints.add(digest, blob)
        for number, digest in sorted(asked.items()):
            self._questions.add(digest, (run, number))

    def take(self, digest: bytes) -> Finished | None:
        """Give a finished task of this digest, the oldest that was not given yet."""
        return self._finished.take(digest)

    def ticket(self, digest: bytes) -> str:
        """Give the ticket of a job of this digest that ran when its kernel died; "" if none."""
        return self._tickets.take(digest) or ""

    def question(self, digest: bytes, hash: str) -> tuple[str, int] | None:
        """Give run and number of a task that asked just this and has no answer; None if none.

        Args:
            hash: of the task that asks; another attempt of it takes no second one.
        """
        if hash in self._asking:
            return None
        self._asking.add(hash)
        return self._questions.take(digest)

    def copy(self) -> Earlier:
        """Give an equal one; what is taken from it is still there to be taken from this one."""
        other = Earlier(self.about)
        other.all = self.all
        other._seen, other._runs = set(self._seen), set(self._runs)
        other._finished, other._tickets = self._finished.copy(), self._tickets.copy()
        return other

    def checkpoint(self, digest: bytes) -> str:
        """Give the blob that an unfinished task of this digest had saved; "" if none."""
        return self._checkpoints.take(digest) or ""

    def lacks(self, run: str, hash: str) -> bool:
        """True of a task whose outputs were kept, but whose process died before it could say so."""
        return self.all or (run in self._runs and hash not in self._seen)


class KeptValue(RemoteValue):
    """A value that is in the store until somebody looks."""

    __slots__ = ("_component", "_load", "_outputs")

    def __init__(
        self,
        component: Component,
        finished: Finished,
        load: Callable[[Mapping[str, str]], Awaitable[Mapping[str, object]]],
    ) -> None:
        texts = finished.texts or {}
        super().__init__("store", ", ".join(texts.values()) or "a value that is kept in the store")
        self._component, self._outputs, self._load = component, finished.outputs, load

    def now(self, load: Callable[[str], object]) -> object:
        """Give the value, read by this thread; see `fetch`."""
        return whole(self._component, {port: load(blob) for port, blob in self._outputs.items()})

    async def fetch(self) -> object:
        """Give the value; see `RemoteValue`.

        Raises:
            StoreError: it is missing or damaged; it is forgotten then, and a resumed run makes
                it again.
        """
        values = await self._load(self._outputs)
        return whole(self._component, values)


async def attached(
    earlier: Earlier, executor: Executor, task: Task, job: Job, report: Report
) -> Outcome | None:
    """Go on hearing the job of this task that an earlier run had started, if it can be found."""
    if task.link.forced.why(task):  # type: ignore[attr-defined]
        return None
    ticket = earlier.ticket(task.digest) if task.digest is not None else ""
    if not ticket:
        return None
    report.ticket(ticket)
    timeout = task.component.policy.timeout  # how long it has run before is not known here
    try:
        async with asyncio.timeout(timeout):
            found = await executor.attach(ticket, job, report)
        if isinstance(found.error, ExecutorError):  # what it needed went with its kernel
            raise found.error
        return found
    except TimeoutError:
        return Outcome(error=TaskTimeout(task.name, timeout or 0.0))
    except NotStarted:
        job.ticket = ticket
        return None
    except ExecutorError as exc:
        report.log("system", f"its job of run {earlier.about} is lost, it runs again: {exc}\n")
        return None


def _events(batches: Iterable[Batch]) -> Iterable[Event]:
    for batch in batches:
        yield from batch.events
