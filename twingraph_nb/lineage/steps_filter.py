"""Steps that let through or not: has, is, where, not, and, or, dedup, simplePath, coin ..."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gremlin_python.process.traversal import P
from gremlin_python.process.traversal import Scope as Reach
from gremlin_python.structure import graph as theirs

from twingraph_nb.lineage.compare import equal
from twingraph_nb.lineage.compiler import Child, Scope, StepFunction, step
from twingraph_nb.lineage.containers import MISSING, Uniques, is_collection, key_of
from twingraph_nb.lineage.elements import Element, Property, VertexProperty
from twingraph_nb.lineage.instructions import (
    Instruction,
    Steps,
    connected,
    instructions_of,
    is_traversal,
)
from twingraph_nb.lineage.modulators import bys, is_token, itself, only_by, token
from twingraph_nb.lineage.predicates import Test, is_predicate, mapped_values, tested
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.scoping import objects_of, scoped, wanted
from twingraph_nb.lineage.steps_graph import by_id, flat_ids
from twingraph_nb.lineage.traverser import Run, Traverser, Walk
from twingraph_nb.lineage.visible import entries_of

__all__ = ["has_test", "is_local", "where_test"]

Keeps = Callable[[Traverser], bool]


def is_local(spot: Instruction) -> bool:
    """Whether a step was called with `Scope.local`."""
    return bool(spot.args) and isinstance(spot.args[0], Reach) and spot.args[0].name == "local"


def scopeless(spot: Instruction) -> list[Any]:
    """The arguments without a leading scope."""
    return spot.args[1:] if spot.args and isinstance(spot.args[0], Reach) else spot.args


def has_test(run: Run, key: Any, p: Any) -> Callable[[Any], bool]:
    """Whether an element has this property (or token) with a value that passes."""
    test = tested(p)
    if is_token(key):
        name = key.name.rstrip("_")
        if name == "id" and isinstance(p, P | list):
            return lambda obj: test(_element(obj).id)
        return lambda obj: test(token(name, obj))

    def keeps(obj: Any) -> bool:
        element = _element(obj)
        if run.sees is not None:
            return any(test(entry.value) for entry in entries_of(run, element, (key,)))
        return any(test(value) for value in element.values(key))

    return keeps


def _element(obj: Any) -> Any:
    if isinstance(obj, Element | Property):
        return obj
    raise TraversalError(
        f"has() looks at the properties of elements, and this is {obj!r}, a {type(obj).__name__}"
    )


@step("has")
def has(scope: Scope, spot: Instruction) -> StepFunction:
    run, args = scope.run, list(spot.args)
    if len(args) == 3:
        label, rest = tested(args[0]), has_test(run, args[1], args[2])
        return scope.filtered(spot, lambda t: label(_element(t.obj).label) and rest(t.obj))
    if len(args) == 1:
        key = args[0]
        if is_token(key):
            return scope.filtered(spot, lambda t: token(key.name, t.obj) is not None)
        return scope.filtered(spot, lambda t: any(True for _ in entries_of(run, t.obj, (key,))))
    if is_traversal(args[1]):
        # 3.8 compares with the traversal itself, and nothing is equal to one.
        return scope.filtered(spot, lambda t: False)
    if is_token(args[0]) and args[0].name.rstrip("_") == "id" and not is_predicate(args[1]):
        return _has_id(scope, spot, [args[1]])
    keeps = has_test(run, args[0], args[1])
    return scope.filtered(spot, lambda t: keeps(t.obj))


@step("hasLabel")
def has_label(scope: Scope, spot: Instruction) -> StepFunction:
    test = _any_of(spot.args)
    return scope.filtered(spot, lambda t: test(token("label", t.obj)))


def _any_of(args: list[Any]) -> Test:
    if len(args) == 1 and not is_collection(args[0]):
        return tested(args[0])
    values: list[Any] = []
    for value in args:
        values.extend(value if is_collection(value) else [value])
    tests = [tested(value) for value in values]
    return lambda value: any(test(value) for test in tests)


@step("hasId")
def has_id(scope: Scope, spot: Instruction) -> StepFunction:
    if len(spot.args) == 1 and is_predicate(spot.args[0]):
        test = tested(mapped_values(spot.args[0], _id_of))
        return scope.filtered(spot, lambda t: test(_element(t.obj).id))
    return _has_id(scope, spot, spot.args)


def _id_of(value: Any) -> Any:
    return value.id if isinstance(value, theirs.Element) else value


def _has_id(scope: Scope, spot: Instruction, args: list[Any]) -> StepFunction:
    ids = flat_ids(args)
    return scope.filtered(spot, lambda t: _id_among(_element(t.obj), ids))


def _id_among(element: Any, ids: list[Any]) -> bool:
    return any(equal(element.id, one) or by_id({element.id: 1}, one) for one in ids)


@step("hasNot")
def has_not(scope: Scope, spot: Instruction) -> StepFunction:
    run, key = scope.run, spot.args[0]
    return scope.filtered(spot, lambda t: not any(True for _ in entries_of(run, t.obj, (key,))))


@step("hasKey", "hasValue")
def has_key(scope: Scope, spot: Instruction) -> StepFunction:
    test, name = _any_of(spot.args), "key" if spot.name == "hasKey" else "value"

    def keeps(t: Traverser) -> bool:
        if not isinstance(t.obj, VertexProperty | Property):
            raise TraversalError(f"{spot.name}() looks at properties, and this is {t.obj!r}")
        return test(getattr(t.obj, name))

    return scope.filtered(spot, keeps)


@step("is")
def is_(scope: Scope, spot: Instruction) -> StepFunction:
    test = tested(spot.args[0])
    return scope.filtered(spot, lambda t: test(t.obj))


@step("filter")
def filter_(scope: Scope, spot: Instruction) -> StepFunction:
    if is_predicate(spot.args[0]):
        test = tested(spot.args[0])
        return scope.filtered(spot, lambda t: test(t.obj))
    return scope.filtered(spot, scope.child(spot.args[0], "filter").test)


@step("not")
def not_(scope: Scope, spot: Instruction) -> StepFunction:
    child = scope.child(spot.args[0], "not")
    return scope.filtered(spot, lambda t: not child.test(t))


@step("and", "or")
def both_or_either(scope: Scope, spot: Instruction) -> StepFunction:
    children = [scope.child(code, spot.name) for code in spot.args]
    over = all if spot.name == "and" else any
    return scope.filtered(spot, lambda t: over(child.test(t) for child in children))


@step("where")
def where(scope: Scope, spot: Instruction) -> StepFunction:
    if is_traversal(spot.args[0]):
        return scope.filtered(spot, where_test(scope, instructions_of(spot.args[0])))
    start = spot.args[0] if isinstance(spot.args[0], str) else None
    return scope.filtered(spot, _where_predicate(scope, spot, start, spot.args[-1]))


def _where_predicate(scope: Scope, spot: Instruction, start: str | None, p: P) -> Keeps:
    run = scope.run
    values = bys(scope, spot) or [itself]

    def keeps(t: Traverser) -> bool:
        used = iter(range(1_000_000))

        def taken(obj: Any) -> Any:
            by = values[next(used) % len(values)]
            found = by(Traverser(obj, 1, t.path, t.sack, t.loops))
            if found is MISSING:
                raise _Unproductive
            return found

        try:
            value = taken(t.obj if start is None else wanted(run, t, start))
            return tested(_resolved(run, t, p, taken))(value)
        except _Unproductive:
            return False

    return keeps


class _Unproductive(Exception):
    """A by() of a where() gives nothing; so the traverser is let go."""


def _resolved(run: Run, t: Traverser, p: P, taken: Callable[[Any], Any]) -> P:
    """The predicate with the names in it replaced by what they mean at this traverser."""
    if p.operator in ("within", "without"):
        names = p.value if is_collection(p.value) else [p.value]
        if not names:
            return p
        return P(p.operator, taken(wanted(run, t, names[0])))
    return mapped_values(p, lambda name: taken(wanted(run, t, name)))


def where_test(scope: Scope, code: list[Instruction]) -> Keeps:
    """Whether a traversal comes to anything, where labels at its ends are names to be matched."""
    code = connected(code)
    if len(code) == 1 and code[0].name in ("and", "or", "not") and not code[0].labels:
        tests = [where_test(scope, instructions_of(inner)) for inner in code[0].args]
        if code[0].name == "not":
            return lambda t: not tests[0](t)
        over = all if code[0].name == "and" else any
        return lambda t: over(test(t) for test in tests)
    start, end, child = _where_child(scope, code)
    run = scope.run

    def keeps(t: Traverser) -> bool:
        obj = t.obj if start is None else wanted(run, t, start)
        found = child.all(Traverser(obj, 1, t.path, t.sack, t.loops))
        if end is None:
            return any(True for _ in found)
        aim = wanted(run, t, end)
        return any(equal(aim, other.obj) for other in found)

    return keeps


def _where_child(scope: Scope, code: list[Instruction]) -> tuple[str | None, str | None, Child]:
    start = end = None
    if code and code[0].name == "start" and code[0].labels:
        start, code = code[0].labels[0], code[1:]
    if code and code[-1].labels:
        last = code[-1]
        end = last.labels[0]
        bare = Instruction(**{name: getattr(last, name) for name in Instruction.__slots__})
        bare.labels = ()
        code = [*code[:-1], bare]
    return start, end, scope.child(Steps(code), "where")


@step("dedup", barrier=True)
def dedup(scope: Scope, spot: Instruction) -> StepFunction:
    if is_local(spot):
        return scope.mapped(spot, lambda t: Uniques(t.obj) if is_collection(t.obj) else t.obj)
    run, labels = scope.run, scopeless(spot)
    by = only_by(scope, spot, "Dedup")
    seen: set[Any] = set()
    scope.resets.append(seen.clear)

    def named(t: Traverser) -> Any:
        found = []
        for label in labels:
            value = scoped(run, t, label)
            if value is not MISSING:
                value = by(Traverser(value, 1, t.path, t.sack, t.loops))
            if value is MISSING:
                return MISSING
            found.append(value)
        return found

    def keeps(t: Traverser) -> bool:
        value = named(t) if labels else by(t)
        if value is MISSING:
            return False
        key = key_of(value)
        if key in seen:
            return False
        seen.add(key)
        run.hold()
        t.bulk = 1
        return True

    return scope.filtered(spot, keeps)


@step("simplePath", "cyclicPath")
def path_shape(scope: Scope, spot: Instruction) -> StepFunction:
    values, simple = bys(scope, spot), spot.name == "simplePath"

    def keeps(t: Traverser) -> bool:
        found = objects_of(t, spot)
        if values:
            found = [
                values[i % len(values)](Traverser(obj, 1, t.path, t.sack, t.loops))
                for i, obj in enumerate(found)
            ]
            if any(value is MISSING for value in found):
                return False
        return (len({key_of(value) for value in found}) == len(found)) == simple

    return scope.filtered(spot, keeps)


@step("any", "all", "none")
def over_items(scope: Scope, spot: Instruction) -> StepFunction:
    test, name = tested(spot.args[0]), spot.name

    def keeps(t: Traverser) -> bool:
        if not is_collection(t.obj):
            return False
        if name == "all":
            return all(test(item) for item in t.obj)
        return any(test(item) for item in t.obj) == (name == "any")

    return scope.filtered(spot, keeps)


@step("coin")
def coin(scope: Scope, spot: Instruction) -> StepFunction:
    chance, chosen = float(spot.args[0]), scope.run.chance()

    def keeps(t: Traverser) -> bool:
        t.bulk = sum(chosen.random() <= chance for _ in range(t.bulk))
        return t.bulk > 0

    return scope.filtered(spot, keeps)


@step("timeLimit")
def time_limit(scope: Scope, spot: Instruction) -> StepFunction:
    seconds = float(spot.args[0]) / 1000

    def function(walk: Walk) -> Walk:
        until = time.monotonic() + seconds
        for t in walk:
            if time.monotonic() > until:
                return
            yield t

    return function


@step("discard")
def discard(scope: Scope, spot: Instruction) -> StepFunction:
    def function(walk: Walk) -> Walk:
        for _ in walk:
            pass
        yield from ()

    return function


@step("identity", "start")
def identity(scope: Scope, spot: Instruction) -> StepFunction:
    return scope.filtered(spot, lambda t: True)
