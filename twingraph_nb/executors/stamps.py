"""Whether files of this machine have changed: looked at when asked, but once a second at most."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Stamps"]

_LOOK = 1.0  # seconds


class Stamps:
    """What was seen of files and folders, and when."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], tuple[float, str]] = {}

    async def of(self, paths: Sequence[str]) -> str:
        """Give a text that changes with any of the files, or those in a folder; "" for none."""
        key = tuple(paths)
        if not self.are_fresh(key):
            found = await asyncio.to_thread(_stamp, key)
            self._seen[key] = (asyncio.get_running_loop().time(), found)
        return self._seen[key][1] if key else ""

    def are_fresh(self, paths: Sequence[str]) -> bool:
        """True if there is no need yet to look again."""
        key = tuple(paths)
        if not key:
            return True
        seen = self._seen.get(key)
        return seen is not None and asyncio.get_running_loop().time() - seen[0] < _LOOK


def _stamp(paths: Sequence[str]) -> str:
    found = []
    for path in map(Path, paths):
        for one in path.rglob("*") if path.is_dir() else [path]:
            with contextlib.suppress(OSError):  # gone meanwhile
                facts = one.stat()
                found.append((str(one), facts.st_mtime_ns, facts.st_size))
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()
