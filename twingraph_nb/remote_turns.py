"""Short jobs that came together in one message: run in turn, given back when one runs long.

Standard library only: shipped to the far side as it is.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Turn", "Turns"]

_LOOK = 0.02  # seconds between looks at jobs that came together
_STALL = 0.05  # seconds after which jobs behind one that runs long are given back


class Turns:
    """All messages with several jobs that are being worked on, watched by one thread."""

    def __init__(self, look: Callable[[], None]) -> None:
        """`look` is called now and then while there are some: to say what was kept back."""
        self._look = look
        self.lock = threading.Lock()
        self._active: set[Turn] = set()
        self._wanted = threading.Event()
        threading.Thread(target=self._watch, name="twingraph-turns", daemon=True).start()

    def begin(self, jobs: Sequence[Any], give: Callable[[list[Any]], None]) -> Turn:
        """Give the turn of the jobs of a message; `give` is called with those that must not wait
        longer."""
        made = Turn(self, jobs, give)
        if len(jobs) > 1:
            with self.lock:
                self._active.add(made)
                self._wanted.set()
        return made

    def end(self, turn: Turn) -> None:
        """The jobs of a message are done."""
        with self.lock:
            self._active.discard(turn)
            if not self._active:
                self._wanted.clear()

    def _watch(self) -> None:
        while True:
            self._wanted.wait()
            time.sleep(_LOOK)
            with self.lock:
                active = list(self._active)
            for turn in active:
                turn.look()
            self._look()


class Turn:
    """The jobs of one message, one after the other."""

    def __init__(
        self, turns: Turns, jobs: Sequence[Any], give: Callable[[list[Any]], None]
    ) -> None:
        self._turns, self._left, self._give = turns, deque(jobs), give
        self._since = time.monotonic()

    def next(self) -> Any:
        """Give the job that begins now, or None when all have begun or were given back."""
        with self._turns.lock:
            self._since = time.monotonic()
            return self._left.popleft() if self._left else None

    def look(self) -> None:
        """Give back what waits, if the job before it runs long."""
        with self._turns.lock:
            if not self._left or time.monotonic() - self._since < _STALL:
                return
            given = list(self._left)
            self._left.clear()
        self._give(given)
