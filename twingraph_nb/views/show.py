"""Showing a run or a task, wherever we are: live, as a still picture, or as text."""

from __future__ import annotations

from typing import Any, Final

from twingraph_nb.clock import clock
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.task import Task
from twingraph_nb.picture.text import text_view
from twingraph_nb.session import get_session
from twingraph_nb.views.live import LiveView, Picture
from twingraph_nb.views.still import Still
from twingraph_nb.views.ticker import ticker

__all__ = ["register", "settle", "show"]

_BATCH_EVERY: Final = 2.0
"""Seconds between two pictures where nobody watches."""


def register(shell: Any) -> None:
    """Make runs and tasks show themselves as the last line of a cell of this IPython shell."""
    formatter = shell.display_formatter.ipython_display_formatter
    for shown in (Task, Run):
        formatter.for_type(shown, show)


def show(shown: Run | Task) -> None:
    """Display a run, or a task with all it needs; each call makes a new view."""
    session = get_session()
    task = shown if isinstance(shown, Task) else None
    run = shown if isinstance(shown, Run) else session.runs[shown.link.id]
    if session.settings.batch:
        _Snapshots(Picture(session, run, task)).display()
    elif _has_front_end():
        LiveView(session, run, task).display()
    else:
        _show_text(Picture(session, run, task))


def settle() -> None:
    """Draw every view as it is now, and wait for that; a batch run ends with this."""
    ticker.flush()


def _has_front_end() -> bool:
    from IPython import get_ipython

    shell = get_ipython()
    return getattr(shell, "kernel", None) is not None


def _show_text(picture: Picture) -> None:
    from IPython import get_ipython

    picture.pull()
    color = getattr(get_ipython(), "colors", "NoColor") != "NoColor"
    text = text_view(picture.screen, clock(), only=picture.only, color=color)
    picture.feed.close()
    get_ipython().display_pub.publish({"text/plain": text})


class _Snapshots:
    """A still picture that is replaced now and then; for batch runs."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._still = Still(beside=False)
        self._next = 0.0

    def display(self) -> None:
        self._still.begin()
        ticker.add(self)

    def tick(self, now: float) -> bool:
        self._picture.pull()
        over = self._picture.over
        if over or now >= self._next:
            self._next = now + _BATCH_EVERY
            self._picture.keep(self._still, now)
        if over:
            self._picture.feed.close()
        return not over
