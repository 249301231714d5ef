"""Events on their way to the screen: taken on the scheduler's thread, folded on the ticker's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from twingraph_nb.events import Batch, Sink
from twingraph_nb.picture.screen import Screen, fold

__all__ = ["Feed", "Source"]


class Source(Protocol):
    """What a view needs of the session."""

    def add_sink(self, sink: Sink) -> Callable[[], None]: ...
    def history(self, run_id: str) -> list[Batch]: ...


class Feed:
    """The screen of one run, kept up to date. A `Sink` that only appends."""

    def __init__(self, source: Source, run_id: str) -> None:
        self.screen = Screen()
        self._source, self._run = source, run_id
        self._queue: deque[Batch] = deque()
        self._next = 0  # number of the first event not folded yet
        self._remove: Callable[[], None] | None = source.add_sink(self)
        self._fresh = True

    def emit(self, batches: Sequence[Batch]) -> None:
        """Take what happened; called on the scheduler's thread."""
        run = self._run
        for batch in batches:
            if batch.run == run:
                self._queue.append(batch)

    def pull(self) -> bool:
        """Fold all that has come; tell whether anything had. Not on the scheduler's thread."""
        before = self.screen.version
        if self._fresh:
            # The sink was added first, so nothing falls between history and queue.
            self._fresh = False
            self._fold_all(self._source.history(self._run))
        while self._queue:
            self._fold(self._queue.popleft())
        return self.screen.version != before

    def close(self) -> None:
        """Take no more."""
        if self._remove is not None:
            self._remove()
            self._remove = None

    def _fold_all(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self._fold(batch)

    def _fold(self, batch: Batch) -> None:
        for event in batch.events[max(0, self._next - batch.seq) :]:
            fold(self.screen, event)
        self._next = max(self._next, batch.seq + len(batch.events))
