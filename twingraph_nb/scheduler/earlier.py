"""What earlier runs have finished or left running: what a resumed run need not do again."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError
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
from twingraph_nb.executors.base import Executor, Outcome, Report
from twingraph_nb.graph.outputs import whole
from twingraph_nb.graph.remote_value import RemoteValue
from twingraph_nb.graph.task import Task

__all__ = ["Earlier", "Finished", "KeptValue", "attached"]


@dataclass(frozen=True, slots=True)
class Finished:
    """A task of an earlier run that is done and whose outputs are kept.

    run, hash: who made them. outputs: blob of each port. texts: what a person sees of them.
    """

    run: str
    hash: str
    at: float
    outputs: Mapping[str, str]
    texts: Mapping[str, str] | None = None


@dataclass(slots=True)
class _Known:
    """What a log says of the tasks with one digest, in the order in which they were added.

    questions: run and number of those that ask a person and have no answer that is kept.
    """

    finished: deque[Finished] = field(default_factory=deque)
    tickets: deque[str] = field(default_factory=deque)
    checkpoints: deque[str] = field(default_factory=deque)
    questions: deque[tuple[str, int]] = field(default_factory=deque)


class Earlier:
    """The tasks of earlier runs by digest; each is given away once.

    Two equal calls of a run are two tasks, which may have given different values (a random
    number, the time): the first call gets what the first one gave, the second the second.

    about: the run that is resumed.
    """

    def __init__(self, about: str) -> None:
        self.about = about
        self._known: dict[str, _Known] = {}
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
                open_tickets.pop(event.task, None)
                saved.pop(event.task, None)
                asked.pop(event.task, None)
                if event.digest and event.kept:
                    done = Finished(run, hashes[event.task], event.at, event.kept, event.outputs)
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
                self._of(digest).finished.append(done)
        for _, (digest, ticket) in sorted(open_tickets.items()):
            self._of(digest).tickets.append(ticket)
        for _, (digest, blob) in sorted(saved.items()):
            self._of(digest).checkpoints.append(blob)
        for number, digest in sorted(asked.items()):
            self._of(digest).questions.append((run, number))

    def take(self, digest: bytes) -> Finished | None:
        """Give a finished task of this digest, the oldest that was not given yet."""
        known = self._known.get(digest.hex())
        return known.finished.popleft() if known is not None and known.finished else None

    def ticket(self, digest: bytes) -> str:
        """Give the ticket of a job of this digest that ran when its kernel died; "" if none."""
        known = self._known.get(digest.hex())
        return known.tickets.popleft() if known is not None and known.tickets else ""

    def question(self, digest: bytes, hash: str) -> tuple[str, int] | None:
        """Give run and number of a task that asked just this and has no answer; None if none.

        Args:
            hash: of the task that asks; another attempt of it takes no second one.
        """
        if hash in self._asking:
            return None
        self._asking.add(hash)
        known = self._known.get(digest.hex())
        return known.questions.popleft() if known is not None and known.questions else None

    def copy(self) -> Earlier:
        """Give an equal one; what is taken from it is still there to be taken from this one."""
        other = Earlier(self.about)
        other._seen, other._runs = set(self._seen), set(self._runs)
        other._known = {
            digest: _Known(known.finished.copy(), known.tickets.copy())
            for digest, known in self._known.items()
        }
        return other

    def checkpoint(self, digest: bytes) -> str:
        """Give the blob that an unfinished task of this digest had saved; "" if none."""
        known = self._known.get(digest.hex())
        return known.checkpoints.popleft() if known is not None and known.checkpoints else ""

    def lacks(self, run: str, hash: str) -> bool:
        """True of a task whose outputs were kept, but whose process died before it could say so."""
        return run in self._runs and hash not in self._seen

    def _of(self, digest: str) -> _Known:
        return self._known.setdefault(digest, _Known())


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

    async def fetch(self) -> object:
        """Give the value; see `RemoteValue`.

        Raises:
            StoreError: it is missing or damaged; it is forgotten then, and a resumed run makes
                it again.
        """
        values = await self._load(self._outputs)
        return whole(self._component, values)


async def attached(
    earlier: Earlier, executor: Executor, task: Task, report: Report
) -> Outcome | None:
    """Go on hearing the job of this task that an earlier run had started, if it can be found."""
    if task.link.forced.why(task):  # type: ignore[attr-defined]
        return None
    ticket = earlier.ticket(task.digest) if task.digest is not None else ""
    if not ticket:
        return None
    report.ticket(ticket)
    try:
        return await executor.attach(ticket, report)
    except ExecutorError as exc:
        report.log("system", f"its job of run {earlier.about} is lost, it runs again: {exc}\n")
        return None


def _events(batches: Iterable[Batch]) -> Iterable[Event]:
    for batch in batches:
        yield from batch.events
