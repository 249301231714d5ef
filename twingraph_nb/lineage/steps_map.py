"""Steps that make one object of another: map, select, project, path, constant, unfold, loops ..."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gremlin_python.process.traversal import Column, Direction, Pop, T
from gremlin_python.structure.graph import Path

from twingraph_nb.lineage.compiler import Scope, StepFunction, step
from twingraph_nb.lineage.containers import MISSING, Entry, hashable, is_collection
from twingraph_nb.lineage.elements import Element
from twingraph_nb.lineage.instructions import Instruction, is_traversal
from twingraph_nb.lineage.modulators import bys, column, itself, only_by
from twingraph_nb.lineage.operators import operator
from twingraph_nb.lineage.problems import Failed, TraversalError
from twingraph_nb.lineage.scoping import between, scoped
from twingraph_nb.lineage.traverser import Traverser
from twingraph_nb.lineage.visible import entries_of

__all__ = ["unfolded"]


@step("map")
def map_(scope: Scope, spot: Instruction) -> StepFunction:
    return scope.mapped(spot, scope.child(spot.args[0], "map").first)


@step("flatMap")
def flat_map(scope: Scope, spot: Instruction) -> StepFunction:
    child = scope.child(spot.args[0], "flatMap")
    return scope.flattened(spot, child.objects)


@step("constant")
def constant(scope: Scope, spot: Instruction) -> StepFunction:
    value = spot.args[0]
    return scope.mapped(spot, lambda t: value)


@step("fail")
def fail(scope: Scope, spot: Instruction) -> StepFunction:
    message = str(spot.args[0]) if spot.args else "fail() step triggered"

    def keeps(t: Traverser) -> bool:
        raise Failed(message, t.obj)

    return scope.filtered(spot, keeps)


@step("sack")
def sack(scope: Scope, spot: Instruction) -> StepFunction:
    if spot.args:
        return _sack_value(scope, spot)
    return scope.mapped(spot, lambda t: t.sack)


def _sack_value(scope: Scope, spot: Instruction) -> StepFunction:
    combine, by = operator(spot.args[0]), only_by(scope, spot, "Sack")

    def keeps(t: Traverser) -> bool:
        value = by(t)
        if value is MISSING:
            return False
        t.sack = combine(t.sack, value)
        return True

    return scope.filtered(spot, keeps)


@step("loops")
def loops(scope: Scope, spot: Instruction) -> StepFunction:
    name = spot.args[0] if spot.args else None

    def value(t: Traverser) -> int:
        for held, count in reversed(t.loops):
            if name is None or held == name:
                return count
        if name is not None:
            raise TraversalError(f"Loop name not defined: {name}")
        return 0

    return scope.mapped(spot, value)


@step("select")
def select(scope: Scope, spot: Instruction) -> StepFunction:
    args = list(spot.args)
    pop = args.pop(0).name.rstrip("_") if isinstance(args[0], Pop) else "last"
    if isinstance(args[0], Column):
        name = args[0].name
        return scope.mapped(spot, lambda t: column(name, t.obj))
    if is_traversal(args[0]):
        return _select_by_traversal(scope, spot, args[0], pop)
    values, run = bys(scope, spot), scope.run
    if not values and len(args) == 1:
        name = args[0]
        return scope.mapped(spot, lambda t: scoped(run, t, name, pop))
    values = values or [itself]

    def taken(t: Traverser, place: int, key: str) -> Any:
        found = scoped(run, t, key, pop)
        if found is MISSING:
            return MISSING
        return values[place % len(values)](Traverser(found, 1, t.path, t.sack, t.loops))

    if len(args) == 1:
        only = args[0]
        return scope.mapped(spot, lambda t: taken(t, 0, only))

    def several(t: Traverser) -> Any:
        found = {key: taken(t, place, key) for place, key in enumerate(args)}
        return MISSING if any(value is MISSING for value in found.values()) else found

    return scope.mapped(spot, several)


def _select_by_traversal(scope: Scope, spot: Instruction, code: Any, pop: str) -> StepFunction:
    child, run = scope.child(code, "select"), scope.run
    by = (bys(scope, spot) or [itself])[0]

    def value(t: Traverser) -> Any:
        key = child.first(t)
        if key is MISSING:
            return MISSING
        if isinstance(t.obj, Mapping):
            found = t.obj.get(hashable(key), MISSING)
        else:
            found = scoped(run, t, str(key), pop)
        return found if found is MISSING else by(Traverser(found, 1, t.path, t.sack, t.loops))

    return scope.mapped(spot, value)


@step("project")
def project(scope: Scope, spot: Instruction) -> StepFunction:
    keys, values = spot.args, bys(scope, spot) or [itself]
    if len(set(keys)) != len(keys):
        raise TraversalError("keys must be unique in ProjectStep")

    def value(t: Traverser) -> dict[Any, Any]:
        found = ((key, values[i % len(values)](t)) for i, key in enumerate(keys))
        return {key: one for key, one in found if one is not MISSING}

    return scope.mapped(spot, value)


@step("path")
def path(scope: Scope, spot: Instruction) -> StepFunction:
    values = bys(scope, spot) or [itself]

    def value(t: Traverser) -> Any:
        objects, labels, none = [], [], set[str]()
        for place, (obj, names) in enumerate(between(t, spot)):
            by = values[place % len(values)]
            found = obj if by is itself else by(Traverser(obj, 1, t.path, t.sack, t.loops))
            if found is MISSING:
                return MISSING
            objects.append(found)
            labels.append(set(names) if names else none)
        return Path(labels, objects)

    return scope.mapped(spot, value)


@step("unfold")
def unfold(scope: Scope, spot: Instruction) -> StepFunction:
    return scope.flattened(spot, lambda t: unfolded(t.obj))


def unfolded(obj: Any) -> Iterable[Any]:
    """What unfold() makes of an object."""
    if is_collection(obj):
        return list(obj)
    if isinstance(obj, Mapping):
        return [Entry(key, value) for key, value in obj.items()]
    if isinstance(obj, Path):
        return list(obj.objects)
    return (obj,)


@step("index")
def index(scope: Scope, spot: Instruction) -> StepFunction:
    indexer = spot.option("~tinkerpop.index.indexer", 0)
    if indexer not in (0, 1):
        raise TraversalError(f"index() makes a list (0) or a map (1), and {indexer} is neither")
    as_map = indexer == 1

    def value(t: Traverser) -> Any:
        items = list(unfolded(t.obj))
        return dict(enumerate(items)) if as_map else [[item, i] for i, item in enumerate(items)]

    return scope.mapped(spot, value)


_IDS, _LABELS, _KEYS, _VALUES, _ALL = 1, 2, 4, 8, 15


@step("valueMap", "propertyMap")
def value_map(scope: Scope, spot: Instruction) -> StepFunction:
    if len(spot.bys) > 1:
        raise TraversalError("valueMap()/propertyMap() step can only have one by modulator")
    args = list(spot.args)
    tokens = _ALL if args and args[0] is True else 0
    if args and isinstance(args[0], bool):
        args.pop(0)
    chosen = spot.option("~tinkerpop.valueMap.tokens")
    if chosen is not None:
        tokens = _ALL if chosen is True else int(chosen)
        if not 0 <= tokens <= _ALL:
            raise TraversalError(f"{spot.name}(): tokens are 0 to {_ALL}, as in WithOptions.all")
    by, run = next(iter(bys(scope, spot)), None), scope.run
    keys, whole = tuple(args), spot.name == "propertyMap"

    def value(t: Traverser) -> dict[Any, Any]:
        found: dict[Any, Any] = _tokens(t.obj, tokens)
        many = not isinstance(t.obj, Element) or hasattr(t.obj, "out_edges")
        for entry in entries_of(run, t.obj, keys):
            one = entry if whole else entry.value
            if many:
                found.setdefault(entry.key, []).append(one)
            else:
                found[entry.key] = one
        return found if by is None else _mapped_values(t, found, by)

    return scope.mapped(spot, value)


def _mapped_values(t: Traverser, found: dict[Any, Any], by: Any) -> dict[Any, Any]:
    result = {}
    for key, value in found.items():
        made = value
        if isinstance(key, str):
            made = by(Traverser(value, 1, t.path, t.sack, t.loops))
        if made is not MISSING:
            result[key] = made
    return result


def _tokens(obj: Any, chosen: int) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    if not chosen:
        return found
    if chosen & _IDS and isinstance(obj, Element):
        found[T.id] = obj.id
    if hasattr(obj, "vertex"):
        if chosen & _KEYS:
            found[T.key] = obj.key
        if chosen & _VALUES:
            found[T.value] = obj.value
    elif chosen & _LABELS and isinstance(obj, Element):
        found[T.label] = obj.label
    return found


@step("elementMap")
def element_map(scope: Scope, spot: Instruction) -> StepFunction:
    run, keys = scope.run, tuple(spot.args)

    def value(t: Traverser) -> dict[Any, Any]:
        found = element_tokens(t.obj)
        for entry in entries_of(run, t.obj, keys):
            found[entry.key] = entry.value
        return found

    return scope.mapped(spot, value)


def element_tokens(obj: Any) -> dict[Any, Any]:
    """The id and label (key and value) of an element, and the ends of an edge."""
    if not isinstance(obj, Element):
        raise TraversalError(f"elementMap() shows elements, and this is {obj!r}")
    found: dict[Any, Any] = {T.id: obj.id}
    if hasattr(obj, "vertex"):
        found[T.key], found[T.value] = obj.key, obj.value
    else:
        found[T.label] = obj.label
    if hasattr(obj, "in_"):
        for side, end in ((Direction.IN, obj.in_), (Direction.OUT, obj.out)):
            found[side] = {T.id: end.id, T.label: end.label}
    return found
