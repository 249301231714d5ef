"""The signature of a cell that has none: what it reads from outside, what it leaves behind."""

from __future__ import annotations

import ast
import builtins
import functools
import types
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from twingraph_nb.errors import AmbiguousCell
from twingraph_nb.source.portability import import_for
from twingraph_nb.source.reach import is_component

__all__ = ["Names", "infer_inputs", "infer_outputs", "is_tool", "names_of"]

_BUILTIN = frozenset(vars(builtins)) | {"get_ipython", "__name__", "__file__"}
MOST_OUTPUTS = 6
"""More names than this are working steps rather than results."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names a cell uses, in order.

    free: read and never assigned, with the line of the first read. assigned: results, without
    temporaries (loop variables, imports, names that begin with "_" or are deleted).
    early: assigned, but read before that, with the line. every: all names the cell assigns.
    """

    free: Mapping[str, int]
    assigned: tuple[str, ...]
    early: Mapping[str, int]
    every: frozenset[str]


def names_of(statements: Iterable[ast.stmt]) -> Names:
    """Give the names that statements use, as Python evaluates them."""
    seen = _Reader()
    for node in statements:
        seen.visit(node)
    stored, temporary = seen.stored, seen.temporary
    free = {n: at for n, at in {**seen.deferred, **seen.read}.items() if n not in stored}
    order = sorted(free, key=lambda n: (free[n], n))
    kept = [n for n in stored if n not in temporary and not n.startswith("_")]
    early = {n: at for n, at in seen.read.items() if n in stored and n in seen.early}
    return Names({n: free[n] for n in order}, tuple(kept), early, frozenset(stored))


def is_tool(value: object) -> bool:
    """Tell whether a value is code (module, function, class, component) rather than data."""
    if is_component(value) or isinstance(value, (types.ModuleType, type)):
        return True
    code = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial)
    if isinstance(value, code) or isinstance(
        getattr(value, "__wrapped__", None), types.FunctionType
    ):
        return True
    kind = type(value)
    return kind.__module__ in ("typing", "twingraph_nb.context") or kind.__name__ == "ufunc"


def infer_inputs(
    names: Names, namespace: Mapping[str, object], given: Collection[str], *, name: str, where: str
) -> tuple[str, ...]:
    """Give the names that have to come from outside.

    Args:
        namespace: what the notebook holds.
        given: names of outputs that other components give.
    Raises:
        AmbiguousCell: a name is not known anywhere, or is read before it is assigned.
    """
    if names.early:
        early, line = next(iter(names.early.items()))
        raise AmbiguousCell(
            f"{early!r} is read in line {line} and assigned later, so it is both an input and "
            f"a result",
            write=written(name, [*_known_inputs(names, namespace, given), early], [early]),
            where=where,
        )
    inputs = []
    for free, line in names.free.items():
        if free in namespace and not is_tool(namespace[free]):
            inputs.append(free)
        elif free in namespace or free in _BUILTIN:
            continue
        elif free in given:
            inputs.append(free)
        else:
            missing = import_for(free)
            cure = f", unless it should be an import (`{missing}` in the cell)" if missing else ""
            raise AmbiguousCell(
                f"{free!r} in line {line} is not known: the notebook does not hold it and no "
                f"component gives it{cure}",
                write=written(
                    name,
                    _known_inputs(names, namespace, given) + ([] if missing else [free]),
                    names.assigned,
                ),
                where=where,
            )
    return tuple(inputs)


def infer_outputs(
    names: Names, inputs: Collection[str], *, name: str, where: str
) -> tuple[str, ...]:
    """Give the names that the cell leaves behind.

    Raises:
        AmbiguousCell: there are none, or too many to be results.
    """
    found = names.assigned
    if not found:
        raise AmbiguousCell(
            "the cell assigns nothing that could be an output; assign its result to a name",
            write=written(name, inputs, ["result"]),
            where=where,
        )
    if len(found) > MOST_OUTPUTS:
        raise AmbiguousCell(
            f"the cell assigns {len(found)} names ({', '.join(found)}); say which are results",
            write=written(name, inputs, found[-1:]),
            where=where,
        )
    return found


