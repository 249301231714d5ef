"""mergeV() and mergeE(): find an element by what is asked of it, or make it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gremlin_python.process.traversal import Cardinality, CardinalityValue, Direction, Merge, T
from gremlin_python.statics import long
from gremlin_python.structure import graph as theirs

from twingraph_nb.lineage.compare import equal
from twingraph_nb.lineage.compiler import Scope, StepFunction, step
from twingraph_nb.lineage.containers import MISSING
from twingraph_nb.lineage.elements import Edge, Element, Vertex
from twingraph_nb.lineage.instructions import Instruction, is_traversal
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.steps_graph import by_id
from twingraph_nb.lineage.steps_write import check_key, check_label, started, stored, writes
from twingraph_nb.lineage.traverser import Run, Traverser, Walk

__all__ = ["Merging"]

_ID, _LABEL, _OUT, _IN = T.id, T.label, Direction.OUT, Direction.IN
"""Kept here, and compared by `is`: to look one up or to compare it takes a microsecond."""
_TOKENS = {"mergeV": (_ID, _LABEL), "mergeE": (_ID, _LABEL, _OUT, _IN)}
_SIDES = ((_OUT, Merge.out_v, "outV"), (_IN, Merge.in_v, "inV"))
_PLAIN = frozenset({str, int, float, bool, long})
"""Classes of values that are kept as they are."""
_WRITTEN = {"mergeV": "[id, label]", "mergeE": "[id, label, IN, OUT]"}


class Merging:
    """What mergeV() and mergeE() were given."""

    def __init__(self, scope: Scope, spot: Instruction) -> None:
        self.run, self.name = scope.run, spot.name
        self.options: dict[str, Any] = {}
        self.values: dict[str, Callable[[Traverser], Any]] = {}
        for token, value, *cardinality in spot.options:
            if cardinality and isinstance(value, Mapping):
                value = {k: _with(cardinality[0], k, v) for k, v in value.items()}
            if not isinstance(token, Merge):
                raise TraversalError(f"{self.name}().option() takes a Merge token, not {token!r}")
            self.options[token.name] = value
            self.values[token.name] = self._value(scope, spot, value)
            if not is_traversal(value) and value is not None and token.name.startswith("on_"):
                self.check(value, matching=token.name == "on_match")
        main = spot.args[0] if spot.args else MISSING
        self.start = not scope.parents and not scope.behind
        self.main = (lambda t: t.obj) if main is MISSING else self._value(scope, spot, main)
        if main is not MISSING and not is_traversal(main):
            self.check(main, matching=False)
            extra = self.options.get("on_create")
            if isinstance(extra, Mapping):
                self._check_overrides(dict(spot.args[0] or {}), extra)

    def _value(self, scope: Scope, spot: Instruction, value: Any) -> Callable[[Traverser], Any]:
        if is_traversal(value):
            return scope.child(value, spot.name).first
        return lambda t: value

    def check(self, given: Any, *, matching: bool) -> None:
        """Refuse a map that cannot be meant."""
        if given is None:
            return
        if not isinstance(given, Mapping):
            raise TraversalError(f"{self.name}() takes a map, not {given!r}")
        for key, value in given.items():
            if self._is_usual(key, value, matching=matching):
                continue
            if value is None and not matching:
                raise TraversalError(
                    f"{self.name}() does not allow null Map values - check: {_shown(key)}"
                )
            if matching and not isinstance(key, str):
                raise TraversalError(
                    f"option(onMatch) expects keys in Map to be of String - check: {_shown(key)}"
                )
            self._check_entry(key, value)

    def _is_usual(self, key: Any, value: Any, *, matching: bool) -> bool:
        """Whether an entry is right as most are, without a closer look."""
        if type(key) is str:
            return value is not None and key != "" and key[0] != "~"
        if matching or type(value) is not str:
            return False
        if key is _LABEL:
            return value != "" and value[0] != "~"
        return key is _ID or (self.name == "mergeE" and (key is _OUT or key is _IN))

    def _check_entry(self, key: Any, value: Any) -> None:
        if isinstance(key, str):
            check_key(key)
            return
        if not any(key is one for one in _TOKENS[self.name]):
            raise TraversalError(
                f"{self.name}() and option(onCreate) args expect keys in Map to be either String "
                f"or {_WRITTEN[self.name]} - check: {_shown(key)}"
            )
        if key is _LABEL:
            if not isinstance(value, str):
                raise TraversalError(
                    f"{self.name}() and option(onCreate) args expect T.label value to be of "
                    f"String - found: {type(value).__name__}"
                )
            check_label(value)
        if isinstance(value, Merge):
            side = "outV" if key is _OUT else "inV"
            if value is not (Merge.out_v if key is _OUT else Merge.in_v):
                raise TraversalError(
                    f"Only Merge.{side} token may be used for Direction.{key.name}, "
                    f"found: {value.name}"
                )

    def map_of(self, found: Any, *, matching: bool = False) -> dict[Any, Any]:
        """A map that a traverser gave; null is an empty one."""
        if found is MISSING:
            raise TraversalError(f"The provided traverser does not map to a value in {self.name}()")
        self.check(found, matching=matching)
        made = dict(found or {})
        if self.run.written is not None and not matching:
            made.setdefault(*self.run.written)
        return made

    def created(
        self, t: Traverser, raw: dict[Any, Any], resolved: dict[Any, Any]
    ) -> dict[Any, Any]:
        """The map that a new element is made of."""
        if "on_create" not in self.values:
            return resolved
        found = self.values["on_create"](t)
        extra = self.map_of(found) if found else {}
        self._check_overrides(raw, extra)
        return {**extra, **resolved} if extra else resolved

    def _check_overrides(self, raw: Mapping[Any, Any], extra: Mapping[Any, Any]) -> None:
        for key in raw.keys() & extra.keys():
            value = extra[key]
            if not _same(value, raw[key]):
                raise TraversalError(
                    "option(onCreate) cannot override values from merge() argument: "
                    f"({_shown(key)}, {value})"
                )

    def matched(self, t: Traverser, element: Element) -> None:
        """Apply option(onMatch) to an element that was found."""
        if "on_match" not in self.values:
            return
        at = Traverser(element, 1, t.path, t.sack, t.loops)
        found = self.map_of(self.values["on_match"](at), matching=True)
        for key, value in found.items():
            stored(self.run, element, key, value, None, {})


def _with(cardinality: Cardinality, key: Any, value: Any) -> Any:
    """A property's value with a cardinality, unless it has one."""
    if not isinstance(key, str) or isinstance(value, CardinalityValue):
        return value
    return CardinalityValue(cardinality, value)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, theirs.Element) or isinstance(b, theirs.Element):
        return bool(getattr(a, "id", a) == getattr(b, "id", b))
    return bool(a == b)


