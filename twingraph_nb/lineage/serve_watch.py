"""What ends a query that does not end itself: past its time, or taking the server's memory.

The engine looks at the clock between objects. A single value may take longer: lists that hold
each other twice, forty deep, are small until somebody writes them out. So a thread watches those
that answer, and interrupts one at its next bytecode, once.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from twingraph_nb.errors import LineageError

__all__ = ["Overdue", "TooMuchMemory", "Watch"]

T = TypeVar("T")

_LOOKS = 0.1
"""Seconds between two looks."""
_TRIES = 100
_GRACE = 1.0
"""Seconds that a query has to end itself, which gives the better error; and between two
interruptions."""


class Overdue(LineageError):
    """A query that had to be interrupted since its time was up."""

    def __init__(self) -> None:
        super().__init__("the query was interrupted: its time was up")


class TooMuchMemory(LineageError):
    """A query that was interrupted since all together took too much memory."""

    def __init__(self) -> None:
        super().__init__("the query was interrupted: the server's memory for queries is used up")


@dataclass(slots=True)
class _Watched:
    """A thread that answers: how long it may, what the process had before, when to try again."""

    until: float
    before: int
    again: float = 0.0


class Watch:
    """Watches the threads that answer."""

    def __init__(self, memory: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Make a watch, whose thread runs while somebody is watched.

        Args:
            memory: bytes by which the process may grow during a query; None is no limit, as where
                the system does not tell.
        """
        self._memory, self._clock = memory, clock
        self._lock = threading.Lock()
        self._watched: dict[int, _Watched] = {}  # by the number of the thread
        self._thread: threading.Thread | None = None

    def over(self, seconds: float | None, work: Callable[[], T]) -> T:
        """Do a piece of work, watched.

        Raises:
            Overdue: it took longer than these seconds for the query and as many for writing its
                results.
            TooMuchMemory: since it began, the process has grown too much.
        """
        until = float("inf") if seconds is None else self._clock() + 2 * seconds + _GRACE
        self._begin(_Watched(until, resident()))
        try:
            return work()
        finally:
            self.spare()

    def spare(self) -> None:
        """Do not interrupt this thread any more: it tidies up, or it is done."""
        self._end()

    def aside(self, work: Callable[[], T]) -> T:
        """Do what must not be interrupted, or what others may keep waiting for."""
        start, watched = self._clock(), self._end()
        try:
            return work()
        finally:
            if watched is not None:
                watched.until += self._clock() - start
                self._begin(watched)

    def _begin(self, watched: _Watched) -> None:
        with self._lock:
            self._watched[threading.get_ident()] = watched
            if self._thread is None:
                name = "twingraph-serve-watch"
                self._thread = threading.Thread(target=self._look, name=name, daemon=True)
                self._thread.start()

    def _end(self) -> _Watched | None:
        with self._lock:
            watched = self._watched.pop(threading.get_ident(), None)
        if watched is not None and watched.again:
            _calm()
        return watched

    def _look(self) -> None:
        waiting = threading.Event()
        while True:
            waiting.wait(_LOOKS)
            with self._lock:
                if not self._watched:
                    self._thread = None
                    return
                now, held = self._clock(), resident()
                for thread, watched in self._watched.items():
                    grown = self._memory is not None and held - watched.before > self._memory
                    if (grown or now > watched.until) and now >= watched.again:
                        watched.again = now + _GRACE
                        _interrupt(thread, TooMuchMemory if grown else Overdue)


def _interrupt(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def _calm() -> None:
    """Leave no interruption behind that was sent to this thread and has not arrived.

    To take one back without another that arrives keeps CPython 3.11 looking for it at each call,
    and with a debugger or a profiler for ever. So one more is sent, which takes its place.
    """
    for _ in range(_TRIES):  # a callback of the garbage collector may have swallowed it
        try:
            _interrupt(threading.get_ident(), Overdue)
            for _ in range(_TRIES):
                pass
        except (Overdue, TooMuchMemory):
            return


def resident() -> int:
    """Bytes of memory that this process has; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
