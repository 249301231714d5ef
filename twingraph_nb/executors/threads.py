"""Threads that run sync components: started as needed, interruptible, cheap per task."""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue

__all__ = ["Interrupted", "Threads"]

_LOOK_EVERY = 0.001
"""Seconds between looks whether more threads are needed; their number doubles then."""


class Interrupted(BaseException):
    """Raised inside a component whose task was cancelled; a BaseException so that it gets out."""


class _Item:
    __slots__ = (
        "context",
        "error",
        "future",
        "interrupted",
        "running",
        "thread",
        "value",
        "work",
    )

    def __init__(self, work: Callable[[], object], future: asyncio.Future[object]) -> None:
        self.work, self.future = work, future
        self.context: Context = copy_context()
        self.value: object = None
        self.error: BaseException | None = None
        self.thread = 0
        self.running = False
        self.interrupted = False


class Threads:
    """A pool for one event loop: larger priority first, then first come first served.

    A thread takes what waits one after the other, and results come back in batches: one wake-up
    serves many short tasks. Another thread is started only while nothing gets done.
    """

    def __init__(self, limit: int, name: str) -> None:
        self.limit, self._name = limit, name
        self._heap: list[tuple[int, int, _Item]] = []  # heapq on ints is atomic under the GIL
        self._order = itertools.count()
        self._tokens: SimpleQueue[bool] = SimpleQueue()  # wakes idle threads; False ends one
        self._done: deque[_Item] = deque()
        self._woken = self._growing = False
        self._count = self._idle = self._blocked = 0
        self._ended = self._ended_before = 0  # tasks; to see whether anything gets done
        self._guard = threading.Lock()
        self._mine: threading.local = threading.local()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._start()  # Python 3.12.0 and 3.12.1 start no thread any more once a script is through

    async def run(self, work: Callable[[], object], priority: int = 0) -> object:
        """Run the work in a thread, in this context, and give its result; raises what it raised.

        When this coroutine is cancelled the work is interrupted: `Interrupted` is raised in it
        at its next bytecode. A call that blocks in C goes on until it returns, unheard.
        """
        loop = self._loop = asyncio.get_running_loop()
        item = _Item(work, loop.create_future())
        heapq.heappush(self._heap, (-priority, next(self._order), item))
        if self._idle:
            self._tokens.put(True)
        elif not self._growing:
            self._look()
        try:
            await item.future
        except asyncio.CancelledError:
            self._interrupt(item)
            raise
        if item.error is not None:
            raise item.error
        return item.value

    @property
    def inside(self) -> bool:
        """True in one of these threads."""
        return getattr(self._mine, "inside", False)

    def wait(self, lock: threading.Lock, timeout: float | None) -> bool:
        """Wait for a lock in one of these threads, while another takes its place."""
        with self._guard:
            self._blocked += 1
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._look)
        try:
            return lock.acquire(timeout=-1 if timeout is None else timeout)
        finally:
            with self._guard:
                self._blocked -= 1

    def close(self) -> None:
        """Let the threads end when they are through with what they run."""
        for _ in range(self._count):
            self._tokens.put(False)

    def _look(self) -> None:
        """Start threads while tasks wait and none gets done; look again soon."""
        self._growing = bool(self._heap)
        if not self._growing:
            return
        if self._ended == self._ended_before and not self._idle:
            room = self.limit + self._blocked - self._count
            for _ in range(min(room, max(1, self._count), len(self._heap))):
                if not self._start():
                    break
        self._ended_before = self._ended
        assert self._loop is not None
        self._loop.call_later(_LOOK_EVERY, self._look)

    def _start(self) -> bool:
        name = f"{self._name}-{self._count + 1}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError:  # no more to be had: at the interpreter's exit, or at a limit
            return False
        self._count += 1
        return True

    def _work(self) -> None:
        self._mine.inside = True
        me = threading.get_ident()
        heap = self._heap
        while True:
            try:
                item = heapq.heappop(heap)[2]
            except IndexError:
                if not self._rest():
                    return
                continue
            with self._guard:
                if item.interrupted:
                    continue
                item.thread, item.running = me, True
            self._run(item)
            self._ended += 1
            self._done.append(item)
            del item
            if not self._woken:
                self._woken = True
                try:
                    self._loop.call_soon_threadsafe(self._settle)  # type: ignore[union-attr]
                except RuntimeError:
                    return  # the loop was closed: nobody waits for the result

    def _rest(self) -> bool:
        """Wait until there may be work again; False to end."""
        with self._guard:
            if self._count > self.limit + self._blocked + 1:
                self._count -= 1
                return False
            self._idle += 1
        try:
            # Whoever adds work looks at _idle after filling the heap, so one sees the other.
            return bool(self._heap) or self._tokens.get()
        finally:
            with self._guard:
                self._idle -= 1

    def _run(self, item: _Item) -> None:
        try:
            try:
                item.value = item.context.run(item.work)
            except BaseException as exc:
                item.error = exc
            with self._guard:
                item.running = False
            if item.interrupted and not isinstance(item.error, Interrupted):
                while True:  # the interrupt is on its way: take it here, not in the next task
                    threading.Event().wait(0.001)
        except Interrupted as exc:
            item.error = item.error or exc
            item.running = False

    def _settle(self) -> None:
        self._woken = False
        done = self._done
        while done:
            item = done.popleft()
            if not item.future.done():
                item.future.set_result(None)

    def _interrupt(self, item: _Item) -> None:
        with self._guard:
            item.interrupted = True
            if item.running:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(item.thread), ctypes.py_object(Interrupted)
                )
