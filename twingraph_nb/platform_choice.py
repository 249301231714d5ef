"""Which platforms there are to choose from: ours, and those of other packages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from twingraph_nb.errors import DefinitionError, UnknownPlatform
from twingraph_nb.platforms import PLATFORMS

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["ENTRY_POINT", "check_platform", "other_platforms", "usual_platform"]

ENTRY_POINT = "twingraph_nb.executors"
"""Other packages offer a platform under this entry point group."""
_EVERY_LANGUAGE = {"local", "docker", "kubernetes"}
"""Platforms that run components in other languages than Python."""


def check_platform(platform: str, *, where: str, language: str = "python") -> str:
    """Give the platform's name back.

    Raises:
        UnknownPlatform: there is none of that name, here or in another package.
        DefinitionError: it runs Python only, and the component is in another language.
    """
    if language != "python" and platform in PLATFORMS and platform not in _EVERY_LANGUAGE:
        can = ", ".join(sorted(_EVERY_LANGUAGE))
        raise DefinitionError(f"{where} is {language}, which runs on {can}, not on {platform}")
    if platform not in PLATFORMS and platform not in (others := other_platforms()):
        raise UnknownPlatform(platform, [*PLATFORMS, *others], where=where)
    return platform


def usual_platform(options: Mapping[str, object]) -> str:
    """Give the platform of a component that names none: `local`, which has no other Python."""
    return "process" if options.get("python") or options.get("deps") else "local"


def other_platforms() -> Mapping[str, EntryPoint]:
    """Give the platforms that other installed packages offer, by name."""
    from importlib.metadata import entry_points  # reads the disk: only when it is asked for

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT)}
