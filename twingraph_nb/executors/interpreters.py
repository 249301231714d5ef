"""The Python interpreters of this machine: found by version, path or name of a command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from twingraph_nb.errors import PortabilityError

__all__ = ["Interpreter", "NoInterpreter", "find_interpreter", "is_version"]

_VERSION = re.compile(r"\d+(\.\d+){0,2}")
_OLDEST = (3, 9)  # what the far side is written for
_MINORS = range(_OLDEST[1], 20)
_ASK = "import sys; print('.'.join(map(str, sys.version_info[:3])), sys.executable, sep='\\n')"
_PATIENCE = 20.0  # seconds for an interpreter to start


class Interpreter(NamedTuple):
    """A Python that starts. version: three numbers as text."""

    path: str
    version: str

    @property
    def minor(self) -> str:
        """Its version as people say it, such as "3.12"."""
        return self.version.rpartition(".")[0]


class NoInterpreter(PortabilityError):
    """The Python that a component asks for is not on this machine."""

    def __init__(self, component: str, wanted: str, why: str) -> None:
        self.wanted = wanted
        found = sorted({f"{one.minor} ({one.path})" for one in _all_there_are()})
        known = f"there are {', '.join(found)}" if found else "no other was found either"
        how = (
            f"install it (`uv python install {wanted}`, `pyenv install {wanted}`, or the system's "
            "packages), or give its path"
            if is_version(wanted)
            else "give a version such as '3.12', a path, or the name of a command"
        )
        super().__init__(component, "process", [f"python={wanted!r}: {why}; {known}: {how}"])


def is_version(wanted: str) -> bool:
    """True for a version such as "3.12", as opposed to a path or a command."""
    return _VERSION.fullmatch(wanted) is not None


def find_interpreter(wanted: str, component: str) -> Interpreter:
    """Give the interpreter that was asked for; the running one for "". Starts programs: slow.

    Args:
        wanted: a version such as "3.12", a path, or the name of a command.
    Raises:
        NoInterpreter: there is none, or it does not start, or it is older than 3.9.
    """
    if not wanted:
        return Interpreter(sys.executable, ".".join(map(str, sys.version_info[:3])))
    found = None
    version = wanted.removeprefix("python")  # a shim of that name may stand for none at all
    if not is_version(wanted):
        path = shutil.which(os.path.expanduser(wanted))
        why = "it does not run as a Python interpreter" if path else "no such program"
        found = started(path) if path else None
    if found is None and is_version(version):
        found = next((one for one in _of_version(version) if _fits(one.version, version)), None)
        why = "no interpreter of this version was found (PATH, pyenv and uv were searched)"
    if found is None:
        raise NoInterpreter(component, wanted, why)
    if tuple(map(int, found.version.split(".")[:2])) < _OLDEST:
        why = f"{found.path} is Python {found.version}, and 3.9 is the oldest that can be used"
        raise NoInterpreter(component, wanted, why)
    return found


def started(path: str) -> Interpreter | None:
    """Give the interpreter at a path, if it is one that starts."""
    try:
        done = subprocess.run(
            [path, "-I", "-c", _ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stdout.splitlines()
    if done.returncode or len(said) < 2 or not _VERSION.fullmatch(said[0]):
        return None
    # Of a shim, such as pyenv's, the interpreter behind it.
    return Interpreter(said[1] or path, said[0])


def _fits(version: str, wanted: str) -> bool:
    return f"{version}.".startswith(f"{wanted}.")


def _of_version(wanted: str, *, with_uv: bool = True) -> Iterator[Interpreter]:
    """Interpreters that may be of a version, the nearest at hand first."""
    running = Interpreter(sys.executable, ".".join(map(str, sys.version_info[:3])))
    yield running
    minor = ".".join(wanted.split(".")[:2])
    for path in _places(minor):
        found = started(path)
        if found is not None:
            yield found
    uv = shutil.which("uv")
    if uv is not None and with_uv:
        done = subprocess.run(
            [uv, "python", "find", "--no-project", wanted],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        found = started(done.stdout.strip()) if not done.returncode else None
        if found is not None:
            yield found


def _places(minor: str) -> Iterator[str]:
    """Programs that may be Python of a version such as "3.12"; "3" leaves the minor open."""
    name = f"python{minor}"
    for folder in (*os.get_exec_path(), "/usr/local/bin", "/usr/bin"):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            yield path
    yield from _of_pyenv(minor)


def _of_pyenv(minor: str) -> list[str]:
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = root.glob(f"versions/{minor}.*/bin/python")
    return [str(path) for path in sorted(found, key=_numbers, reverse=True)]


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.parts[-3])]


def _all_there_are() -> Iterator[Interpreter]:
    """One interpreter of each version that can be used."""
    for number in _MINORS:
        minor = f"3.{number}"
        for one in _of_version(minor, with_uv=False):
            if _fits(one.version, minor):
                yield one
                break
