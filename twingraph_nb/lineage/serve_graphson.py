"""GraphSON 2 and 3 as messages of the Gremlin protocol: JSON whose values say their types.

Source of the format: Apache TinkerPop, IO Reference, GraphSON. Plain values are those of
`graphson`; here are what only messages hold: traversals, predicates, tokens, elements as results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

from gremlin_python.process.traversal import Binding, Bytecode, P, Traverser
from gremlin_python.statics import GremlinType, SingleChar
from gremlin_python.structure.graph import Edge, Path, Property, Vertex, VertexProperty

from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.graphson import GraphSONError, decoded, encoded
from twingraph_nb.lineage.serve_elements import Cell, cells_of, entries_of
from twingraph_nb.lineage.serve_values import (
    LAMBDA,
    MalformedMessage,
    bytecode,
    duration,
    predicate,
    strategy,
    token,
)
from twingraph_nb.lineage.text_names import STRATEGIES, TOKENS
from twingraph_nb.lineage.text_values import frozen

__all__ = ["Writer", "read", "text_of"]

Json = dict[str, Any]
_PLACES = 4096
"""Of a decimal: arithmetic with more would hold all others up."""


def text_of(value: object) -> str:
    """Give JSON in ASCII without spaces."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


# -- reading --------------------------------------------------------------------------------------


def read(value: object) -> Any:
    """Give what parsed GraphSON means; untyped JSON means itself.

    Raises:
        MalformedMessage: it means nothing.
    """
    kind = type(value)
    if kind is list:
        return [read(item) for item in value]  # type: ignore[attr-defined]
    if kind is not dict:
        return value
    found: Json = value  # type: ignore[assignment]
    name = found.get("@type")
    if name is None:
        return {key: read(item) for key, item in found.items()}
    reader = _READERS.get(name) if isinstance(name, str) else None
    try:
        if reader is not None:
            return reader(found["@value"])
        if isinstance(name, str) and name.partition(":")[2] in STRATEGIES:
            return _strategy(name, found.get("@value"))
        return decoded(found)
    except GraphSONError as exc:
        raise MalformedMessage(str(exc)) from exc
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, ArithmeticError) as exc:
        raise MalformedMessage(f"this is no {name}: {type(exc).__name__} {exc}") from exc


def _strategy(name: str, value: Any) -> object:
    """A strategy with its settings: beside its class, or (before 3.5) alone."""
    value = value or {}
    settings = value.get("conf", value) if isinstance(value, dict) else {}
    return strategy(name.partition(":")[2], {k: read(v) for k, v in settings.items()})


def _instructions(code: Iterable[Any]) -> list[list[Any]]:
    return [[name, *map(read, args)] for name, *args in code]


def _bytecode(value: Json) -> Bytecode:
    return bytecode(_instructions(value.get("source", ())), _instructions(value.get("step", ())))


def _predicate(value: Json) -> P:
    operator, given = value["predicate"], read(value.get("value"))
    if operator in ("between", "inside", "outside", "and", "or", "within", "without"):
        return predicate(
            operator, list(given) if isinstance(given, list | tuple | set) else [given]
        )
    return predicate(operator, [given])


def _lambda(value: object) -> object:
    raise MalformedMessage(LAMBDA)


def _map(parts: list[Any]) -> dict[Any, Any]:
    if isinstance(parts, dict):  # as GraphSON 2 has it
        return {key: read(item) for key, item in parts.items()}
    if len(parts) % 2:
        raise MalformedMessage("a g:Map has a key without a value")
    return {frozen(read(parts[i])): read(parts[i + 1]) for i in range(0, len(parts), 2)}


def _vertex(value: Json) -> Vertex:
    return Vertex(read(value["id"]), value.get("label", "vertex"))


def _edge(value: Json) -> Edge:
    out, in_ = (
        Vertex(read(value.get(side)), value.get(f"{side}Label", "vertex"))
        for side in ("outV", "inV")
    )
    return Edge(read(value["id"]), out, value.get("label", "edge"), in_)


def _vertex_property(value: Json) -> VertexProperty:
    return VertexProperty(read(value["id"]), value.get("label", ""), read(value["value"]), None)


def _decimal(value: object) -> Decimal:
    made = Decimal(str(value))
    if abs(made.adjusted()) > _PLACES or not made.is_finite():
        raise MalformedMessage(f"a decimal with more than {_PLACES} places is too long")
    return made


def _tokens(kind: str) -> Callable[[Any], Enum]:
    return lambda name: token(kind, name)