def written(name: str, inputs: Iterable[str], outputs: Iterable[str]) -> str:
    """Give the magic line that would say it."""
    return f"%%component {name}({', '.join(inputs)}) -> {', '.join(outputs) or 'result'}"


def _known_inputs(
    names: Names, namespace: Mapping[str, object], given: Collection[str]
) -> list[str]:
    held = {n for n in names.free if n in namespace and not is_tool(namespace[n])}
    return [n for n in names.free if n in held or (n in given and n not in namespace)]


class _Reader(ast.NodeVisitor):
    """Walks statements in the order Python evaluates them."""

    def __init__(self) -> None:
        self.read: dict[str, int] = {}
        self.deferred: dict[str, int] = {}
        """Read inside a function: when it is called, not now."""
        self.stored: dict[str, None] = {}
        self.temporary: set[str] = set()
        self.early: set[str] = set()
        self._hidden: list[set[str]] = []

    def visit_Name(self, node: ast.Name) -> None:
        if any(node.id in names for names in self._hidden):
            return
        if isinstance(node.ctx, ast.Store):
            self._store(node.id)
        elif isinstance(node.ctx, ast.Del):
            self.temporary.add(node.id)
        else:
            self._load(node.id, node.lineno)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._each(node.value, *node.targets)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._each(node.annotation, node.value, node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._load(node.target.id, node.lineno)
        self._each(node.value, node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._each(node.value, node.target)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self._temporarily(node.target)
        self._each(*node.body, *node.orelse)

    visit_AsyncFor = visit_For

    def visit_withitem(self, node: ast.withitem) -> None:
        self.visit(node.context_expr)
        if node.optional_vars is not None:
            self._temporarily(node.optional_vars)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._store(node.name)
            self.temporary.add(node.name)
        self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> None:
        name = node.asname or node.name.partition(".")[0]
        self._store(name)
        self.temporary.add(name)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self.generic_visit(node)
        if node.name:
            self._store(node.name)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name:
            self._store(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.generic_visit(node)
        if node.rest:
            self._store(node.rest)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._each(*node.decorator_list)
        self._function(node.args, node.body)
        self._store(node.name)
        self.temporary.add(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node.args, [ast.Expr(node.body)])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._each(*node.decorator_list, *node.bases, *node.keywords)
        inner = names_of(node.body)
        for name, line in inner.free.items():
            self.deferred.setdefault(name, line)
        self._store(node.name)
        self.temporary.add(node.name)

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> None:
        self._comprehension(node.generators, node.elt)

    visit_SetComp = visit_GeneratorExp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node.generators, node.key, node.value)

    def _comprehension(self, parts: list[ast.comprehension], *results: ast.expr) -> None:
        hidden: set[str] = set()
        self._hidden.append(hidden)
        for part in parts:
            self.visit(part.iter)
            hidden.update(n.id for n in ast.walk(part.target) if isinstance(n, ast.Name))
            self._each(*part.ifs)
        self._each(*results)
        self._hidden.pop()

    def _function(self, args: ast.arguments, body: list[ast.stmt]) -> None:
        self._each(*args.defaults, *(d for d in args.kw_defaults if d is not None))
        own = {a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)}
        own |= {a.arg for a in (args.vararg, args.kwarg) if a is not None}
        for name, line in names_of(body).free.items():
            if name not in own and not any(name in names for names in self._hidden):
                self.deferred.setdefault(name, line)

    def _each(self, *nodes: ast.AST) -> None:
        for node in nodes:
            self.visit(node)

    def _temporarily(self, target: ast.expr) -> None:
        before = set(self.stored)
        self.visit(target)
        self.temporary |= set(self.stored) - before

    def _store(self, name: str) -> None:
        self.stored.setdefault(name)

    def _load(self, name: str, line: int) -> None:
        if name not in self.stored:
            self.early.add(name)
            self.read.setdefault(name, line)
