"""Where code and a session come from: cell or file, repository and commit, packages.

Read from files and from what is loaded, without starting git or importing anything: it is done
once for each run.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["Place", "code_place", "git_history", "surroundings"]

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SHORT = 12
"""Characters of a commit that people see."""
_MOST_PACKAGES = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Where a component's source is: `cell` such as "[3]", or `path` and `line` (0 = unknown)."""

    cell: str = ""
    path: str = ""
    line: int = 0


def code_place(text: str) -> Place:
    """Read the place that a component tells: "cell [3]", or "path/file.py, line 12"."""
    where, _, line = text.partition(", line ")
    number = int(line) if line.isdigit() else 0
    if where.startswith("cell "):
        return Place(cell=where.removeprefix("cell "), line=number)
    if not where or where.startswith("<"):
        return Place()
    return Place(path=where, line=number)


def git_history(origin: Mapping[str, str], cell: str, source: str) -> str:
    """Give commit, file and lines of a source; "" when it is in no repository."""
    commit, root = origin.get("commit", ""), origin.get("repository", "")
    place = code_place(cell)
    if not commit or not root:
        return ""
    if place.cell:
        notebook = _within(root, origin.get("notebook", ""))
        return f"{commit[:_SHORT]} {notebook} cell {place.cell}" if notebook else ""
    file = _within(root, place.path)
    if not file:
        return ""
    last = place.line + max(0, len(source.splitlines()) - 1)
    lines = f" lines {place.line}-{last}" if place.line else ""
    return f"{commit[:_SHORT]} {file}{lines}"


def surroundings(folder: Path | None = None) -> dict[str, str]:
    """Give the keys of `RunStarted.origin` that tell commit, repository, user and packages.

    Args:
        folder: where to look for the repository; by default the working directory, looked at
            once a second.
    Returns:
        `commit` and `repository` (its folder) when there is one; `user`: the account's name;
        `packages`: name and version of what is loaded, sorted.
    """
    if folder is None:
        found = dict(_recent(os.getcwd(), int(time.monotonic())))
    else:
        found = _repository(folder)
    user, packages = _user(), _packages(len(sys.modules))
    found |= {"user": user} if user else {}
    return found | ({"packages": packages} if packages else {})


@lru_cache(maxsize=1)
def _recent(folder: str, second: int) -> dict[str, str]:
    """A loop that calls a pipeline many times a second need not read the same files each time."""
    return _repository(Path(folder))


def _repository(folder: Path) -> dict[str, str]:
    for place in (folder, *folder.parents):
        if (place / ".git").exists():
            commit = _commit(place)
            return {"commit": commit, "repository": str(place)} if commit else {}
    return {}


def _within(root: str, path: str) -> str:
    """The path below the root, with slashes; "" when it lies elsewhere."""
    if not path:
        return ""
    try:
        whole = Path(path) if Path(path).is_absolute() else Path(root) / path
        return whole.relative_to(root).as_posix()
    except ValueError:
        return ""


def _commit(root: Path) -> str:
    """The commit that is checked out; "" when it cannot be read."""
    try:
        git = root / ".git"
        if git.is_file():  # a worktree or a submodule says where its folder is
            git = root / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head if _COMMIT.fullmatch(head) else ""
        shared = git / "commondir"
        homes = [git]
        if shared.is_file():
            homes.append(git / shared.read_text(encoding="utf-8").strip())
        return _reference(homes, head.removeprefix("ref: "))
    except (OSError, UnicodeDecodeError):
        return ""


def _reference(homes: list[Path], name: str) -> str:
    for home in homes:
        loose = home / name
        if loose.is_file():
            text = loose.read_text(encoding="utf-8").strip()
            return text if _COMMIT.fullmatch(text) else ""
    for home in homes:
        packed = home / "packed-refs"
        if packed.is_file():
            for line in packed.read_text(encoding="utf-8").splitlines():
                commit, _, reference = line.partition(" ")
                if reference == name and _COMMIT.fullmatch(commit):
                    return commit
    return ""


@lru_cache(maxsize=1)
def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # an account without a name, as in containers
        return ""


@lru_cache(maxsize=1)
def _packages(loaded: int) -> str:
    """Looked at again when more is loaded than last time."""
    found = []
    # A copy, not a list of items: making their tuples may collect garbage, and so let another
    # thread import something.
    for name, module in sys.modules.copy().items():
        if "." in name or name.startswith("_") or name in sys.stdlib_module_names:
            continue
        # Not by getattr: a module may import others when it is asked.
        version = vars(module).get("__version__") if module is not None else None
        if isinstance(version, str):
            found.append(f"{name} {version}")
    return ", ".join(sorted(found)[:_MOST_PACKAGES])
