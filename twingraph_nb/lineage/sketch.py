"""A graph as people look at it: nodes and links with short texts, and when each was there."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from twingraph_nb.graph.summary import is_secret
from twingraph_nb.lineage.elements import Element, Vertex
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.redact import cut, masked

__all__ = ["PREVIEW", "Link", "Node", "Sketch", "Times", "sketch", "without"]

PREVIEW = 300
"""Most characters of a property; the graph itself has more."""
_MANY = 20
"""Most values of a property that has several."""
_PATHS = ("Notebook", "File")
"""What has a path for a name; its last part tells it from others beside it."""
_SAID_TWICE = {"name": "Name"}
"""Properties that repeat another one."""

Times = tuple[float | None, float | None, float | None]
"""Seconds since the epoch: there, started, finished; None = not, or not known."""


@dataclass(frozen=True, slots=True)
class Node:
    """A vertex. type: its label. about: property -> text, cut and without secrets."""

    id: str
    type: str
    name: str
    hash: str
    state: str
    platform: str
    about: Mapping[str, str]
    times: Times


@dataclass(frozen=True, slots=True)
class Link:
    """An edge between nodes by their places. name: the ports that it connects, if any."""

    source: int
    target: int
    type: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Sketch:
    """Nodes in the order of the graph, and the links between them."""

    nodes: tuple[Node, ...]
    links: tuple[Link, ...]

    @property
    def begin(self) -> float:
        """When the first thing happened; 0 when no time is known."""
        return min((at for node in self.nodes for at in node.times if at is not None), default=0.0)

    @property
    def end(self) -> float:
        """When the last thing happened; 0 when no time is known."""
        return max((at for node in self.nodes for at in node.times if at is not None), default=0.0)


def without(sketch: Sketch, hidden: Mapping[str, Collection[str]]) -> Sketch:
    """Give what is left when values of "type", "state" or "platform" are filtered out."""
    kept = [
        place
        for place, node in enumerate(sketch.nodes)
        if not any(getattr(node, kind) in values for kind, values in hidden.items())
    ]
    row = {place: number for number, place in enumerate(kept)}
    links = [
        replace(link, source=row[link.source], target=row[link.target])
        for link in sketch.links
        if link.source in row and link.target in row
    ]
    return Sketch(tuple(sketch.nodes[place] for place in kept), tuple(links))


def sketch(graph: Graph) -> Sketch:
    """Give what people see of a graph: previews only, values with a secret's name masked."""
    with graph.lock:
        vertices = list(graph.vertices.values())
        place = {vertex.id: number for number, vertex in enumerate(vertices)}
        links = [
            Link(place[edge.out.id], place[edge.in_.id], edge.label, _ports(edge))
            for edge in graph.edges.values()
        ]
        there = _there(vertices)
        nodes = [_node(vertex, there.get(vertex.id)) for vertex in vertices]
    return Sketch(tuple(nodes), tuple(links))


def _node(vertex: Vertex, there: float | None) -> Node:
    about = _about(vertex)
    name = about.get("name") or about.get("Name") or about.get("preview")
    if vertex.label in _PATHS and name:
        name = re.split(r"[/\\]", name)[-1] or name
    elif not name:
        name = f"Python {about['python']}" if "python" in about else str(vertex.id)
    times = (there, _time(vertex, "started"), _time(vertex, "finished"))
    return Node(
        id=cut(str(vertex.id), PREVIEW),
        type=cut(vertex.label, PREVIEW),
        name=name,
        hash=about.get("Hash") or about.get("digest") or about.get("run", ""),
        state=about.get("state", ""),
        platform=about.get("Compute Platform") or about.get("platform", ""),
        about=about,
        times=times,
    )


def _about(element: Element) -> dict[str, str]:
    texts = {}
    for key in list(element.content):
        if element.content.get("name") == element.content.get(key) and key in _SAID_TWICE.values():
            continue
        values = list(element.values(key))
        said = [str(value) for value in values[:_MANY]]
        if len(values) > _MANY:
            said.append(f"… {len(values) - _MANY} more")
        if any(said):
            texts[cut(key, PREVIEW)] = ", ".join(said)
    return {key: cut(text, PREVIEW) for key, text in masked(texts, frozenset()).items()}


def _ports(edge: Element) -> str:
    """What flows along an edge, if it says so; nothing for an output without a name."""
    names = [str(edge.value(key, "")) for key in ("output", "port")]
    return cut(next((n for n in names if n and n != "value" and not is_secret(n)), ""), PREVIEW)


def _there(vertices: Iterable[Vertex]) -> dict[object, float]:
    """When each was there first: as it says, or as soon as what it stands beside."""
    own = {vertex.id: at for vertex in vertices if (at := _own_time(vertex)) is not None}
    made = {vertex.id: _time(vertex, "finished") for vertex in vertices}
    found = dict(own)
    for vertex in vertices:
        if vertex.id in own:
            continue
        makers = [made.get(one.id) for one in vertex.neighbours("in", "produces")]
        times = [at for at in makers if at is not None] or [
            own[one.id]
            for side in ("in", "out")
            for one in vertex.neighbours(side)
            if one.id in own
        ]
        if times:
            found[vertex.id] = min(times)
    return found


def _own_time(vertex: Vertex) -> float | None:
    text = vertex.value("Timestamp")
    if isinstance(text, str):
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:  # users may give any text
            pass
    return _time(vertex, "started")


def _time(vertex: Vertex, key: str) -> float | None:
    value = vertex.value(key)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and value == value else None  # type: ignore[arg-type]
