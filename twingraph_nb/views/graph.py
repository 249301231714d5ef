"""The graph as an ipycytoscape widget that changes in small steps."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from typing import Any, Final

from twingraph_nb.picture.collapse import Arrow, Box, Drawing
from twingraph_nb.picture.layout import columns
from twingraph_nb.picture.marks import STALE
from twingraph_nb.picture.measure import cut
from twingraph_nb.picture.palette import EDGE, LOOKS, MUTED, icon_svg
from twingraph_nb.picture.svg import FONT, size_of

__all__ = ["MOST_ROWS", "Graph", "row_height"]

_LEAST_HEIGHT: Final = 110
_ROW: Final = 54
MOST_ROWS: Final = 8
"""Rows from which the graph grows no taller; it is zoomed out instead."""
_ZOOM_FROM: Final = 30
"""Boxes from which the wheel zooms; on a small graph it scrolls the notebook as elsewhere."""

_FONT_SIZE: Final = 12
_PAGE: Final = 900.0
"""Pixels of a notebook's output on a usual screen."""

_PLAIN: Final = {"background-color": "#f1f2f4", "border-color": "#8a8f98", "color": "#24292f"}
"""Of a box without a state."""
_LAYOUT: Final[dict[str, Any]] = {
    "name": "dagre",
    "rankDir": "LR",
    "nodeSep": 14,
    "rankSep": 40,
    "edgeSep": 8,
    "padding": 14,
    "fit": True,
    "animate": False,
}


class Graph:
    """A cytoscape widget and what it shows now.

    widget: to be put into a box; another one when boxes have gone away, since cytoscape's
    elements are never taken out one by one here.
    """

    def __init__(self, clicked: Any) -> None:
        self._clicked = clicked
        self._nodes: dict[str, Any] = {}
        self._edges: set[Arrow] = set()
        self._faces: dict[str, tuple[str, str]] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._shape: int | None = None
        self._rows = 1
        self.widget = self._empty()

    def show(self, drawing: Drawing) -> bool:
        """Draw what has changed; True if there are other boxes or sizes than before."""
        if drawing.shape == self._shape:
            grown = self._restyle(drawing.nodes)
            if grown:
                self._stretch(drawing)
            return grown
        ids = {box.id for box in drawing.nodes}
        if not (self._nodes.keys() <= ids and self._edges <= set(drawing.edges)):
            self.widget.close()
            self._nodes, self._edges, self._faces = {}, set(), {}
            self.widget = self._empty()
        self._extend(drawing)
        self._stretch(drawing)
        self._shape = drawing.shape
        return True

    def fit(self) -> None:
        """Lay out and fit again: the page may have measured the canvas before it had its size."""
        self.widget.relayout()

    def _empty(self) -> Any:
        from ipycytoscape import CytoscapeWidget
        from ipywidgets import Layout

        widget = CytoscapeWidget(
            cytoscape_layout=_LAYOUT,
            cytoscape_style=_stylesheet(),
            min_zoom=0.05,
            max_zoom=1.0,
            auto_unselectify=False,
            auto_ungrabify=True,
            user_zooming_enabled=False,
            tooltip_source="",
            layout=Layout(height=f"{row_height(1)}px", width="100%"),
        )
        self._rows = 1
        widget.add_class("tg-rows-1")
        widget.on("node", "click", self._clicked)
        return widget

    def _restyle(self, boxes: Iterable[Box]) -> bool:
        """Change what has changed of boxes that are there; True if one is wider than it was."""
        grown = False
        for box in boxes:
            size = _size(box)
            wide = max(size[0], self._sizes[box.id][0])  # a box never shrinks, or all would dance
            face = _face(box, wide)
            if self._faces[box.id] == face and self._sizes[box.id] == (wide, size[1]):
                continue
            grown = grown or self._sizes[box.id] != (wide, size[1])
            self._faces[box.id], self._sizes[box.id] = face, (wide, size[1])
            node = self._nodes[box.id]
            with node.hold_sync():
                node.data = {**node.data, "label": face[1], "width": wide, "height": size[1]}
                node.classes = face[0]
        return grown

    def _extend(self, drawing: Drawing) -> None:
        from ipycytoscape import Edge, Node

        self._restyle(box for box in drawing.nodes if box.id in self._nodes)
        nodes = []
        for box in drawing.nodes:
            if box.id not in self._nodes:
                wide, high = self._sizes[box.id] = _size(box)
                classes, label = self._faces[box.id] = _face(box, wide)
                data = {"id": box.id, "label": label, "width": wide, "height": high}
                self._nodes[box.id] = node = Node(data=data, classes=classes)
                nodes.append(node)
        new = [edge for edge in drawing.edges if edge not in self._edges]
        self._edges.update(new)
        edges = [
            Edge(
                data={"source": e.source, "target": e.target, "label": e.label}, classes="directed"
            )
            for e in new
        ]
        graph = self.widget.graph
        with graph.hold_sync():  # one message, so the page lays out once
            graph.nodes.extend(nodes)
            graph.edges.extend(edges)

    def _stretch(self, drawing: Drawing) -> None:
        """Make the canvas as high as the drawing needs."""
        self.widget.user_zooming_enabled = len(self._nodes) >= _ZOOM_FROM
        rows = _rows(drawing)
        if rows != self._rows:
            self.widget.remove_class(f"tg-rows-{self._rows}")
            self.widget.add_class(f"tg-rows-{rows}")
            self.widget.layout.height = f"{row_height(rows)}px"
            self._rows = rows


