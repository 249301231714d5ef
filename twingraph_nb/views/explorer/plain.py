"""A graph as an ipycytoscape widget, where the explorer's library is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final, cast

from twingraph_nb.events import TaskStateName
from twingraph_nb.lineage.sketch import Link, Node, Sketch
from twingraph_nb.picture.collapse import Arrow, Box, Drawing
from twingraph_nb.views.graph import Graph
from twingraph_nb.views.style import CSS

__all__ = ["MOST", "plain_view"]

MOST: Final = 300
"""Most nodes and links together: ipycytoscape makes a widget of each."""
_HINT: Final = "Click a node for its properties."


def plain_view(drawn: Sketch, *, note: str = "") -> Any:
    """Give the widget: the graph, and below it the properties of the node that is clicked.

    Args:
        note: what to say before a node is clicked.
    """
    from ipywidgets import HTML, VBox  # widgets: only when drawn

    about = HTML(
        f'<div class="tg-inspector tg-note">{escape(" · ".join(filter(None, (_HINT, note))))}</div>'
    )

    def clicked(event: Mapping[str, Any]) -> None:
        node = drawn.nodes[int(event["data"]["id"])]
        about.value = _properties(node)

    graph = Graph(clicked)
    graph.show(_drawing(drawn))
    view = VBox([HTML(f"<style>{CSS}</style>"), graph.widget, about])
    view.add_class("tg-view")
    return view


def _drawing(drawn: Sketch) -> Drawing:
    boxes = [_box(place, node) for place, node in enumerate(drawn.nodes)]
    arrows = [Arrow(str(link.source), str(link.target), _label(link)) for link in drawn.links]
    return Drawing(tuple(boxes), tuple(dict.fromkeys(arrows)))


def _box(place: int, node: Node) -> Box:
    said = " · ".join(text for text in (node.type, node.state) if text)
    state = cast("TaskStateName", node.state)  # any other has the look of none
    return Box(str(place), node.name, state, said, tasks=(), number=None)


def _label(link: Link) -> str:
    return link.name or ("" if link.type == "feeds" else link.type.replace("_", " "))


def _properties(node: Node) -> str:
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd><pre>{escape(text)}</pre></dd>"
        for name, text in sorted(node.about.items(), key=lambda one: "\n" in one[1])
    )
    title = f"{escape(node.name)} <small>{escape(node.type)} {escape(node.state)}</small>"
    return f'<div class="tg-inspector"><div class="tg-title">{title}</div><dl>{rows}</dl></div>'
