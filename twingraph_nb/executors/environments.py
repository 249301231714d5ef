"""Virtual environments for components that ask for packages: built once, kept, used by all.

An environment belongs to an interpreter and a sorted list of requirements. Whoever builds it holds
a lock on a file beside it, and so do the programs that build: when all of them have died, the next
one that wants it removes what they left and begins again. A file `ready` says that it is whole;
when `used` was touched says when it was last wanted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from twingraph_nb.errors import ExecutorError, PortabilityError
from twingraph_nb.executors.interpreters import Interpreter

try:
    import fcntl
except ImportError:  # no such locks: two kernels must not build the same at once
    fcntl = None  # type: ignore[assignment]

__all__ = ["Builder", "Stopped"]

Tell = Callable[[str], None]

_LOOK = 0.05  # seconds between looks whether another process has ended its build
_TOLD = 30  # lines of the builder that an error shows
_MISSING = re.compile(r"(?:No matching distribution found for|and you require) ([^\n,]+)")
_TOGETHER = re.compile(r"ResolutionImpossible|conflicting dependencies")
_ERROR = re.compile(r"\s*(error\b|\u00d7)", re.IGNORECASE)
_INVALID = re.compile(r"Invalid requirement|Failed to parse|Expected .* requirement", re.IGNORECASE)
_OFFLINE = re.compile(
    r"NewConnectionError|NameResolutionError|name resolution|Connection (?:refused|reset)|"
    r"timed out|Network is unreachable|Failed to fetch|error sending request|Max retries",
    re.IGNORECASE,
)


class Stopped(ExecutorError):
    """The build was ended, since nobody waits for the environment any more."""

    def __init__(self) -> None:
        super().__init__("the environment was not built: the session was closed")


class Builder:
    """Gives the interpreter of an environment, which it builds if need be. Blocks: for a thread.

    tell: takes lines about the progress.
    """

    def __init__(self, folder: Path, interpreter: Interpreter, deps: Sequence[str]) -> None:
        self._python = interpreter
        self._deps = tuple(sorted(set(deps)))
        facts = json.dumps([os.path.realpath(interpreter.path), interpreter.version, self._deps])
        self.digest = hashlib.sha256(facts.encode()).hexdigest()[:20]
        self._place = folder / "environments" / self.digest
        self._process: subprocess.Popen[str] | None = None
        self._guard = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """End the build; from any thread."""
        with self._guard:
            self._stopped = True
            if self._process is not None and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def ready(self, component: str, tell: Tell) -> str:
        """Give the path of the environment's Python.

        Args:
            component: for messages.
        Raises:
            PortabilityError: a requirement is not valid, or no such package is there.
            ExecutorError: it could not be built for another reason, such as no network.
            Stopped: `stop` was called.
        """
        for one in self._deps:
            if one.startswith("-"):
                said = f"deps={one!r}: a requirement is a package such as 'pandas>=2', no option"
                raise PortabilityError(component, "process", [said])
        python = self._place / "bin" / "python"
        if not self._is_ready():
            self._place.parent.mkdir(parents=True, exist_ok=True)
            with self._lock(tell) as held:
                if not self._is_ready():
                    self._build(component, tell, held)
        (self._place / "used").touch()
        return str(python)

    def _is_ready(self) -> bool:
        return (self._place / "ready").is_file()

    @contextmanager
    def _lock(self, tell: Tell) -> Iterator[int]:
        """Hold the right to build; the file stays, since others may wait for it by now."""
        fd = os.open(f"{self._place}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            told = False
            while fcntl is not None:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not told:
                        tell("another process builds the environment: waiting for it")
                    told = True
                if self._stopped:
                    raise Stopped
                time.sleep(_LOOK)
            yield fd
        finally:
            os.close(fd)

    def _build(self, component: str, tell: Tell, held: int) -> None:
        tell(f"building an environment: Python {self._python.version}, {', '.join(self._deps)}")
        shutil.rmtree(self._place, ignore_errors=True)
        said: deque[str] = deque(maxlen=_TOLD)
        for command in self._commands():
            if self._run(command, held, tell, said):
                raise self._error(component, list(said))
        facts = {"python": self._python.version, "path": self._python.path, "deps": self._deps}
        (self._place / "about.json").write_text(json.dumps(facts))
        (self._place / "ready").touch()
        tell("the environment is ready")

    def _commands(self) -> Iterator[list[str]]:
        place, python = str(self._place), str(self._place / "bin" / "python")
        uv = shutil.which("uv")
        if uv is not None:
            yield [uv, "venv", "--quiet", "--no-project", "--python", self._python.path, place]
            yield [uv, "pip", "install", "--no-progress", "--python", python, "--", *self._deps]
            return
        lent = self._pip_for(python)  # to put a pip of its own into it takes seconds
        bare = [] if lent is None else ["--without-pip"]
        yield [self._python.path, "-I", "-m", "venv", *bare, place]
        pip = lent or [python, "-I", "-m", "pip"]
        quiet = ["--no-input", "--progress-bar=off", "--disable-pip-version-check"]
        yield [*pip, "install", *quiet, "--", *self._deps]

    def _pip_for(self, python: str) -> list[str] | None:
        """The interpreter's own pip, if it can install into another environment."""
        command = [self._python.path, "-I", "-m", "pip", "--python", self._python.path]
        done = subprocess.run(
            [*command, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        return None if done.returncode else [*command[:-1], python]

    def _run(self, command: list[str], held: int, tell: Tell, said: deque[str]) -> int:
        """Run one of the programs that build; gives its exit code."""
        env = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")}
        with self._guard:
            if self._stopped:
                raise Stopped
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    env=env,
                    # It keeps the lock: if this process dies, nobody else begins before it ends.
                    pass_fds=(held,),
                    start_new_session=True,
                )
            except OSError as exc:
                said.append(f"{command[0]}: {exc}")
                return 1
        with self._process as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip():
                    said.append(line.rstrip())
                    tell(line.rstrip())
        if self._stopped:
            raise Stopped
        return process.returncode

    def _error(self, component: str, said: list[str]) -> PortabilityError | ExecutorError:
        text = "\n".join(_blame(said))
        wanted = ", ".join(self._deps)
        where = f"the environment for {component} (Python {self._python.version}, {wanted})"
        if any(map(_OFFLINE.search, said)):
            return ExecutorError(
                f"{where} could not be built, since the package index does not answer: check the "
                f"network, the proxy or the index (PIP_INDEX_URL, UV_INDEX_URL)\n{text}"
            )
        if "ensurepip" in text:
            return ExecutorError(
                f"{where} could not be built: {self._python.path} comes without `venv`. Install "
                f"uv, or on Debian python{self._python.minor}-venv\n{text}"
            )
        if missing := _MISSING.search(text):
            problem = f"deps: {missing[1]} is not to be had for Python {self._python.version}"
        elif _TOGETHER.search(text):
            problem = f"deps: {wanted} cannot be installed together"
        elif _INVALID.search(text):
            problem = f"deps: one of {wanted} is not written as a requirement such as 'pandas>=2'"
        else:
            return ExecutorError(f"{where} could not be built:\n{text}")
        problem += f": correct deps=, or take another python=\n{text}"
        return PortabilityError(component, "process", [problem])


def _blame(said: list[str]) -> list[str]:
    """The lines of a builder from its first error on; all if it names none."""
    errors = (at for at, line in enumerate(said) if _ERROR.match(line))
    return said[next(errors, 0) :]
