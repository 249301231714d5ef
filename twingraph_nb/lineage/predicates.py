"""Predicates (`P` and `TextP`) as functions from a value to a truth value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from gremlin_python.process.traversal import GType, P
from gremlin_python.structure.graph import Edge, Path, Property, Vertex, VertexProperty

from twingraph_nb.lineage.compare import comparable, compare, equal
from twingraph_nb.lineage.containers import Bag, Tree, is_collection, is_list, is_set
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.instructions import given, is_traversal
from twingraph_nb.lineage.numbers import kind_of
from twingraph_nb.lineage.problems import NotSupported, TraversalError

__all__ = ["Test", "is_predicate", "mapped_values", "of_type", "tested"]

Test = Callable[[Any], bool]

_KIND_NAMES = {
    "BYTE": "b", "SHORT": "s", "INT": "i", "INTEGER": "i", "LONG": "l", "BIGINT": "n",
    "BIGINTEGER": "n", "FLOAT": "f", "DOUBLE": "d", "BIGDECIMAL": "m",
}  # fmt: skip
_TYPES: dict[str, Test] = {
    "NUMBER": lambda v: bool(kind_of(v)),
    "BOOLEAN": lambda v: isinstance(v, bool),
    "STRING": lambda v: isinstance(v, str),
    "CHAR": lambda v: type(v).__name__ == "SingleChar",
    "CHARACTER": lambda v: type(v).__name__ == "SingleChar",
    "BINARY": lambda v: isinstance(v, bytes | bytearray),
    "DATETIME": lambda v: isinstance(v, date),
    "OFFSETDATETIME": lambda v: isinstance(v, date),
    "DURATION": lambda v: isinstance(v, timedelta),
    "UUID": lambda v: isinstance(v, UUID),
    "LIST": lambda v: is_list(v) and not isinstance(v, Bag),
    "SET": lambda v: is_set(v) or isinstance(v, Bag),
    "MAP": lambda v: isinstance(v, Mapping) and not isinstance(v, Tree),
    "TREE": lambda v: isinstance(v, Tree),
    "NULL": lambda v: v is None,
    "VERTEX": lambda v: isinstance(v, Vertex),
    "EDGE": lambda v: isinstance(v, Edge),
    "VPROPERTY": lambda v: isinstance(v, VertexProperty),
    "VERTEXPROPERTY": lambda v: isinstance(v, VertexProperty),
    "PROPERTY": lambda v: isinstance(v, Property | VertexProperty),
    "PATH": lambda v: isinstance(v, Path),
    "GRAPH": lambda v: isinstance(v, Graph),
}


def is_predicate(value: object) -> bool:
    """Whether an argument is a `P`."""
    return isinstance(value, P)


def of_type(name: Any) -> Test:
    """The test for a `GType`, or for a class by its name in Java.

    Raises:
        TraversalError: no type is called so.
    """
    text = name.name if isinstance(name, GType) else str(name)
    kind = _KIND_NAMES.get(text.upper())
    if kind is not None:
        return lambda value: kind_of(value) == kind
    found = _TYPES.get(text.upper())
    if found is None:
        raise TraversalError(f"{text} is not a registered type")
    return found


def tested(p: Any) -> Test:
    """The test of a predicate; of any other value: whether something is equal to it."""
    if not isinstance(p, P):
        wanted = given(p)
        return lambda value: equal(value, wanted)
    maker = _MAKERS.get(p.operator)
    if maker is None:
        raise NotSupported(p.operator, "this predicate is not known")
    return maker(p)


def mapped_values(p: P, change: Callable[[Any], Any]) -> P:
    """The same predicate with its values replaced."""
    if p.operator in ("and", "or"):
        return P(p.operator, mapped_values(p.value, change), mapped_values(p.other, change))
    if p.operator == "not":
        return P("not", mapped_values(p.value, change))
    if p.operator in ("within", "without"):
        return P(p.operator, [change(value) for value in p.value])
    other = None if p.other is None else change(p.other)
    return type(p)(p.operator, change(p.value), other)


def _value(p: P) -> Any:
    if is_traversal(p.value):
        raise NotSupported(p.operator, "a predicate takes a value, not a traversal")
    return given(p.value)


def _ordering(keeps: Callable[[int], bool]) -> Callable[[P], Test]:
    def maker(p: P) -> Test:
        bound = _value(p)
        return lambda value: comparable(value, bound) and keeps(compare(value, bound))

    return maker


def _less(value: Any, bound: Any) -> bool:
    return comparable(value, bound) and compare(value, bound) < 0


def _ranged(p: P, low_counts: bool, inside: bool) -> Test:
    low, high = given(p.value), given(p.other)
    if inside:
        above = _MAKERS["gte" if low_counts else "gt"](P("gt", low))
        return lambda value: above(value) and _less(value, high)
    over = _MAKERS["gt"](P("gt", high))
    return lambda value: _less(value, low) or over(value)


def _members(p: P) -> list[Any]:
    found: list[Any] = []
    values = p.value if is_collection(p.value) else [p.value]
    if len(values) == 1 and is_collection(next(iter(values))):
        values = next(iter(values))
    for value in values:
        found.append(given(value))
    return found


def _within(p: P) -> Test:
    members = _members(p)
    texts = {m for m in members if type(m) is str}
    rest = [m for m in members if type(m) is not str]

    def keeps(value: Any) -> bool:
        return (type(value) is str and value in texts) or any(equal(value, m) for m in rest)

    return keeps


def _negated(test: Test) -> Test:
    return lambda value: not test(value)


def _both(p: P) -> Test:
    one, two = tested(p.value), tested(p.other)
    return lambda value: one(value) and two(value)


def _either(p: P) -> Test:
    one, two = tested(p.value), tested(p.other)
    return lambda value: one(value) or two(value)


def _text(keeps: Callable[[str, str], bool], *, wanted: bool = True) -> Callable[[P], Test]:
    def maker(p: P) -> Test:
        bound = _value(p)

        def test(value: Any) -> bool:
            if value is None:
                return False
            if not isinstance(value, str):
                raise TraversalError(
                    f"{type(value).__name__} {value!r} is no string: {p.operator}() compares texts"
                )
            return bound is not None and keeps(value, bound) == wanted

        return test

    return maker


def _regex(wanted: bool) -> Callable[[P], Test]:
    def maker(p: P) -> Test:
        bound = _value(p)
        try:  # what can search already is taken as it is: a server bounds the time of a search
            pattern = bound if hasattr(bound, "search") else re.compile(bound)
        except (re.error, TypeError) as wrong:
            raise TraversalError(f"{bound!r} is not a regular expression: {wrong}") from wrong
        return _text(lambda value, _: pattern.search(value) is not None, wanted=wanted)(p)

    return maker


def _between(p: P) -> Test:
    return _ranged(p, True, True)


_MAKERS: dict[str, Callable[[P], Test]] = {
    "eq": lambda p: tested(_value(p)),
    "neq": lambda p: _negated(tested(_value(p))),
    "gt": _ordering(lambda sign: sign > 0),
    "gte": _ordering(lambda sign: sign >= 0),
    "lt": _ordering(lambda sign: sign < 0),
    "lte": _ordering(lambda sign: sign <= 0),
    "between": _between,
    "inside": lambda p: _ranged(p, False, True),
    "outside": lambda p: _ranged(p, False, False),
    "within": _within,
    "without": lambda p: _negated(_within(p)),
    "not": lambda p: _negated(tested(p.value)),
    "and": _both,
    "or": _either,
    "typeOf": lambda p: of_type(p.value),
    "containing": _text(lambda value, part: part in value),
    "notContaining": _text(lambda value, part: part in value, wanted=False),
    "startingWith": _text(str.startswith),
    "notStartingWith": _text(str.startswith, wanted=False),
    "endingWith": _text(str.endswith),
    "notEndingWith": _text(str.endswith, wanted=False),
    "regex": _regex(True),
    "notRegex": _regex(False),
}
