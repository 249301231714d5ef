"""The time of day as this process counts it: it never jumps while something runs.

A machine's clock may be set at any moment. What a task took, and what a picture says of it, must
not follow that: so the time is read while nothing runs, and counted on from there with a clock
that nobody can set.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

__all__ = ["Clock", "clock"]

_SLEEPS_TOO = getattr(time, "CLOCK_BOOTTIME", None)
_count = (  # with the time that a laptop slept, where the system can tell
    time.monotonic if _SLEEPS_TOO is None else functools.partial(time.clock_gettime, _SLEEPS_TOO)
)


class Clock:
    """Gives seconds since the epoch when it is called; never goes backwards between two `set`."""

    __slots__ = ("_count", "_offset", "_read")

    def __init__(
        self, read: Callable[[], float] = time.time, count: Callable[[], float] = _count
    ) -> None:
        self._read, self._count = read, count
        self.set()

    def set(self) -> None:
        """Take the machine's time from now on. Only while nothing runs."""
        self._offset = self._read() - self._count()

    def __call__(self) -> float:
        return self._offset + self._count()


clock = Clock()
"""That of this process; the session sets it."""
