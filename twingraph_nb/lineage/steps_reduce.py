"""Steps that make one of all: count, sum, min, max, mean, fold, group, groupCount."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twingraph_nb.lineage.compare import SCALARS, compare, rank
from twingraph_nb.lineage.compiler import Scope, StepFunction, Value, step
from twingraph_nb.lineage.containers import MISSING, Tree, is_collection, key_of, put
from twingraph_nb.lineage.instructions import Instruction, is_traversal
from twingraph_nb.lineage.modulators import by_value, itself, only_by
from twingraph_nb.lineage.numbers import (
    add,
    divide,
    fits,
    is_number,
    kind_of,
    larger,
    long_of,
    made,
    multiply,
    smaller,
)
from twingraph_nb.lineage.operators import joined, operator
from twingraph_nb.lineage.problems import NotSupported, TraversalError
from twingraph_nb.lineage.steps_filter import is_local
from twingraph_nb.lineage.traverser import Run, Traverser, Walk

__all__ = ["Grouping", "group_counts", "grouping"]


@step("count", barrier=True)
def count(scope: Scope, spot: Instruction) -> StepFunction:
    if is_local(spot):
        return scope.mapped(spot, lambda t: long_of(_size(t.obj)))
    return scope.reduced(spot, lambda walk: long_of(sum(t.bulk for t in walk)))


def _size(obj: Any) -> int:
    if is_collection(obj) or isinstance(obj, Mapping):
        return len(obj)
    return len(obj.objects) if hasattr(obj, "objects") else 1


Pairs = Iterable[tuple[Any, int]]


def _numbers(name: str, pairs: Pairs) -> Iterable[tuple[Any, int]]:
    for value, bulk in pairs:
        if value is None:
            continue
        if not is_number(value):
            raise TraversalError(
                f"{name}() works on numbers, and {value!r} is a {type(value).__name__}"
            )
        yield value, bulk


def _like(value: Any, bulk: int) -> Any:
    """A bulk in the type of the value, so that the sum has one type however it is reached."""
    kind = kind_of(value)
    return made(kind, bulk) if kind in "fdm" or fits(kind, bulk) else long_of(bulk)


def _sum(pairs: Pairs) -> Any:
    total: Any = None
    for value, bulk in _numbers("sum", pairs):
        part = value if bulk == 1 else multiply(value, _like(value, bulk))
        total = part if total is None else add(total, part)
    return total


def _mean(pairs: Pairs) -> Any:
    total, number = None, 0
    for value, bulk in _numbers("mean", pairs):
        part = multiply(value, long_of(bulk))
        total = part if total is None else add(total, part)
        number += bulk
    if total is None:
        return None
    return divide(total, long_of(number), broken=True)


def _extreme(sign: int) -> Callable[[Pairs], Any]:
    choose = larger if sign > 0 else smaller

    def found(pairs: Pairs) -> Any:
        best: Any = None
        for value, _ in pairs:
            if value is None:
                continue
            if best is None:
                best = value
            elif is_number(best) and is_number(value):
                best = choose(best, value)
            elif rank(best) != rank(value) or rank(best) not in SCALARS:
                name = "max" if sign > 0 else "min"
                raise TraversalError(f"{name}() cannot compare {best!r} with {value!r}")
            elif compare(value, best) * sign > 0:
                best = value
        return best

    return found


_REDUCERS: dict[str, Callable[[Pairs], Any]] = {
    "sum": _sum, "mean": _mean, "min": _extreme(-1), "max": _extreme(1)
}  # fmt: skip


@step("sum", "mean", "min", "max", barrier=True)
def reduce_(scope: Scope, spot: Instruction) -> StepFunction:
    work = _REDUCERS[spot.name]
    if is_local(spot):
        return scope.mapped(spot, lambda t: _reduced_inside(t.obj, work))

    def value(walk: Walk) -> Any:
        walked = False

        def pairs() -> Pairs:
            nonlocal walked
            for t in walk:
                walked = True
                yield t.obj, t.bulk

        found = work(pairs())
        return found if walked else MISSING

    return scope.reduced(spot, value)


def _reduced_inside(obj: Any, work: Callable[[Pairs], Any]) -> Any:
    if not is_collection(obj):
        obj = list(obj.objects) if hasattr(obj, "objects") else [obj]
    items = list(obj)
    return work((item, 1) for item in items) if items else MISSING


def side_effect_of(run: Run, name: str, kind: type) -> Any:
    """The side effect of this name.

    Raises:
        TraversalError: another step has put something else there.
    """
    found = run.side_effects[name]
    if not isinstance(found, kind) or (kind is Mapping and isinstance(found, Tree)):
        raise TraversalError(f"the side effect {name!r} is a {type(found).__name__} already")
    return found


def listed(run: Run, pairs: Pairs) -> list[Any]:
    """The values of pairs, each as often as its bulk says, within the limits of the run."""
    found: list[Any] = []
    for value, bulk in pairs:
        if value is not MISSING:
            run.hold(bulk)
            found.extend([value] * bulk)
    run.drop(len(found))
    return found


@step("fold", barrier=True)
def fold(scope: Scope, spot: Instruction) -> StepFunction:
    run = scope.run
    if not spot.args:
        return scope.reduced(spot, lambda walk: listed(run, ((t.obj, t.bulk) for t in walk)))
    seed, combine = spot.args[0], operator(spot.args[1])

    def value(walk: Walk) -> Any:
        found = seed
        for t in walk:
            for _ in range(t.bulk):
                run.tick()
                part = t.obj
                if combine is joined and is_collection(found) and not is_collection(part):
                    part = [part]
                found = combine(found, part)
        return found

    return scope.reduced(spot, value)


class Grouping:
    """What group() keeps while it goes: key -> its traversers."""

    def __init__(self, scope: Scope, spot: Instruction) -> None:
        if len(spot.bys) > 2:
            raise TraversalError(
                "The key and value traversals for group()-step have already been set"
            )
        args = spot.bys
        self.run = scope.run
        self.each: Value = itself
        self.key = by_value(scope, spot, args[0]) if args else itself
        self.whole = None
        second = args[1] if len(args) > 1 else []
        if second and is_traversal(second[0]):
            self.whole = scope.child(second[0], "group")
        else:
            self.each = by_value(scope, spot, second)
        self.groups: dict[Any, tuple[Any, list[Traverser]]] = {}
        self.made: dict[Any, Any] = {}

    def add(self, t: Traverser) -> None:
        """Put a traverser where its key says."""
        key = self.key(t)
        if key is not MISSING:
            self.groups.setdefault(key_of(key), (key, []))[1].append(t)

    def result(self) -> dict[Any, Any]:
        """Key -> what the second by() makes of the traversers of this key."""
        found: dict[Any, Any] = {}
        for key, walk in self.groups.values():
            value = self._value(walk)
            if value is not MISSING:
                put(found, key, value)
        return found

    def _value(self, walk: list[Traverser]) -> Any:
        if self.whole is None:
            return listed(self.run, ((self.each(t), t.bulk) for t in walk))
        for reset in self.whole.resets:
            reset()
        copies = (Traverser(t.obj, t.bulk, t.path, t.sack, t.loops) for t in walk)
        for found in self.whole.walk(copies):
            return found.obj
        return MISSING


def grouping(scope: Scope, spot: Instruction) -> Callable[[], Grouping]:
    """What makes an empty grouping for each use of the step."""
    made = Grouping(scope, spot)

    def fresh() -> Grouping:
        new = Grouping.__new__(Grouping)
        new.run, new.key, new.whole, new.each = made.run, made.key, made.whole, made.each
        new.groups, new.made = {}, {}
        return new

    return fresh


@step("group", barrier=True)
def group(scope: Scope, spot: Instruction) -> StepFunction:
    fresh, run = grouping(scope, spot), scope.run
    if not spot.args:

        def value(walk: Walk) -> Any:
            groups = fresh()
            for t in walk:
                groups.add(t)
                run.hold()
            return groups.result()

        return scope.reduced(spot, value)
    name = spot.args[0]
    groups = fresh()
    run.side_effects.setdefault(name, {})
    together = run.groups.setdefault(name, [])
    together.append(groups)

    def function(walk: Walk) -> Walk:
        kept = []
        for t in walk:
            groups.add(Traverser(t.obj, t.bulk, t.path, t.sack, t.loops))
            kept.append(t)
            run.hold()
        if kept:
            groups.made = groups.result()
            side_effect_of(run, name, Mapping)
            run.side_effects[name] = _gathered(name, run.seeds.get(name, {}), together)
        yield from kept

    return _marked(scope, spot, function)


def _gathered(name: str, seed: Any, together: list[Grouping]) -> dict[Any, Any]:
    """What all group() steps of one name have found so far."""
    found = dict(seed)
    for groups in together:
        for key, value in groups.made.items():
            if key in found and is_collection(found[key]) and is_collection(value):
                value = joined(found[key], value)
            elif key in found:
                raise NotSupported(
                    "group", f"{name!r} has a value for {key!r} already, and the two are no lists"
                )
            put(found, key, value)
    return found


def _marked(scope: Scope, spot: Instruction, function: StepFunction) -> StepFunction:
    if not spot.labels:
        return function
    mark = scope.filtered(spot, lambda t: True)
    return lambda walk: mark(function(walk))


def group_counts(found: dict[Any, Any], walk: Walk, by: Callable[[Traverser], Any]) -> None:
    """Count the keys of traversers into a map."""
    counts: dict[Any, list[Any]] = {}
    for t in walk:
        key = by(t)
        if key is not MISSING:
            counts.setdefault(key_of(key), [key, 0])[1] += t.bulk
    for key, number in counts.values():
        before = found.get(key, 0) if not isinstance(key, list | dict) else 0
        put(found, key, long_of(before + number))


@step("groupCount", barrier=True)
def group_count(scope: Scope, spot: Instruction) -> StepFunction:
    by, run = only_by(scope, spot, "GroupCount"), scope.run
    if not spot.args:

        def value(walk: Walk) -> Any:
            found: dict[Any, Any] = {}
            group_counts(found, walk, by)
            return found

        return scope.reduced(spot, value)
    name = spot.args[0]
    run.side_effects.setdefault(name, {})

    def function(walk: Walk) -> Walk:
        kept = run.held(walk)
        found = dict(side_effect_of(run, name, Mapping))
        group_counts(found, iter(kept), by)
        run.side_effects[name] = found
        yield from kept

    return _marked(scope, spot, function)
