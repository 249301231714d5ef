"""The far side of a bundle: functions and classes made again from their source.

Standard library only: part of what travels to the far side. `source/bundle.py` is the near side
and says what the parts mean. A function is made from its code and given the values it had
captured, its default values among them; nothing of its definition is evaluated again. A class is
made by running its definition.
"""

from __future__ import annotations

import ast
import builtins
import collections
import functools
import importlib
import importlib.abc
import importlib.util
import linecache
import pickle
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from twingraph_nb.wire import thaw

__all__ = ["Part", "Payload", "Space", "cached", "importable_ref", "load", "made_part"]


class Part(NamedTuple):
    """A function or class that travels as source.

    kind: "function", "lambda", "class" or "namedtuple". home: the module it belongs to.
    imported: that module can be imported on the far side. text: whole lines, indented as they
    were. line: of the file, at which `text` starts. flags: of `__future__` imports.
    extra: the free variables of a function; fields and defaults of a namedtuple.
    """

    kind: str
    home: str
    imported: bool
    name: str
    qualname: str
    filename: str
    text: str
    line: int
    flags: int
    extra: tuple[Any, ...] = ()


class Payload(NamedTuple):
    """What is sent of a component, once to each worker.

    ref: "module:qualname" if it can be imported; then the rest is empty. early and late: frames
    of captured values by place, before and after the classes are made. names: what each module
    binds to which part. texts: cells, for tracebacks. sources: modules of the user's own that
    are not installed here: file, text, and whether it is a package. pickled: instead of all
    that, the function by cloudpickle, and the Python version its bytecode is for.
    """

    name: str
    style: str
    ref: str
    path: tuple[str, ...]
    main: int = 0
    parts: tuple[Part, ...] = ()
    modules: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()
    names: tuple[tuple[str, str, int], ...] = ()
    texts: Mapping[str, str] = {}
    sources: Mapping[str, tuple[str, str, bool]] = {}
    pickled: tuple[tuple[int, int], bytes] | None = None


class Space:
    """A loaded component: its function, and the modules it lives in."""

    def __init__(self, payload: Payload, function: Callable[..., Any]) -> None:
        self.name, self.style, self.function = payload.name, payload.style, function
        self.modules: dict[str, types.ModuleType] = {}
        self._beside = tuple(payload.sources or ())

    def enter(self) -> None:
        """Be what `sys.modules` knows, so that pickles find the classes of the notebook."""
        _drop_parts(self._beside)
        sys.modules.update(self.modules)
        components = sys.modules.get("twingraph_nb.component")
        if components is not None:
            components.shelf.caller = _DIRECT


class _Direct:
    """Carries out calls of components on the far side: as plain functions."""

    def call(self, component: Any, bound: Mapping[str, Any], parent: object) -> Any:
        args, kwargs = component.spread(bound)
        return component.function(*args, **kwargs)

    def map(self, component: Any, items: Any, common: Mapping[str, Any], parent: object) -> Any:
        first = component.inputs[0].name
        return [self.call(component, {first: item, **common}, parent) for item in items]

    def start(self, pipeline: Any, args: Any, kwargs: Any, parent: object) -> Any:
        return pipeline.function(*args, **kwargs)


_DIRECT = _Direct()


def load(payload: Payload, early: Sequence[Any], late: Sequence[Any]) -> Space:
    """Give the component a payload describes.

    Raises:
        Exception: what an import, a class definition or a captured value raises.
    """
    for folder in payload.path:
        if folder not in sys.path:
            sys.path.append(folder)
    if payload.sources:
        _beside.take(payload.sources)
    if payload.ref:
        return Space(payload, importable_ref(payload.ref))
    if payload.pickled is not None:
        return Space(payload, _unpickled(*payload.pickled))
    return _Loader(payload).load(early, late)


def importable_ref(ref: str) -> Any:
    """Give the function or class that "module:qualname" names; of a component, its function."""
    module, _, path = ref.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    if type(found).__module__ == "twingraph_nb.component":
        found = found.function
    return found


