"""Bytecode to a chain of generators: one function per step, found in a table by its name.

A step's function takes the walk of traversers before it and gives the walk behind it, so that a
traversal is lazy from end to end. What a step needs to be made of is an `Instruction`: the call
in the bytecode with the modulators (`as by from to option with ...`) that follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from twingraph_nb.lineage.containers import MISSING
from twingraph_nb.lineage.instructions import (
    Instruction,
    connected,
    every,
    instructions_of,
    is_traversal,
)
from twingraph_nb.lineage.problems import NotSupported, UnknownStep
from twingraph_nb.lineage.signatures import check
from twingraph_nb.lineage.traverser import FULL, LABELLED, Node, Run, Traverser, Walk

__all__ = [
    "BARRIERS",
    "TABLE",
    "Child",
    "Scope",
    "StepFunction",
    "Value",
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
class Child:
    """A traversal inside a step, ready to be run on traversers."""

    run: Run
    steps: list[StepFunction]
    code: list[Instruction]
    resets: list[Callable[[], None]]
    closing: list[Any] = field(default_factory=list)
    values: list[Value] | None = None
    """What its steps compute one after the other, where each gives one object for one."""

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
        if self.values is not None:
            return self._computed(t, self.values)
        for found in self.all(t):
            return found.obj
        return MISSING

    @staticmethod
    def _computed(t: Traverser, values: list[Value]) -> Any:
        """The same without generators, which cost more than these steps."""
        found = t.obj
        for place, value in enumerate(values):
            if place:
                t = Traverser(found, 1, t.path, t.sack, t.loops)
            found = value(t)
            if found is MISSING:
                break
        return found

    def test(self, t: Traverser) -> bool:
        """Whether anything comes out."""
        return any(True for _ in self.all(t))

    @property
    def has_barrier(self) -> bool:
        """Whether a step in it, at any depth, waits for all that comes."""
        return any(spot.name in BARRIERS for spot in every(self.code))


class Scope:
    """Where steps are made: the run they belong to, and what is around them."""

    def __init__(self, run: Run, *, parents: tuple[str, ...] = ()) -> None:
        self.run = run
        self.parents = parents
        self.resets: list[Callable[[], None]] = []
        self.ahead: list[Instruction] = []
        self.behind: list[Instruction] = []
        self._mapped: tuple[StepFunction, Value] | None = None

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
        values: list[Value] = []
        for place, spot in enumerate(code):
            builder = TABLE.get(spot.name)
            if builder is None:
                raise UnknownStep(spot.name, TABLE)
            check(spot)
            self.ahead, self.behind = code[place + 1 :], code[:place]
            functions.append(builder(self, spot))
            if self._mapped is not None and self._mapped[0] is functions[-1]:
                values.append(self._mapped[1])
        simple = len(values) == len(functions) and not self.resets and self.run.track != FULL
        return Child(self.run, functions, code, self.resets, values=values if simple else None)

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

        if not spot.labels:
            self._mapped = function, value
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
