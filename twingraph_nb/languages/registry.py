"""Languages by name: those of this package, of other packages, and by manifest."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from twingraph_nb.errors import DefinitionError, suggestion
from twingraph_nb.languages.base import Language
from twingraph_nb.languages.manifest import read_manifest
from twingraph_nb.settings import Settings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["BUILT_LANGUAGES", "ENTRY_POINT", "cache_folder", "language_of", "languages"]

ENTRY_POINT = "twingraph_nb.languages"
"""Other packages offer a language (a class) under this entry point group."""
_HOME = "twingraph_nb.languages"
BUILT_LANGUAGES: Mapping[str, str] = {
    "javascript": f"{_HOME}.javascript:JavaScript",
    "typescript": f"{_HOME}.javascript:TypeScript",
    "bash": f"{_HOME}.bash:Bash",
    "c++": f"{_HOME}.cpp:Cpp",
    "rust": f"{_HOME}.rust:Rust",
}
_ALIASES = {
    "js": "javascript", "node": "javascript", "ts": "typescript", "sh": "bash", "shell": "bash",
    "cpp": "c++", "cxx": "c++", "rs": "rust",
}  # fmt: skip


def language_of(name: str, *, where: str = "language") -> Language:
    """Give a language by its name, an alias of it, or the path of a manifest.

    Raises:
        DefinitionError: there is none of that name, or its manifest is wrong.
    """
    wanted = _ALIASES.get(name.lower(), name.lower())
    if wanted in BUILT_LANGUAGES:
        module, _, attribute = BUILT_LANGUAGES[wanted].partition(":")
        return cast(Language, getattr(importlib.import_module(module), attribute)())
    if name.endswith((".yaml", ".yml")):
        return read_manifest(Path(name).expanduser())
    for path in _manifests():
        if path.stem == wanted:
            return read_manifest(path)
    offered = _offered()
    if wanted in offered:
        return cast(Language, offered[wanted].load()())
    known = languages()
    raise DefinitionError(
        f"{where}: no language is called {name!r}{suggestion(name, [*known, *_ALIASES])}; "
        f"there are python, {', '.join(known)}, or give the path of a manifest"
    )


def languages() -> tuple[str, ...]:
    """Give the names of all languages there are, Python aside."""
    found = [*BUILT_LANGUAGES, *(path.stem for path in _manifests()), *_offered()]
    return tuple(dict.fromkeys(found))


def cache_folder() -> Path:
    """Give the folder in which built components are kept."""
    return Settings.load().home / "cache" / "languages"


def _manifests() -> list[Path]:
    return sorted((Settings.load().home / "languages").glob("*.y*ml"))


def _offered() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # reads the disk: only when it is asked for

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT)}