def _unpickled(version: tuple[int, int], body: bytes) -> Any:
    here = (sys.version_info[0], sys.version_info[1])
    if version != here:
        raise RuntimeError(
            "ship='pickle' takes bytecode along, which is for Python {}.{}, and this is Python "
            "{}.{}: use the same version, or let the source travel".format(*version, *here)
        )
    return pickle.loads(body)


class _Beside(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds the modules that came along."""

    def __init__(self) -> None:
        self._sources: dict[str, tuple[str, str, bool]] = {}

    def take(self, sources: Mapping[str, tuple[str, str, bool]]) -> None:
        """Know these modules; one that has changed is imported anew, with those that use it."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        for name in sources.keys() & _hollow:
            sys.modules.pop(name, None)
            _hollow.discard(name)
        _drop_parts(sources)
        if any(self._sources.get(n, s) != s for n, s in sources.items()):
            for name in self._sources:
                sys.modules.pop(name, None)
        self._sources.update(sources)
        for filename, text, _ in sources.values():
            linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in self._sources:
            return None
        spec = importlib.util.spec_from_loader(name, self, origin=self._sources[name][0])
        if spec is not None:
            spec.has_location = True
        return spec

    def is_package(self, name: str) -> bool:
        return self._sources[name][2]

    def get_source(self, name: str) -> str:
        return self._sources[name][1]

    def get_code(self, name: str) -> types.CodeType:
        filename, text, _ = self._sources[name]
        return compile(text, filename, "exec", dont_inherit=True)


def _drop_parts(names: Iterable[str]) -> None:
    """Forget modules of which another component brought a part: here they came as a whole."""
    for name in names:
        found = sys.modules.get(name)
        if found is not None and getattr(found, "__spec__", None) is None:
            del sys.modules[name]


_beside = _Beside()
_hollow: set[str] = set()
"""Packages that are only there so that the modules in them have one."""
_loading: list[_Loader] = []


def made_part(index: int) -> Any:
    """Give a part of the bundle that is being loaded; called by its pickles."""
    return _loading[-1].made[index]


def cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """Give the function behind an empty `functools.lru_cache` of its own."""
    return functools.lru_cache(maxsize, typed)(function)


def _see_to_packages(home: str) -> None:
    """Pickle imports the package of a module before it looks the module up."""
    name = home.rpartition(".")[0]
    while name and name not in sys.modules:
        try:
            importlib.import_module(name)
        except ImportError:
            package = types.ModuleType(name)
            package.__path__ = []
            sys.modules[name] = package
            _hollow.add(name)
        name = name.rpartition(".")[0]


class _Loader:
    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self.made: dict[int, Any] = {}
        self._modules = {home: types.ModuleType(home) for home in payload.homes}
        for home in payload.homes:
            _see_to_packages(home)
        for module in self._modules.values():
            vars(module)["__builtins__"] = builtins  # C code looks for it

    def load(self, early: Sequence[Any], late: Sequence[Any]) -> Space:
        payload = self._payload
        for name, text in payload.texts.items():
            linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        for module in payload.modules:
            importlib.import_module(module)
        space = Space(payload, _nothing)
        space.modules = self._modules
        before = {home: sys.modules.get(home) for home in self._modules}
        space.enter()
        _loading.append(self)
        try:
            self._make(early, late)
        finally:
            _loading.pop()
            sys.modules.update({home: m for home, m in before.items() if m is not None})
        space.function = self.made[payload.main]
        for name in payload.sources or ():
            if name in sys.modules and name not in space.modules:
                space.modules[name] = sys.modules[name]
        return space

    def _make(self, early: Sequence[Any], late: Sequence[Any]) -> None:
        parts = self._payload.parts
        for at, part in enumerate(parts):
            if part.kind in ("function", "lambda"):
                self.made[at] = _function(part, self._globals(part))
        self._bind()
        self._fill(early)
        self._make_classes([at for at, part in enumerate(parts) if at not in self.made])
        self._bind()
        self._fill(late)

    def _globals(self, part: Part) -> dict[str, Any]:
        if part.imported:
            return vars(importlib.import_module(part.home))
        return vars(self._modules[part.home])

    def _make_classes(self, waiting: list[int]) -> None:
        """Make the classes in an order in which each finds the others it names."""
        while waiting:
            left: list[int] = []
            for at in waiting:
                part = self._payload.parts[at]
                space = self._globals(part)
                try:
                    self.made[at] = _class(part, dict(space) if part.imported else space)
                except NameError:
                    left.append(at)
                    if len(left) == len(waiting):
                        raise
            waiting = left

    def _bind(self) -> None:
        for home, name, at in self._payload.names:
            if at in self.made:
                vars(self._modules[home])[name] = self.made[at]

    def _fill(self, frames: Sequence[Any]) -> None:
        """Put captured values where they belong: a module's name, or a function."""
        if not frames:
            return
        for (home, place), value in thaw(frames).items():
            if home is not None:
                vars(self._modules[home])[place] = value
                continue
            function = self.made[place]
            cells, function.__defaults__, function.__kwdefaults__, attributes = value
            vars(function).update(attributes)
            for at, name in enumerate(function.__code__.co_freevars):
                if name in cells:
                    function.__closure__[at].cell_contents = cells[name]


def _nothing() -> None:
    """The function of a component that is still being loaded."""


def _parsed(part: Part) -> tuple[list[ast.stmt], int]:
    """The statements of a part's text, and how far their line numbers are to be moved."""
    if part.text[:1] in " \t":  # keeps the columns, and what is inside long strings
        holder = _tree("if 1:\n" + part.text, part, part.line - 2).body[0]
        assert isinstance(holder, ast.If)
        return holder.body, part.line - 2
    return _tree(part.text, part, part.line - 1).body, part.line - 1


def _tree(text: str, part: Part, move: int) -> ast.Module:
    """The text parsed; this Python may be older than the one it was written for."""
    try:
        return ast.parse(text)
    except SyntaxError as exc:
        line, column = (exc.lineno or 1) + move, exc.offset
        raise SyntaxError(exc.msg, (part.filename, line, column, exc.text)) from None


def _function(part: Part, space: dict[str, Any]) -> types.FunctionType:
    body: ast.stmt
    if part.kind == "lambda":
        move = part.line - 1
        (only,) = _tree(f"({part.text}\n)", part, move).body
        body = ast.copy_location(ast.Return(only.value), only)  # type: ignore[attr-defined]
    else:
        statements, move = _parsed(part)
        body = statements[-1]
        assert isinstance(body, (ast.FunctionDef, ast.AsyncFunctionDef))
        _bare(body)
    ast.increment_lineno(body, move)
    holder = ast.parse(f"def _holder({', '.join(part.extra)}): pass")
    # Else a function that calls itself would look for its own name in the holder.
    known = part.kind == "lambda" or part.name in part.extra
    own: list[ast.stmt] = [] if known else [ast.Global([part.name])]
    holder.body[0].body = [*own, body]  # type: ignore[attr-defined]
    ast.fix_missing_locations(holder)
    made = compile(holder, part.filename, "exec", flags=part.flags, dont_inherit=True)
    code = _inner(_inner(made, "_holder"), part.name)
    cells = tuple(types.CellType() for _ in code.co_freevars)
    function = types.FunctionType(code, space, part.name, None, cells)
    function.__qualname__, function.__module__ = part.qualname, part.home
    return function


def _bare(node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Leave only what is compiled into the function's own code."""
    node.decorator_list, node.returns = [], None
    args = node.args
    args.defaults, args.kw_defaults = [], [None for _ in args.kwonlyargs]
    for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg):
        if arg is not None:
            arg.annotation = None


def _inner(code: types.CodeType, name: str) -> types.CodeType:
    return next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)


def _class(part: Part, space: dict[str, Any]) -> Any:
    if part.kind == "namedtuple":
        fields, defaults = part.extra
        made: Any = collections.namedtuple(part.name, fields, defaults=defaults)  # type: ignore[misc]
        made.__module__ = part.home
        space[part.name] = made
        return made
    statements, move = _parsed(part)
    module = ast.Module([ast.increment_lineno(node, move) for node in statements], [])
    exec(compile(module, part.filename, "exec", flags=part.flags, dont_inherit=True), space)
    return space[part.name]
