"""Bytecode to a chain of generators: one function per step, found in a table by its name.

A step's function takes the walk of traversers before it and gives the walk behind it, so that a
traversal is lazy from end to end. What a step needs to be made of is an `Instruction`: the call
in the bytecode with the modulators (`as by from to option with ...`) that follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from gremlin_python.process.traversal import Binding, Bytecode, CardinalityValue, Direction
from gremlin_python.process.traversal import Traversal as Spawned
from gremlin_python.statics import BigDecimal

from twingraph_nb.lineage.containers import MISSING
from twingraph_nb.lineage.problems import NotSupported, TraversalError, UnknownStep
from twingraph_nb.lineage.signatures import check
from twingraph_nb.lineage.traverser import FULL, LABELLED, Node, Run, Traverser, Walk

__all__ = [
    "BARRIERS",
    "TABLE",
    "Child",
    "Instruction",
    "Scope",
    "StepFunction",
    "Value",
    "arranged",
    "step",
]

StepFunction = Callable[[Walk], Walk]
Value = Callable[[Traverser], Any]
"""What a modulator computes of a traverser; `MISSING` when it produces nothing."""
Builder = Callable[["Scope", "Instruction"], StepFunction]

TABLE: dict[str, Builder] = {}
"""Step name -> what makes its function."""
BARRIERS = {"barrier"}
"""Steps that take all that comes before they give anything."""
MODULATORS = {"as", "by", "from", "to", "option", "with", "read", "write"}
_SIDED = {"addE", "path", "simplePath", "cyclicPath", "tree"}
LOOPING = {"until", "emit", "times"}
_PLAIN = frozenset({str, int, float, bool, type(None)})


def step(*names: str, barrier: bool = False) -> Callable[[Builder], Builder]:
    """Put a builder into the table under these names."""

    def enter(builder: Builder) -> Builder:
        for name in names:
            TABLE[name] = builder
            if barrier:
                BARRIERS.add(name)
        return builder

    return enter


@dataclass(slots=True, eq=False)
class Instruction:
    """A step as it was called, with its modulators."""

    name: str
    args: list[Any]
    labels: tuple[str, ...] = ()
    bys: list[list[Any]] = field(default_factory=list)
    options: list[list[Any]] = field(default_factory=list)
    withs: list[list[Any]] = field(default_factory=list)
    origin: list[Any] | None = None
    target: list[Any] | None = None
    mode: str = ""
    until: Any = None
    emit: Any = None
    until_first: bool = False
    emit_first: bool = False
    body: Any = None
    loop_name: str | None = None

    def option(self, key: str, default: Any = None) -> Any:
        """The value of a `with(key, value)`; True when it was given without one."""
        for given in self.withs:
            if given[0] == key:
                return given[1] if len(given) > 1 else True
        return default


def given(value: Any) -> Any:
    """An argument as the engine keeps it: bindings resolved, decimals Python's own."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Binding):
        return given(value.value)
    if isinstance(value, Spawned):
        return value.bytecode
    if isinstance(value, BigDecimal):
        found: Decimal = value.value
        return found
    if type(value) is list:
        return [given(item) for item in value]
    if type(value) is dict:
        return {given(k): given(v) for k, v in value.items()}
    return value


def arranged(code: Sequence[Sequence[Any]]) -> list[Instruction]:
    """The calls of a traversal with their modulators at their steps."""
    found: list[Instruction] = []
    for name, *raw in code:
        args = [given(value) for value in raw]
        last = found[-1] if found else None
        if name == "to" and args and isinstance(args[0], Direction):
            found.append(Instruction("to", args))
        elif name in ("from", "to"):
            _sided(found, name, args)
        elif name == "as" and last is not None and last.name in ("and", "or") and not last.args:
            found.append(Instruction("start", [], tuple(args)))
        elif name in MODULATORS:
            if last is None:
                last = Instruction("start", [])
                found.append(last)
            _modulate(last, name, args)
        elif name in LOOPING or name == "repeat":
            _loop(found, name, args)
        else:
            found.append(Instruction(name, args))
    return found


def _sided(found: list[Instruction], name: str, args: list[Any]) -> None:
    """Give from() or to() to its step; of addE() it may stand behind property()."""
    for spot in reversed(found):
        if spot.name in _SIDED:
            if name == "from":
                spot.origin = args
            else:
                spot.target = args
            return
        if spot.name != "property":
            break
    behind = found[-1].name if found else "nothing"
    raise TraversalError(f"{name}() belongs to addE() or to a path, and this follows {behind}()")


