"""What would keep a component from running anywhere else than in this notebook's kernel."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import io
import pickle
import re
import socket
import sqlite3
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twingraph_nb.source.changes import changed_names
from twingraph_nb.source.packer import Enough, Limited
from twingraph_nb.source.parsed import parse
from twingraph_nb.source.reach import Reach, reach
from twingraph_nb.source.text import Source

__all__ = ["Finding", "check", "import_for", "live_kind"]

Kind = Literal[
    "undefined", "missing_import", "unpicklable", "absolute_path", "live_object", "changed"
]

_ALIASES = {
    "np": "numpy",
    "pd": "pandas",
    "plt": "matplotlib.pyplot",
    "sns": "seaborn",
    "nx": "networkx",
    "pl": "polars",
    "tf": "tensorflow",
    "xr": "xarray",
    "jnp": "jax.numpy",
}
"""Names that whole communities give to a module."""
_ROOTS = frozenset(
    [
        "home",
        "Users",
        "tmp",
        "mnt",
        "data",
        "var",
        "opt",
        "etc",
        "usr",
        "media",
        "root",
        "srv",
        "Volumes",
        "content",
        "work",
    ]
)
_LIVE: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (io.IOBase, "an open file"),
    (socket.socket, "an open socket"),
    (sqlite3.Connection, "an open database connection"),
    ((type(threading.Lock()), type(threading.RLock())), "a lock"),
    ((threading.Event, threading.Condition, threading.Semaphore), "a lock"),
    (threading.Thread, "a thread"),
    ((types.GeneratorType, types.AsyncGeneratorType), "a generator"),
    (types.CoroutineType, "a coroutine"),
    ((asyncio.Future, asyncio.AbstractEventLoop), "part of an event loop"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that would go wrong elsewhere; `message` says the line and the cure."""

    kind: Kind
    name: str
    line: int
    message: str


def check(function: Callable[..., object], source: Source) -> tuple[Finding, ...]:
    """Give what would keep a function from running elsewhere, in the order of its lines."""
    reached = reach(function, source.text)
    lines = _lines(source)
    found = [*_missing(reached, lines), *_captures(reached, lines), *_paths(source)]
    found += _changes(reached, source)
    return tuple(sorted(found, key=lambda f: (f.line, f.name)))


def import_for(name: str) -> str:
    """Give the import that would define a name (``import re``), "" if it is no module's."""
    module = _ALIASES.get(name, name)
    try:
        there = module in sys.stdlib_module_names or importlib.util.find_spec(
            module.partition(".")[0]
        )
    except (ImportError, ValueError):
        return ""
    if not there or name.startswith("_"):
        return ""
    return f"import {module}" if module == name else f"import {module} as {name}"


def live_kind(value: object) -> str:
    """Say what a value is if it lives in this process only (``an open file``), "" otherwise."""
    for kind, said in _LIVE:
        if isinstance(value, kind):
            return said
    return "a task" if type(value).__module__ == "twingraph_nb.graph.task" else ""


def _missing(reached: Reach, lines: dict[str, int]) -> Iterator[Finding]:
    for name in reached.missing:
        at = lines.get(name, 0)
        wanted = import_for(name)
        if wanted:
            cure = f"`{name}` is never imported; write `{wanted}` in the cell"
            yield Finding("missing_import", name, at, _said(at, cure))
        elif name == "get_ipython":
            cure = "notebook magics and shell lines work in the kernel only; use plain Python"
            yield Finding("live_object", name, at, _said(at, cure))
        else:
            cure = f"`{name}` is not defined; make it an input, or define it before the call"
            yield Finding("undefined", name, at, _said(at, cure))


def _captures(reached: Reach, lines: dict[str, int]) -> Iterator[Finding]:
    for name, value in reached.data.items():
        at = lines.get(name, 0)
        live = live_kind(value)
        if name == "get_ipython":
            cure = "notebook magics and shell lines work in the kernel only; use plain Python"
            yield Finding("live_object", name, at, _said(at, cure))
        elif live == "a task":
            cure = f"`{name}` is a task; give it to the component as an input"
            yield Finding("live_object", name, at, _said(at, cure))
        elif live:
            cure = f"`{name}` is {live} of this kernel; make it inside the component"
            yield Finding("live_object", name, at, _said(at, cure))
        else:
            problem = _unpicklable(value)
            if problem:
                cure = f"`{name}` cannot be pickled ({problem}); make it inside the component"
                yield Finding("unpicklable", name, at, _said(at, cure))


def _changes(reached: Reach, source: Source) -> Iterator[Finding]:
    for name, line in changed_names(_tree(source), reached.data).items():
        at = source.line + line - 1
        cure = (
            f"`{name}` of the notebook is changed here: elsewhere only a copy is, and each call "
            "reads all of it; return what is new instead"
        )
        yield Finding("changed", name, at, _said(at, cure))


def _paths(source: Source) -> Iterator[Finding]:
    tree = _tree(source)
    texts = _docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            path = node.value
            if _is_absolute(path):
                at = source.line + node.lineno - 1
                cure = f"the path {path!r} is of this machine; make it an input"
                yield Finding("absolute_path", path, at, _said(at, cure))


def _is_absolute(text: str) -> bool:
    if "\n" in text or len(text) > 1024:
        return False
    if re.match(r"[A-Za-z]:[\\/]\w|\\\\\w|~\w*/\w", text):
        return True
    first = re.match(r"/([\w.-]+)/[^/\s]", text)
    return bool(first) and (first[1] in _ROOTS or Path(f"/{first[1]}").is_dir())  # type: ignore[index]


def _unpicklable(value: object) -> str:
    if isinstance(value, (int, float, complex, str, bytes, bool, type(None))):
        return ""
    try:
        pickle.Pickler(Limited(), protocol=5, buffer_callback=_drop).dump(value)
    except Enough:
        return ""
    except Exception as exc:  # any class may refuse in its own way: it is what we are asking
        return f"{type(exc).__name__}: {exc}"
    return ""


def _drop(buffer: pickle.PickleBuffer) -> bool:
    return False


def _lines(source: Source) -> dict[str, int]:
    """The line, as the user sees it, of the first use of each name."""
    lines: dict[str, int] = {}
    for node in ast.walk(_tree(source)):
        if isinstance(node, ast.Name):
            at = source.line + node.lineno - 1
            lines[node.id] = min(at, lines.get(node.id, at))
    return lines


def _tree(source: Source) -> ast.Module:
    try:
        return parse(source.text)
    except SyntaxError:
        return ast.Module([], [])


def _docstrings(tree: ast.Module) -> set[int]:
    """Constants that are statements by themselves."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def _said(line: int, cure: str) -> str:
    return f"line {line}: {cure}" if line else cure