def _shown(key: Any) -> str:
    return str(getattr(key, "name", key))


def _bare(value: Any) -> Any:
    return value.source_instructions[0][2] if isinstance(value, CardinalityValue) else value


def _fits(element: Element, wanted: Mapping[Any, Any]) -> bool:
    """Whether an element has all that a map asks of it."""
    for key, value in wanted.items():
        if key is _ID:
            if by_id({element.id: True}, value) is None and not equal(element.id, value):
                return False
        elif key is _LABEL:
            if element.label != value:
                return False
        elif isinstance(key, str) and not any(
            equal(held, _bare(value)) for held in element.values(key)
        ):
            return False
    return True


def _merge_step(
    scope: Scope, spot: Instruction, one: Callable[..., Iterable[Element]]
) -> StepFunction:
    writes(scope, spot)
    merging = Merging(scope, spot)
    grow = scope.grow(spot.labels)

    def function(walk: Walk) -> Walk:
        for t in walk:
            for found in list(one(merging, t)):
                yield grow(t, found)

    return started(scope, function)


@step("mergeV")
def merge_vertex(scope: Scope, spot: Instruction) -> StepFunction:
    return _merge_step(scope, spot, _merge_vertex)


def _merge_vertex(merging: Merging, t: Traverser) -> Iterable[Element]:
    run = merging.run
    wanted = merging.map_of(merging.main(t))
    if wanted.get(_ID, MISSING) is None:
        raise TraversalError("mergeV() does not allow null Map values - check: id")
    found = [v for v in _vertices(run, wanted) if _fits(v, wanted) and _seen(run, v)]
    for vertex in found:
        merging.matched(t, vertex)
    if found:
        return found
    content = merging.created(t, wanted, wanted)
    label = content.get(_LABEL, "vertex")
    at_once, later = _told(content)
    made = run.graph.add_vertex(label, content.get(_ID), at_once)
    for key, value in later:
        stored(run, made, key, value, None, {})
    return [made]


