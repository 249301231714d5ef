"""Steps that change the graph: addV, addE, property, drop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gremlin_python.process.traversal import Cardinality, CardinalityValue, T
from gremlin_python.statics import long
from gremlin_python.structure import graph as theirs

from twingraph_nb.lineage.compiler import Scope, StepFunction, Value, step
from twingraph_nb.lineage.containers import MISSING
from twingraph_nb.lineage.elements import Edge, Element, Property, Vertex, VertexProperty
from twingraph_nb.lineage.instructions import Instruction, given, is_traversal
from twingraph_nb.lineage.problems import NotSupported, ReadOnlyGraph, TraversalError
from twingraph_nb.lineage.scoping import wanted
from twingraph_nb.lineage.steps_graph import by_id
from twingraph_nb.lineage.traverser import Run, Traverser, Walk

__all__ = ["check_key", "check_label", "started", "stored"]


Taken = list[tuple[Value, Value]]

_PLAIN = frozenset({str, int, float, bool, long})
"""Classes of values that are kept as they are."""
_ONE = (None, "single")


def writes(scope: Scope, spot: Instruction) -> None:
    """Refuse a step that would change a read-only graph.

    Raises:
        ReadOnlyGraph: the graph, or a strategy, forbids it.
    """
    if scope.run.graph.read_only or scope.run.read_only:
        raise ReadOnlyGraph(spot.name)


def check_key(key: Any) -> None:
    """Refuse what cannot be the name of a property."""
    if key is None:
        raise TraversalError("Property key can not be null")
    if not isinstance(key, str):
        raise TraversalError(f"Property key must be a string, not {key!r}")
    if not key:
        raise TraversalError("Property key can not be the empty string")
    if key.startswith("~"):
        raise TraversalError(f"Property key can not be a hidden key: {key}")


def check_label(label: Any) -> None:
    """Refuse what cannot be a label."""
    if label is None:
        raise TraversalError("Label can not be null")
    if not isinstance(label, str):
        raise TraversalError(f"Label must be a string, not {label!r}")
    if not label:
        raise TraversalError("Label can not be empty")
    if label.startswith("~"):
        raise TraversalError(f"Label can not be a hidden key: {label}")


def started(scope: Scope, function: StepFunction) -> StepFunction:
    """A step that may begin a traversal: then it runs once."""
    if scope.parents or scope.behind:
        return function
    run = scope.run
    return lambda walk: function(iter((run.start(False),)))


def argument(scope: Scope, spot: Instruction, value: Any) -> Value:
    """An argument that is a value, or a traversal that gives one."""
    if is_traversal(value):
        return scope.child(value, spot.name).first
    return lambda t: value


def stored(
    run: Run,
    element: Element,
    key: Any,
    value: Any,
    cardinality: str | None,
    meta: Mapping[str, Any],
) -> None:
    """Set a property as the graph and its strategies have it."""
    graph = run.graph
    plain = type(value) in _PLAIN and type(key) is str and key and key[0] != "~"
    simple = type(element) is Vertex and cardinality in _ONE and not meta and run.written is None
    if plain and simple:
        graph.set_property(element, key, value)  # most are
        return
    if isinstance(value, CardinalityValue):
        _, kind, value = value.source_instructions[0]
        cardinality = kind.name.rstrip("_")
    value = given(value)
    if key is T.id or key is T.label:
        raise TraversalError(f"{key.name} cannot be changed")
    check_key(key)
    if isinstance(element, Vertex):
        if value is None and not graph.allow_null:
            if cardinality in (None, "single"):
                for cell in element.cells(key):
                    graph.remove(cell)
            return
        extra = {k: v for k, v in meta.items() if v is not None or graph.allow_null}
        if run.written is not None and run.written_meta:
            extra[run.written[0]] = run.written[1]
        if extra or cardinality in ("list", "set"):
            graph.add_property(element, key, value, cardinality or "single", None, extra)  # type: ignore[arg-type]
        else:
            graph.set_property(element, key, value)
        return
    if cardinality not in (None, "single") or meta:
        raise TraversalError(
            "Property cardinality can only be set for a Vertex but the traversal encountered "
            f"{type(element).__name__} for key: {key}"
        )
    if value is None and not graph.allow_null:
        graph.remove_key(element, key)
    else:
        graph.set_property(element, key, value)


@step("addV")
def add_vertex(scope: Scope, spot: Instruction) -> StepFunction:
    writes(scope, spot)
    run = scope.run
    label = argument(scope, spot, spot.args[0] if spot.args else "vertex")
    extras = _taken_properties(scope, spot)
    grow = scope.grow(spot.labels)

    def function(walk: Walk) -> Walk:
        for t in walk:
            for _ in range(t.bulk):
                name = label(t)
                check_label(name)
                fixed, rest = _fixed(t, extras)
                made = run.graph.add_vertex(str(fixed.get("label", name)), fixed.get("id"))
                for key, value in rest:
                    stored(run, made, key, value, "list" if key in made.content else None, {})
                if run.written is not None:
                    stored(run, made, *run.written, None, {})
                found = grow(t, made)
                found.bulk = 1
                yield found

    return started(scope, function)


def _taken_properties(scope: Scope, spot: Instruction) -> Taken:
    """The property() right behind the step, as far as they are part of making the element.

    As in TinkerPop: those with neither a cardinality nor properties of their own. They look at the
    traverser that comes in, and values of one key add up.
    """
    found: Taken = []
    for follower in scope.ahead:
        args = follower.args
        if follower.name != "property" or not args:
            break
        if len(args) == 1 and (args[0] is None or isinstance(args[0], Mapping)):
            pairs = list((args[0] or {}).items())
        elif len(args) == 2 and not isinstance(args[0], Cardinality):
            pairs = [(args[0], args[1])]
        else:
            break
        if any(isinstance(value, CardinalityValue) for _, value in pairs):
            break
        for key, value in pairs:
            found.append((argument(scope, spot, key), argument(scope, spot, value)))
        follower.mode = "taken"
    return found


def _fixed(t: Traverser, taken: Taken) -> tuple[dict[str, Any], list[tuple[Any, Any]]]:
    """The id and label that the properties give, and the other properties."""
    tokens: dict[str, Any] = {}
    rest: list[tuple[Any, Any]] = []
    for key_of, value_of in taken:
        key, value = key_of(t), value_of(t)
        if value is MISSING:
            continue
        if isinstance(key, T):
            tokens[key.name.rstrip("_")] = value
        else:
            check_key(key)
            rest.append((key, value))
    if "label" in tokens:
        check_label(tokens["label"])
    return tokens, rest


@step("addE")
def add_edge(scope: Scope, spot: Instruction) -> StepFunction:
    writes(scope, spot)
    run = scope.run
    label = argument(scope, spot, spot.args[0])
    ends = [_end(scope, spot, side) for side in (spot.origin, spot.target)]
    extras = _taken_properties(scope, spot)
    grow = scope.grow(spot.labels)

    def function(walk: Walk) -> Walk:
        for t in walk:
            for _ in range(t.bulk):
                name = label(t)
                check_label(name)
                out, in_ = (
                    _vertex(run, way, end(t)) for way, end in zip(("from", "to"), ends, strict=True)
                )
                fixed, rest = _fixed(t, extras)
                made = run.graph.add_edge(str(fixed.get("label", name)), out, in_, fixed.get("id"))
                for key, value in rest:
                    stored(run, made, key, value, None, {})
                if run.written is not None:
                    stored(run, made, *run.written, None, {})
                found = grow(t, made)
                found.bulk = 1
                yield found

    return started(scope, function)


def _end(scope: Scope, spot: Instruction, side: list[Any] | None) -> Value:
    run = scope.run
    if side is None:
        return lambda t: t.obj
    value = side[0]
    if isinstance(value, str):
        return lambda t: wanted(run, t, value)
    return argument(scope, spot, value)


def _vertex(run: Run, way: str, value: Any) -> Vertex:
    if isinstance(value, theirs.Vertex):
        value = value.id
    elif isinstance(value, theirs.Element) or value is MISSING:
        value = None
    found = None if value is None else by_id(run.graph.vertices, value)
    if found is None:
        raise TraversalError(
            f"The value given to addE(...).{way}() must resolve to a Vertex or the ID of a "
            "Vertex present in the graph"
        )
    vertex: Vertex = found
    return vertex


@step("property")
def property_(scope: Scope, spot: Instruction) -> StepFunction:
    writes(scope, spot)
    if spot.mode == "taken":
        return scope.filtered(spot, lambda t: True)
    args, run = list(spot.args), scope.run
    cardinality = None
    if args and (isinstance(args[0], Cardinality) or (args[0] is None and len(args) > 2)):
        first = args.pop(0)
        cardinality = None if first is None else first.name.rstrip("_")
    if len(args) == 1:
        if args[0] is None:
            args = [{}]
        if not isinstance(args[0], Mapping):
            raise NotSupported("property", "it wants a key and a value, or a map of them")
        pairs: list[tuple[Any, Value, dict[Any, Value]]] = [
            (k, argument(scope, spot, v), {}) for k, v in args[0].items()
        ]
    else:
        meta = {k: argument(scope, spot, v) for k, v in zip(args[2::2], args[3::2], strict=True)}
        pairs = [(args[0], argument(scope, spot, args[1]), meta)]

    def keeps(t: Traverser) -> bool:
        for key, value, meta in pairs:
            name = key
            if is_traversal(key):
                name = scope.child(key, "property").first(t)
            _store_one(run, t, name, value, cardinality, meta)
        return True

    return scope.filtered(spot, keeps)


def _store_one(
    run: Run,
    t: Traverser,
    key: Any,
    value: Value,
    cardinality: str | None,
    meta: Mapping[Any, Value],
) -> None:
    if not isinstance(t.obj, Element):
        raise TraversalError(f"property() changes elements, and this is {t.obj!r}")
    found = value(t)
    if found is MISSING:
        return
    metas = {name: one(t) for name, one in meta.items()}
    for name in metas:
        check_key(name)
    stored(run, t.obj, key, found, cardinality, metas)


@step("drop", barrier=True)
def drop(scope: Scope, spot: Instruction) -> StepFunction:
    writes(scope, spot)
    run = scope.run

    def function(walk: Walk) -> Walk:
        for t in list(walk):
            if not isinstance(t.obj, Vertex | Edge | VertexProperty | Property):
                raise TraversalError(f"drop() removes elements and properties, not {t.obj!r}")
            run.graph.remove(t.obj)
        yield from ()

    return function
