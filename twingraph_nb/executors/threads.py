"""Threads that run sync components: started as needed, interruptible, cheap per task."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue

__all__ = ["Interrupted", "Threads", "Work"]

_LOOK_EVERY = 0.001
"""Seconds between looks whether more threads are needed; their number doubles then."""


class Interrupted(BaseException):
    """Raised inside a component whose task was cancelled; a BaseException so that it gets out."""


class Work:
    """One call in the pool.

    begun and ended are called on the loop's thread: when a thread turns to it, and with itself
    when it is over, unless it was cancelled.
    """

    __slots__ = (
        "_pool",
        "begun",
        "call",
        "context",
        "ended",
        "error",
        "interrupted",
        "running",
        "thread",
        "value",
    )

    def __init__(
        self,
        pool: Threads,
        call: Callable[[], object],
        begun: Callable[[], object] | None,
        ended: Callable[[Work], object],
        context: Context,
    ) -> None:
        self._pool, self.call, self.begun, self.ended = pool, call, begun, ended
        self.context = context
        self.value: object = None
        self.error: BaseException | None = None
        self.thread = 0
        self.running = self.interrupted = False

    def cancel(self, why: str = "") -> None:
        """Interrupt it: `Interrupted` is raised in it at its next bytecode.

        A call that blocks in C goes on until it returns, unheard.
        """
        with self._pool.guard:
            again, self.interrupted = self.interrupted, True
            if self.running and not again:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self.thread), ctypes.py_object(Interrupted)
                )

    def drop(self) -> None:
        """See that it does not begin; what has begun goes on to its end, unheard."""
        with self._pool.guard:
            self.interrupted = self.interrupted or not self.running


class Threads:
    """A pool for one event loop: larger priority first, then first come first served.

    A thread takes what waits one after the other, and results come back in batches: one wake-up
    serves many short tasks. Another thread is started only while nothing gets done.
    """

    def __init__(self, limit: int, name: str) -> None:
        self.limit, self._name = limit, name
        self._heap: list[tuple[int, int, Work]] = []  # heapq on ints is atomic under the GIL
        self._order = itertools.count()
        self._tokens: SimpleQueue[bool] = SimpleQueue()  # wakes idle threads; False ends one
        self._news: deque[tuple[Work, bool]] = deque()  # (what, whether it is over)
        self._woken = self._growing = False
        self._count = self._idle = self._blocked = 0
        self._ended = self._ended_before = 0  # tasks; to see whether anything gets done
        self.guard = threading.Lock()
        self._mine: threading.local = threading.local()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._start()  # Python 3.12.0 and 3.12.1 start no thread any more once a script is through

    def submit(
        self,
        call: Callable[[], object],
        ended: Callable[[Work], object],
        *,
        begun: Callable[[], object] | None = None,
        context: Context | None = None,
        priority: int = 0,
    ) -> Work:
        """Have a call made in a thread, in this context or another. From the loop's thread."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        work = Work(self, call, begun, ended, context or copy_context())
        heapq.heappush(self._heap, (-priority, next(self._order), work))
        if self._idle > self._tokens.qsize():
            self._tokens.put(True)
        if not self._growing:
            self._growing = True
            self._loop.call_later(_LOOK_EVERY, self._look)
        return work

    async def run(
        self,
        call: Callable[[], object],
        priority: int = 0,
        *,
        begun: Callable[[], object] | None = None,
        whole: bool = False,
    ) -> object:
        """Make a call in a thread, in this context, and give its result; raises what it raised.

        Args:
            call: what to call.
            priority: the larger, the sooner.
            begun: called on the loop's thread when a thread turns to it.
            whole: whether a call that has begun is to go on when this is cancelled. For our own
                work: it holds files and locks, and an error may not come up at just any line.
        """
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def ended(_: Work) -> None:
            if not over.done():
                over.set_result(None)

        work = self.submit(call, ended, begun=begun, priority=priority)
        try:
            await over
        except asyncio.CancelledError:
            if whole:
                work.drop()
            else:
                work.cancel()
            raise
        if work.error is not None:
            raise work.error
        return work.value

    @property
    def inside(self) -> bool:
        """True in one of these threads."""
        return getattr(self._mine, "inside", False)

    def wait(self, lock: threading.Lock, timeout: float | None) -> bool:
        """Wait for a lock in one of these threads, while another takes its place."""
        with self.guard:
            self._blocked += 1
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._look)
        try:
            return lock.acquire(timeout=-1 if timeout is None else timeout)
        finally:
            with self.guard:
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
                work = heapq.heappop(heap)[2]
            except IndexError:
                if not self._rest():
                    return
                continue
            self._tell(work, False)
            self._run(work, me)
            self._ended += 1
            self._tell(work, True)
            del work

    def _tell(self, work: Work, over: bool) -> None:
        self._news.append((work, over))
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody listens
                self._loop.call_soon_threadsafe(self.settle)  # type: ignore[union-attr]

    def _rest(self) -> bool:
        """Wait until there may be work again; False to end."""
        with self.guard:
            if self._count > self.limit + self._blocked + 1:
                self._count -= 1
                return False
            self._idle += 1
        try:
            # Whoever adds work looks at _idle after filling the heap, so one sees the other.
            return bool(self._heap) or self._tokens.get()
        finally:
            with self.guard:
                self._idle -= 1

    def _run(self, work: Work, thread: int) -> None:
        try:
            with self.guard:
                if work.interrupted:
                    return
                work.thread, work.running = thread, True
            try:
                work.value = work.context.run(work.call)
            except BaseException as exc:
                work.error = exc
            with self.guard:
                work.running = False
                sent = work.interrupted
            if sent and not isinstance(work.error, Interrupted):
                while True:  # the interrupt is on its way: take it here, not in the next task
                    threading.Event().wait(0.001)
        except Interrupted as exc:
            work.error = work.error or exc
            work.running = False

    def settle(self) -> None:
        """Hear what threads have begun and ended. On the loop's thread."""
        self._woken = False
        news = self._news
        while news:
            work, over = news.popleft()
            if work.interrupted:
                continue
            if over:
                work.ended(work)
            elif work.begun is not None:
                work.begun()
