"""Results of Gremlin as plain data and as rows: elements, paths, maps, properties, values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from gremlin_python.structure.graph import Edge, Path, Property, Vertex, VertexProperty

from twingraph_nb.lineage.asking import Row

__all__ = ["elements_of", "plain", "rows_of"]

_SHOWN = 8
"""Most properties of an element that a row shows; `valueMap()` gives them all."""
_FIRST = ("name", "state", "Output", "error", "seconds", "Timestamp", "run", "digest")
_LATER = frozenset({"Name", "Hash", "Source Code"})
"""Properties that say nothing that the others do not, or more than a cell holds."""


def plain(value: object) -> object:
    """Give a result as JSON can hold it.

    A vertex or an edge is an object with id, label and properties, a path the list of its
    objects, a key that is no text its text.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Vertex | Edge):
        made: dict[str, object] = {"id": plain(value.id), "label": value.label}
        if isinstance(value, Edge):
            made |= {"out": plain(value.outV.id), "in": plain(value.inV.id)}
        return made | {"properties": properties_of(value)}
    if isinstance(value, VertexProperty | Property):
        return {"key": value.key, "value": plain(value.value)}
    if isinstance(value, Path):
        return [plain(one) for one in value.objects]
    if isinstance(value, Mapping):
        return {_key(key): plain(one) for key, one in value.items()}
    if isinstance(value, Iterable):
        return [plain(one) for one in value]
    return str(value)


def _key(key: object) -> str:
    return key.name if isinstance(key, Enum) else key if isinstance(key, str) else str(plain(key))


def properties_of(element: Vertex | Edge) -> dict[str, object]:
    """Give the properties of an element; a list where it has several values of one."""
    found: dict[str, list[object]] = {}
    for one in element.properties or ():
        found.setdefault(str(one.key), []).append(plain(one.value))
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}


def rows_of(results: Sequence[object]) -> list[Row]:
    """Give results as the rows of one table: maps and elements by their keys, others as `value`."""
    made = [_row(result) for result in results]
    columns = list(dict.fromkeys(key for row in made for key in row))
    return [{key: row.get(key, "") for key in columns} for row in made]


def _row(result: object) -> Row:
    if isinstance(result, Vertex | Edge):
        found = properties_of(result)
        first = [key for key in _FIRST if key in found]
        shown = [*first, *(k for k in found if k not in first and k not in _LATER)][:_SHOWN]
        return {"id": plain(result.id), "label": result.label, **{k: found[k] for k in shown}}
    if isinstance(result, Mapping) and result:
        return {_key(key): _short(one) for key, one in result.items()}
    if isinstance(result, Path):
        return {"path": " → ".join(str(_short(one)) for one in result.objects)}
    return {"value": _short(result)}


def _short(value: object) -> object:
    """A value in a cell; vertices by name or id, edges by label."""
    if isinstance(value, Edge):
        return value.label
    if isinstance(value, Vertex):
        return properties_of(value).get("name", plain(value.id))
    if isinstance(value, list | set | tuple) and len(value) == 1:
        return _short(next(iter(value)))
    return plain(value)


def elements_of(results: Iterable[object]) -> tuple[list[Vertex], list[Edge]]:
    """Give the vertices and edges in results, also those within paths, lists and maps, once."""
    vertices: dict[object, Vertex] = {}
    edges: dict[object, Edge] = {}
    left = list(results)
    while left:
        one = left.pop()
        if isinstance(one, Vertex):
            vertices[one.id] = one
        elif isinstance(one, Edge):
            edges[one.id] = one
            left += [one.outV, one.inV]
        elif isinstance(one, Path):
            left += one.objects
        elif isinstance(one, Mapping):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set):
            left += one
    return list(vertices.values()), list(edges.values())
