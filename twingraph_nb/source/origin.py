"""Where a function or class was written: the part of a bundle that is its text."""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
import sys
import types
from collections.abc import Iterator
from functools import lru_cache

from twingraph_nb.rebuild import Part
from twingraph_nb.source.parsed import parse
from twingraph_nb.source.text import Source, text_of

__all__ = ["class_part", "function_part", "whole_text"]

_FLAGS = 0
for _name in __future__.all_feature_names:
    _FLAGS |= getattr(__future__, _name).compiler_flag
Definition = ast.FunctionDef | ast.AsyncFunctionDef


def function_part(
    function: types.FunctionType, home: str, imported: bool, source: Source | None
) -> Part | None:
    """Give a function as a part, None where Python kept no source of it.

    Args:
        source: its source if known better than by its code's file.
    """
    code = function.__code__
    text, line = _written(code)
    if not text and source is not None and source.text:
        text, line = source.text, source.line
        if not _is_definition(text):
            return None
    if not text:
        return None
    return Part(
        "lambda" if code.co_name == "<lambda>" else "function",
        home,
        imported,
        code.co_name,
        function.__qualname__,
        code.co_filename,
        text,
        line,
        code.co_flags & _FLAGS,
        code.co_freevars,
    )


def class_part(kind: type, imported: bool) -> Part | None:
    """Give a class as a part, None where Python kept no source of it."""
    filename, text, line, flags = f"<class {kind.__qualname__}>", "", 1, _flags_around(kind)
    extra: tuple[object, ...] = ()
    for code in _methods(kind):
        node = _class_around(code, kind.__name__)
        if node is not None:
            filename, flags = code.co_filename, code.co_flags & _FLAGS
            text, line = _lines(_file(filename), node)
            break
    sort = "class"
    text = text or text_of(kind)
    if not text:
        if not _is_namedtuple(kind):
            return None
        sort = "namedtuple"
        fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
        defaults = kind._field_defaults  # type: ignore[attr-defined]
        extra = (fields, tuple(defaults.values()))
    name = kind.__name__
    return Part(
        sort, kind.__module__, imported, name, kind.__qualname__, filename, text, line, flags, extra
    )


def _flags_around(kind: type) -> int:
    """The `__future__` imports of the module of a class, which has no code that would tell."""
    space = getattr(sys.modules.get(kind.__module__), "__dict__", {})
    named = [n for n in __future__.all_feature_names if space.get(n) is getattr(__future__, n)]
    return sum(getattr(__future__, name).compiler_flag for name in named)


def whole_text(part: Part) -> str:
    """Give the text of the cell or file a part is from, for the far side's tracebacks."""
    whole = _file(part.filename)
    return whole or "\n" * (part.line - 1) + part.text


def _written(code: types.CodeType) -> tuple[str, int]:
    """The lines of the definition a code object was compiled from, and the first one's number."""
    whole = _file(code.co_filename)
    if code.co_name == "<lambda>":
        found = _lambda(whole, code)
        if found is None:
            return "", 0
        return ast.get_source_segment(whole, found) or "", found.lineno
    for node in _nodes(whole):
        if not isinstance(node, Definition) or node.name != code.co_name:
            continue
        if _first_line(node) == code.co_firstlineno:
            return _lines(whole, node)
    return "", 0


def _lambda(whole: str, code: types.CodeType) -> ast.Lambda | None:
    """The lambda of that line; of several, the one that compiles to the same code."""
    found = [
        node
        for node in _nodes(whole)
        if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno
    ]
    for node in found if len(found) > 1 else ():
        names = ", ".join(code.co_freevars)
        holder = parse(f"def _holder({names}): pass")
        holder.body[0].body = [ast.Return(node)]  # type: ignore[attr-defined]
        made = compile(ast.fix_missing_locations(holder), code.co_filename, "exec")
        inner = made.co_consts[0].co_consts
        same = [c for c in inner if isinstance(c, types.CodeType)]
        if same and _alike(same[0], code):
            return node
    return found[0] if found else None


def _alike(one: types.CodeType, other: types.CodeType) -> bool:
    return (one.co_code, one.co_names, one.co_varnames, repr(one.co_consts)) == (
        other.co_code,
        other.co_names,
        other.co_varnames,
        repr(other.co_consts),
    )


def _class_around(code: types.CodeType, name: str) -> ast.ClassDef | None:
    for node in _nodes(_file(code.co_filename)):
        if not isinstance(node, ast.ClassDef) or node.name != name:
            continue
        if _first_line(node) <= code.co_firstlineno <= (node.end_lineno or 0):
            return node
    return None


def _methods(kind: type) -> Iterator[types.CodeType]:
    for member in vars(kind).values():
        member = member.fget if isinstance(member, property) else member
        member = getattr(member, "__func__", member)
        if inspect.isroutine(member):
            inner = inspect.unwrap(member)
            if isinstance(inner, types.FunctionType):
                yield inner.__code__


def _first_line(node: Definition | ast.ClassDef) -> int:
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])


def _lines(whole: str, node: Definition | ast.ClassDef) -> tuple[str, int]:
    first = _first_line(node)
    return "".join(whole.splitlines(keepends=True)[first - 1 : node.end_lineno]), first


def _file(name: str) -> str:
    return "".join(linecache.getlines(name))


@lru_cache(maxsize=32)
def _nodes(whole: str) -> tuple[ast.AST, ...]:
    try:
        return tuple(ast.walk(parse(whole)))
    except SyntaxError:
        return ()


def _is_definition(text: str) -> bool:
    try:
        body = parse(text if text[:1] not in " \t" else "if 1:\n" + text).body
    except SyntaxError:
        return False
    last = body[-1] if body else None
    if isinstance(last, ast.If):
        last = last.body[-1]
    return isinstance(last, Definition)


def _is_namedtuple(kind: type) -> bool:
    return issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple)
