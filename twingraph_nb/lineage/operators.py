"""`Operator.sum`, `addAll`, `assign` ...: what combines two values, in sacks or side effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gremlin_python.process.traversal import Operator

from twingraph_nb.lineage.compare import compare
from twingraph_nb.lineage.containers import Bag, Uniques, is_collection, is_set
from twingraph_nb.lineage.numbers import (
    add,
    divide,
    is_number,
    larger,
    long_of,
    multiply,
    smaller,
    subtract,
)
from twingraph_nb.lineage.problems import NotSupported, TraversalError

__all__ = ["ASSIGN", "Combine", "copied", "joined", "operator"]

Combine = Callable[[Any, Any], Any]


def _numeric(work: Combine) -> Combine:
    def combine(a: Any, b: Any) -> Any:
        for value in (a, b):
            if value is not None and not is_number(value):
                raise TraversalError(
                    f"{value!r}, a {type(value).__name__}, cannot be used as a number"
                )
        if a is None or b is None:
            return a
        return work(a, b)

    return combine


def _extreme(sign: int, work: Combine) -> Combine:
    def combine(a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        if is_number(a) and is_number(b):
            return work(a, b)
        return a if compare(a, b) * sign > 0 else b

    return combine


def joined(a: Any, b: Any) -> Any:
    """A collection with the elements of another added, or a map with its entries."""
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return {**a, **b}
    if is_set(a):
        return Uniques([*a, *b])
    if is_collection(a) and is_collection(b):
        return type(a)([*a, *b]) if isinstance(a, Bag) else [*a, *b]
    raise TraversalError(f"addAll takes collections or maps, not {a!r} and {b!r}")


def _truths(name: str, work: Combine) -> Combine:
    def combine(a: Any, b: Any) -> Any:
        for value in (a, b):
            if value is not None and not isinstance(value, bool):
                raise TraversalError(f"{name} combines truth values, not {value!r}")
        return b if a is None else a if b is None else work(a, b)

    return combine


def ASSIGN(a: Any, b: Any) -> Any:
    """The second value."""
    return b


_WORK: dict[str, Combine] = {
    "sum": _numeric(add),
    "minus": _numeric(subtract),
    "mult": _numeric(multiply),
    "div": _numeric(divide),
    "min": _extreme(-1, smaller),
    "max": _extreme(1, larger),
    "assign": ASSIGN,
    "and": _truths("and", lambda a, b: a and b),
    "or": _truths("or", lambda a, b: a or b),
    "addAll": joined,
    "add_all": joined,
    "sumLong": lambda a, b: long_of(int(a) + int(b)),
    "sum_long": lambda a, b: long_of(int(a) + int(b)),
}


def operator(value: Any) -> Combine:
    """The function of an `Operator`."""
    if not isinstance(value, Operator):
        raise NotSupported("sack", f"{value!r} is no Operator; functions cannot be sent")
    return _WORK[value.name if value.name in _WORK else value.name.rstrip("_")]


def copied(value: Any) -> Any:
    """A container of its own, so that what is added does not change the one that was given."""
    if isinstance(value, Bag):
        return Bag(value)
    if is_set(value):
        return Uniques(value)
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    return value
