"""Maps: a task for each item, but only a window of them at a time.

Memory is bounded by the window: an item that has ended leaves its value, if that is wanted, and
a byte in the state of its run.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import Context
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, cast

from twingraph_nb.errors import TaskError, TaskSkipped
from twingraph_nb.events import CancelAsked, MapExpanded
from twingraph_nb.executors.threads import Threads
from twingraph_nb.graph.flow import Flow
from twingraph_nb.graph.refs import needs_of, resolve
from twingraph_nb.graph.remote_value import RemoteParts, RemoteValue
from twingraph_nb.graph.task import Task
from twingraph_nb.scheduler.inputs import fetched, fetched_all
from twingraph_nb.scheduler.live import LiveRun

if TYPE_CHECKING:
    from twingraph_nb.scheduler.drive import Driver

__all__ = ["WINDOW", "Given", "MapWork", "is_sized"]

WINDOW = 4096
"""Items that are tasks at a time, unless said: twice what the widest platform takes at once."""
_AT_ONCE = 500
"""Items that are added before other work gets a turn."""
_PULL = 0.005
"""Seconds after which the items that an iterator has given so far become tasks."""
_BEHIND = 100_000
"""Events that may wait to be written; with more, a map waits. The store gives up at twice that."""
_BREATH = 0.02
"""Seconds between looks whether the store has caught up."""


class Given:
    """What a map is called with.

    items: a list, tuple or range, an iterator, or a task that gives a list. window: most items
    that are tasks at a time. collect: keep the results. flow: takes them one by one instead.
    context: of the call, for the code of an iterator.
    """

    __slots__ = ("collect", "common", "context", "flow", "items", "window")

    def __init__(
        self,
        items: object,
        common: Mapping[str, object],
        *,
        window: int = WINDOW,
        collect: bool = True,
        flow: Flow | None = None,
        context: Context | None = None,
    ) -> None:
        self.items, self.common, self.window = items, common, window
        self.collect, self.flow, self.context = collect, flow, context


def is_sized(items: object) -> bool:
    """Tell whether it is known how many items there are, and looking at them changes nothing."""
    return isinstance(items, (list, tuple, range))


class MapWork:
    """One map while it goes on. On the scheduler's thread."""

    def __init__(self, driver: Driver, threads: Threads, run: LiveRun, task: Task) -> None:
        self._driver, self._threads, self._run, self._task = driver, threads, run, task
        self._given = cast(Given, (task.bound or {})["given"])
        self._fail_fast = run.options.on_error == "fail_fast"
        self._live: dict[int, Task] = {}
        self._values: list[object] = []
        self._remote = False
        self._made = self._failed = 0
        self._first: tuple[int, BaseException] | None = None  # of the items that failed
        self._left: TaskSkipped | None = None  # of an item that is not to run
        self._wanted: Callable[[], bool] | None = None  # what the work waits for
        self._wake: asyncio.Future[None] | None = None

    async def value(self) -> object:
        """Run all items; gives the list of their results, or their number if none is kept.

        Raises:
            TaskError: there is nothing to iterate over.
            Exception: what the first item raised that failed, or the iterator.
        """
        given = self._given
        try:
            items = given.items
            if not is_sized(items) and not isinstance(items, Iterator):
                await fetched_all(other for other, _, _ in needs_of({"": items}))
                items = _listed(resolve(items), self._task.name)
            if is_sized(items):
                self._expanded(len(cast("Sequence[object]", items)))
                await self._add_all(cast("Sequence[object]", items))
            else:
                await self._pull_all(cast("Iterator[object]", items))
                self._expanded(self._made)
            if self._run.choosing is not None:
                self._run.choosing.close(self._task.number)
            await self._until(lambda: not self._live)
        except asyncio.CancelledError:
            raise  # the items were cancelled with it
        except BaseException:  # the iterator may want to end the program
            self._cancel_rest()
            raise
        self._cancel_rest()
        if self._first is not None:
            raise self._error(self._first[1])
        if self._left is not None:
            raise self._left
        if not given.collect or given.flow is not None:
            return self._made
        return RemoteParts(self._values) if self._remote else self._values

    def _expanded(self, count: int) -> None:
        self._driver.happen(self._run, MapExpanded(self._driver.now(), self._task.number, count))

    # -- adding items ------------------------------------------------------------------------

    async def _add_all(self, items: Sequence[object]) -> None:
        add = self._adder()
        while self._made < len(items) and (room := await self._room()):
            for item in items[self._made : self._made + min(room, _AT_ONCE)]:
                add(item)
            if room >= _AT_ONCE:
                await asyncio.sleep(0)

    async def _pull_all(self, items: Iterator[object]) -> None:
        """Take what an iterator gives; its code may block, so it runs in a thread."""
        add, context = self._adder(), self._given.context or Context()
        while room := await self._room():
            pull = partial(context.run, _pulled, items, min(room, _AT_ONCE))
            found, over = cast("tuple[list[object], bool]", await self._threads.run(pull))
            for item in found:
                add(item)
            if over:
                break

    async def _room(self) -> int:
        """Wait until further items may be added; gives how many, 0 if none shall be."""
        window, flow = self._given.window, self._given.flow
        low = window - max(1, min(window // 2, _AT_ONCE))  # many at a time cost less each
        if self._space() <= 0:
            if flow is not None:
                flow.wanted = self._made - low
                flow.heard = partial(self._driver.call, self._look)
            await self._until(lambda: window - self._space() <= low)
        keeper = self._driver.keeper
        while keeper is not None and keeper.behind > _BEHIND:
            await asyncio.sleep(_BREATH)
        return 0 if self._stopped() else self._space()

    def _space(self) -> int:
        flow = self._given.flow
        open_ = len(self._live) if flow is None else self._made - flow.taken
        return self._given.window - open_

    def _adder(self) -> Callable[[object], None]:
        task, run, given = self._task, self._run, self._given
        component = task.component
        first, shared = component.inputs[0].name, needs_of(given.common)
        above = (*task.above, task.number)
        keep = given.collect and given.flow is None

        def add(item: object) -> None:
            index = self._made
            self._made += 1
            child = run.new_task(
                component,
                {first: item, **given.common},
                [*needs_of({first: item}), *shared],
                name=f"{component.name}[{index}]",
                group=task.number,
                index=index,
                above=above,
            )
            self._live[index] = child
            if keep:
                self._values.append(None)
            child.when_done(partial(self._ended, index, child))

        return add

    # -- items that end ----------------------------------------------------------------------

    def _ended(self, index: int, child: Task) -> None:
        self._live.pop(index, None)
        error, flow = child.error, self._given.flow
        if isinstance(error, TaskSkipped) and self._run.choosing is not None:
            self._left = error  # it is not selected: the others go on
        elif error is not None:
            self._failed += 1
            if self._first is None or index < self._first[0]:
                self._first = (index, error)
        elif flow is not None:
            self._flows(index, child, flow)
        elif self._given.collect:
            value = self._values[index] = child.peek()
            self._remote = self._remote or isinstance(value, RemoteValue)
        self._look()

    def _flows(self, index: int, child: Task, flow: Flow) -> None:
        """Hand a result to the reader, brought here first if it is elsewhere."""
        value = child.peek()
        if not isinstance(value, RemoteValue):
            flow.put(index, value)
            return
        self._live[index] = child
        fetching = self._driver.loop.create_task(fetched(child))

        def arrived(done: asyncio.Task[object]) -> None:
            del self._live[index]
            if done.cancelled() or (error := done.exception()) is not None:
                self._failed += 1
                self._first = self._first or (index, error or TaskError("cancelled"))
            else:
                flow.put(index, done.result())
            self._look()

        fetching.add_done_callback(arrived)

    def _look(self) -> None:
        """Let the work go on if what it waits for is so."""
        wake, wanted = self._wake, self._wanted
        if wake is None or wanted is None or wake.done():
            return
        if self._stopped() or wanted():
            wake.set_result(None)

    async def _until(self, wanted: Callable[[], bool]) -> None:
        if self._stopped() or wanted():
            return
        self._wanted = wanted
        self._wake = asyncio.get_running_loop().create_future()
        await self._wake
        self._wake = self._wanted = None

    def _stopped(self) -> bool:
        """True when an item failed and the others are not wanted any more."""
        return self._first is not None and (self._fail_fast or self._given.flow is not None)

    def _cancel_rest(self) -> None:
        driver, why = self._driver, "another item of the map failed"
        if self._first is None:
            why = "the items could not be read"
        for child in list(self._live.values()):
            driver.happen(self._run, CancelAsked(driver.now(), child.number, "scheduler", why))

    def _error(self, error: BaseException) -> BaseException:
        if self._failed > 1:
            error.add_note(f"{self._failed} of {self._made} items of {self._task.name} failed")
        return error


def _pulled(items: Iterator[object], most: int) -> tuple[list[object], bool]:
    """Give the next items, as many as come in a short time, and whether they were the last."""
    found: list[object] = []
    until = monotonic() + _PULL
    for item in itertools.islice(items, most):
        found.append(item)
        if monotonic() > until:
            return found, False
    return found, len(found) < most


def _listed(items: object, name: str) -> Sequence[object]:
    if isinstance(items, (tuple, range)):
        return items
    if not isinstance(items, Iterable) or isinstance(items, (str, bytes)):
        raise TaskError(
            f"{name} maps over a list of items, but got {type(items).__name__}: give a list"
        )
    return list(items)
