"""Steps on collections: combine, merge, intersect, difference, disjunct, product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twingraph_nb.lineage.compiler import Scope, StepFunction, step
from twingraph_nb.lineage.containers import (
    MISSING,
    Uniques,
    items_of,
    key_of,
)
from twingraph_nb.lineage.conversions import java_type
from twingraph_nb.lineage.instructions import Instruction, is_traversal
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.traverser import Traverser

__all__: list[str] = []


def combined(a: list[Any], b: list[Any]) -> list[Any]:
    """All of both."""
    return [*a, *b]


def merged(a: list[Any], b: list[Any]) -> Uniques:
    """What is in one of them, once."""
    return Uniques([*a, *b])


def intersected(a: list[Any], b: list[Any]) -> Uniques:
    """What is in both."""
    held = {key_of(item) for item in b}
    return Uniques(item for item in a if key_of(item) in held)


def differed(a: list[Any], b: list[Any]) -> Uniques:
    """What is in the first only."""
    held = {key_of(item) for item in b}
    return Uniques(item for item in a if key_of(item) not in held)


def disjoined(a: list[Any], b: list[Any]) -> Uniques:
    """What is in just one of them."""
    return Uniques([*differed(a, b), *differed(b, a)])


def multiplied(a: list[Any], b: list[Any]) -> list[list[Any]]:
    """Each pair of the two."""
    return [[x, y] for x in a for y in b]


_WORK = {
    "combine": combined, "merge": merged, "intersect": intersected, "difference": differed,
    "disjunct": disjoined, "product": multiplied,
}  # fmt: skip


@step("combine", "merge", "intersect", "difference", "disjunct", "product")
def with_list(scope: Scope, spot: Instruction) -> StepFunction:
    name, work, argument = spot.name, _WORK[spot.name], spot.args[0]
    child = scope.child(argument, name) if is_traversal(argument) else None

    def other(t: Traverser, *, maps: bool = False) -> Any:
        if child is None:
            return _checked_argument(name, argument)
        found = child.first(t)
        if found is MISSING or found is None:
            raise TraversalError(
                f"traversal argument for {name} step must yield an iterable type, not null"
            )
        if maps:
            return found
        items = items_of(found)
        if items is None:
            raise TraversalError(
                f"traversal argument for {name} step must yield an iterable type, "
                f"encountered {java_type(found)}"
            )
        return items

    def value(t: Traverser) -> Any:
        if t.obj is None:
            raise TraversalError(f"Incoming traverser for {name} step can't be null")
        if name == "merge" and isinstance(t.obj, Mapping):
            return _merged_maps(t.obj, other(t, maps=True))
        items = items_of(t.obj)
        if items is None:
            raise TraversalError(
                f"{name} step can only take an array or an Iterable type for incoming "
                f"traversers, encountered {java_type(t.obj)}"
            )
        second = other(t)
        if isinstance(second, Mapping):
            raise TraversalError(
                f"{name} step type mismatch: expected argument to be Iterable but got Map"
            )
        many = len(items) * len(second) if name == "product" else len(items) + len(second)
        scope.run.make(many)
        return work(items, second)

    return scope.mapped(spot, value)


def _checked_argument(name: str, argument: Any) -> Any:
    if argument is None:
        raise TraversalError(f"Argument provided for {name} step can't be null")
    if name == "merge" and isinstance(argument, Mapping):
        return argument
    items = items_of(argument)
    if items is None:
        raise TraversalError(
            f"{name} step can only take an array or an Iterable as an argument, "
            f"encountered {java_type(argument)}"
        )
    return items


def _merged_maps(a: Mapping[Any, Any], b: Any) -> dict[Any, Any]:
    if not isinstance(b, Mapping):
        raise TraversalError(
            f"merge step expected provided argument to evaluate to a Map, encountered "
            f"{java_type(b)}"
        )
    return {**a, **b}
