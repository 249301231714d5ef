"""Whether the kernel hears the buttons of its pages now, or is busy with a cell."""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["Hearing"]

_EVERY: Final = 0.5
"""Seconds between two looks, and from which a loop that has not turned counts as busy."""


class Hearing:
    """Asks the loop of a kernel's main thread now and then to answer.

    ipykernel tells widgets of a click in that loop: a cell that blocks it, such as one that waits
    by `.result()`, keeps all clicks waiting; one that awaits does not.
    """

    def __init__(self) -> None:
        """Watch the loop that runs in this thread; if none does, nothing is said."""
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._asked = self._answered = 0.0

    def is_deaf(self, now: float) -> bool:
        """Tell whether the loop has not turned for a while. For one other thread."""
        if self._loop is None:
            return False
        if self._answered == self._asked and now - self._asked >= _EVERY:
            self._asked = now
            try:
                self._loop.call_soon_threadsafe(self._answer, now)
            except RuntimeError:  # it was closed: the kernel ends
                self._loop = None
            return False
        return self._answered != self._asked and now - self._asked >= _EVERY

    def _answer(self, asked: float) -> None:
        self._answered = asked
