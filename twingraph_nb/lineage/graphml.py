"""GraphML: a graph for Gephi, yEd, networkx and others, with TinkerPop's names for the labels.

GraphML has one plain value for a property: of several values the texts stand together as JSON,
and so do lists and maps. Reading such a file gives those texts.
Source: graphml.graphdrawing.org, GraphML Primer; TinkerPop IO Reference (`labelV`, `labelE`).
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as tree
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from gremlin_python.statics import long

from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.elements import Element
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.numbers import kind_of
from twingraph_nb.lineage.text_names import Float32

__all__ = ["GraphMLError", "dumps", "load", "loads", "save"]

_SPACE = "http://graphml.graphdrawing.org/xmlns"
_TYPES: Mapping[str, Callable[[str], object]] = {
    "boolean": lambda text: text.strip().lower() == "true",
    "int": int,
    "long": long,
    "float": Float32,
    "double": float,
    "string": str,
}
_KINDS = {"b": "int", "s": "int", "i": "int", "l": "long", "f": "float", "d": "double"}
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold in any way."""


class GraphMLError(LineageError):
    """A text is not GraphML that can be read."""


def save(graph: Graph, path: Path | str) -> None:
    """Write a graph to a file.

    Raises:
        OSError: the file cannot be written.
    """
    Path(path).write_text(dumps(graph), encoding="utf-8", newline="\n")


def dumps(graph: Graph) -> str:
    """Give a graph as GraphML text; characters that XML cannot hold become U+FFFD."""
    with graph.lock:
        vertices, edges = list(graph.vertices.values()), list(graph.edges.values())
        root = tree.Element("graphml", {"xmlns": _SPACE})
        keys = {"node": {"labelV": "labelV"}, "edge": {"labelE": "labelE"}}
        for kind, elements in (("node", vertices), ("edge", edges)):
            label = next(iter(keys[kind]))
            about = {"id": label, "for": kind, "attr.name": label, "attr.type": "string"}
            tree.SubElement(root, "key", about)
            for name, type in _types(elements).items():
                id = keys[kind].setdefault(name, f"{kind}{len(keys[kind])}")
                about = {"id": id, "for": kind, "attr.name": _clean(name), "attr.type": type}
                tree.SubElement(root, "key", about)
        body = tree.SubElement(root, "graph", {"id": "G", "edgedefault": "directed"})
        for vertex in vertices:
            node = tree.SubElement(body, "node", {"id": _clean(str(vertex.id))})
            _fill(node, keys["node"], vertex)
        for edge in edges:
            ends = {"source": _clean(str(edge.out.id)), "target": _clean(str(edge.in_.id))}
            node = tree.SubElement(body, "edge", {"id": _clean(str(edge.id))} | ends)
            _fill(node, keys["edge"], edge)
    tree.indent(root)
    return tree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _fill(node: tree.Element, keys: Mapping[str, str], element: Element) -> None:
    label = next(iter(keys))
    tree.SubElement(node, "data", {"key": label}).text = _clean(element.label)
    for name in list(element.content):
        told = tree.SubElement(node, "data", {"key": keys[name]})
        told.text = _clean(_shown(list(element.values(name))))


def _types(elements: Iterable[Element]) -> dict[str, str]:
    """The type of each property, "string" where it has several."""
    found: dict[str, str] = {}
    for element in elements:
        for name in list(element.content):
            values = list(element.values(name))
            kind = "string" if len(values) != 1 else _type(values[0])
            known = found.setdefault(name, kind)
            if {known, kind} == {"int", "long"}:
                found[name] = "long"
            elif {known, kind} == {"float", "double"}:
                found[name] = "double"
            elif known != kind:
                found[name] = "string"
    return found


def _type(value: object) -> str:
    return "boolean" if isinstance(value, bool) else _KINDS.get(kind_of(value), "string")


def _shown(values: list[object]) -> str:
    if len(values) == 1:
        value = values[0]
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, list | tuple | set | dict):
            return str(value)
    plain = values if len(values) != 1 else values[0]
    return json.dumps(sorted(plain, key=str) if isinstance(plain, set) else plain, default=str)


def _clean(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)


def load(path: Path | str, into: Graph | None = None) -> Graph:
    """Read a graph from a file, into a new graph or one that is there.

    Raises:
        GraphMLError: it is not GraphML that can be read.
        ValueError: an element is there already.
        OSError: the file cannot be read.
    """
    return loads(Path(path).read_text(encoding="utf-8"), into)


def loads(text: str, into: Graph | None = None) -> Graph:
    """Read a graph from text; see `load`."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise GraphMLError("a GraphML file with a DOCTYPE is not read: entities can be hostile")
    try:
        root = tree.fromstring(text.encode())
    except tree.ParseError as exc:
        raise GraphMLError(f"this is not XML: {exc}") from exc
    graph = Graph() if into is None else into
    with graph.lock:
        _read(root, graph)
    return graph


def _read(root: tree.Element, graph: Graph) -> None:
    space = {"g": root.tag[1:].partition("}")[0]} if root.tag.startswith("{") else {"g": ""}
    prefix = "g:" if space["g"] else ""
    body = root.find(f"{prefix}graph", space)
    if not root.tag.endswith("graphml") or body is None:
        raise GraphMLError("this is XML, but not GraphML: it has no <graphml> with a <graph>")
    keys = {
        key.get("id", ""): (key.get("attr.name", key.get("id", "")), key.get("attr.type", "string"))
        for key in root.findall(f"{prefix}key", space)
    }

    def told(node: tree.Element, label: str) -> tuple[str, dict[str, object]]:
        found = {}
        for data in node.findall(f"{prefix}data", space):
            name, type = keys.get(data.get("key", ""), (data.get("key", ""), "string"))
            try:
                found[name] = _TYPES.get(type, str)(data.text or "")
            except ValueError as exc:
                raise GraphMLError(f"{data.text!r} is no {type} for {name!r}") from exc
        return str(found.pop(label, "vertex" if label == "labelV" else "edge")), found

    for node in body.findall(f"{prefix}node", space):
        label, properties = told(node, "labelV")
        graph.add_vertex(label, node.get("id"), properties)
    for node in body.findall(f"{prefix}edge", space):
        label, properties = told(node, "labelE")
        ends = [graph.vertices.get(node.get(end)) for end in ("source", "target")]
        if ends[0] is None or ends[1] is None:
            raise GraphMLError(f"edge {node.get('id')!r} has an end that is not there")
        graph.add_edge(label, ends[0], ends[1], node.get("id"), properties)
