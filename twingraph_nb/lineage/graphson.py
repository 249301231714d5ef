"""GraphSON 3: a graph as text, in the two shapes that TinkerPop reads and writes.

"Adjacency" has one vertex a line, with its edges; "whole" is one `tinker:graph` object.
Source of the format: Apache TinkerPop, IO Reference, GraphSON 3.0.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast
from uuid import UUID

from gremlin_python.statics import BigDecimal, SingleByte, bigint, long, short

from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.elements import Edge, Vertex, VertexProperty
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.numbers import kind_of
from twingraph_nb.lineage.text_names import Float32
from twingraph_nb.lineage.text_values import frozen

__all__ = ["GraphSONError", "decoded", "dumps", "encoded", "load", "loads", "save"]

Shape = Literal["adjacency", "whole"]
Json = dict[str, Any]

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_NUMBERS = {
    "b": "gx:Byte", "s": "gx:Int16", "i": "g:Int32", "l": "g:Int64", "n": "gx:BigInteger",
    "f": "g:Float", "d": "g:Double", "m": "gx:BigDecimal",
}  # fmt: skip


class GraphSONError(LineageError):
    """A text is not GraphSON 3, or a value has no place in it."""


def save(graph: Graph, path: Path | str, shape: Shape = "adjacency") -> None:
    """Write a graph to a file.

    Raises:
        GraphSONError: it holds a value that GraphSON has no type for.
        OSError: the file cannot be written.
    """
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for line in _lines(graph, shape):
            file.write(line + "\n")


def dumps(graph: Graph, shape: Shape = "adjacency") -> str:
    """Give a graph as GraphSON text; see `save`."""
    return "".join(line + "\n" for line in _lines(graph, shape))


def load(path: Path | str, into: Graph | None = None) -> Graph:
    """Read a graph from a file, into a new graph or one that is there.

    Raises:
        GraphSONError: it is not GraphSON 3; says in which line.
        ValueError: an element is there already.
        OSError: the file cannot be read.
    """
    with Path(path).open(encoding="utf-8") as file:
        return _read(file, into)


def loads(text: str, into: Graph | None = None) -> Graph:
    """Read a graph from text; see `load`."""
    return _read(text.split("\n"), into)


# -- writing --------------------------------------------------------------------------------------


def _lines(graph: Graph, shape: Shape) -> Iterator[str]:
    with graph.lock:
        vertices, edges = list(graph.vertices.values()), list(graph.edges.values())
        if shape == "adjacency":
            for vertex in vertices:
                yield _text(_adjacent(vertex))
        else:
            held = {
                "vertices": [_typed("g:Vertex", _vertex(vertex)) for vertex in vertices],
                "edges": [_typed("g:Edge", _edge(edge)) for edge in edges],
            }
            yield _text(_typed("tinker:graph", held))


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _adjacent(vertex: Vertex) -> Json:
    made: Json = {"id": encoded(vertex.id), "label": vertex.label}
    for name, end, sides in (
        ("inE", "outV", vertex.in_edges),
        ("outE", "inV", vertex.out_edges),
    ):
        found: Json = {}
        for label, edges in sides.items():
            for edge in edges.values():
                other = edge.out if end == "outV" else edge.in_
                row: Json = {"id": encoded(edge.id), end: encoded(other.id)}
                if edge.content:
                    row["properties"] = {k: encoded(v) for k, v in edge.content.items()}
                found.setdefault(label, []).append(row)
        if found:
            made[name] = found
    properties = {key: [_cell(c) for c in vertex.cells(key)] for key in list(vertex.content)}
    if properties:
        made["properties"] = properties
    return made


def _cell(cell: VertexProperty) -> Json:
    made: Json = {"id": encoded(cell.id), "value": encoded(cell.value)}
    if cell.content:
        made["properties"] = {key: encoded(value) for key, value in cell.content.items()}
    return made


def _vertex(vertex: Vertex) -> Json:
    made: Json = {"id": encoded(vertex.id), "label": vertex.label}
    properties = {
        key: [_typed("g:VertexProperty", {**_cell(c), "label": key}) for c in vertex.cells(key)]
        for key in list(vertex.content)
    }
    return made | ({"properties": properties} if properties else {})


def _edge(edge: Edge) -> Json:
    made: Json = {"id": encoded(edge.id), "label": edge.label}
    made |= {"inVLabel": edge.in_.label, "outVLabel": edge.out.label}
    made |= {"inV": encoded(edge.in_.id), "outV": encoded(edge.out.id)}
    if edge.content:
        made["properties"] = {
            key: _typed("g:Property", {"key": key, "value": encoded(value)})
            for key, value in edge.content.items()
        }
    return made


def encoded(value: object) -> object:
    """Give a value with its GraphSON type.

    Raises:
        GraphSONError: GraphSON has none for it.
    """
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    kind = kind_of(value)
    if kind:
        return _typed(_NUMBERS[kind], _number(kind, value))
    made = _collection(value)
    if made is None:
        made = _scalar(value)
    if made is None:
        raise GraphSONError(f"GraphSON has no type for a {type(value).__name__}: {value!r}")
    return made


def _number(kind: str, value: object) -> object:
    if kind == "m":
        return str(value)  # a JSON number would lose digits in most readers
    if kind in "fd":
        number = float(cast(float, value))
        if math.isfinite(number):
            return float(str(value)) if kind == "f" else number
        return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"
    return int(cast(int, value))


def _collection(value: object) -> Json | None:
    if isinstance(value, Mapping):
        pairs = [encoded(part) for pair in value.items() for part in pair]
        return _typed("g:Map", pairs)
    if isinstance(value, set | frozenset) or type(value).__name__ == "Uniques":
        return _typed("g:Set", [encoded(item) for item in cast("Iterable[object]", value)])
    if isinstance(value, list | tuple):
        return _typed("g:List", [encoded(item) for item in value])
    return None


def _scalar(value: object) -> Json | None:
    if isinstance(value, BigDecimal):
        return _typed("gx:BigDecimal", str(value.value))
    if isinstance(value, UUID):
        return _typed("g:UUID", str(value))
    if isinstance(value, datetime):
        return _typed("gx:OffsetDateTime", _zoned(value).isoformat())
    if isinstance(value, date):
        return _typed("gx:LocalDate", value.isoformat())
    if isinstance(value, timedelta):
        return _typed("gx:Duration", f"PT{value.total_seconds()!r}S")
    if isinstance(value, bytes | bytearray):
        return _typed("gx:ByteBuffer", base64.b64encode(value).decode())
    return None


def _zoned(value: datetime) -> datetime:
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _typed(kind: str, value: object) -> Json:
    return {"@type": kind, "@value": value}


# -- reading --------------------------------------------------------------------------------------


def _read(lines: Iterable[str], into: Graph | None) -> Graph:
    graph = Graph() if into is None else into
    edges: dict[object, tuple[str, object, object, Json]] = {}
    with graph.lock:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line, parse_float=Decimal)
                if isinstance(found, dict) and found.get("@type") == "tinker:graph":
                    found = found["@value"]
                if "vertices" in found:
                    _take_whole(found, graph, edges)
                else:
                    _take_vertex(found, graph)
                    _take_edges(found, edges)
            except (KeyError, TypeError, AttributeError, RecursionError, ArithmeticError) as exc:
                raise GraphSONError(f"line {number} is not GraphSON 3: {exc!r}") from exc
            except json.JSONDecodeError as exc:
                raise GraphSONError(f"line {number} is not JSON: {exc}") from exc
        for id, (label, out, in_, properties) in edges.items():
            for end in (out, in_):
                if end not in graph.vertices:
                    raise GraphSONError(f"edge {id} has an end that is not there: vertex {end}")
            graph.add_edge(label, graph.vertices[out], graph.vertices[in_], id, properties)
    return graph


def _take_whole(found: Json, graph: Graph, edges: dict[object, Any]) -> None:
    for vertex in found["vertices"]:
        _take_vertex(vertex.get("@value", vertex), graph)
    for typed in found["edges"]:
        edge = typed.get("@value", typed)
        properties = {
            key: decoded(one["@value"]["value"] if one.get("@type") == "g:Property" else one)
            for key, one in edge.get("properties", {}).items()
        }
        ends = _key(edge["outV"]), _key(edge["inV"])
        edges[_key(edge["id"])] = (str(edge["label"]), *ends, properties)


def _key(id: object) -> object:
    return frozen(decoded(id))


def _take_vertex(found: Json, graph: Graph) -> None:
    vertex = graph.add_vertex(str(found.get("label", "vertex")), _key(found["id"]))
    for key, cells in found.get("properties", {}).items():
        for typed in cells:
            cell = typed["@value"] if typed.get("@type") == "g:VertexProperty" else typed
            meta = {k: decoded(v) for k, v in cell.get("properties", {}).items()}
            id = decoded(cell["id"]) if "id" in cell else None
            graph.add_property(vertex, key, decoded(cell["value"]), "list", id, meta)


def _take_edges(found: Json, edges: dict[object, Any]) -> None:
    me = _key(found["id"])
    for name, end in (("outE", "inV"), ("inE", "outV")):
        for label, rows in found.get(name, {}).items():
            for row in rows:
                other = _key(row[end])
                ends = (me, other) if name == "outE" else (other, me)
                properties = {k: decoded(v) for k, v in row.get("properties", {}).items()}
                edges.setdefault(_key(row["id"]), (label, *ends, properties))


def decoded(value: object) -> object:
    """Give the value of what `encoded` gave, of untyped JSON too.

    Raises:
        GraphSONError: its type is not known.
    """
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "@type" not in value:
        return {key: decoded(item) for key, item in value.items()}
    read = _READERS.get(value["@type"])
    if read is None:
        raise GraphSONError(f"GraphSON type {value['@type']!r} has no place in a graph here")
    try:
        return read(value["@value"])
    except ValueError as exc:
        raise GraphSONError(f"{value['@value']!r} is no {value['@type']}: {exc}") from exc


def _floating(value: Any) -> float:
    return _SPECIAL[value] if isinstance(value, str) else float(value)


def _mapped(parts: list[object]) -> dict[object, object]:
    return {frozen(decoded(parts[i])): decoded(parts[i + 1]) for i in range(0, len(parts) - 1, 2)}


def _duration(text: str) -> timedelta:
    if not text.startswith("PT") or not text.endswith("S"):
        raise GraphSONError(f"only durations in seconds are read, not {text!r}")
    return timedelta(seconds=float(text[2:-1]))


_READERS: Mapping[str, Callable[[Any], object]] = {
    "g:Int32": int,
    "g:Int64": long,
    "g:Double": _floating,
    "g:Float": lambda value: Float32(_floating(value)),
    "gx:Byte": SingleByte,
    "gx:Int16": short,
    "gx:BigInteger": bigint,
    "gx:BigDecimal": lambda value: Decimal(str(value)),
    "g:UUID": UUID,
    "g:Date": lambda value: datetime.fromtimestamp(int(value) / 1000, UTC),
    "g:Timestamp": lambda value: datetime.fromtimestamp(int(value) / 1000, UTC),
    "gx:OffsetDateTime": datetime.fromisoformat,
    "gx:LocalDate": date.fromisoformat,
    "gx:Duration": _duration,
    "gx:ByteBuffer": base64.b64decode,
    "gx:Char": str,
    "g:List": lambda value: [decoded(item) for item in value],
    "g:Set": lambda value: {frozen(decoded(item)) for item in value},
    "g:Map": _mapped,
}