def _modulate(last: Instruction, name: str, args: list[Any]) -> None:
    if name == "as":
        last.labels = (*last.labels, *args)
    elif name == "by":
        last.bys.append(args)
    elif name == "option":
        last.options.append(args)
    elif name == "with":
        last.withs.append(args)
    else:
        last.mode = name


def _loop(found: list[Instruction], name: str, args: list[Any]) -> None:
    last = found[-1] if found and found[-1].name == "repeat" and not found[-1].labels else None
    if name == "repeat":
        if last is None or last.body is not None:
            last = Instruction("repeat", [])
            found.append(last)
        if not args or not is_traversal(args[-1]):
            raise TraversalError("repeat() takes a traversal, and a name for loops() before it")
        last.loop_name = args[0] if isinstance(args[0], str) else None
        last.body = args[-1]
        return
    what = "emit" if name == "emit" else "until"
    if last is None or getattr(last, what) is not None:
        last = Instruction("repeat", [])
        found.append(last)
    if name == "emit":
        last.emit, last.emit_first = (args[0] if args else True), last.body is None
    else:
        if not args:
            raise TraversalError(f"{name}() takes what ends the loop")
        last.until, last.until_first = args[0], last.body is None


class Steps(list[Instruction]):
    """A traversal that was already arranged."""


def instructions_of(code: Any) -> list[Instruction]:
    """The calls of a traversal that is an argument."""
    if not is_traversal(code):
        raise TraversalError(f"a traversal is wanted here, not {code!r}")
    return list(code) if isinstance(code, Steps) else arranged(code.step_instructions)


@dataclass(slots=True, eq=False)
class Child:
    """A traversal inside a step, ready to be run on traversers."""

    run: Run
    steps: list[StepFunction]
    code: list[Instruction]
    resets: list[Callable[[], None]]
    closing: list[Any] = field(default_factory=list)

    def walk(self, walk: Walk) -> Walk:
        """What comes out when these traversers go in."""
        for each in self.steps:
            walk = each(walk)
        return walk

    def all(self, t: Traverser) -> Walk:
        """What comes out of one traverser, which is not touched."""
        for reset in self.resets:
            reset()
        walk: Walk = iter((Traverser(t.obj, 1, t.path, t.sack, t.loops),))
        for each in self.steps:
            walk = each(walk)
        return walk

    def through(self, t: Traverser) -> Walk:
        """What comes out of one traverser with all it stands for."""
        for reset in self.resets:
            reset()
        return self.walk(iter((Traverser(t.obj, t.bulk, t.path, t.sack, t.loops),)))

    def objects(self, t: Traverser) -> Iterator[Any]:
        """The objects that come out of one traverser."""
        for found in self.all(t):
            for _ in range(found.bulk):
                self.run.tick()
                yield found.obj

    def first(self, t: Traverser) -> Any:
        """The first object that comes out, or `MISSING`."""
        for found in self.all(t):
            return found.obj
        return MISSING

    def test(self, t: Traverser) -> bool:
        """Whether anything comes out."""
        return any(True for _ in self.all(t))

    @property
    def has_barrier(self) -> bool:
        """Whether a step in it, at any depth, waits for all that comes."""
        return any(spot.name in BARRIERS for spot in every(self.code))


def every(code: list[Instruction]) -> Iterator[Instruction]:
    """The instructions of a traversal and of all traversals inside it."""
    for spot in code:
        yield spot
        for inner in inner_codes(spot):
            yield from every(instructions_of(inner))


def inner_codes(spot: Instruction) -> Iterator[Any]:
    """The traversals that an instruction holds as its arguments or modulators."""
    parts = [spot.args, *spot.bys, *spot.options, *spot.withs, spot.origin or [], spot.target or []]
    for part in (*parts, [spot.until, spot.emit, spot.body]):
        for value in part:
            if is_traversal(value):
                yield value


def is_traversal(value: Any) -> bool:
    """Whether an argument is a traversal (and not a value with a cardinality)."""
    if isinstance(value, Steps):
        return True
    return isinstance(value, Bytecode) and not isinstance(value, CardinalityValue)


