"""`twingraph_nb.lineage()`: the graph of everything that ran, as a Gremlin traversal source."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence

from gremlin_python.process.graph_traversal import GraphTraversalSource

from twingraph_nb.errors import LineageError
from twingraph_nb.events import Batch
from twingraph_nb.lineage.forgotten import Forgotten
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.live import LiveGraph, live_source
from twingraph_nb.session import Session, get_session

__all__ = ["giver_of", "graph_so_far", "lineage", "live_graph"]

_graphs: weakref.WeakKeyDictionary[Session, LiveGraph] = weakref.WeakKeyDictionary()
"""One graph for each session: it is made at the first question and kept up to date from then."""


def lineage(remote: bool | str = False) -> GraphTraversalSource:
    """Give `g`, gremlinpython's traversal source, over all runs of this machine's store.

    The graph is in memory, answers without a server, and shows what runs now as it is when a
    query starts. It is read-only. What is in it: `twingraph_nb.lineage.schema`.

        g = twingraph_nb.lineage()
        g.V().has("Task", "state", "failed").values("Name").to_list()

    That is so too while the session writes to a database: a question does not depend on one that
    may be away or behind. `lineage(remote=True)` asks that database, which has the runs of other
    machines as well.

    Args:
        remote: True for the database that this session writes to, or the URL of any.
    Raises:
        LineageError: the session writes to none, or the URL is none.
    """
    if not remote:
        return live_source(live_graph())
    from twingraph_nb.lineage.remote import read_address, remote_source

    if isinstance(remote, str):
        return remote_source(read_address(remote))
    writer = get_session().remote
    if writer is None:
        raise LineageError(
            "this session writes to no graph database: set TWINGRAPH_LINEAGE, or "
            "%twingraph lineage URL"
        )
    return remote_source(writer.address)


def live_graph(session: Session | None = None) -> LiveGraph:
    """Give the graph of a session, of this process's by default."""
    session = get_session() if session is None else session
    found = _graphs.get(session)
    if found is None:
        forgotten = Forgotten(session.settings.home)
        history = _History(weakref.ref(session))
        found = LiveGraph(session.store, history, forgotten=forgotten.runs)
        # First the sink and then the store, so that nothing falls between them.
        session.add_sink(found)
        session.driver.flush_to_disk()
        _graphs[session] = found
    return found


def giver_of(value: object) -> str:
    """Give the hash of the first task of this process that gave just this object; "" if none did.

    Numbers and texts are left out: Python may use one object for all that are equal.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return ""
    for run in get_session().runs.values():
        for task in run.tasks:
            found = task.peek()
            parts = found.values() if isinstance(found, Mapping) else ()
            if found is value or any(part is value for part in parts):
                return task.hash
    return ""


def graph_so_far() -> Graph | None:
    """Give the graph as it was when somebody last asked it; None when nobody has."""
    made = [live.graph for live in _graphs.values()]
    return made[-1] if made else None  # of the newest session


class _History:
    """All that has happened in the runs of a session, where nothing records it."""

    def __init__(self, session: weakref.ref[Session]) -> None:
        self._session = session

    def __call__(self) -> Iterator[Sequence[Batch]]:
        session = self._session()
        for run in session.runs if session is not None else ():
            yield session.history(run)  # type: ignore[union-attr]
