"""The graph of executions in memory: facts written into a `Graph`, from the store and live."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol

from twingraph_nb.errors import StoreError
from twingraph_nb.events import Batch
from twingraph_nb.interpreter import without_gc
from twingraph_nb.lineage.changes import Changes
from twingraph_nb.lineage.elements import Vertex
from twingraph_nb.lineage.facts import Folder
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.schema import label_of

__all__ = ["Projection", "RunLike", "StoreLike"]

_OPEN = frozenset({"waiting", "ready", "running", "retrying"})


class RunLike(Protocol):
    """What the projection needs to know of a run in a store."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def events(self) -> int: ...


class StoreLike(Protocol):
    """What the projection needs of a store."""

    def lengths(self) -> Sequence[RunLike]:
        """All runs, oldest first; the same object as before if nothing has changed."""
        ...

    def events(self, run_id: str, start: int = 0) -> list[Batch]: ...


class Projection:
    """Keeps a graph in step with events.

    graph: where the facts go. It may hold other things too, and nothing in it is dropped. One
    that is read-only stays so for all others.
    """

    def __init__(
        self,
        graph: Graph | None = None,
        forgotten: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """Begin with what the graph holds.

        Args:
            forgotten: gives the ids of the runs that must not be in the graph.
        """
        self.graph = Graph() if graph is None else graph
        self._forgotten = forgotten
        self._folder = Folder()
        self._damaged: set[str] = set()
        self._seen: tuple[Sequence[RunLike], Collection[str]] = ((), ())
        self._lock = threading.Lock()

    def next(self, run: str) -> int:
        """The number of the first event of a run that is not in the graph yet."""
        return self._folder.next(run)

    @property
    def waits(self) -> bool:
        """True when events have come that others must come before."""
        return self._folder.waits

    def apply(self, batches: Sequence[Batch]) -> None:
        """Bring the graph up to date with these; known ones and any order do no harm."""
        gone = self._forgotten()
        with self._lock:
            self._write(self._folder.fold([b for b in batches if b.run not in gone]))

    def rebuild(self, store: StoreLike) -> None:
        """Read all that a store has; from the start for runs that are not in the graph yet."""
        self.catch_up(store)

    def catch_up(self, store: StoreLike) -> None:
        """Read what a store has and the graph has not; cheap when that is nothing.

        A run whose record is damaged has the reason in its property `incomplete`.
        """
        found, gone = store.lengths(), self._forgotten()
        if found is self._seen[0] and gone == self._seen[1] and not self.waits:
            return
        for run in gone:
            self.forget(run)
        runs = [run for run in found if run.id not in gone]
        missing = sum(max(0, row.events - self._folder.next(row.id)) for row in runs)
        with without_gc(missing):
            for row in runs:  # oldest first, as it happened
                start = self._folder.next(row.id)
                if row.events > start and row.id not in self._damaged:
                    self._read(store, row.id, start)
                if row.state == "interrupted":
                    self._interrupted(row.id)
        self._seen = found, gone

    def forget(self, run: str) -> int:
        """Take a run, its tasks and the values that only they made out of the graph.

        Returns:
            How many vertices went.
        """
        graph = self.graph
        with self._lock, self._writing():
            vertex = graph.vertices.get(f"run:{run}")
            if vertex is None:
                return 0
            self._folder.forget(run)
            tasks = vertex.neighbours("in", "in_run")
            values = {v.id: v for task in tasks for v in task.neighbours("out", "produces")}
            for one in (*tasks, vertex):
                graph.remove(one)
            alone = [v for v in values.values() if not v.neighbours("in", "produces")]
            for one in alone:
                graph.remove(one)
            return len(tasks) + 1 + len(alone)

    def _read(self, store: StoreLike, run: str, start: int) -> None:
        try:
            self.apply(store.events(run, start))
        except StoreError as exc:  # one bad record must not hide all the others
            self._damaged.add(run)
            with self._writing():
                self._vertex(f"run:{run}", "Run", {"run": run, "incomplete": str(exc)})

    def _interrupted(self, run: str) -> None:
        vertex = self.graph.vertices.get(f"run:{run}")
        if vertex is None or vertex.content.get("state") != "running":
            return
        with self._writing():
            for one in (vertex, *vertex.neighbours("in", "in_run")):
                if one.content.get("state") in _OPEN:
                    self.graph.set_property(one, "state", "interrupted")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        graph = self.graph
        with graph.lock:
            was, graph.read_only = graph.read_only, False
            try:
                yield
            finally:
                graph.read_only = was

    def _write(self, changes: Changes) -> None:
        graph = self.graph
        with self._writing():
            for id, (label, properties) in changes.vertices.items():
                self._vertex(id, label, properties)
            for id in changes.gone:
                edge = graph.edges.get(id)
                if edge is not None:
                    graph.remove(edge)
            for id, (label, out, in_, more) in changes.edges.items():
                if id not in graph.edges:
                    graph.add_edge(label, self._end(out), self._end(in_), id, more)

    def _vertex(self, id: str, label: str, properties: dict[str, object]) -> None:
        graph = self.graph
        several = [key for key, value in properties.items() if type(value) is tuple]
        values = {key: properties.pop(key) for key in several}
        vertex = graph.vertices.get(id)
        if vertex is None:
            vertex = graph.add_vertex(label, id, properties)
        else:
            held = vertex.content
            for key, value in properties.items():
                if held.get(key) != value or key not in held:
                    graph.set_property(vertex, key, value)
        for key, each in values.items():
            if isinstance(each, Iterable) and list(vertex.values(key)) != list(each):
                for place, value in enumerate(each):
                    graph.add_property(vertex, key, value, "list" if place else "single")

    def _end(self, id: str) -> Vertex:
        """The vertex of an edge; one that is not known yet is made, to be told of later."""
        found = self.graph.vertices.get(id)
        if found is None:
            found = self.graph.add_vertex(label_of(id), id)
        return found
