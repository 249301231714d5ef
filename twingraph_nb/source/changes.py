"""Where a component changes a value of its notebook in place."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator, Mapping

__all__ = ["changed_names"]

_CONTAINERS = (list, dict, set, deque, bytearray)
_METHODS = frozenset(
    [
        "add",
        "append",
        "appendleft",
        "clear",
        "difference_update",
        "discard",
        "extend",
        "extendleft",
        "insert",
        "intersection_update",
        "pop",
        "popitem",
        "popleft",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "symmetric_difference_update",
        "update",
    ]
)
"""Methods of Python's containers that change them."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def changed_names(tree: ast.Module, data: Mapping[str, object]) -> dict[str, int]:
    """Give the line of the first change to each value, by name, in functions of this code.

    Args:
        data: the values that are not the functions' own.
    """
    search = _Search(data)
    search.visit(tree)
    return search.lines


class _Search(ast.NodeVisitor):
    def __init__(self, data: Mapping[str, object]) -> None:
        self.lines: dict[str, int] = {}
        self._data = data
        self._own: list[tuple[set[str], set[str]]] = []  # of each function around: local, global

    def visit_Call(self, node: ast.Call) -> None:
        method = node.func
        if isinstance(method, ast.Attribute) and method.attr in _METHODS:
            held = method.value
            if isinstance(held, ast.Name) and isinstance(self._data.get(held.id), _CONTAINERS):
                self._note(held)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load) and self._own and node.id in self._own[-1][1]:
            self._note(node)

    def _visit_function(self, node: _Function) -> None:
        stated = {name for one in _own_nodes(node) for name in _stated(one)}
        local = {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
        local |= {name for one in _own_nodes(node) for name in _bound(one)} - stated
        self._own.append((local, stated))
        self.generic_visit(node)
        self._own.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function

    def _visit_place(self, node: ast.Subscript | ast.Attribute) -> None:
        if not isinstance(node.ctx, ast.Load):
            root: ast.expr = node
            while isinstance(root, (ast.Subscript, ast.Attribute)):
                root = root.value
            if isinstance(root, ast.Name):
                self._note(root)
        self.generic_visit(node)

    visit_Subscript = visit_Attribute = _visit_place

    def _note(self, name: ast.Name) -> None:
        outside = self._own and not any(name.id in local for local, _ in self._own)
        if outside and name.id in self._data:
            self.lines.setdefault(name.id, name.lineno)


def _own_nodes(node: _Function) -> Iterator[ast.AST]:
    """What is in a function, but not in one inside of it."""
    todo: list[ast.AST] = list(node.body) if isinstance(node.body, list) else [node.body]
    while todo:
        one = todo.pop()
        yield one
        if not isinstance(one, _Function):
            todo.extend(ast.iter_child_nodes(one))


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a node binds where it stands."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
        yield node.name


def _stated(node: ast.AST) -> Iterator[str]:
    """The names that a node says are from outside."""
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        yield from node.names
