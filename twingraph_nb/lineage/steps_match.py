"""match(): patterns over names, solved one after the other for each traverser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from twingraph_nb.lineage.compare import equal
from twingraph_nb.lineage.compiler import Child, Scope, StepFunction, step
from twingraph_nb.lineage.containers import MISSING, is_collection
from twingraph_nb.lineage.instructions import (
    Instruction,
    Steps,
    connected,
    instructions_of,
    is_traversal,
)
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.scoping import labelled
from twingraph_nb.lineage.steps_filter import where, where_test
from twingraph_nb.lineage.traverser import Run, Traverser, Walk

__all__: list[str] = []

_REDUCING = {"count", "sum", "min", "max", "mean", "fold", "group", "groupCount", "cap", "tree"}


@dataclass(slots=True, eq=False)
class Pattern:
    """One pattern: the names it needs bound, the one it binds, and what it does."""

    needs: frozenset[str]
    start: str | None
    end: str | None
    go: Callable[[Traverser], Iterator[Traverser]]
    inner: frozenset[str] = frozenset()


def bound(t: Traverser, name: str) -> Any:
    """What a name is bound to, `MISSING` when it is not."""
    return next(labelled(t, name), MISSING)


@step("match", barrier=True)
def match(scope: Scope, spot: Instruction) -> StepFunction:
    patterns = [pattern(scope, instructions_of(code)) for code in spot.args]
    names = {name for p in patterns for name in (p.start, p.end) if name}
    names |= {name for p in patterns for name in p.inner}
    start = first_name(patterns)
    grow = scope.grow(spot.labels)

    def function(walk: Walk) -> Walk:
        for t in walk:
            if bound(t, start) is MISSING:
                t = named(t, start)
            for found in solved(scope.run, t, patterns):
                values = {name: bound(found, name) for name in sorted(names)}
                yield grow(found, {k: v for k, v in values.items() if v is not MISSING})

    return function


def named(t: Traverser, name: str) -> Traverser:
    """The traverser with its object bound to a name."""
    node = t.path
    if node is not None and node[1] is t.obj:
        path = (node[0], node[1], (*node[2], name))
    else:
        path = (node, t.obj, (name,))
    return Traverser(t.obj, t.bulk, path, t.sack, t.loops)


def first_name(patterns: list[Pattern]) -> str:
    """The name of the object that comes in: one that patterns start from and none ends at."""
    starts = [p.start for p in patterns if p.start is not None and p.end != p.start]
    ends = {p.end for p in patterns if p.end is not None}
    free = [name for name in starts if name not in ends]
    found = free or starts or [name for p in patterns for name in sorted(p.needs)]
    if not found:
        raise TraversalError("match() needs patterns that start with as('name')")
    return found[0]


def solved(run: Run, t: Traverser, patterns: list[Pattern]) -> Iterator[Traverser]:
    """The traversers for which every pattern holds, with what they bound on the way."""
    run.tick()
    if not patterns:
        yield t
        return
    ready = [p for p in patterns if all(bound(t, name) is not MISSING for name in p.needs)]
    if not ready:
        wanted = sorted({name for p in patterns for name in p.needs})
        raise TraversalError(
            f"The provided match pattern is unsolvable: not bound: {', '.join(wanted)}"
        )
    # A pattern that binds nothing new only filters, so it goes first.
    chosen = min(ready, key=lambda p: p.end is not None and bound(t, p.end) is MISSING)
    rest = [p for p in patterns if p is not chosen]
    for found in chosen.go(t):
        yield from solved(run, found, rest)


def pattern(scope: Scope, code: list[Instruction]) -> Pattern:
    """One argument of match()."""
    code = connected(code)
    if not code:
        raise TraversalError("match() has an empty pattern")
    first = code[0]
    if len(code) == 1 and first.name in ("and", "or"):
        return _connective(scope, first)
    if len(code) == 1 and first.name in ("where", "not"):
        return _check(scope, first)
    if first.name != "start" or len(first.labels) != 1:
        raise TraversalError(
            "All match()-traversals must have a single start label (i.e. variable): "
            f"write as('name').{first.name}(...)"
        )
    return _path(scope, first.labels[0], code[1:])


def _connective(scope: Scope, spot: Instruction) -> Pattern:
    inner = [pattern(scope, instructions_of(code)) for code in spot.args]
    names = {name for p in inner for name in (p.start, p.end) if name} | {
        name for p in inner for name in p.inner
    }
    run, start = scope.run, first_name(inner)

    def either(t: Traverser) -> Iterator[Traverser]:
        for p in inner:
            if all(bound(t, name) is not MISSING for name in p.needs):
                yield from p.go(t)

    go = either if spot.name == "or" else lambda t: solved(run, t, inner)
    end = next((p.end for p in inner if p.end not in (None, start)), None)
    return Pattern(frozenset([start]), start, end, go, frozenset(names))


def _check(scope: Scope, spot: Instruction) -> Pattern:
    needs = frozenset(_names([spot]))
    if is_traversal(spot.args[0]):
        code = [spot] if spot.name == "not" else instructions_of(spot.args[0])
        keeps = where_test(scope, code)
    else:
        function = where(scope, spot)

        def keeps(t: Traverser) -> bool:
            return any(True for _ in function(iter((t,))))

    def go(t: Traverser) -> Iterator[Traverser]:
        if keeps(t):
            yield t

    return Pattern(needs, None, None, go)


def _names(code: list[Instruction]) -> Iterator[str]:
    """The names that a where() or not() looks at."""
    for spot in code:
        yield from spot.labels
        for value in spot.args:
            if is_traversal(value):
                yield from _names(connected(instructions_of(value)))
            elif spot.name == "where" and isinstance(value, str):
                yield value
            elif spot.name == "where":
                yield from _in_predicate(value)


def _in_predicate(p: Any) -> Iterator[str]:
    if p.operator in ("and", "or"):
        yield from _in_predicate(p.value)
        yield from _in_predicate(p.other)
    elif p.operator == "not":
        yield from _in_predicate(p.value)
    else:
        values = p.value if is_collection(p.value) else [p.value, p.other]
        yield from (value for value in values if isinstance(value, str))


def _path(scope: Scope, start: str, code: list[Instruction]) -> Pattern:
    end = None
    if code and code[-1].labels:
        last = code[-1]
        if len(last.labels) > 1:
            raise TraversalError(
                "The end step of a match()-traversal can have at most one label: "
                f"{', '.join(last.labels)}"
            )
        end = last.labels[0]
        bare = Instruction(**{name: getattr(last, name) for name in Instruction.__slots__})
        bare.labels = ()
        code = [*code[:-1], bare]
    needs = frozenset([start, *_where_names(code)])
    child = scope.child(Steps(code), "match")
    return Pattern(needs, start, end, lambda t: _walked(t, start, end, child))


def _where_names(code: list[Instruction]) -> Iterator[str]:
    """Names that where() steps inside a pattern look at."""
    return _names([spot for spot in code if spot.name == "where"])


def _walked(t: Traverser, start: str, end: str | None, child: Child) -> Iterator[Traverser]:
    at = Traverser(bound(t, start), t.bulk, t.path, t.sack, t.loops)
    aim = MISSING if end is None else bound(t, end)
    reduces = any(spot.name in _REDUCING for spot in child.code)
    for found in child.through(at):
        if reduces:  # what it gives begins a way of its own, and the names would be lost
            found = Traverser(found.obj, t.bulk, t.path, found.sack, t.loops)
        if end is None:
            yield found
        elif aim is MISSING:
            yield named(found, end)
        elif equal(aim, found.obj):
            yield found
