"""What travels of a component to another process: a reference to import, or its source.

A function of an importable module goes as "module:name". One of a notebook or script goes as its
source text, with the helpers and classes it leads to and the values they have captured. Nothing
goes as bytecode. The far side, `rebuild.py`, makes it again in a module of the same name, so that
values of the notebook's own classes can be pickled both ways.
"""

from __future__ import annotations

import ast
import hashlib
import os
import pickle
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from twingraph_nb.errors import PortabilityError
from twingraph_nb.rebuild import Part, Payload
from twingraph_nb.source.local import imported_names, is_local, sources_of
from twingraph_nb.source.origin import class_part, function_part, whole_text
from twingraph_nb.source.packer import (
    frozen,
    has_home,
    homeless,
    names_of_class,
    submodules,
)
from twingraph_nb.source.parsed import parse
from twingraph_nb.source.place import code_of, missing_names, place_in, use_of
from twingraph_nb.source.portability import live_kind
from twingraph_nb.source.reach import free_names, importable, is_builtin, is_component, reach
from twingraph_nb.source.text import Source, place_of
from twingraph_nb.wire import Buffer, culprit

__all__ = ["Bundle", "bundle", "lasting_problems"]

_ATOMS = (
    int,
    float,
    complex,
    str,
    bytes,
    bool,
    type(None),
    types.ModuleType,
    types.FunctionType,
    type,
)
_STORES = frozenset({"STORE_NAME", "STORE_GLOBAL"})
_GONE = object()
_CURE = "make it inside the component, or pass what it is made of"
_CURE_OF_TASKS = "give it to the component as an input"


class Bundle:
    """What is sent of a component, and whether it still is what the notebook has.

    key: digest of all that is sent. frames: the body of the message. ref: "module:name" if it is
    imported on the far side. stamp: when the imported module's file was changed last.
    """

    def __init__(self, payload: Payload, packing: _Packing | None, stamp: float) -> None:
        self.ref, self._packing, self.stamp = payload.ref, packing, stamp
        self._pickled = payload.pickled is not None
        early, late = packing.frames if packing else ([], [])
        head = pickle.dumps((payload, len(early)), 5)
        self.frames: list[Buffer] = [head, *early, *late]
        found = hashlib.sha256(repr(stamp).encode() + head)
        found.update(packing.digest if packing else b"")
        self.key = found.hexdigest()

    def fresh(self) -> bool:
        """True while nothing it was made of has been defined anew or changed."""
        if self._pickled:
            return False  # only to pickle it again tells
        if self._packing is None:
            return _stamp_of(self.ref) == self.stamp
        return self._packing.fresh()

    def has(self, thing: object) -> bool:
        """True if the far side finds this function or class of the notebook by its name."""
        return self._packing is not None and id(thing) in self._packing.index

    def is_part(self, thing: object) -> bool:
        """True for a function or class that the far side cannot import."""
        return homeless(thing) if self._packing is None else self._packing.is_part(thing)


def bundle(
    function: Callable[..., object],
    source: Source,
    *,
    name: str = "",
    style: str = "sync",
    platform: str = "process",
    extra: Sequence[object] = (),
    far: bool = False,
    modules: Sequence[str] = (),
    path: Sequence[str] | None = None,
) -> Bundle:
    """Give what travels for a component's function.

    Args:
        name: the component's. style: "sync", "async", "stream" or "async_stream".
        extra: classes and functions of the notebook that its arguments need.
        far: the user's own modules beside the notebook are not there, and travel too.
        modules: those of them that the arguments need.
        path: folders where the far side looks for modules too; None = all of this process.
    Raises:
        PortabilityError: something cannot travel; names it, where it is used, and the cure.
    """
    name = name or function.__name__
    folders = (() if far else sys.path) if path is None else path
    here = tuple(folder for folder in folders if isinstance(folder, str))
    beside = far and is_local(function.__module__ or "")
    if importable(function) and not homeless(function) and not extra and not beside:
        ref = f"{function.__module__}:{function.__qualname__}"
        return Bundle(Payload(name, style, ref, here), None, _stamp_of(ref))
    packing = _Packing(function, source, far=far)
    problems = packing.pack(extra)
    if problems:
        raise PortabilityError(name, platform, problems)
    payload = Payload(
        name,
        style,
        "",
        here,
        0,
        tuple(part for part in packing.parts if part is not None),
        packing.modules,
        tuple(sorted(packing.homes)),
        packing.names(),
        packing.texts,
        packing.sources(modules) if far else {},
    )
    return Bundle(payload, packing, 0.0)


def lasting_problems(
    function: Callable[..., object], source: Source, *, far: bool = False
) -> list[str]:
    """Give what keeps a function from travelling, whatever is defined later; [] if nothing does.

    Each names where it is used, and the cure. Names that are not there yet are none of it.
    """
    return _Packing(function, source, far=far, trial=True).refused()


