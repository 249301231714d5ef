"""`twingraph_nb.explore(...)`: a run, or any part of the graph, to look around in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twingraph_nb.errors import LineageError
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.task import Task
from twingraph_nb.lineage.answers import elements_of
from twingraph_nb.lineage.asking import NothingRan, run_meant
from twingraph_nb.lineage.elements import Vertex
from twingraph_nb.lineage.excerpt import of_run, of_vertices
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.machine import source as traversals
from twingraph_nb.lineage_door import live_graph
from twingraph_nb.session import get_session
from twingraph_nb.views.explorer.shown import explorer_of, tasks_first

if TYPE_CHECKING:
    from twingraph_nb.views.explorer.widget import Explorer

__all__ = ["explore"]


def explore(source: object = None, run: str = "") -> Explorer:
    """Give a widget to look around in a graph: lay out, colour, search, filter, replay, export.

    As the last line of a cell it shows itself. What is chosen in it can be read and set from
    Python, as in `explore(run).color_by = "platform"`.

    Args:
        source: a run, a task (its run, with the task chosen), a graph, what `%%gremlin` answered,
            or a traversal that gives vertices, edges or paths. Without it a run is shown.
        run: the id of a run, the start of one, "last" (if nothing is given), or "all" for
            everything that ran. Of runs only the tasks are shown until the filter says more.
    Raises:
        LineageError: there is nothing like that, it is too large to draw, or the explorer is not
            installed.
    """
    if isinstance(source, Run | Task):
        return _of_run(source.id if isinstance(source, Run) else source.link.id, source)
    if source is None or isinstance(source, str):
        return _of_run(source or run or "last")
    found = source if isinstance(source, Graph) else getattr(source, "graph", None)
    if isinstance(found, Graph):
        return explorer_of(found)
    if not isinstance(source, Iterable):
        raise LineageError(f"explore a run, a graph, an answer or vertices, not {source!r}")
    vertices, _ = elements_of(source)
    return explorer_of(of_vertices(one for one in vertices if isinstance(one, Vertex)))


def _of_run(run: str, chosen: Run | Task | None = None) -> Explorer:
    live = live_graph()
    get_session().driver.flush()
    graph = live.refresh()
    if run == "all" and not graph.vertices:
        raise NothingRan()
    shown = graph if run == "all" else of_run(graph, run_meant(traversals(graph), run))
    made = explorer_of(shown, hidden=tasks_first(shown))
    if isinstance(chosen, Task):
        made.chosen = f"task:{chosen.hash}"
    return made
