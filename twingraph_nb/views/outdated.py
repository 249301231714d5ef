"""Which pictures on the page are of code that has changed since.

Looked at after each cell, when nothing waits for it: a comparison of the sources of the session's
components, and of what they use. The marks themselves are thought out by the thread that draws.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from twingraph_nb.component import shelf
from twingraph_nb.events import Batch, RunStarted, Sink
from twingraph_nb.picture.marks import stale
from twingraph_nb.picture.model import Screen
from twingraph_nb.scheduler.digests import used_by
from twingraph_nb.source.used import Uses
from twingraph_nb.views.ticker import Ticking, ticker

__all__ = ["look", "mark", "watch"]


class _Emits(Protocol):
    def add_sink(self, sink: Sink) -> Callable[[], None]: ...


class _View(Ticking, Protocol):
    """A view with marks on it, or without."""

    @property
    def marked(self) -> bool: ...


class _Newest:
    """The newest run of each name; a `Sink`."""

    def __init__(self) -> None:
        self.runs: dict[str, str] = {}

    def emit(self, batches: Sequence[Batch]) -> None:
        started = False
        for batch in batches:
            if not batch.seq and batch.events and isinstance(batch.events[0], RunStarted):
                self.runs[batch.events[0].name] = batch.run
                started = True
        if started:  # it may be told after the cell that has started it has ended
            for view in [one for one in list(_views) if one.marked]:
                ticker.poke(view)


_newest: Final[weakref.WeakKeyDictionary[object, _Newest]] = weakref.WeakKeyDictionary()
_views: Final[weakref.WeakSet[_View]] = weakref.WeakSet()
_last: dict[str, object] = {}


def watch(source: _Emits, view: _View) -> None:
    """Look after a view from now on, as long as it is there."""
    if source not in _newest:
        _newest[source] = newest = _Newest()
        source.add_sink(newest)
    _views.add(view)
    from IPython import get_ipython  # a heavy library: only where there is something to draw

    events = getattr(get_ipython(), "events", None)
    if events is not None and _after_cell not in events.callbacks["post_run_cell"]:
        events.register("post_run_cell", _after_cell)


def _after_cell(*_: object) -> None:
    look()


def look() -> None:
    """Let views draw anew if a component or a pipeline's newest run is another than before."""
    now: dict[str, object] = dict(_sources())
    for newest in _newest.values():
        now.update({f"run {name}": run for name, run in newest.runs.items()})
    if now != _last:
        _last.clear()
        _last.update(now)
        for view in list(_views):
            ticker.poke(view)


def mark(source: object, screen: Screen) -> bool:
    """Mark what is stale of a run; tell whether that differs from what was marked before.

    A run that is over has no marks any more once its pipeline was run again.
    """
    newest = _newest.get(source)
    newer = newest is not None and newest.runs.get(screen.name, screen.run) != screen.run
    found = {} if newer and screen.over else stale(screen, _sources())
    changed = found != screen.marks
    if changed:
        screen.marks = found
        screen.version += 1
    return changed


def _sources() -> Mapping[str, tuple[str, Uses]]:
    made = shelf.components.copy().items()
    return {name: (one.source.text, used_by(one, again=False)) for name, one in made}