_READERS: dict[str, Callable[[Any], Any]] = {
    "g:List": lambda value: [read(item) for item in value],
    "g:Set": lambda value: {frozen(read(item)) for item in value},
    "g:Map": _map,
    "g:Bytecode": _bytecode,
    "g:P": _predicate,
    "g:TextP": _predicate,
    "g:Lambda": _lambda,
    "g:Binding": lambda value: Binding(str(value["key"]), read(value["value"])),
    "g:Class": lambda value: GremlinType(str(value)),
    "g:Traverser": lambda value: Traverser(read(value["value"]), int(read(value["bulk"]))),
    "g:Vertex": _vertex,
    "g:Edge": _edge,
    "g:VertexProperty": _vertex_property,
    "g:Property": lambda value: Property(value["key"], read(value["value"]), None),
    "g:Path": lambda value: Path(read(value["labels"]), read(value["objects"])),
    "gx:BigDecimal": _decimal,
    "gx:Duration": duration,
    "gx:Char": SingleChar,
    **{f"g:{kind}": _tokens(kind) for kind in TOKENS},
}


# -- writing --------------------------------------------------------------------------------------


class Writer:
    """Writes results.

    version: 2 or 3. whole: elements come with their properties, else with id and label only.
    """

    def __init__(self, version: int = 3, *, whole: bool = True) -> None:
        self.version = version
        self.whole = whole

    def typed(self, value: Any) -> Any:
        """Give a value as JSON with its type.

        Raises:
            GraphSONError: GraphSON has no type for it.
        """
        kind = type(value)
        if kind is str or value is None or kind is bool:
            return value
        if isinstance(value, Vertex | Edge | VertexProperty | Property):
            return self._element(value)
        if isinstance(value, Mapping):
            return self._map(value)
        if isinstance(value, set | frozenset):
            return self._listed("g:Set", value)
        if isinstance(value, list | tuple):
            return self._listed("g:List", value)
        if isinstance(value, Traverser):
            bulk = {"@type": "g:Int64", "@value": int(value.bulk)}
            return _typed("g:Traverser", {"bulk": bulk, "value": self.typed(value.object)})
        if isinstance(value, Path):
            parts = {"labels": self.typed(value.labels), "objects": self.typed(value.objects)}
            return _typed("g:Path", parts)
        if isinstance(value, Graph):
            parts = {"vertices": value.vertices, "edges": value.edges}
            found = {
                name: [self.typed(e) for e in list(held.values())] for name, held in parts.items()
            }
            return _typed("tinker:graph", found)
        if isinstance(value, Enum):
            return _typed(f"g:{kind.__name__}", value.name.rstrip("_"))
        return encoded(value)

    def _listed(self, name: str, value: Iterable[Any]) -> Any:
        items = [self.typed(item) for item in value]
        return items if self.version == 2 else _typed(name, items)

    def _map(self, value: Mapping[Any, Any]) -> Any:
        if self.version == 2:
            return {_key(key): self.typed(item) for key, item in value.items()}
        return _typed("g:Map", [self.typed(part) for pair in value.items() for part in pair])

    def _element(self, value: Any) -> Json:
        if isinstance(value, Vertex):
            return _typed("g:Vertex", self._vertex(value))
        if isinstance(value, Edge):
            return _typed("g:Edge", self._edge(value))
        if isinstance(value, VertexProperty):
            cell = Cell(value.id, value.key, value.value, entries_of(value))
            return _typed("g:VertexProperty", self._cell(cell))
        return _typed("g:Property", {"key": value.key, "value": self.typed(value.value)})

    def _vertex(self, vertex: Any) -> Json:
        made: Json = {"id": self.typed(vertex.id), "label": vertex.label}
        if self.whole:
            found: Json = {}
            for cell in cells_of(vertex):
                typed = _typed("g:VertexProperty", self._cell(cell))
                found.setdefault(cell.key, []).append(typed)
            if found:
                made["properties"] = found
        return made

    def _cell(self, cell: Cell) -> Json:
        made: Json = {"id": self.typed(cell.id), "label": cell.key, "value": self.typed(cell.value)}
        if self.whole and cell.properties:
            made["properties"] = {key: self.typed(value) for key, value in cell.properties}
        return made

    def _edge(self, edge: Any) -> Json:
        made: Json = {"id": self.typed(edge.id), "label": edge.label}
        made |= {"inVLabel": edge.inV.label, "outVLabel": edge.outV.label}
        made |= {"inV": self.typed(edge.inV.id), "outV": self.typed(edge.outV.id)}
        entries = entries_of(edge) if self.whole else ()
        if entries:
            made["properties"] = {
                key: _typed("g:Property", {"key": key, "value": self.typed(value)})
                for key, value in entries
            }
        return made


def _key(key: object) -> str:
    return str(key.name).rstrip("_") if isinstance(key, Enum) else str(key)


def _typed(kind: str, value: object) -> Json:
    return {"@type": kind, "@value": value}
