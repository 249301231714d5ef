"""A small graph of vertices and edges as an ipycytoscape drawing."""

from __future__ import annotations

from typing import Any

from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.elements import Vertex
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.picture.palette import EDGE, LOOKS, MUTED

__all__ = ["MOST", "drawn"]

MOST = 500
"""Most vertices that ipycytoscape draws in reasonable time."""

_LABEL = 24.0
"""Characters of a name."""
_LAYOUT = {"name": "dagre", "rankDir": "LR", "nodeSep": 14, "rankSep": 60, "animate": False}
_SHAPES = {
    "Task": "round-rectangle", "Run": "hexagon", "Pipeline": "round-hexagon",
    "Component": "rectangle", "Artifact": "ellipse", "Person": "star",
}  # fmt: skip


def drawn(graph: Graph) -> Any:
    """Give a widget that shows a graph, left to right, tasks in the colours of their states.

    Raises:
        LineageError: it has no vertices, or more than are drawn.
    """
    if not graph.vertices:
        raise LineageError("there is no vertex in the results to draw: ask for vertices or paths")
    if len(graph.vertices) > MOST:
        raise LineageError(
            f"{len(graph.vertices)} vertices are more than the {MOST} that are drawn: "
            f"narrow the query, or add limit()"
        )
    from ipycytoscape import CytoscapeWidget
    from ipywidgets import Layout

    widget = CytoscapeWidget(
        cytoscape_layout=_LAYOUT,
        cytoscape_style=_style(),
        min_zoom=0.1,
        max_zoom=2.0,
        tooltip_source="about",
        layout=Layout(height="360px", width="100%"),
    )
    names = {id: str(number) for number, id in enumerate(graph.vertices)}
    nodes = [{"data": _node(vertex, names)} for vertex in graph.vertices.values()]
    edges = [
        {"data": {"source": names[e.out.id], "target": names[e.in_.id], "label": e.label}}
        for e in graph.edges.values()
    ]
    widget.graph.add_graph_from_json({"nodes": nodes, "edges": edges}, directed=True)
    return widget


def _node(vertex: Vertex, names: dict[object, str]) -> dict[str, str]:
    name = str(vertex.value("name") or vertex.value("preview") or vertex.id)
    state = str(vertex.value("state", ""))
    look = LOOKS.get(state)  # type: ignore[call-overload]
    return {
        "id": names[vertex.id],
        "label": name if len(name) <= _LABEL else name[: int(_LABEL) - 1] + "…",
        "about": f"{vertex.label} {name}" + (f", {state}" if state else ""),
        "shape": _SHAPES.get(vertex.label, "ellipse"),
        "colour": look.fill if look is not None else "#f0f1f3",
        "line": look.border if look is not None else MUTED,
    }


def _style() -> list[dict[str, Any]]:
    return [
        {
            "selector": "node",
            "css": {
                "content": "data(label)",
                "shape": "data(shape)",
                "background-color": "data(colour)",
                "border-color": "data(line)",
                "border-width": 1.5,
                "font-size": 11,
                "text-valign": "bottom",
                "text-margin-y": 3,
                "width": 26,
                "height": 26,
            },
        },
        {
            "selector": "edge",
            "css": {
                "label": "data(label)",
                "font-size": 9,
                "color": MUTED,
                "curve-style": "bezier",
                "line-color": EDGE,
                "target-arrow-color": EDGE,
                "target-arrow-shape": "triangle",
                "width": 1.2,
            },
        },
    ]
