"""What a function reaches outside of itself: helpers, imports, values, other components."""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from twingraph_nb.source.parsed import parse
from twingraph_nb.source.text import text_of

__all__ = [
    "Reach",
    "free_names",
    "global_names",
    "importable",
    "inner_function",
    "is_builtin",
    "is_component",
    "reach",
]

_READS_GLOBAL = frozenset({"LOAD_GLOBAL"})
_READS_NAME = _READS_GLOBAL | {"LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_BUILTIN = frozenset(vars(builtins))


@dataclass(frozen=True, slots=True)
class Reach:
    """The names a function uses that are not its own, by what stands behind them.

    functions: helpers (functions and classes) written in the notebook or script itself, or in
        the function's own module; their source must travel with it.
    texts: the source of each of `functions`, "" where Python kept none.
    modules: import statement by the name it binds.
    data: captured values, from globals and closures.
    components: other components and pipelines.
    missing: names that are not there, in order of first use.
    """

    functions: dict[str, Callable[..., object] | type] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    data: dict[str, object] = field(default_factory=dict)
    components: dict[str, object] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


def reach(function: Callable[..., object], text: str = "") -> Reach:
    """Give what a function reaches, through notebook-defined helpers too.

    Args:
        text: the function's source if known better than by `inspect` (a body form cell's).
    """
    return _Walk(inspect.unwrap(function), text).walk()


def is_builtin(name: str, value: object) -> bool:
    """Tell whether a name means Python's own: a notebook's `open` is IPython's, around that."""
    own: object = getattr(builtins, name, None)
    return own is not None and (value is own or _wrapped(value) is own)


def is_component(value: object) -> bool:
    """Tell whether a value is a component or a pipeline."""
    kind = type(value)
    return kind.__module__ == "twingraph_nb.component" and hasattr(kind, "function")


def importable(thing: object) -> bool:
    """Tell whether another process can import a function or class by its module and name."""
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    path = getattr(thing, "__qualname__", "<none>")
    if module is None or module.__name__ == "__main__" or getattr(module, "__spec__", None) is None:
        return False
    found: object = module
    for part in path.split("."):
        found = getattr(found, part, None)
    return found is thing or (is_component(found) and getattr(found, "function", None) is thing)


def free_names(code: types.CodeType) -> Iterator[str]:
    """Give the global names that code reads, nested functions included, in order of first use."""
    return iter(dict.fromkeys(_read_by(code, _READS_NAME)))


def global_names(code: types.CodeType) -> Iterator[str]:
    """Give the same without the names that bodies of classes and modules read, maybe their own."""
    return iter(dict.fromkeys(_read_by(code, _READS_GLOBAL)))


def _read_by(code: types.CodeType, operations: frozenset[str]) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname in operations:
            yield step.argval
        elif isinstance(step.argval, types.CodeType):
            yield from _read_by(step.argval, operations)


class _Walk:
    """One walk over a function and the helpers it leads to."""

    def __init__(self, root: Callable[..., object], text: str) -> None:
        self._root, self._text = root, text
        self._found = Reach()
        self._missing: dict[str, None] = {}
        self._visited: set[int] = {id(root)}

    def walk(self) -> Reach:
        self._function(self._root, self._text or text_of(self._root), is_root=True)
        found = self._found
        return Reach(
            found.functions,
            found.texts,
            found.modules,
            found.data,
            found.components,
            tuple(self._missing),
        )

    def _function(
        self, function: Callable[..., object], text: str, *, is_root: bool = False
    ) -> None:
        code: types.CodeType = function.__code__
        space: Mapping[str, object] = function.__globals__
        tree = _parsed(text)
        for name, value in _closure(function):
            self._name(name, {name: value}, tree)
        for name in free_names(code):
            self._name(name, space, tree)
        for name, needed in _header_names(tree, decorators=not is_root):
            self._name(name, space, tree, needed=needed)

    def _class(self, kind: type, text: str, space: Mapping[str, object]) -> None:
        tree = _parsed(text)
        for base in kind.__bases__:
            if base is not object:
                self._name(base.__name__, {base.__name__: base, **space}, tree)
        for member in vars(kind).values():
            inner = inner_function(member)
            if inner is not None and inner.__module__ == kind.__module__:
                for name in free_names(inner.__code__):
                    self._name(name, inner.__globals__, tree)
        # It is made by running its text: what stands around methods, and where methods hide
        # (cached properties, setters, classes inside of this one), are found there only.
        for name in free_names(compile(tree, "<class>", "exec")) if tree else ():
            self._name(name, space, tree, needed=False)

    def _name(
        self,
        name: str,
        space: Mapping[str, object],
        tree: ast.Module | None,
        *,
        needed: bool = True,
    ) -> None:
        if name == self._root.__name__ or (name.startswith("__") and name.endswith("__")):
            return
        if name not in space:
            if name not in _BUILTIN and needed:
                self._missing[name] = None
            return
        value = space[name]
        if is_builtin(name, value):
            return
        if isinstance(value, types.ModuleType):
            said = _import_of(value, name, tree)
            old = self._found.modules.get(name, "")
            self._found.modules[name] = said if len(said) >= len(old) else old
        elif is_component(value):
            self._found.components[name] = value
        elif _is_definition(value):
            self._definition(name, value, space)
        elif self._is_singleton(name, value):
            self._found.modules[name] = f"from {type(value).__module__} import {name}"
        else:
            self._value(name, value, space)

    def _is_singleton(self, name: str, value: object) -> bool:
        """True for an object that the module of its class holds under the same name (`ctx`)."""
        home = type(value).__module__
        elsewhere = home not in ("__main__", "builtins", self._root.__module__)
        return elsewhere and getattr(sys.modules.get(home), name, self) is value

    def _definition(self, name: str, value: object, space: Mapping[str, object]) -> None:
        inner = inspect.unwrap(value)  # type: ignore[arg-type]
        own = getattr(inner, "__module__", None) == self._root.__module__
        if importable(value) and not own:
            self._found.modules[name] = _from_import(value, name)
            return
        self._found.functions[name] = value  # type: ignore[assignment]
        if id(inner) in self._visited:
            return
        self._visited.add(id(inner))
        text = self._found.texts[name] = text_of(inner)
        if isinstance(inner, type):
            self._class(inner, text, space)
        elif isinstance(inner, types.FunctionType):
            self._function(inner, text)

    def _value(self, name: str, value: object, space: Mapping[str, object]) -> None:
        self._found.data[name] = value
        kind = type(value)
        if kind.__module__ == self._root.__module__ and kind.__name__ not in self._found.functions:
            self._definition(kind.__name__, kind, space)


def _is_definition(value: object) -> bool:
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        # A bound method of a C object (`re.compile(..).match`) is a value, not a definition.
        owner = getattr(value, "__self__", None)
        return owner is None or isinstance(owner, types.ModuleType)
    return isinstance(_wrapped(value), types.FunctionType)


def _wrapped(value: object) -> object:
    """What it is wrapped around, or None; a lazy object of the user's is not asked for it."""
    return inspect.getattr_static(value, "__wrapped__", None)


def inner_function(member: object) -> types.FunctionType | None:
    """Give the function behind a member of a class: a method, or what gets a property."""
    if isinstance(member, property):
        member = member.fget
    member = getattr(member, "__func__", member)
    member = getattr(member, "__wrapped__", member)
    return member if isinstance(member, types.FunctionType) else None


def _closure(function: Callable[..., object]) -> Iterator[tuple[str, object]]:
    code: types.CodeType = function.__code__
    cells = function.__closure__ or ()
    for name, cell in zip(code.co_freevars, cells, strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not bound yet, for example a function defined further down
            continue


def _parsed(text: str) -> ast.Module | None:
    try:
        return parse(text) if text else None
    except SyntaxError:
        return None


def _header_names(tree: ast.Module | None, *, decorators: bool) -> Iterator[tuple[str, bool]]:
    """Names read while a function itself is made, and whether that fails without them."""
    for top in tree.body if tree else ():
        if not isinstance(top, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        args = top.args
        parts = [(d, True) for d in (*args.defaults, *args.kw_defaults) if d is not None]
        every = (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg)
        parts += [(a.annotation, False) for a in every if a and a.annotation]
        parts += [(top.returns, False)] if top.returns else []
        if decorators:
            parts += [(d, True) for d in top.decorator_list]
        for part, needed in parts:
            for node in ast.walk(part):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                    yield node.id, needed


def _import_of(module: types.ModuleType, alias: str, tree: ast.Module | None) -> str:
    """The statement that binds a module to a name, with the submodules used through it."""
    name = module.__name__
    said = [f"import {name}" if name == alias else f"import {name} as {alias}"]
    for node in ast.walk(tree) if tree else ():
        parts: list[str] = []
        at: ast.AST = node
        while isinstance(at, ast.Attribute):
            parts.insert(0, at.attr)
            at = at.value
        if not (parts and isinstance(at, ast.Name) and at.id == alias):
            continue
        while parts and f"{name}.{'.'.join(parts)}" not in sys.modules:
            parts.pop()
        if parts and f"import {name}.{'.'.join(parts)}" not in said:
            said.append(f"import {name}.{'.'.join(parts)}")
    return "; ".join(said)


def _from_import(value: object, alias: str) -> str:
    path = value.__qualname__.split(".")[0]  # type: ignore[attr-defined]
    renamed = "" if path == alias else f" as {alias}"
    return f"from {value.__module__} import {path}{renamed}"
