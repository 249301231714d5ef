"""The user's own modules beside the notebook: which they are, and their sources to take along."""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from twingraph_nb.source.parsed import parse

__all__ = ["imported_names", "is_local", "local_modules", "own_folders", "sources_of"]

_PACKAGES = re.compile(r"\b(site|dist)-packages\b|python\d+\.zip$")
"""Folders of installed packages, also those of other interpreters."""
Sources = dict[str, tuple[str, str, bool]]


def is_local(module: str) -> bool:
    """True for a module of the user's own folders: no package that was installed."""
    found = sys.modules.get(module)
    file = getattr(found, "__file__", None)
    if module == "__main__" or module.partition(".")[0] == "twingraph_nb":
        return False
    return bool(file) and _is_own(str(file))


def local_modules() -> tuple[str, ...]:
    """Give the names of the user's own modules that are loaded."""
    return _local_modules(len(sys.modules))


def own_folders() -> tuple[str, ...]:
    """Give the folders that are searched for modules and hold no installed packages."""
    found = (folder for folder in sys.path if isinstance(folder, str))
    return tuple(folder for folder in found if not _PACKAGES.search(folder) and _is_free(folder))


def sources_of(names: Iterable[str]) -> Sources:
    """Give the user's own modules among the names, with all that they import in turn.

    Returns:
        By full name: the file, its text, and whether it is a package. Packages around a module
        are there too.
    """
    found: Sources = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        made = _source_of(name)
        if made is None:
            continue
        found[name] = made
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        waiting.extend(_imports(made[1], name, made[2]))
    return found


@functools.lru_cache(maxsize=1)
def _local_modules(count: int) -> tuple[str, ...]:
    return tuple(name for name in list(sys.modules) if is_local(name))


@functools.cache
def _installed() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    places = [paths[kind] for kind in kinds if kind in paths]
    places += [*site.getsitepackages(), site.getusersitepackages(), os.path.dirname(os.__file__)]
    return tuple(sorted({os.path.realpath(place) + os.sep for place in places}))


def _is_free(folder: str) -> bool:
    return not os.path.join(os.path.realpath(folder or "."), "").startswith(_installed())


@functools.lru_cache(maxsize=4096)
def _is_own(file: str) -> bool:
    real = os.path.realpath(file)
    installed = real.startswith(_installed()) or _PACKAGES.search(os.path.dirname(real))
    return file.endswith(".py") and not installed


def _source_of(name: str) -> tuple[str, str, bool] | None:
    """File, text and kind of one of the user's own modules, loaded or not."""
    if name.partition(".")[0] in ("twingraph_nb", "__main__", ""):
        return None
    loaded = sys.modules.get(name)
    spec = getattr(loaded, "__spec__", None)
    if loaded is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
    if spec is None:
        return None
    if spec.origin is None:  # a folder without __init__.py
        return _namespace(spec.submodule_search_locations)
    if not _is_own(spec.origin):
        return None
    try:
        return spec.origin, Path(spec.origin).read_text("utf-8"), _is_package(spec)
    except (OSError, UnicodeDecodeError):
        return None


def _namespace(places: Iterable[str] | None) -> tuple[str, str, bool] | None:
    found = [place for place in places or () if _is_own(os.path.join(place, "x.py"))]
    return (os.path.join(found[0], "__init__.py"), "", True) if found else None


def _is_package(spec: object) -> bool:
    return getattr(spec, "submodule_search_locations", None) is not None


def _imports(text: str, name: str, package: bool) -> Iterator[str]:
    """The names a module's text imports, each as a module and as a name in one."""
    try:
        tree = parse(text)
    except SyntaxError:
        return
    yield from imported_names(tree, name if package else name.rpartition(".")[0])


def imported_names(tree: ast.AST, package: str) -> Iterator[str]:
    """Give the modules that code imports, absolute; ``from a import b`` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                above = parts[: len(parts) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            if base:
                yield base
                for alias in node.names:
                    yield f"{base}.{alias.name}"
