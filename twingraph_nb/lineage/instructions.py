"""The calls of a traversal, each with the modulators that follow it, as the engine keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from gremlin_python.process.traversal import Binding, Bytecode, CardinalityValue, Direction, P
from gremlin_python.process.traversal import Traversal as Spawned
from gremlin_python.statics import BigDecimal

from twingraph_nb.lineage.problems import TraversalError

__all__ = [
    "Instruction",
    "Steps",
    "arranged",
    "connected",
    "every",
    "given",
    "instructions_of",
    "is_traversal",
]

MODULATORS = {"as", "by", "from", "to", "option", "with", "read", "write"}
_SIDED = {"addE", "path", "simplePath", "cyclicPath", "tree"}
LOOPING = {"until", "emit", "times"}
_MODULATING = MODULATORS | LOOPING | {"repeat"}
_PLAIN = frozenset({str, int, float, bool, type(None)})


@dataclass(slots=True, eq=False)
class Instruction:
    """A step as it was called, with its modulators.

    nested: whether there may be traversals among all that it was given.
    """

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
    nested: bool = True

    @property
    def is_sided(self) -> bool:
        """Whether from() or to() was given."""
        return self.origin is not None or self.target is not None

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
        plain = _PLAIN.issuperset(map(type, raw))
        args = raw if plain else [given(value) for value in raw]
        if name not in _MODULATING:
            found.append(Instruction(name, args, nested=not plain))
            continue
        last = found[-1] if found else None
        if last is not None and not plain:
            last.nested = True
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
        else:
            _loop(found, name, args)
    return found


def _sided(found: list[Instruction], name: str, args: list[Any]) -> None:
    """Give from() or to() to its step; of addE() it may stand behind property()."""
    for spot in reversed(found):
        if spot.name in _SIDED:
            spot.nested = True
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
    if not _fits(name, args):
        raise TraversalError(f"{name}() takes {_LOOP_TAKES[name]}")
    last = found[-1] if found and found[-1].name == "repeat" and not found[-1].labels else None
    if name == "repeat":
        if last is None or last.body is not None:
            last = Instruction("repeat", [])
            found.append(last)
        last.loop_name = args[0] if len(args) > 1 else None
        last.body = args[-1]
        return
    what = "emit" if name == "emit" else "until"
    if last is None or getattr(last, what) is not None:
        last = Instruction("repeat", [])
        found.append(last)
    if name == "emit":
        last.emit, last.emit_first = (args[0] if args else True), last.body is None
    else:
        last.until, last.until_first = args[0], last.body is None


_LOOP_TAKES = {
    "repeat": "a traversal, and a name for loops() before it",
    "until": "the traversal or the predicate that ends the loop",
    "emit": "nothing, a traversal or a predicate",
    "times": "the number of rounds",
}


def _fits(name: str, args: list[Any]) -> bool:
    """Whether a part of a loop was given what it takes."""
    if name == "times":
        return len(args) == 1 and isinstance(args[0], int) and not isinstance(args[0], bool)
    if name == "repeat":
        named = len(args) == 2 and isinstance(args[0], str)
        return (named or len(args) == 1) and is_traversal(args[-1])
    tests = all(is_traversal(value) or isinstance(value, P) for value in args)
    return tests and (len(args) == 1 or (name == "emit" and not args))


class Steps(list[Instruction]):
    """A traversal that was already arranged."""


def instructions_of(code: Any) -> list[Instruction]:
    """The calls of a traversal that is an argument."""
    if not is_traversal(code):
        raise TraversalError(f"a traversal is wanted here, not {code!r}")
    return list(code) if isinstance(code, Steps) else arranged(code.step_instructions)


def every(code: list[Instruction]) -> Iterator[Instruction]:
    """The instructions of a traversal and of all traversals inside it."""
    for spot in code:
        yield spot
        if spot.nested:
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