def row_height(rows: int) -> int:
    """Pixels of a graph whose tallest column has so many boxes."""
    return max(_LEAST_HEIGHT, rows * _ROW + 46)


def _size(box: Box) -> tuple[int, int]:
    wide, high = size_of(box, _FONT_SIZE)
    return round(wide), round(high)


def _face(box: Box, wide: float) -> tuple[str, str]:
    """Classes and label of a box."""
    lines = [cut(line, _FONT_SIZE, wide - 34) for line in (box.name, box.brief, box.place) if line]
    classes = [box.state, *["several"] * box.several, *["stale"] * (box.mark == "stale")]
    return " ".join(classes), "\n".join(lines)


def _rows(drawing: Drawing) -> int:
    """How many rows of plain boxes the page needs room for, at the zoom of a usual page."""
    edges = [(edge.source, edge.target) for edge in drawing.edges]
    column = columns([box.id for box in drawing.nodes], edges)
    high: dict[int, float] = {}
    wide: dict[int, float] = {}
    for box in drawing.nodes:
        place, (width, height) = column[box.id], _size(box)
        high[place] = high.get(place, 0.0) + height + _LAYOUT["nodeSep"]
        wide[place] = max(wide.get(place, 0.0), width + _LAYOUT["rankSep"])
    zoom = min(1.0, _PAGE / max(1.0, sum(wide.values())))
    rows = math.ceil(max(high.values(), default=1.0) * zoom / _ROW - 0.25)
    return max(1, min(MOST_ROWS, rows))


def _stylesheet() -> list[dict[str, Any]]:
    node = {
        "shape": "round-rectangle",
        "width": "data(width)",
        "height": "data(height)",
        "label": "data(label)",
        "text-wrap": "wrap",
        "text-valign": "center",
        "text-halign": "center",
        "text-margin-x": 10,
        "line-height": 1.3,
        "font-family": FONT.replace("'", ""),
        "font-size": _FONT_SIZE,
        "border-width": 1.5,
        "background-position-x": "9px",
        "background-position-y": "50%",
        "background-width": "14px",
        "background-height": "14px",
        "background-clip": "none",
        "background-fit": "none",
    }
    edge = {
        "width": 1.6,
        "curve-style": "bezier",
        "source-endpoint": "50% 0",
        "target-endpoint": "-50% 0",
        "line-color": EDGE,
        "target-arrow-color": EDGE,
        "target-arrow-shape": "triangle",
        "arrow-scale": 0.9,
        "label": "data(label)",
        "font-size": 9,
        "color": MUTED,
        "text-margin-y": -7,
    }
    states = [
        {
            "selector": f"node.{state}",
            "style": {
                "shape": look.shape,
                "background-color": look.fill,
                "border-color": look.border,
                "border-style": "dashed" if look.dashed else "solid",
                "border-width": 3 if state == "running" else 1.5,
                "color": look.text,
                "background-image": _data_url(icon_svg(state, size=28)),
            },
        }
        for state, look in LOOKS.items()
    ]
    several = {"border-style": "double", "border-width": 4}
    stale = {"border-style": "dashed", "border-width": 4, "border-color": STALE.border}
    chosen = {"overlay-color": "#0072b2", "overlay-opacity": 0.22, "overlay-padding": 4}
    return [
        {"selector": "node", "style": _PLAIN | node},
        *states,
        {"selector": "node.several", "style": several},
        {"selector": "node.stale", "style": stale},
        {"selector": "node:selected", "style": chosen},
        {"selector": "edge", "style": edge},
    ]


def _data_url(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