def _stamp_of(ref: str) -> float:
    """When the file of an imported module was changed last: workers must not keep an old one."""
    file = getattr(sys.modules.get(ref.partition(":")[0]), "__file__", None)
    try:
        return os.stat(file).st_mtime if file else 0.0
    except OSError:
        return 0.0


class _Packing:
    """The parts of one bundle as they are found, and the values that go with them."""

    def __init__(
        self,
        function: Callable[..., object],
        source: Source,
        *,
        far: bool = False,
        trial: bool = False,
    ) -> None:
        self._root, self._source, self._far, self._trial = function, source, far, trial
        home = function.__module__ or ""
        # The function's own module is not taken along as a whole: it may import anything.
        self._rebuilt = {home} if far and is_local(home) else set[str]()
        self._imported: set[str] = set()
        self.index: dict[int, int] = {}
        self._things: list[Any] = []
        self.parts: list[Part | None] = []
        self.homes: set[str] = set()
        self.texts: dict[str, str] = {}
        self.modules: tuple[str, ...] = ()
        self.frames: tuple[list[Buffer], list[Buffer]] = ([], [])
        self._values: dict[tuple[str | None, str | int], Any] = {}
        self._seen: list[tuple[dict[str, Any], str, Any]] = []
        self._cells: list[tuple[types.CellType, Any]] = []
        self._late: frozenset[tuple[str | None, str | int]] = frozenset()
        self._changing = False
        self.digest = b""

    def pack(self, extra: Sequence[object]) -> list[str]:
        """Find and pack all there is; gives the problems, each with its cure."""
        problems: list[str] = []
        self.modules = submodules(reach(self._root, self._source.text).modules.values())
        self.part_of(self._root)
        for thing in extra:
            self.part_of(thing)
        while not problems:
            problems = self._expand()
            known = len(self.parts)
            if not problems:
                problems = self._dump()
            if len(self.parts) == known:
                break
        self._changing = any(
            any(map(_may_change, (*v[0].values(), *(v[1] or ()), *(v[2] or {}).values())))
            if home is None
            else _may_change(v)
            for (home, _), v in self._values.items()
        )
        self.digest = self._digest()
        return problems

    def refused(self) -> list[str]:
        """Give what of it cannot travel; nothing is packed."""
        self.part_of(self._root)
        while True:
            known = len(self.parts)
            problems = self._expand() or self._refused()
            if problems or len(self.parts) == known:
                return problems

    def is_part(self, thing: Any) -> bool:
        """True for a function or class that is made again from its own source."""
        return homeless(thing) or getattr(thing, "__module__", None) in self._rebuilt

    def sources(self, more: Sequence[str]) -> Mapping[str, tuple[str, str, bool]]:
        """Give the user's own modules that must be taken along."""
        wanted = {*self.modules, *self._imported, *more}
        for part in self.parts:
            if part is None:
                continue
            if part.imported:
                wanted.add(part.home)
            wanted.update(imported_names(_parsed(part.text), part.home.rpartition(".")[0]))
        found = sources_of(wanted - self._rebuilt)
        return {name: found[name] for name in sorted(found) if name not in self._rebuilt}

    def part_of(self, thing: Any) -> int:
        """Give the number of the part that a function or class becomes."""
        if id(thing) not in self.index:
            self.index[id(thing)] = len(self.parts)
            self._things.append(thing)
            self.parts.append(None)
        return self.index[id(thing)]

    def names(self) -> tuple[tuple[str, str, int], ...]:
        """Names under which pickles of the far side look for parts: (module, name, part)."""
        found = []
        for at, (thing, part) in enumerate(zip(self._things, self.parts, strict=True)):
            if part is not None and part.home in self.homes and part.home in sys.modules:
                bound = vars(sys.modules[part.home]).get(thing.__name__, thing)
                if bound is thing or (is_component(bound) and bound.function is thing):
                    found.append((part.home, thing.__name__, at))
        return tuple(found)

    def fresh(self) -> bool:
        """True while the same objects are found under the same names, with the same content."""
        for space, name, value in self._seen:
            if space.get(name, _GONE) is not value:
                return False
        for cell, value in self._cells:
            if _content(cell) is not value:
                return False
        if not self._changing:
            return True
        known, before = len(self.parts), self.frames
        problems = self._dump()
        same = not problems and len(self.parts) == known and self._digest() == self.digest
        self.frames = before
        return same

    def _digest(self) -> bytes:
        # Large buffers are views of the notebook's own arrays: only a digest shows a change.
        found = hashlib.sha256()
        for frames in self.frames:
            for one in frames:
                found.update(one)
        return found.digest()

    def _missing(self, thing: Any) -> list[str]:
        code = code_of(thing)
        if code is None:
            return []
        return [
            f"{place_in(code, name, self._source)} uses {name!r}, which is not defined: "
            "define or import it first"
            for name in missing_names(thing, code)
        ]

    def _expand(self) -> list[str]:
        """Make the parts that are only known by their object yet, and what these lead to."""
        problems: list[str] = []
        at = 0
        while at < len(self.parts):
            if self.parts[at] is None:
                thing = self._things[at]
                made = self._class(thing) if isinstance(thing, type) else self._function(at, thing)
                if isinstance(made, str):
                    return [*problems, made]
                self.parts[at] = made
                if not made.imported:
                    self.homes.add(made.home)
                    if not self._trial:
                        problems += self._missing(thing)
                if not os.path.exists(made.filename):
                    self.texts[made.filename] = whole_text(made)
            at += 1
        return problems

    def _function(self, at: int, function: types.FunctionType) -> Part | str:
        home = function.__globals__.get("__name__", "__main__")
        imported = has_home(home) and home not in self._rebuilt
        part = function_part(
            function, home, imported, self._source if function is self._root else None
        )
        if part is None:
            code = function.__code__
            place = f"{place_of(code.co_filename)}, line {code.co_firstlineno}"
            return (
                f"the source of {function.__qualname__} ({place}) is not known; "
                "define it in a cell or a file, or say ship='pickle'"
            )
        cells = {}
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            value = _content(cell)
            self._cells.append((cell, value))
            if value is not _GONE:
                cells[name] = value
        attributes = {k: v for k, v in vars(function).items() if k != "__wrapped__"}
        self._values[None, at] = (
            cells,
            function.__defaults__,
            function.__kwdefaults__,
            attributes,
        )
        if not imported:
            self._globals(home, function.__globals__, free_names(function.__code__))
        return part

    def _class(self, kind: type) -> Part | str:
        imported = has_home(kind.__module__) and kind.__module__ not in self._rebuilt
        part = class_part(kind, imported)
        if part is None:
            return f"the source of the class {kind.__qualname__} is not known; define it in a cell"
        if not imported:
            space = vars(sys.modules[kind.__module__])
            self._globals(kind.__module__, space, names_of_class(kind, space))
        return part

    def _globals(self, home: str, space: dict[str, Any], names: Iterator[str]) -> None:
        for name in names:
            if self._trial and name == self._root.__name__:
                continue  # what goes by it now is about to be replaced
            value = space.get(name, _GONE)
            self._seen.append((space, name, value))
            if value is _GONE or name.startswith("__") or is_builtin(name, value):
                continue
            self._values.setdefault((home, name), value)
            inner = value.function if is_component(value) else value
            if isinstance(inner, (types.FunctionType, type)) and self.is_part(inner):
                self.part_of(inner)

    def _dump(self) -> list[str]:
        """Pickle the values; those that need a class of the notebook apart, to be read after it."""
        try:
            frames, classes = self._frozen(self._values)
            if not classes:
                self.frames = (frames, [])
                return []
            first: dict[Any, Any] = {}
            last: dict[Any, Any] = {}
            for key, value in self._values.items():
                (last if self._frozen(value)[1] else first)[key] = value
            self.frames = (self._frozen(first)[0], self._frozen(last)[0])
            return []
        except Exception:  # whatever a value's own pickling raises
            return self._refused() or ["what it captures cannot be sent together"]

    def _frozen(self, value: object) -> tuple[list[Buffer], bool]:
        return frozen(value, self.part_of, self.is_part, self._imported, trial=self._trial)

    def _refused(self) -> list[str]:
        problems = []
        for (home, name), value in self._values.items():
            named = {str(name): value} if home is not None else self._captured(int(name), value)
            for label, one in named.items():
                try:
                    self._frozen(one)
                except Exception:  # the one to blame
                    what = culprit(one, label, attempt=self._frozen)
                    cure = _CURE_OF_TASKS if live_kind(one) == "a task" else _CURE
                    problems.append(
                        f"{self._where(label)} uses {what}, which cannot be sent: {cure}"
                    )
        return problems

    def _captured(self, at: int, value: Any) -> dict[str, object]:
        cells, defaults, keyword_defaults, attributes = value
        code = self._things[at].__code__
        named = dict(
            zip(code.co_varnames[: code.co_argcount][::-1], (defaults or ())[::-1], strict=False)
        )
        return {**cells, **named, **(keyword_defaults or {}), **attributes}

    def _where(self, name: str) -> str:
        """The first place that names it, in the component or in what it leads to."""
        found = use_of(self._things, name, self._source)
        return found or place_in(self._root.__code__, name, self._source)


def _parsed(text: str) -> ast.AST:
    try:
        return parse(textwrap.dedent(text))
    except SyntaxError:  # part of a line, such as a lambda
        return ast.Module([], [])


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return _GONE


def _may_change(value: object) -> bool:
    """True for a value that may have another content the next time."""
    if isinstance(value, tuple):
        return any(map(_may_change, value))
    return not isinstance(value, _ATOMS) and not is_component(value)
