"""What earlier runs have finished or left running: what a resumed run need not do again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError, NotStarted, TaskTimeout, Unreachable
from twingraph_nb.events import (
    Answered,
    Asked,
    Batch,
    Event,
    RunFinished,
    TaskAdded,
    TaskCancelled,
    TaskCheckpointed,
    TaskDone,
    TaskErred,
    TaskReused,
    TaskStarted,
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
    digest: under which a resumed run looks for it.
    There are as many as tasks, so the garbage collector need not look at each (`gc=False`).
    """

    run: str
    hash: str
    at: float
    outputs: Mapping[str, str]
    texts: Mapping[str, str] | None = None
    digest: str = ""


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

    def __contains__(self, digest: bytes) -> bool:
        return digest.hex() in self._lines

    def take(self, digest: bytes) -> _T | None:
        there = self._lines.pop(key := digest.hex(), None)
        if not isinstance(there, deque):
            return there
        first = there.popleft()
        if there:
            self._lines[key] = there
        return first

    def copy(self) -> _Lines[_T]:
        other: _Lines[_T] = _Lines()
        other._lines = {
            digest: there.copy() if isinstance(there, deque) else there
            for digest, there in self._lines.items()
        }
        return other


class _Open:
    """What the log of a run says of tasks that have not ended, by their numbers."""

    def __init__(self) -> None:
        self.tickets: dict[int, tuple[str, str]] = {}
        self.saved: dict[int, tuple[str, str]] = {}
        self.asked: dict[int, str] = {}
        self._answered: set[int] = set()

    def hear(self, event: Event) -> None:
        if isinstance(event, TaskTicketed):
            if event.digest:
                self.tickets[event.task] = event.digest, event.ticket
        elif isinstance(event, TaskCheckpointed):
            if event.digest:
                self.saved[event.task] = event.digest, event.blob
        elif isinstance(event, Asked):
            if event.digest:
                self.asked[event.task] = event.digest
        elif isinstance(event, Answered):
            self._answered.add(event.task)
        elif isinstance(event, (TaskErred, TaskCancelled)):
            if not (isinstance(event, TaskErred) and event.error.type == Unreachable.__name__):
                self.tickets.pop(event.task, None)  # else its job may go on where nobody hears it
            if event.task in self._answered:  # with no: it is asked again
                self.asked.pop(event.task, None)

    def keep(self, numbers: Container[int]) -> None:
        """Forget all tasks but these: the others have given their values."""
        for told in (self.tickets, self.saved, self.asked):
            for number in [number for number in told if number not in numbers]:
                del told[number]


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
        found, whole, open_ = _folded(run, batches)
        if not whole:
            self._runs.add(run)
        seen, lines = self._seen, self._finished
        for number in sorted(found):
            done = found[number]
            if done.hash not in seen:
                seen.add(done.hash)
                lines.add(done.digest, done)
        for _, (digest, ticket) in sorted(open_.tickets.items()):
            self._tickets.add(digest, ticket)
        for _, (digest, blob) in sorted(open_.saved.items()):
            self._checkpoints.add(digest, blob)
        for number, digest in sorted(open_.asked.items()):
            self._questions.add(digest, (run, number))

    def take(self, digest: bytes) -> Finished | None:
        """Give a finished task of this digest, the oldest that was not given yet."""
        return self._finished.take(digest)

    def ticket(self, digest: bytes) -> str:
        """Give the ticket of a job of this digest that ran when its kernel died; "" if none."""
        return self._tickets.take(digest) or ""

    def give_back(self, digest: bytes, ticket: str) -> None:
        """Take a ticket back that was of no use now."""
        self._tickets.add(digest.hex(), ticket)

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

    def begun(self, digest: bytes | None) -> bool:
        """Tell whether a task of this digest may be about somewhere, or has saved how far it was;
        of one without a name that is not known."""
        return digest is None or digest in self._tickets or digest in self._checkpoints

    @property
    def partial(self) -> bool:
        """True when outputs may be kept of which nothing is known here; see `lacks`."""
        return self.all or bool(self._runs)

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
        load: Callable[[Sequence[Mapping[str, str]]], Awaitable[Sequence[Mapping[str, object]]]],
    ) -> None:
        texts = finished.texts or {}
        self.place = "store"
        self.about = ", ".join(texts.values()) or "a value that is kept in the store"
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
        return (await self.fetch_all([self]))[0]

    @classmethod
    async def fetch_all(cls, values: Sequence[KeptValue]) -> Sequence[object]:
        found = await values[0]._load([value._outputs for value in values])
        return [whole(value._component, one) for value, one in zip(values, found, strict=True)]


async def attached(
    earlier: Earlier, executor: Executor, task: Task, job: Job, report: Report
) -> Outcome | None:
    """Go on hearing the job of this task that an earlier run had started, if it can be found.

    Raises:
        Unreachable: nobody can be asked whether it still runs, so there must be no second one.
    """
    if task.digest is None or task.link.forced.why(task):  # type: ignore[attr-defined]
        return None
    ticket = earlier.ticket(task.digest)
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
    except Unreachable as exc:
        earlier.give_back(task.digest, ticket)
        exc.add_note(
            f"its job of run {earlier.about} may go on there, so no other was started: resume "
            f"again when it can be reached, or with force={task.component.name!r}"
        )
        raise
    except ExecutorError as exc:
        report.log("system", f"its job of run {earlier.about} is lost, it runs again: {exc}\n")
        return None


def _folded(run: str, batches: Iterable[Batch]) -> tuple[dict[int, Finished], bool, _Open]:
    """What the log of a run says: finished tasks by number, whether it has succeeded, the rest."""
    found: dict[int, Finished] = {}
    hashes: dict[int, str] = {}
    whole, open_ = False, _Open()
    event: Any
    for batch in batches:
        for event in batch.events:
            kind = type(event)  # to ask `isinstance` would take as long as all the rest
            if kind is TaskStarted:
                continue  # a third of all
            if kind is TaskAdded:
                hashes[event.task] = event.hash
            elif kind is TaskDone:
                hash_ = hashes.pop(event.task)
                if event.digest and event.kept:
                    found[event.task] = Finished(
                        run, hash_, event.at, event.kept, event.outputs, event.digest
                    )
            elif kind is TaskReused:
                if event.digest and event.kept:
                    made = event.at - event.age
                    found[event.task] = Finished(
                        event.run, event.hash, made, event.kept, event.outputs, event.digest
                    )
            elif kind is RunFinished:
                whole = event.state == "succeeded"
            else:
                open_.hear(event)
    open_.keep(hashes)
    return found, whole, open_