def _seen(run: Run, element: Element) -> bool:
    return run.sees is None or run.sees(element)


def _vertices(run: Run, wanted: Mapping[Any, Any]) -> Iterable[Vertex]:
    graph = run.graph
    if _ID in wanted:
        found = by_id(graph.vertices, wanted[_ID])
        return [] if found is None else [found]
    for key, value in wanted.items():
        value = _bare(value)
        if isinstance(key, str) and isinstance(value, str | int | float):
            return list(graph.find(key, value, wanted.get(_LABEL)))
    if _LABEL in wanted:
        return list(graph.labelled(wanted[_LABEL]))
    return list(graph.vertices.values())


@step("mergeE")
def merge_edge(scope: Scope, spot: Instruction) -> StepFunction:
    return _merge_step(scope, spot, _merge_edge)


def _merge_edge(merging: Merging, t: Traverser) -> Iterable[Element]:
    run = merging.run
    raw = merging.map_of(merging.main(t))
    wanted = _resolved(merging, t, raw)
    found = [e for e in _edges(run, wanted) if _fits(e, wanted) and _seen(run, e)]
    for edge in found:
        merging.matched(t, edge)
    if found:
        return found
    content = merging.created(t, raw, wanted)
    if _OUT not in wanted or _IN not in wanted:
        content = _resolved(merging, t, content)
    ends: list[Vertex] = []
    for side, name in ((_OUT, "Out"), (_IN, "In")):
        if side not in content:
            raise TraversalError(
                f"{name} Vertex not specified in onCreate - edge cannot be created"
            )
        ends.append(_end(run, side, content[side]))
    at_once, later = _told(content)
    label = content.get(_LABEL, "edge")
    made = run.graph.add_edge(label, ends[0], ends[1], content.get(_ID), at_once)
    for key, value in later:
        stored(run, made, key, value, None, {})
    return [made]


def _told(content: Mapping[Any, Any]) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """The properties that an element is made with, or (when one is no plain value) set after."""
    told = {key: value for key, value in content.items() if isinstance(key, str)}
    if _PLAIN.issuperset(map(type, told.values())):
        return told, []
    return {}, list(told.items())


def _end(run: Run, side: Direction, value: Any) -> Vertex:
    found = by_id(run.graph.vertices, value)
    if found is None:
        raise TraversalError(
            f"Vertex id could not be resolved from mergeE Map value for Direction.{side.name}: "
            f"{value}"
        )
    vertex: Vertex = found
    return vertex


def _resolved(merging: Merging, t: Traverser, given: dict[Any, Any]) -> dict[Any, Any]:
    """The map with its two ends as ids."""
    made = dict(given)
    for side, token, name in _SIDES:
        value = made.get(side, MISSING)
        if value is token:
            if token.name not in merging.values:
                raise TraversalError(
                    f"option({name}) must be specified if it is used for {side.name}"
                )
            made[side] = _option_end(merging, t, token, name)
        elif isinstance(value, theirs.Element):
            made[side] = value.id
    return made


def _option_end(merging: Merging, t: Traverser, token: Merge, name: str) -> Any:
    found = merging.values[token.name](t)
    if isinstance(found, Mapping):
        matches = [v for v in _vertices(merging.run, found) if _fits(v, found)]
        found = matches[0] if matches else None
    if found is MISSING or found is None:
        raise TraversalError(f"Could not resolve vertex for option({name})")
    return found.id if isinstance(found, theirs.Element) else found


def _edges(run: Run, wanted: Mapping[Any, Any]) -> Iterable[Edge]:
    graph = run.graph
    labels = (wanted[_LABEL],) if _LABEL in wanted else ()
    out, in_ = wanted.get(_OUT), wanted.get(_IN)
    if _ID in wanted:
        edge = by_id(graph.edges, wanted[_ID])
        found = [] if edge is None else [edge]
    elif out is not None:
        start = by_id(graph.vertices, out)
        found = [] if start is None else start.edges("out", *labels)
    elif in_ is not None:
        end = by_id(graph.vertices, in_)
        found = [] if end is None else end.edges("in", *labels)
    else:
        found = list(graph.edges.values())
    return [
        edge
        for edge in found
        if (out is None or _is(edge.out, out)) and (in_ is None or _is(edge.in_, in_))
    ]


def _is(vertex: Vertex, id: Any) -> bool:
    return equal(vertex.id, id) or by_id({vertex.id: True}, id) is not None
