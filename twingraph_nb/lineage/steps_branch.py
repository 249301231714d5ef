"""Steps that choose a way: repeat, union, choose, branch, optional, coalesce, local."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gremlin_python.process.traversal import Pick

from twingraph_nb.lineage.compiler import Child, Scope, StepFunction, marker, step
from twingraph_nb.lineage.containers import MISSING
from twingraph_nb.lineage.instructions import Instruction, instructions_of, is_traversal
from twingraph_nb.lineage.modulators import is_token, token
from twingraph_nb.lineage.predicates import is_predicate, tested
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.traverser import FULL, Traverser, Walk

__all__: list[str] = []

Keeps = Callable[[Traverser], bool]
_STARTS = {"V", "E", "inject", "addV", "addE", "mergeV", "mergeE", "union", "call"}


def condition(scope: Scope, value: Any, name: str) -> Keeps | None:
    """The test of an until() or emit(); a number is what times() was given."""
    if value is None:
        return None
    if value is True:
        return lambda t: True
    if is_predicate(value):
        test = tested(value)
        return lambda t: test(t.obj)
    if isinstance(value, int):
        return lambda t: t.loops[-1][1] >= value
    return scope.child(value, name).test


@step("repeat")
def repeat(scope: Scope, spot: Instruction) -> StepFunction:
    if spot.body is None:
        raise TraversalError("The repeat()-traversal was not defined: repeat() needs a traversal")
    body = scope.child(spot.body, "repeat")
    until, emit = condition(scope, spot.until, "until"), condition(scope, spot.emit, "emit")
    return _Loop(scope, spot, body, until, emit).walk


class _Loop:
    """repeat(): all traversers go round together, so that those that meet become one."""

    def __init__(
        self, scope: Scope, spot: Instruction, body: Child, until: Keeps | None, emit: Keeps | None
    ) -> None:
        self.run, self.spot, self.body = scope.run, spot, body
        self.until, self.emit = until, emit
        self.mark = marker(scope.run, spot.labels)
        self.merges = scope.run.track != FULL

    def walk(self, walk: Walk) -> Walk:
        for reset in self.body.resets:
            reset()
        frontier: list[Traverser] = []
        depth, name = 0, self.spot.loop_name
        for t in walk:
            depth = len(t.loops)
            t.loops = (*t.loops, (name, 0))
            if self.until is not None and self.spot.until_first and self.until(t):
                yield self._out(t, depth)
                continue
            if self.emit is not None and self.spot.emit_first and self.emit(t):
                yield self._out(_copy(t), depth)
            frontier.append(t)
        yield from self._rounds(frontier, depth)

    def _rounds(self, frontier: list[Traverser], depth: int) -> Walk:
        run, until, emit, name, number = self.run, self.until, self.emit, self.spot.loop_name, 0
        while frontier:
            number += 1
            run.doing = f"; repeat() was in its round {number}"
            run.tick()
            run.hold(len(frontier))
            ahead: list[Traverser] = []
            for t in self.body.walk(iter(frontier)):
                run.tick()
                t.loops = (*t.loops[:depth], (name, number))
                if until is not None and until(t):
                    yield self._out(t, depth)
                    continue
                if emit is not None and emit(t):
                    yield self._out(_copy(t), depth)
                ahead.append(t)
            run.drop(len(frontier))
            frontier = run.merged(ahead) if self.merges and len(ahead) > 1 else ahead
        run.doing = ""

    def _out(self, t: Traverser, depth: int) -> Traverser:
        t.loops = t.loops[:depth]
        if self.mark is not None:
            self.mark(t)
        return t


def _copy(t: Traverser) -> Traverser:
    return Traverser(t.obj, t.bulk, t.path, t.sack, t.loops)


def routed(
    scope: Scope,
    spot: Instruction,
    children: list[Child],
    pick: Callable[[Traverser], list[int]],
) -> StepFunction:
    """Send each traverser through the children that `pick` names; -1 passes it on."""
    waits, run = any(child.has_barrier for child in children), scope.run
    mark = marker(run, spot.labels)

    def function(walk: Walk) -> Walk:
        for t in walk:
            for place in pick(t):
                if place < 0:
                    yield t
                else:
                    yield from children[place].through(t)

    def together(walk: Walk) -> Walk:
        buckets: list[list[Traverser]] = [[] for _ in range(len(children) + 1)]
        for t in run.held(walk):
            for place in pick(t):
                buckets[place].append(_copy(t))
        for place, child in enumerate(children):
            if buckets[place]:
                for reset in child.resets:
                    reset()
                yield from child.walk(iter(buckets[place]))
        yield from buckets[-1]

    chosen = together if waits else function
    if mark is None:
        return chosen
    return lambda walk: _marked(chosen(walk), mark)


def _marked(walk: Walk, mark: Callable[[Traverser], None]) -> Walk:
    for t in walk:
        mark(t)
        yield t


@step("union")
def union(scope: Scope, spot: Instruction) -> StepFunction:
    if not scope.parents and not scope.behind:
        return _union_start(scope, spot)
    children = [scope.child(code, "union") for code in spot.args]
    everywhere = list(range(len(children)))
    return routed(scope, spot, children, lambda t: everywhere)


def _union_start(scope: Scope, spot: Instruction) -> StepFunction:
    made: list[tuple[Child, bool]] = []
    for code in spot.args:
        steps = instructions_of(code)
        starts = bool(steps) and steps[0].name in _STARTS
        inner = Scope(scope.run, parents=() if starts else ("union",))
        made.append((inner.plan(steps), starts))
    mark = marker(scope.run, spot.labels)

    def function(walk: Walk) -> Walk:
        for child, starts in made:
            first: list[Traverser] = [] if starts else [scope.run.start(False)]
            yield from child.walk(iter(first))

    return function if mark is None else lambda walk: _marked(function(walk), mark)


def _options(scope: Scope, spot: Instruction) -> tuple[list[tuple[Any, int]], list[Child]]:
    """What is picked by -> the place of its traversal, and the traversals."""
    picks: list[tuple[Any, int]] = []
    children: list[Child] = []
    for args in spot.options:
        key, code = (Pick.any_, args[0]) if len(args) == 1 else (args[0], args[1])
        picks.append((key, len(children)))
        children.append(scope.child(code, spot.name))
    return picks, children


@step("choose")
def choose(scope: Scope, spot: Instruction) -> StepFunction:
    if len(spot.args) > 1:
        return _if_then_else(scope, spot)
    picks, children = _options(scope, spot)
    for key, _ in picks:
        if is_traversal(key):
            raise TraversalError("Traversal is not allowed as a Pick token for choose().option()")
        if key is Pick.any_:
            raise TraversalError(
                "Choose step can not have an any-option as only one option per traverser is allowed"
            )
    special: dict[str, int] = {}
    for key, place in picks:
        if isinstance(key, Pick):
            special.setdefault(key.name, place)
    tests = [(tested(key), place) for key, place in picks if not isinstance(key, Pick)]
    choice = _choice(scope, spot)

    def pick(t: Traverser) -> list[int]:
        found = choice(t)
        if found is MISSING:
            return [special.get("unproductive", -1)]
        for test, place in tests:
            if test(found):
                return [place]
        return [special.get("none", -1)]

    return routed(scope, spot, children, pick)


def _choice(scope: Scope, spot: Instruction) -> Callable[[Traverser], Any]:
    first = spot.args[0]
    if is_token(first):
        return lambda t: token(first.name, t.obj)
    if is_predicate(first):
        test = tested(first)
        return lambda t: test(t.obj)
    return scope.child(first, spot.name).first


def _if_then_else(scope: Scope, spot: Instruction) -> StepFunction:
    first = spot.args[0]
    if is_predicate(first):
        on = tested(first)
        test: Keeps = lambda t: on(t.obj)  # noqa: E731
    else:
        test = scope.child(first, "choose").test
    children = [scope.child(code, "choose") for code in spot.args[1:]]
    otherwise = [1] if len(children) > 1 else [-1]
    return routed(scope, spot, children, lambda t: [0] if test(t) else otherwise)


@step("branch")
def branch(scope: Scope, spot: Instruction) -> StepFunction:
    picks, children = _options(scope, spot)
    choice = _choice(scope, spot)
    always = [place for key, place in picks if key is Pick.any_]
    never = [place for key, place in picks if key is Pick.none]
    tests: list[tuple[Callable[[Any], bool], int]] = []
    for key, place in picks:
        if is_traversal(key):
            inner = scope.child(key, "branch")
            tests.append((lambda found, inner=inner: inner.test(Traverser(found)), place))  # type: ignore[misc]
        elif not isinstance(key, Pick):
            tests.append((tested(key), place))

    def pick(t: Traverser) -> list[int]:
        found = choice(t)
        if found is MISSING:
            raise TraversalError(f"The provided traverser does not map to a value: {t.obj!r}")
        return ([place for test, place in tests if test(found)] or never) + always

    return routed(scope, spot, children, pick)


@step("optional")
def optional(scope: Scope, spot: Instruction) -> StepFunction:
    child = scope.child(spot.args[0], "optional")
    mark = marker(scope.run, spot.labels)

    def function(walk: Walk) -> Walk:
        for t in walk:
            found = child.through(t)
            first = next(found, None)
            if first is None:
                yield t
            else:
                yield first
                yield from found

    return function if mark is None else lambda walk: _marked(function(walk), mark)


@step("coalesce")
def coalesce(scope: Scope, spot: Instruction) -> StepFunction:
    children = [scope.child(code, "coalesce") for code in spot.args]

    def values(t: Traverser) -> Any:
        for child in children:
            found = child.objects(t)
            first = next(found, MISSING)
            if first is not MISSING:
                yield first
                yield from found
                return

    return scope.flattened(spot, values)


@step("local")
def local(scope: Scope, spot: Instruction) -> StepFunction:
    child = scope.child(spot.args[0], "local")
    mark = marker(scope.run, spot.labels)

    def function(walk: Walk) -> Walk:
        for t in walk:
            for _ in range(t.bulk):
                scope.run.tick()
                yield from child.all(t)

    return function if mark is None else lambda walk: _marked(function(walk), mark)