class Scope:
    """Where steps are made: the run they belong to, and what is around them."""

    def __init__(self, run: Run, *, parents: tuple[str, ...] = ()) -> None:
        self.run = run
        self.parents = parents
        self.resets: list[Callable[[], None]] = []
        self.ahead: list[Instruction] = []
        self.behind: list[Instruction] = []

    def child(self, code: Any, step_name: str) -> Child:
        """An anonymous traversal that is an argument of a step."""
        if not is_traversal(code):
            raise NotSupported(step_name, f"it wants a traversal here, not {code!r}")
        inner = Scope(self.run, parents=(*self.parents, step_name))
        made = inner.plan(instructions_of(code))
        self.resets.extend(made.resets)
        return made

    def plan(self, code: list[Instruction]) -> Child:
        """The functions of the steps of a traversal."""
        if self.run.connects:
            code = connected(code)
        functions: list[StepFunction] = []
        for place, spot in enumerate(code):
            builder = TABLE.get(spot.name)
            if builder is None:
                raise UnknownStep(spot.name, TABLE)
            check(spot)
            self.ahead, self.behind = code[place + 1 :], code[:place]
            functions.append(builder(self, spot))
        return Child(self.run, functions, code, self.resets)

    def grow(self, labels: tuple[str, ...]) -> Callable[[Traverser, Any], Traverser]:
        """What makes the traverser of the next object of the way."""
        if self.run.track == FULL or (labels and self.run.track == LABELLED):

            def kept(t: Traverser, obj: Any) -> Traverser:
                return Traverser(obj, t.bulk, (t.path, obj, labels), t.sack, t.loops)

            return kept

        def forgotten(t: Traverser, obj: Any) -> Traverser:
            return Traverser(obj, t.bulk, t.path, t.sack, t.loops)

        return forgotten

    def mapped(self, spot: Instruction, value: Value) -> StepFunction:
        """A step that gives one object for each, or none when the value is `MISSING`."""
        grow = self.grow(spot.labels)

        def function(walk: Walk) -> Walk:
            for t in walk:
                found = value(t)
                if found is not MISSING:
                    yield grow(t, found)

        return function

    def flattened(self, spot: Instruction, values: Callable[[Traverser], Any]) -> StepFunction:
        """A step that gives any number of objects for each."""
        grow = self.grow(spot.labels)

        def function(walk: Walk) -> Walk:
            for t in walk:
                for found in values(t):
                    yield grow(t, found)

        return function

    def filtered(self, spot: Instruction, keeps: Callable[[Traverser], bool]) -> StepFunction:
        """A step that lets through or not."""
        mark = marker(self.run, spot.labels)

        def function(walk: Walk) -> Walk:
            for t in walk:
                if keeps(t):
                    if mark is not None:
                        mark(t)
                    yield t

        return function

    def reduced(self, spot: Instruction, value: Callable[[Walk], Any]) -> StepFunction:
        """A step that makes one object of all, or none when the value is `MISSING`."""
        run = self.run

        def function(walk: Walk) -> Walk:
            found = value(walk)
            if found is not MISSING:
                yield run.start(found, spot.labels)

        return function

    def blocked(self, spot: Instruction, effect: Callable[[Traverser], None]) -> StepFunction:
        """A step that does something with all, and then lets all through."""
        mark = marker(self.run, spot.labels)
        run = self.run

        def function(walk: Walk) -> Walk:
            kept = []
            for t in walk:
                effect(t)
                kept.append(t)
                run.hold()
            run.drop(len(kept))
            for t in kept:
                if mark is not None:
                    mark(t)
                yield t

        return function


def marker(run: Run, labels: tuple[str, ...]) -> Callable[[Traverser], None] | None:
    """What gives the present object of a traverser these labels, None when there are none."""
    if not labels or not run.track:
        return None

    def mark(t: Traverser) -> None:
        node: Node | None = t.path
        if node is not None and (run.track == FULL or node[1] is t.obj):
            fresh = tuple(label for label in labels if label not in node[2])
            t.path = (node[0], node[1], node[2] + fresh)
        else:
            t.path = (node, t.obj, labels)

    return mark


def connected(code: list[Instruction]) -> list[Instruction]:
    """Infix `a.and().b` and `a.or().b` made calls with arguments; and() binds stronger."""
    if not any(spot.name in ("and", "or") and not spot.args for spot in code):
        return code
    first = next((i for i, spot in enumerate(code) if not _begins(i, spot)), 0)
    sides = [_joined("and", part) for part in _parted(code[first:], "or")]
    rest = sides[0] if len(sides) == 1 else [Instruction("or", [Steps(side) for side in sides])]
    return [*code[:first], *rest]


def _begins(place: int, spot: Instruction) -> bool:
    return place == 0 and (
        spot.name in ("V", "E", "inject") or (spot.name == "start" and not spot.labels)
    )


def _joined(name: str, code: list[Instruction]) -> list[Instruction]:
    parts = _parted(code, name)
    if len(parts) == 1:
        return code
    return [Instruction(name, [Steps(part) for part in parts])]


def _parted(code: list[Instruction], name: str) -> list[list[Instruction]]:
    parts: list[list[Instruction]] = [[]]
    for spot in code:
        if spot.name == name and not spot.args:
            parts.append([])
        else:
            parts[-1].append(spot)
    return parts
