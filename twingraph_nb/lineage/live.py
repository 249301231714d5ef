"""A graph that keeps up with what runs, here and in other processes, when somebody asks it.

Folding events costs about as much as a small task does, so it is left to the one who asks: while
runs go on, their events are only put aside.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from gremlin_python.driver.remote_connection import RemoteTraversal
from gremlin_python.process.anonymous_traversal import traversal
from gremlin_python.process.graph_traversal import GraphTraversalSource
from gremlin_python.process.traversal import Bytecode

from twingraph_nb.events import Batch
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.machine import Connection
from twingraph_nb.lineage.projection import Projection, StoreLike
from twingraph_nb.lineage.traverser import Limits

__all__ = ["LiveConnection", "LiveGraph", "live_source"]

_ASIDE = 200_000
"""Most events that are put aside; with more, the store is read when somebody asks."""


class LiveGraph:
    """The graph of a store, and of the runs that go on now. A `Sink`.

    graph: read-only; up to date after `refresh`.
    """

    def __init__(
        self,
        store: StoreLike | None,
        history: Callable[[], Iterable[Sequence[Batch]]] = tuple,
        *,
        forgotten: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """Begin empty.

        Args:
            store: where all runs are recorded; None when nothing is.
            history: gives what has happened so far in the runs of this process, where there is
                no store.
            forgotten: gives the ids of the runs that must not be in the graph.
        """
        self._projection = Projection(Graph(read_only=True), forgotten)
        self._store, self._history = store, history
        self._queue: deque[Batch] = deque()
        self._aside = 0  # events in the queue
        self._lock = threading.Lock()
        self._begun = False  # what happened before is known

    @property
    def graph(self) -> Graph:
        """The graph as it was at the latest `refresh`."""
        return self._projection.graph

    def emit(self, batches: Sequence[Batch]) -> None:
        """Take events; on the scheduler's thread, so they are only put aside."""
        for batch in batches:
            self._aside += len(batch.events)
            self._queue.append(batch)
        if self._aside > _ASIDE and self._store is not None:
            self._queue.clear()
            self._aside = 0  # the next question finds them in the store

    def refresh(self) -> Graph:
        """Give the graph with all that has been recorded until now, by whatever process."""
        with self._lock:
            waiting = []
            while self._queue:
                waiting.append(self._queue.popleft())
            self._aside = 0
            self._projection.apply(waiting)
            if self._store is not None:
                self._projection.catch_up(self._store)
            elif self._projection.waits or not self._begun:
                self._begun = True
                for batches in self._history():
                    self._projection.apply(batches)
            return self.graph


class LiveConnection(Connection):
    """The embedded engine over a graph that is brought up to date before each query."""

    def __init__(self, live: LiveGraph, limits: Limits | None = None) -> None:
        super().__init__(live.graph, limits)
        self.live = live

    def submit(self, bytecode: Bytecode) -> RemoteTraversal:
        """The results of a traversal, over the graph as it is now."""
        self.live.refresh()
        return super().submit(bytecode)


def live_source(live: LiveGraph, limits: Limits | None = None) -> GraphTraversalSource:
    """Give the `g` that asks this graph."""
    made: GraphTraversalSource = traversal().with_(LiveConnection(live, limits))
    return made
