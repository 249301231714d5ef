"""The handle of one run."""

from __future__ import annotations

import heapq
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from typing import Protocol, overload

from twingraph_nb.errors import suggestion
from twingraph_nb.events import Event, RunForm, RunStateName
from twingraph_nb.graph.task import Task
from twingraph_nb.selection import Names, Selection, read_selection

__all__ = ["LISTED", "Run", "RunLink", "Tasks"]

LISTED = 10_000
"""Items of one map whose handles a run keeps: some 20 MB. A million would take two GB."""


class RunLink(Protocol):
    """What a run's handle needs of the scheduler."""

    id: str

    @property
    def run_state(self) -> RunStateName: ...
    @property
    def started(self) -> float: ...
    @property
    def finished(self) -> float | None: ...
    def cancel(self, why: str = "", who: str = "") -> None: ...
    def pause(self) -> None: ...
    def unpause(self) -> None: ...
    def resume(self, selected: Selection) -> Run: ...
    def answer(self, task: int | None, value: object) -> str: ...
    def events(self) -> AsyncIterator[Event]: ...


class Tasks(Sequence[Task]):
    """The tasks of a run in the order of their calls; also by name or hash.

    The run of loose calls lists only tasks that somebody still holds. Of a large map, the first
    10,000 items are listed, later ones while they run; `total` counts them all.
    """

    def __init__(self, *, weak: bool) -> None:
        self._weak = weak
        self.total = 0
        self._tasks: list[Task | weakref.ref[Task]] = []
        self.running: Mapping[int, Task] = {}  # those that have not ended, by number

    def add(self, task: Task) -> None:
        """Take a task, in the order of calls."""
        self.total += 1
        if (task.index is not None or task.above) and self._is_late(task):
            return
        self._tasks.append(weakref.ref(task) if self._weak else task)
        if self._weak and len(self._tasks) % 4096 == 0:
            self._tasks = [r for r in self._tasks if self._alive(r) is not None]

    def __iter__(self) -> Iterator[Task]:
        tasks = (t for r in list(self._tasks) if (t := self._alive(r)) is not None)
        late = [t for t in list(self.running.values()) if t.above and self._is_late(t)]
        return heapq.merge(tasks, late, key=_number) if late else tasks

    def _is_late(self, task: Task) -> bool:
        """Tell whether it is a late item of a large map, or called by one."""
        if (task.index or 0) >= LISTED:
            return True
        callers = [self.running.get(number) for number in task.above]
        return any((caller.index or 0) >= LISTED for caller in callers if caller is not None)

    @staticmethod
    def _alive(held: Task | weakref.ref[Task]) -> Task | None:
        return held if isinstance(held, Task) else held()

    @overload
    def __getitem__(self, key: int | str) -> Task: ...
    @overload
    def __getitem__(self, key: slice) -> Sequence[Task]: ...
    def __getitem__(self, key: int | str | slice) -> Task | Sequence[Task]:
        if not isinstance(key, str):
            return list(self)[key]
        for task in self:
            if key in (task.name, task.hash):
                return task
        names = sorted({t.name for t in self})
        raise KeyError(f"no task is called {key!r}{suggestion(key, names)}")

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<{len(self)} tasks>"


def _number(task: Task) -> int:
    return task.number


class Run:
    """One execution of a pipeline. Await it, or take `.result()`.

    id: unique. name: the pipeline's. form: "pipeline", or "session" for loose calls.
    parent: id of the run it was started from, or None. tasks: its tasks so far.
    """

    __slots__ = ("__weakref__", "form", "link", "name", "parent", "root", "tasks")

    def __init__(
        self, link: RunLink, name: str, form: RunForm, parent: str | None, root: Task
    ) -> None:
        self.link, self.name, self.form, self.parent = link, name, form, parent
        self.root = root  # stands for the run's own result
        self.tasks = Tasks(weak=form == "session")

    @property
    def id(self) -> str:
        """The run's id."""
        return self.link.id

    @property
    def state(self) -> RunStateName:
        """running, succeeded, failed or cancelled."""
        return self.link.run_state

    @property
    def started(self) -> float:
        """When it started, seconds since the epoch."""
        return self.link.started

    @property
    def finished(self) -> float | None:
        """When it finished, seconds since the epoch, or None."""
        return self.link.finished

    @property
    def done(self) -> bool:
        """True when nothing will change any more."""
        return self.root.done

    def result(self, timeout: float | None = None) -> object:
        """Wait for what the pipeline returned, with its tasks' values put in.

        Args:
            timeout: seconds to wait; the run goes on after that.
        Raises:
            TaskTimeout: it has not finished in that time.
            RunError: it was cancelled or took too long.
            Exception: what a component, or the pipeline itself, raised.
        """
        __tracebackhide__ = True
        return self.root.result(timeout)

    def __await__(self) -> Generator[object, None, object]:
        return (yield from self.root.__await__())

    def cancel(self) -> None:
        """Ask the run to stop: what waits is dropped, what runs is cancelled."""
        self.link.cancel(who="user")

    def pause(self) -> None:
        """Begin no further task; what runs is let finish."""
        self.link.pause()

    def unpause(self) -> None:
        """Let a paused run go on."""
        self.link.unpause()

    def answer(self, value: object, task: Task | None = None) -> str:
        """Answer the question that a task of this run asks; gives what became of it.

        Args:
            value: the answer, or text as people type it.
            task: may be left out if one asks.
        Raises:
            RunError: it is no answer to it, somebody was faster, or nothing is asked.
        """
        return self.link.answer(None if task is None else task.number, value)

    def resume(
        self,
        *,
        only: Names | None = None,
        to: Names | None = None,
        skip: Names | None = None,
        force: Names | None = None,
        from_: Names | None = None,
    ) -> Run:
        """Start a run of the same pipeline and arguments that takes over what this one finished.

        Failed, cancelled and unfinished tasks run; of edited components what depends on them too.

        Args:
            only, to, skip, force, from_: what of it is to run; see `Pipeline.run`.
        Raises:
            RunError: it still runs, somebody else resumes it, or it is not a pipeline's.
            WiringError: nothing is called what a selector names.
        """
        chosen = {"only": only, "to": to, "skip": skip, "force": force, "from_": from_}
        return self.link.resume(read_selection(chosen))

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call back once it has finished, on the scheduler's thread; at once if it has."""
        self.root.when_done(callback)

    async def events(self) -> AsyncIterator[Event]:
        """Give every event of the run from its first, until it has finished."""
        async for event in self.link.events():
            yield event

    def __repr__(self) -> str:
        return f"<run {self.name} {self.id} {self.state}, {self.tasks.total} tasks>"
