"""Where a component, or what it leads to, uses a name: the cell or file and the line."""

from __future__ import annotations

import ast
import builtins
import dis
import sys
import textwrap
import types
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping

from twingraph_nb.source.origin import class_part
from twingraph_nb.source.reach import free_names, global_names, inner_function
from twingraph_nb.source.text import Source, place_of

__all__ = ["code_of", "lines_of", "missing_names", "place_in", "use_of"]

_READS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FAST", "LOAD_FROM_")
"""How the operations begin that read a variable; an attribute or a text may be called alike."""


def code_of(thing: object) -> types.CodeType | None:
    """Give the code of a function, or of a class's definition, methods included.

    Its lines are those of the cell or file; None where Python kept no source of a class.
    """
    if not isinstance(thing, type):
        return getattr(thing, "__code__", None)
    part = class_part(thing, imported=False)
    if part is None or part.kind != "class":
        return None
    try:
        tree = ast.parse(textwrap.dedent(part.text))
    except SyntaxError:
        return None
    ast.increment_lineno(tree, part.line - 1)
    made: types.CodeType = compile(tree, part.filename, "exec", flags=part.flags, dont_inherit=True)
    return made


def missing_names(thing: types.FunctionType | type, code: types.CodeType) -> Iterator[str]:
    """Give the names that a function or class uses and that are nowhere.

    Args:
        code: its own, of `code_of`.
    """
    if isinstance(thing, type):  # what its body reads may be its own, and was there when it ran
        names, stored = global_names(code), set(_stored_names(code, "STORE_GLOBAL"))
    else:
        names, stored = free_names(code), set(_stored_names(code, "STORE_GLOBAL", "STORE_NAME"))
    space = _space_of(thing)
    for name in names:
        if name not in space and name not in stored and not hasattr(builtins, name):
            yield name


def _space_of(thing: types.FunctionType | type) -> Mapping[str, object]:
    """The global names that its code finds."""
    if not isinstance(thing, type):
        return thing.__globals__
    own = [inner.__globals__ for inner in map(inner_function, vars(thing).values()) if inner]
    return ChainMap(*own[:1], vars(sys.modules[thing.__module__]))


def use_of(things: Iterable[object], name: str, source: Source) -> str:
    """Give the first place that uses a name: "cell [3], line 5"; "" if none does.

    Args:
        things: functions and classes, in the order in which they are looked through.
        source: of the component.
    """
    for thing in things:
        code = code_of(thing)
        if code is not None and next(lines_of(code, name), 0):
            return place_in(code, name, source)
    return ""


def place_in(code: types.CodeType, name: str, source: Source) -> str:
    """Give the place at which code uses a name, as the user knows it."""
    own = code.co_filename == source.filename and source.cell
    line = next(lines_of(code, name), code.co_firstlineno)
    return f"{source.cell if own else place_of(code.co_filename)}, line {line}"


def lines_of(code: types.CodeType, name: str) -> Iterator[int]:
    """Give the lines of code that read a variable of that name."""
    for step in dis.get_instructions(code):
        if isinstance(step.argval, types.CodeType):
            yield from lines_of(step.argval, name)
        elif step.opname.startswith(_READS) and step.positions and step.positions.lineno:
            # Since Python 3.13 one operation may read two variables.
            read = step.argval if isinstance(step.argval, tuple) else (step.argval,)
            if name in read:
                yield step.positions.lineno


def _stored_names(code: types.CodeType, *operations: str) -> Iterator[str]:
    """Give the names that such operations set, in nested functions too."""
    for step in dis.get_instructions(code):
        if step.opname in operations:
            yield step.argval
        elif isinstance(step.argval, types.CodeType):
            yield from _stored_names(step.argval, *operations)
