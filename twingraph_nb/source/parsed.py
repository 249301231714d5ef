"""Python text as a syntax tree, also while other threads parse."""

from __future__ import annotations

import ast
import threading
from typing import Literal, overload

__all__ = ["parse"]

_TRIES = 20
_lock = threading.Lock()


@overload
def parse(text: str) -> ast.Module: ...
@overload
def parse(text: str, mode: Literal["eval"]) -> ast.Expression: ...


def parse(text: str, mode: Literal["exec", "eval"] = "exec") -> ast.AST:
    """Give the syntax tree of a text, as `ast.parse` does.

    Python 3.11.0 to 3.11.7 count the depth of all trees that are being made in one place, so that
    one thread's `ast.parse` may fail because of another's (CPython issue 106905): it is tried
    again then.

    Raises:
        SyntaxError, ValueError: it is not Python.
    """
    for _ in range(_TRIES):
        try:
            with _lock:
                return ast.parse(text, mode=mode)
        except SystemError:  # of another thread that parses without this lock
            continue
    return ast.parse(text, mode=mode)
