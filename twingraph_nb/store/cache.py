"""What was built once for many runs, and is cleaned up when nothing has used it for long.

Compiled components, environments and the kit for other interpreters: all can be made again. Each
is a folder in a folder of its kind; who uses it touches it, or the file ``used`` in it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Unused", "remove_unused", "unused"]

_YOUNG_SECONDS = 3600.0  # what is being built has this long to be finished
_GONE = ".gone-"


@dataclass(frozen=True, slots=True)
class Unused:
    """A folder that was last used long ago, and its bytes."""

    path: Path
    bytes: int


def unused(cache: Path, older_than: float) -> tuple[Unused, ...]:
    """Give what nothing has used for so many seconds, at least an hour."""
    before = time.time() - max(older_than, _YOUNG_SECONDS)
    return tuple(
        Unused(folder, _size(folder))
        for folder in sorted(cache.glob("*/*"))
        if folder.is_dir() and not folder.is_symlink() and _used(folder) < before
    )


def remove_unused(cache: Path, older_than: float) -> tuple[Unused, ...]:
    """Remove what nothing has used for so many seconds, at least an hour; gives what it was.

    What another process is building just now stays.
    """
    before = time.time() - max(older_than, _YOUNG_SECONDS)
    gone = []
    for one in unused(cache, older_than):
        with _alone(one.path) as free:
            if not free or _used(one.path) >= before:
                continue
            # Half a folder must never be taken for a whole one.
            aside = one.path.with_name(f"{_GONE}{os.getpid()}-{one.path.name.lstrip('.')}")
            try:
                one.path.rename(aside)
            except OSError:  # another process was quicker, or a program of it runs on Windows
                continue
        shutil.rmtree(aside, ignore_errors=True)
        gone.append(one)
    return tuple(gone)


def _used(folder: Path) -> float:
    """When it was used last; never, if it is gone."""
    found = 0.0
    for path in (folder, folder / "used"):
        with contextlib.suppress(OSError):
            found = max(found, path.stat().st_mtime)
    return found


def _size(folder: Path) -> int:
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_size
    return size


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold the lock that an environment is built under; False if somebody else has it.

    The file of the lock stays: others may wait for it by now.
    """
    lock = folder.with_name(f"{folder.name}.lock")
    if fcntl is None or not lock.exists():
        yield True
        return
    with open(lock, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
