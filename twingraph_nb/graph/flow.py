"""Results of a map that are read while it goes on; reading them lets it go on."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial

from twingraph_nb.graph.scope import current_scope
from twingraph_nb.graph.task import Task

__all__ = ["Flow", "Results"]


class Flow:
    """Values on their way, in the order of their items, from the scheduler to one reader.

    taken: how many the reader has. heard: called, on the reader's thread, once it has taken
    `wanted` of them.
    """

    __slots__ = ("_late", "_lock", "_next", "_ready", "_wake", "heard", "taken", "wanted")

    def __init__(self) -> None:
        self.taken = self.wanted = 0
        self.heard: Callable[[], object] | None = None
        self._ready: deque[object] = deque()
        self._late: dict[int, object] = {}  # whose turn has not come, by place
        self._next = 0
        self._lock = threading.Lock()
        self._wake: Callable[[], object] | None = None

    def put(self, index: int, value: object) -> None:
        """Take the result of one item. On the scheduler's thread."""
        self._late[index] = value
        while self._next in self._late:
            self._ready.append(self._late.pop(self._next))
            self._next += 1
        if self._ready:
            self.wake()

    def wake(self) -> None:
        """Tell the reader to look."""
        with self._lock:
            wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def take(self) -> list[object]:
        """Give the next value as the only item; empty if it is not there."""
        if not self._ready:
            return []
        value = self._ready.popleft()
        self.taken += 1
        heard = self.heard
        if heard is not None and self.taken >= self.wanted:
            self.heard = None
            heard()
        return [value]

    def when_more(self, task: Task, wake: Callable[[], object]) -> None:
        """Call once when there is a value, or no further one: at once if it is so already."""
        with self._lock:
            self._wake = wake
        if self._ready or task.done:
            self.wake()


class Results:
    """What a map gives for one item after the other, in their order, while it goes on.

    The map begins with the loop over it, makes no more results than its window ahead of the
    loop, and is cancelled when the loop is left early. One loop each.
    """

    def __init__(self, begin: Callable[[Flow], Task], name: str) -> None:
        self._begin, self._name = begin, name
        self.task: Task | None = None

    def __iter__(self) -> Iterator[object]:
        """Give the results; raises what the first item raised that failed."""
        flow = Flow()
        task = self._started(flow)
        with _reading(task):
            while True:
                over = task.done  # asked first: nothing comes after it
                if there := flow.take():
                    yield there[0]
                elif over:
                    break
                else:
                    self._wait(flow, task)
            task.result()

    def _wait(self, flow: Flow, task: Task) -> None:
        gate = threading.Lock()
        gate.acquire()
        flow.when_more(task, gate.release)
        try:
            task.link.wait(gate, None, f"{self._name}.imap(...)")
        except KeyboardInterrupt:
            task.link.interrupted(task)
            raise

    async def __aiter__(self) -> AsyncIterator[object]:
        """Give the results; raises what the first item raised that failed."""
        flow = Flow()
        task = self._started(flow)
        loop = asyncio.get_running_loop()
        with _reading(task):
            while True:
                over = task.done
                if there := flow.take():
                    yield there[0]
                elif over:
                    break
                else:
                    more = asyncio.Event()
                    flow.when_more(task, partial(loop.call_soon_threadsafe, more.set))
                    await more.wait()
            await task

    def _started(self, flow: Flow) -> Task:
        if self.task is not None:
            raise RuntimeError(f"the results of {self.task.name} are read already: call imap again")
        self.task = task = self._begin(flow)
        task.when_done(flow.wake)
        return task

    def __repr__(self) -> str:
        return f"<results of {self._name}.imap(...)>"


@contextmanager
def _reading(task: Task) -> Generator[None, None, None]:
    """Its errors are the reader's; who stops reading needs it no more."""
    scope = current_scope()
    inside = int(scope is not None and scope.link is task.link)
    task.waiters += inside
    try:
        yield
    finally:
        task.waiters -= inside
        if not task.done:
            task.cancel()
