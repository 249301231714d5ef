"""Showing a graph under a cell: the explorer, and below it the picture that stays."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.sketch import Sketch, sketch
from twingraph_nb.views.explorer import plain
from twingraph_nb.views.explorer.still import html, told
from twingraph_nb.views.style import STILL_CSS

if TYPE_CHECKING:
    from twingraph_nb.views.explorer.widget import Explorer

__all__ = [
    "MOST",
    "ExplorerMissing",
    "drawable",
    "explorer_of",
    "publish",
    "still_of",
    "tasks_first",
]

MOST: Final = 5_000
"""Most vertices of a graph to look at; at 2,000 it moves smoothly."""
_NEEDED: Final = ("anywidget", "traitlets")


class ExplorerMissing(LineageError):
    """What the explorer is drawn with is not installed."""

    def __init__(self) -> None:
        super().__init__("the graph explorer needs: pip install 'twingraph-nb[explorer]'")


def explorer_of(graph: Graph, *, hidden: Mapping[str, Sequence[str]] | None = None) -> Explorer:
    """Give the widget that shows a graph.

    Args:
        hidden: what is filtered out at first, by "type", "state" and "platform".
    Raises:
        ExplorerMissing: anywidget is not installed.
        LineageError: the graph has no vertices, or more than `MOST`.
    """
    drawn = drawable(graph)
    if not _installed():
        raise ExplorerMissing()
    from twingraph_nb.views.explorer.widget import Explorer  # widgets: only when drawn

    return Explorer(drawn, hidden=hidden)


def publish(graph: Graph) -> None:
    """Show a graph in the cell that runs now, and below it the picture that stays.

    Where anywidget is not installed it is drawn by ipycytoscape, or if it is too large for that
    as a picture only.

    Raises:
        LineageError: the graph has no vertices, or more than `MOST`.
    """
    from IPython.display import display, publish_display_data

    try:
        display(explorer_of(graph))  # type: ignore[no-untyped-call]
    except ExplorerMissing as exc:
        drawn = drawable(graph)
        small = len(drawn.nodes) + len(drawn.links) <= plain.MOST
        if small:
            view = plain.plain_view(drawn, note=str(exc))
            data = view._repr_mimebundle_()
            publish_display_data({**data, "text/plain": ""})  # type: ignore[no-untyped-call]
        still = still_of(drawn, note=str(exc), beside=small)
        publish_display_data(still)  # type: ignore[no-untyped-call]


def still_of(drawn: Sketch, *, note: str = "", beside: bool = False) -> dict[str, str]:
    """Give the picture that stays, by MIME type.

    Args:
        note: what to say beside its size.
        beside: the explorer stands above it, and hides it while it is alive.
    """
    style = f"<style>{STILL_CSS}</style>" if beside else ""
    return {
        "text/html": f'{style}<div class="tg-still">{html(drawn, note=note)}</div>',
        "text/plain": told(drawn),
    }


def tasks_first(graph: Graph) -> dict[str, list[str]]:
    """Give the filter that leaves tasks only, where there are any: the others crowd them out."""
    types = dict.fromkeys(vertex.label for vertex in graph.vertices.values())
    return {"type": [type for type in types if type != "Task"]} if "Task" in types else {}


def drawable(graph: Graph) -> Sketch:
    """Give what is drawn of a graph.

    Raises:
        LineageError: it has no vertices, or more than `MOST`.
    """
    if not graph.vertices:
        raise LineageError("there is no vertex in the results to draw: ask for vertices or paths")
    if len(graph.vertices) > MOST:
        raise LineageError(
            f"{len(graph.vertices)} vertices are more than the {MOST} that are drawn: "
            f"narrow the query, or add limit()"
        )
    return sketch(graph)


def _installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED)
