"""How captured values are pickled: what has no home elsewhere goes as a part of the bundle."""

from __future__ import annotations

import functools
import importlib
import io
import pickle
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twingraph_nb.rebuild import cached, importable_ref, made_part
from twingraph_nb.source.reach import importable, is_component, reach
from twingraph_nb.values_classes import exception_reduced
from twingraph_nb.wire import Buffer

__all__ = [
    "Enough",
    "Limited",
    "Packer",
    "frozen",
    "has_home",
    "homeless",
    "names_of_class",
    "submodules",
]

Aside = Callable[[pickle.PickleBuffer], bool]
_ASIDE = 1 << 14  # bytes; as in wire.py
_ENOUGH = 4 * 2**20
"""Bytes after which a value counts as picklable: a capture must not make a definition slow."""


def frozen(
    value: object,
    number: Callable[[Any], int],
    is_part: Callable[[Any], bool],
    homes: set[str],
    *,
    trial: bool = False,
) -> tuple[list[Buffer], bool]:
    """Give the frames of a captured value, and whether it needs a class of the notebook.

    Args:
        number: of the part that a function or class becomes.
        is_part: tells which functions and classes become parts.
        homes: gets the modules that the others are imported from.
        trial: only see whether it can be pickled, and stop once that is likely.
    """
    file: io.BytesIO = Limited() if trial else io.BytesIO()
    aside: list[Buffer] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:
            return True
        if raw.nbytes < _ASIDE:
            return True
        aside.append(raw)
        return False

    packer = Packer(file, number, keep, is_part, homes)
    try:
        packer.dump(value)
    except Enough:
        pass
    return [file.getvalue(), *aside], packer.with_classes


def homeless(thing: object) -> bool:
    """True for a function or class that another process cannot import."""
    home = getattr(thing, "__module__", None) or ""
    if isinstance(thing, type) and home == "builtins":
        return False
    if not has_home(home):
        return True
    return "<locals>" in getattr(thing, "__qualname__", "") and not importable(thing)


def has_home(module: str) -> bool:
    """True for a module that the far side can import too."""
    found = sys.modules.get(module)
    if module == "__main__" or getattr(found, "__spec__", None) is None:
        return False
    return _is_findable(module.partition(".")[0], tuple(map(str, sys.path)))


@functools.lru_cache(maxsize=1024)
def _is_findable(package: str, path: tuple[str, ...]) -> bool:
    """True if a fresh interpreter with that path finds the package, loaded here or not."""
    if package in sys.builtin_module_names:
        return True
    for finder in sys.meta_path:
        look = getattr(finder, "find_spec", None)
        if look is not None and look(package, None) is not None:
            return True
    return False


class Enough(Exception):
    """So much of a value could be pickled that the rest counts as well."""


class Limited(io.BytesIO):
    """A file for a pickler that stops it after some megabytes, and keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._written = 0

    def write(self, data: Any) -> int:
        self._written += len(data)
        if self._written > _ENOUGH:
            raise Enough
        return len(data)


class Packer(pickle.Pickler):
    """Pickles captured values; what has no home on the far side goes as a part of the bundle."""

    def __init__(
        self,
        file: io.BytesIO,
        number: Callable[[Any], int],
        aside: Aside,
        is_part: Callable[[Any], bool],
        homes: set[str],
    ) -> None:
        super().__init__(file, 5, buffer_callback=aside)
        self._number, self._is_part, self._homes = number, is_part, homes
        self.with_classes = False

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, types.ModuleType):
            if not has_home(thing.__name__):
                raise pickle.PicklingError(f"the module {thing.__name__} cannot be imported")
            self._homes.add(thing.__name__)
            return importlib.import_module, (thing.__name__,)
        if is_component(thing):
            thing = thing.function
            if importable(thing) and not self._is_part(thing):
                self._homes.add(thing.__module__)
                return importable_ref, (f"{thing.__module__}:{thing.__qualname__}",)
        if isinstance(thing, functools._lru_cache_wrapper):
            if importable(thing) and not self._is_part(thing.__wrapped__):
                self._homes.add(thing.__module__)
                return NotImplemented
            options = thing.cache_parameters()
            return cached, (thing.__wrapped__, options["maxsize"], options["typed"])
        if isinstance(thing, (types.FunctionType, type)):
            if self._is_part(thing):
                self.with_classes |= isinstance(thing, type)
                return made_part, (self._number(thing),)
            self._homes.add(getattr(thing, "__module__", None) or "")
            if isinstance(thing, types.FunctionType) and _bound_to_component(thing):
                return importable_ref, (f"{thing.__module__}:{thing.__qualname__}",)
        if isinstance(thing, BaseException):
            return exception_reduced(thing)
        return NotImplemented


def _bound_to_component(function: types.FunctionType) -> bool:
    found: object = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return is_component(found)


def names_of_class(kind: type, space: dict[str, Any]) -> Iterator[str]:
    """The global names a class needs: what a function that only names it would reach."""
    code = compile(kind.__name__, "<class>", "eval")
    asking = types.FunctionType(code, {**space, kind.__name__: kind})
    found = reach(asking, kind.__name__)
    for names in (found.functions, found.data, found.components, found.modules):
        for name in names:
            if space.get(name) is not kind:
                yield name


def submodules(statements: Iterable[str]) -> tuple[str, ...]:
    """The modules that the statements import: an attribute of a package may be one of them."""
    named = (re.findall(r"(?:^|; )import ([\w.]+)", line) for line in statements)
    return tuple(dict.fromkeys(name for names in named for name in names))
