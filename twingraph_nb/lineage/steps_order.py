"""Steps about order and number: order, range, limit, skip, tail, sample, barrier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gremlin_python.process.traversal import Barrier, Order

from twingraph_nb.lineage.chance import Chance
from twingraph_nb.lineage.compare import ordered
from twingraph_nb.lineage.compiler import Scope, StepFunction, marker, step
from twingraph_nb.lineage.containers import MISSING, Entry, Uniques, is_collection, is_set
from twingraph_nb.lineage.instructions import Instruction
from twingraph_nb.lineage.modulators import by_value, only_by
from twingraph_nb.lineage.numbers import add, divide, multiply
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.steps_filter import is_local, scopeless
from twingraph_nb.lineage.traverser import Traverser, Walk

__all__: list[str] = []

Sorter = Callable[[list[Traverser]], list[Traverser]]


def _direction(args: list[Any]) -> str:
    for value in args:
        if isinstance(value, Order):
            return str(value.name)
    return "asc"


def sorter(scope: Scope, spot: Instruction) -> Sorter:
    """What sorts traversers by the by() of an order(); one that a by() gives nothing for goes."""
    keys = [(by_value(scope, spot, args), _direction(args)) for args in (spot.bys or [[]])]
    chance = scope.run.chance()

    def function(walk: list[Traverser]) -> list[Traverser]:
        rows = []
        for t in walk:
            values = [value(t) for value, _ in keys]
            if not any(value is MISSING for value in values):
                rows.append((t, values))
        for place, (_, direction) in reversed(list(enumerate(keys))):
            if direction == "shuffle":
                chance.shuffle(rows)
            else:
                rows.sort(key=lambda row: ordered(row[1][place]), reverse=direction == "desc")
        return [t for t, _ in rows]

    return function


@step("order", barrier=True)
def order(scope: Scope, spot: Instruction) -> StepFunction:
    sort, run = sorter(scope, spot), scope.run
    if is_local(spot):
        return scope.mapped(spot, lambda t: _sorted_inside(t, sort))
    mark = marker(run, spot.labels)

    def function(walk: Walk) -> Walk:
        for t in sort(run.held(walk)):
            if mark is not None:
                mark(t)
            yield t

    return function


def _sorted_inside(t: Traverser, sort: Sorter) -> Any:
    def inner(items: Any) -> list[Any]:
        walk = [Traverser(item, 1, t.path, t.sack, t.loops) for item in items]
        return [found.obj for found in sort(walk)]

    if isinstance(t.obj, Mapping):
        return {e.key: e.value for e in inner(Entry(k, v) for k, v in t.obj.items())}
    if is_collection(t.obj):
        return inner(t.obj)
    return t.obj


def bounds(spot: Instruction) -> tuple[int, int]:
    """The first place that is let through and the one after the last, -1 for no end.

    Raises:
        TraversalError: there is no such range.
    """
    args = [int(value) for value in scopeless(spot)]
    if spot.name == "limit":
        low, high = 0, args[0]
    elif spot.name == "skip":
        low, high = args[0], -1
    else:
        low, high = args[0], args[1]
    if low < 0 or (high != -1 and low > high):
        raise TraversalError(f"Not a legal range: [{low}, {high}]")
    return low, high


@step("range", "limit", "skip", barrier=True)
def range_(scope: Scope, spot: Instruction) -> StepFunction:
    low, high = bounds(spot)
    if is_local(spot):
        return scope.mapped(spot, lambda t: _sliced(t.obj, low, None if high == -1 else high))
    mark = marker(scope.run, spot.labels)

    def function(walk: Walk) -> Walk:
        if high == 0 or low == high:
            return
        seen = 0
        for t in walk:
            before, seen = seen, seen + t.bulk
            if seen <= low:
                continue
            if high != -1 and seen > high:
                t.bulk -= seen - high
            if before < low:
                t.bulk -= low - before
            if mark is not None:
                mark(t)
            yield t
            if high != -1 and seen >= high:
                return

    return function


def _sliced(obj: Any, low: int | None, high: int | None) -> Any:
    if isinstance(obj, Mapping):
        return dict(list(obj.items())[low:high])
    if is_set(obj):
        return Uniques(list(obj)[low:high])
    if is_collection(obj):
        return list(obj)[low:high]
    if hasattr(obj, "objects"):  # a path
        return type(obj)(obj.labels[low:high], obj.objects[low:high])
    return obj


@step("tail", barrier=True)
def tail(scope: Scope, spot: Instruction) -> StepFunction:
    args = scopeless(spot)
    count = int(args[0]) if args else 1
    if is_local(spot):
        return scope.mapped(
            spot, lambda t: _sliced(t.obj, -count, None) if count else _sliced(t.obj, 0, 0)
        )
    mark, run = marker(scope.run, spot.labels), scope.run

    def function(walk: Walk) -> Walk:
        left, kept = count, []
        for t in reversed(run.held(walk)):
            if left <= 0:
                break
            t.bulk = min(t.bulk, left)
            left -= t.bulk
            kept.append(t)
        for t in reversed(kept):
            if mark is not None:
                mark(t)
            yield t

    return function


@step("sample", barrier=True)
def sample(scope: Scope, spot: Instruction) -> StepFunction:
    count, run = int(scopeless(spot)[0]), scope.run
    by = only_by(scope, spot, "Sample") if spot.bys else lambda t: 1.0
    chance = run.chance()
    if is_local(spot):
        return scope.mapped(spot, lambda t: _sample_inside(chance, t.obj, count))

    def function(walk: Walk) -> Walk:
        pool: list[tuple[Traverser, float]] = []
        for t in run.held(walk):
            weight = by(t)
            if weight is not MISSING:
                pool.append((t, float(weight)))
        yield from _drawn(chance, pool, count)

    return function


def _drawn(chance: Chance, pool: list[tuple[Traverser, float]], count: int) -> Walk:
    """Drawn by weight, without putting back."""
    if sum(t.bulk for t, _ in pool) <= count:
        yield from (t for t, _ in pool)
        return
    total = sum(weight * t.bulk for t, weight in pool)
    taken: dict[int, int] = {}
    while sum(taken.values()) < count:
        place = _draw(chance, pool, taken, total)
        if place is not None:
            taken[place] = taken.get(place, 0) + 1
    for place, bulk in taken.items():
        t = pool[place][0]
        yield Traverser(t.obj, bulk, t.path, t.sack, t.loops)


def _draw(
    chance: Chance, pool: list[tuple[Traverser, float]], taken: dict[int, int], total: float
) -> int | None:
    for place, (t, weight) in enumerate(pool):
        for _ in range(t.bulk - taken.get(place, 0)):
            if total <= 0 or chance.random() <= weight / total:
                return place
            total -= weight
    return None


def _sample_inside(chance: Chance, obj: Any, count: int) -> Any:
    if not isinstance(obj, Mapping) and not is_collection(obj):
        return obj
    items = list(obj.items()) if isinstance(obj, Mapping) else list(obj)
    if len(items) > count:
        items = [items.pop(chance.below(len(items))) for _ in range(count)]
    return dict(items) if isinstance(obj, Mapping) else items


@step("barrier", barrier=True)
def barrier(scope: Scope, spot: Instruction) -> StepFunction:
    run = scope.run
    mark = marker(run, spot.labels)
    norm = bool(spot.args) and isinstance(spot.args[0], Barrier)

    def function(walk: Walk) -> Walk:
        found = run.merged(run.held(walk))
        if norm:
            _normed(found)
        for t in found:
            if mark is not None:
                mark(t)
            yield t

    return function


def _normed(walk: list[Traverser]) -> None:
    total: Any = 0.0
    for t in walk:
        total = add(total, multiply(t.sack, t.bulk))
    for t in walk:
        t.sack = divide(multiply(t.sack, t.bulk), total, broken=True) if total else t.sack
