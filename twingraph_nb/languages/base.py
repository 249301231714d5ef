"""What a language is: the contract, and what building a component gives."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

from twingraph_nb.component import Component
from twingraph_nb.errors import CompileError, ToolchainMissing
from twingraph_nb.languages.codec import Form

__all__ = [
    "HERE",
    "Built",
    "Language",
    "Where",
    "compile_error",
    "kept",
    "lines_in",
    "ran",
    "tool",
    "version_of",
]

HERE = "{here}"
"""Stands in commands for the folder that the files are in."""
Where = Literal["here", "static", "inside"]
"""For whom to build.

here: for this machine. static: on this machine, for any other of its kind: what is built needs
nothing of where it runs. inside: not at all; where it will run has the compiler or interpreter.
"""
_COMPILING = 600.0  # seconds
_SHOWN = 5  # errors of a compiler in one message


@dataclass(frozen=True, slots=True)
class Built:
    """What runs a component.

    folder: of this machine; all files in it travel, without folders in it. command: starts a
    worker (see `speaker`); prepare: commands that come before it, once, for example a compiler.
    environ: further environment variables of the worker. refused: gives the error for what such a
    command printed when it failed. located: gives the lines of the code among addresses in the
    worker's program; in a thread.
    """

    folder: Path
    command: tuple[str, ...]
    prepare: tuple[tuple[str, ...], ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    refused: Callable[[str], CompileError] | None = None
    located: Callable[[tuple[str, ...]], tuple[int, ...]] | None = None

    def started_in(self, folder: str | Path) -> tuple[str, ...]:
        """Give the command when the files are in that folder."""
        return _placed(self.command, folder)

    def prepared_in(self, folder: str | Path) -> tuple[tuple[str, ...], ...]:
        """Give the commands that come before it when the files are in that folder."""
        return tuple(_placed(one, folder) for one in self.prepare)


class Language(Protocol):
    """A language that components can be written in. It has no state."""

    @property
    def name(self) -> str: ...
    @property
    def form(self) -> Form:
        """How its workers want values."""
        ...

    @property
    def typed(self) -> bool:
        """True if every port needs a type."""
        ...

    @property
    def image(self) -> str:
        """To run it in where the component names none; "" if there is no such image."""
        ...

    def check(self, component: Component) -> None:
        """Look for what can be seen without running anything.

        Raises:
            DefinitionError: the code has no function of that name, or does not fit the ports.
            CompileError: the code is not valid, as far as that is quickly found.
        """
        ...

    def streams(self, code: str, name: str) -> bool:
        """True if the function of that name gives one value after the other."""
        ...

    def build(self, component: Component, *, cache: Path, where: Where = "here") -> Built:
        """Give what runs the component; a second time, and in another process, from the cache.

        Raises:
            CompileError: the compiler refuses the code.
            ToolchainMissing: what builds or runs it is not on this machine.
        """
        ...


def kept(cache: Path, facts: Sequence[object], make: Callable[[Path], None]) -> Path:
    """Give the folder that `make` fills, made at most once for these facts.

    Args:
        make: fills the empty folder that it gets; if it raises, nothing is kept.
    """
    digest = hashlib.sha256(repr(tuple(facts)).encode()).hexdigest()[:32]
    folder = cache / digest
    if folder.is_dir():
        with contextlib.suppress(OSError):
            os.utime(folder)  # when it was used last, for whoever cleans up
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{digest}-", dir=cache))
    try:
        make(made)
        made.chmod(0o755)  # another user may run it, in a container
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        if not folder.is_dir():  # else another process was faster, with the same result
            raise
    return folder


def tool(language: str, names: Sequence[str], cure: str) -> str:
    """Give the path of the first program that is there.

    Raises:
        ToolchainMissing: none is.
    """
    for name in names:
        found = shutil.which(name) if name else None
        if found:
            return found
    raise ToolchainMissing(language, [name for name in names if name], cure)


def version_of(program: str, *arguments: str) -> str:
    """Give the first line that a program says about its version."""
    with contextlib.suppress(OSError):
        return _version(program, arguments, os.stat(program).st_mtime_ns)
    return ""


@lru_cache(maxsize=64)
def _version(program: str, arguments: tuple[str, ...], changed: int) -> str:
    said = ran([program, *(arguments or ("--version",))])
    return (said.stdout or said.stderr).partition("\n")[0].strip()


def ran(command: Sequence[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a compiler or the like to its end; gives what it printed."""
    return subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="replace",
        timeout=_COMPILING,
    )


def compile_error(
    component: Component, found: Sequence[tuple[int, str]], output: str
) -> CompileError:
    """Give the error of a compiler, with the lines of the cell.

    Args:
        found: line of the code, counted from 1 (0 if not known), and message, of each error.
        output: all that the compiler printed.
    """
    source = component.source
    code = source.text.splitlines()
    told = []
    for line, message in found[:_SHOWN]:
        text = code[line - 1].strip() if 0 < line <= len(code) else ""
        told.append((source.line - 1 + line if line else 0, message.strip(), text))
    more = len(found) - len(told)
    return CompileError(component.name, component.language, source.cell, told, more, output)


def lines_in(component: Component) -> str:
    """Give the code as it is compiled: it ends with a newline."""
    return component.source.text.rstrip() + "\n"


def _placed(command: Sequence[str], folder: str | Path) -> tuple[str, ...]:
    return tuple(part.replace(HERE, str(folder)) for part in command)
