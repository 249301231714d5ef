"""The one thread that moves all pictures, ten times a second at most."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final, Protocol

from twingraph_nb.clock import clock

__all__ = ["Ticker", "pause_after", "ticker"]

_log = logging.getLogger("twingraph_nb.views")

PERIOD: Final = 0.1
"""Seconds between two updates of a view."""
_FIRST: Final = 0.25
"""Seconds before a view is first drawn: a run that is over sooner is not slowed down by it."""
_SHARE: Final = 0.15
"""Most of the thread's time that drawing may take; slow pictures move less often."""
_LONGEST: Final = 1.0
"""Seconds after which even the slowest picture moves again: one that stands still tells a lie."""


class Ticking(Protocol):
    """A view."""

    def tick(self, now: float) -> bool:
        """Draw what has changed; True while more is to come."""
        ...


class Ticker:
    """Ticks views on a daemon thread, which ends when nothing is left to draw."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._views: dict[Ticking, float] = {}  # from when on, by the monotonic clock
        self._poked: dict[Ticking, None] = {}
        self._wake = threading.Event()
        self._asked: list[threading.Event] = []
        self._thread: threading.Thread | None = None

    def add(self, view: Ticking) -> None:
        """Tick a view from a moment after now on, until it says that it is over."""
        with self._lock:
            self._views[view] = time.monotonic() + _FIRST
            self._run()

    def poke(self, view: Ticking) -> None:
        """Tick a view once, at once: the user has clicked."""
        with self._lock:
            self._poked[view] = None
            self._wake.set()
            self._run()

    def flush(self, timeout: float = 10.0) -> None:
        """Tick all views once and wait until that is done, at most `timeout` seconds."""
        drawn = threading.Event()
        with self._lock:
            self._poked.update(dict.fromkeys(self._views))
            self._asked.append(drawn)
            self._wake.set()
            self._run()
        drawn.wait(timeout)

    def _run(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="twingraph-views", daemon=True)
            self._thread.start()

    def _loop(self) -> None:
        pause = _FIRST
        while True:
            poked = self._wake.wait(pause)
            with self._lock:
                self._wake.clear()
                moment = time.monotonic()
                due = [view for view, start in self._views.items() if start <= moment]
                views = list(self._poked) if poked else due
                self._poked.clear()
                asked = self._asked if poked else []
                if poked:
                    self._asked = []
            began = time.perf_counter()
            for view in views:
                if not _ticked(view):
                    with self._lock:
                        self._views.pop(view, None)
            for drawn in asked:
                drawn.set()
            took = time.perf_counter() - began
            pause = pause_after(took)
            with self._lock:
                if not self._views and not self._poked and not self._asked:
                    self._thread = None
                    return


def pause_after(took: float) -> float:
    """Seconds to wait after an update that took so many seconds."""
    return max(PERIOD - took, min(took / _SHARE, _LONGEST))


def _ticked(view: Ticking) -> bool:
    """Tick a view; one that fails stops, and the others go on."""
    try:
        return view.tick(clock())
    except Exception:  # a closed comm, a broken front end: no reason to stop all pictures
        _log.exception("a live view stopped")
        return False


ticker = Ticker()
