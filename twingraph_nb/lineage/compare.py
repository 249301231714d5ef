"""How Gremlin compares: equality, comparability within a type, and an order over everything."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from enum import Enum
from typing import Any
from uuid import UUID

from gremlin_python.structure.graph import Edge, Path, Property, Vertex, VertexProperty

from twingraph_nb.lineage.containers import Entry, is_list, is_set
from twingraph_nb.lineage.numbers import NUMBER, compare_numbers, same_number

__all__ = ["SCALARS", "comparable", "compare", "equal", "ordered", "rank"]

(
    NULL,
    BOOL,
    NUM,
    DATE,
    TEXT,
    UID,
    VERTEX,
    EDGE,
    VPROP,
    PROP,
    PATH,
    SET,
    LIST,
    MAP,
    ENTRY,
    OTHER,
) = range(16)
SCALARS = frozenset({BOOL, NUM, DATE, TEXT, UID})
"""Ranks of what Java can compare by itself."""
_FAST = {type(None): NULL, bool: BOOL, int: NUM, float: NUM, str: TEXT, list: LIST, dict: MAP}
_CLASSES: tuple[tuple[type | tuple[type, ...], int], ...] = (
    (bool, BOOL),
    (NUMBER, NUM),
    (date, DATE),
    (str, TEXT),
    (UUID, UID),
    (Vertex, VERTEX),
    (Edge, EDGE),
    (VertexProperty, VPROP),
    (Property, PROP),
    (Path, PATH),
)


def rank(value: object) -> int:
    """The place of the value's type in the order over all types."""
    found = _FAST.get(type(value))
    if found is not None:
        return found
    for classes, number in _CLASSES:
        if isinstance(value, classes):
            return number
    if isinstance(value, Enum):
        return TEXT
    if is_set(value):
        return SET
    if is_list(value):
        return LIST
    if isinstance(value, Mapping):
        return MAP
    return ENTRY if isinstance(value, Entry) else OTHER


def compare(a: object, b: object) -> int:
    """Negative, 0 or positive: the order over all values (orderability); null comes first."""
    kind, other = rank(a), rank(b)
    if kind != other:
        return kind - other
    return _compare_same(kind, a, b)


ordered = functools.cmp_to_key(compare)
"""A key for `sorted` that sorts as order() does."""


def _compare_same(kind: int, a: object, b: object) -> int:
    if kind == NUM:
        return compare_numbers(a, b)
    if kind == TEXT:
        a, b = _written(a), _written(b)
    if kind in (BOOL, DATE, TEXT, UID):
        return _sign(a, b)
    if kind in (VERTEX, EDGE, VPROP):
        return compare(a.id, b.id)  # type: ignore[attr-defined]
    if kind in (PROP, ENTRY):
        return compare(a.key, b.key) or compare(a.value, b.value)  # type: ignore[attr-defined]
    if kind == NULL:
        return 0
    if kind == OTHER:
        return 0 if a == b else _unknown(a, b)
    return _compare_items(_items(kind, a), _items(kind, b))


def _written(value: Any) -> str:
    """A text; a token such as `T.id` counts by its name."""
    return value if isinstance(value, str) else str(value.name).rstrip("_")


def _sign(a: Any, b: Any) -> int:
    return int(a > b) - int(a < b)


def _unknown(a: object, b: object) -> int:
    try:
        return _sign(a, b)
    except TypeError:
        one, two = (type(a).__name__, str(a)), (type(b).__name__, str(b))
        return (one > two) - (one < two)


def _items(kind: int, value: object) -> Sequence[object]:
    """The parts of a container, sorted where it has no order of its own."""
    if kind == PATH:
        return list(value.objects)  # type: ignore[attr-defined]
    if kind == SET:
        return sorted(value, key=ordered)  # type: ignore[call-overload, no-any-return]
    if kind == MAP:
        entries = [Entry(k, v) for k, v in value.items()]  # type: ignore[attr-defined]
        return sorted(entries, key=ordered)
    return list(value)  # type: ignore[call-overload, no-any-return]


def _compare_items(a: Sequence[object], b: Sequence[object]) -> int:
    for x, y in zip(a, b, strict=False):
        found = compare(x, y)
        if found:
            return found
    return len(a) - len(b)


def comparable(a: object, b: object) -> bool:
    """Whether `a < b` has a meaning: one type, no not-a-number, and so for all their parts."""
    kind = rank(a)
    if kind != rank(b):
        return False
    if kind == NUM:
        return a == a and b == b
    if kind in (PATH, SET, LIST, MAP):
        one, two = _items(kind, a), _items(kind, b)
        return len(one) == len(two) and all(map(comparable, one, two))
    if kind in (VERTEX, EDGE, VPROP):
        return comparable(a.id, b.id)  # type: ignore[attr-defined]
    if kind in (PROP, ENTRY):
        return comparable(a.key, b.key) and comparable(a.value, b.value)  # type: ignore[attr-defined]
    return kind != OTHER or type(a) is type(b)


def equal(a: object, b: object) -> bool:
    """Gremlin's equality: numbers across their types, nothing else across types."""
    kind = _FAST.get(type(a), -1)
    if kind == TEXT and type(b) is str:
        return a == b
    kind = rank(a)
    if kind != rank(b):
        return False
    if kind == NUM:
        return same_number(a, b)
    if kind in (NULL, BOOL, TEXT, DATE, UID, OTHER):
        return bool(a == b)
    return comparable(a, b) and _compare_same(kind, a, b) == 0


def contains(items: Iterable[object], value: object) -> bool:
    """Whether one of the items is equal to the value."""
    return any(equal(value, item) for item in items)
