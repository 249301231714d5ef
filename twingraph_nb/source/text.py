"""The text of a function: where it was written, and a digest that ignores layout."""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from twingraph_nb.source.parsed import parse

__all__ = ["Source", "class_text", "normalised", "place_of", "segment", "source_of", "text_of"]


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a component.

    text: the function's own text, dedented; "" where Python kept none (for example `exec`).
    cell: what the user calls its place: "cell [3]" or a file's path.
    line: the line in that cell or file at which `text` starts, from 1.
    filename: the name it was compiled under, as tracebacks have it.
    digest: sha256 over the normalised text; comments, layout and docstring do not count.
    """

    text: str
    cell: str
    line: int
    filename: str
    digest: str

    @property
    def where(self) -> str:
        """The place for error messages."""
        return f"{self.cell}, line {self.line}"


def source_of(function: Callable[..., object], *, cell: str = "", text: str = "") -> Source:
    """Give the source of a function.

    Args:
        cell: the name of its place if known better than by its code's file name.
        text: its text if known better than by `inspect`.
    """
    code = inspect.unwrap(function).__code__
    line = code.co_firstlineno
    if not text:
        try:
            lines, line = inspect.getsourcelines(function)
            text = textwrap.dedent("".join(lines))
        except (OSError, TypeError):
            text = ""
    digest = normalised(text) if text else _code_digest(code)
    return Source(text, cell or place_of(code.co_filename), line, code.co_filename, digest)


def place_of(filename: str) -> str:
    """Give what the user calls a file: "cell [3]" for a notebook's cell, else its own name."""
    number = _ran().get(filename)
    return filename if number is None else f"cell [{number}]"


def _ran() -> Mapping[str, int]:
    """The number of the run, for each file of a cell of this notebook, that was its last."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    found: Mapping[str, int] = getattr(getattr(shell, "compile", None), "_filename_map", {})
    return found


def text_of(thing: object) -> str:
    """Give the dedented source of a function or class, "" where Python kept none."""
    if isinstance(thing, type):
        return class_text(thing)
    try:
        return textwrap.dedent(inspect.getsource(thing))  # type: ignore[arg-type]
    except (OSError, TypeError):
        return ""


def class_text(kind: type) -> str:
    """Give the dedented source of a class, "" where Python kept none.

    `inspect` cannot find a class of a notebook before Python 3.13; the cell is found by its
    methods, or by looking through the cells that Python remembers, latest first, for a class that
    has its methods and fields.
    """
    if kind.__module__ != "__main__":
        try:
            return textwrap.dedent(inspect.getsource(kind))
        except (OSError, TypeError):
            return ""
    for name in _files_of(kind):
        text = "".join(linecache.getlines(name))
        found = _class_in(text, kind)
        if found:
            return found
    return ""


def _files_of(kind: type) -> Iterator[str]:
    for member in vars(kind).values():
        if isinstance(member, types.FunctionType) and not member.__code__.co_filename.startswith(
            "<string"
        ):
            yield member.__code__.co_filename
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if main:
        yield main
    # Cells never have a modification time in the line cache, files always do.
    cells = [name for name, kept in linecache.cache.items() if kept[1:2] == (None,)][::-1]
    ran = _ran()  # a cell that runs again, as it was before, keeps its place in the cache
    yield from sorted(cells, key=lambda name: ran.get(name, 0), reverse=True)


def _class_in(text: str, kind: type) -> str:
    name = kind.__qualname__.rpartition(".")[2]
    if f"class {name}" not in text:
        return ""
    try:
        tree = parse(text)
    except SyntaxError:
        return ""
    for node in reversed(tree.body):
        if isinstance(node, ast.ClassDef) and node.name == name and _fits(node, kind):
            return segment(text, node)
    return ""


def _fits(node: ast.ClassDef, kind: type) -> bool:
    """Tell whether a class has the methods and the fields of that definition."""
    methods, fields = set(), set()
    for each in node.body:
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
            methods.add(each.name)
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            fields.add(each.target.id)
    plain = {one for one in methods if not one.startswith("__") or one.endswith("__")}
    private = {one for one in fields if one.startswith("__")}  # these are renamed
    return plain <= vars(kind).keys() and fields - private <= kind.__annotations__.keys()


def segment(text: str, node: ast.stmt) -> str:
    """Give the whole lines of a definition, decorators included, dedented."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(d.lineno for d in decorators)])
    lines = text.splitlines(keepends=True)[first - 1 : node.end_lineno]
    return textwrap.dedent("".join(lines))


@lru_cache(maxsize=2048)
def normalised(text: str) -> str:
    """Give the sha256 of a text as Python reads it: without comments, layout and docstrings.

    Decorators do not count either: the policy has its own part in a digest.
    """
    tree = parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
                node.body = body[1:] or [ast.Pass()]
    for top in tree.body:
        if isinstance(top, (ast.FunctionDef, ast.AsyncFunctionDef)):
            top.decorator_list = []
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _code_digest(code: object) -> str:
    found = hashlib.sha256()
    stack = [code]
    while stack:
        one = stack.pop()
        found.update(one.co_code)  # type: ignore[attr-defined]
        for const in one.co_consts:  # type: ignore[attr-defined]
            if hasattr(const, "co_code"):
                stack.append(const)
            else:
                found.update(repr(const).encode())
        found.update(repr(one.co_names).encode())  # type: ignore[attr-defined]
    return found.hexdigest()
