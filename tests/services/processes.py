"""Processes of services: apart from ours, known by id and start time, ended with all of theirs."""

from __future__ import annotations

import os
import select
import shutil
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

__all__ = [
    "MARK", "PIDS", "alive", "identity", "marked", "program", "start", "sweep", "wait_for_end",
]  # fmt: skip

MARK = "TWINGRAPH_TESTS_SERVICE"
"""In the environment of everything a service starts: the folder of its state."""

PIDS = "processes"
"""In the folder of a service: the identity of each process it has started, one a line."""

ADMIN = ":/usr/sbin:/sbin"  # where programs of root are
DETACHED = 0o600  # mode of log files: they may hold addresses with passwords


def program(name: str) -> str | None:
    """The path of a program, also where only root usually looks; None when it is missing."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}{ADMIN}")


def identity(pid: int) -> str:
    """ "pid:start": a name that no later process with the same number has; "" when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # Field 3 of proc(5) is the state, field 22 the start in ticks since boot. A zombie has ended.
    return "" if fields[0] in "ZX" else f"{pid}:{fields[19]}"


def alive(name: str) -> bool:
    """Whether the process with this `identity` still runs."""
    return bool(name) and identity(int(name.partition(":")[0])) == name


def start(command: Iterable[str], log: Path, environment: Mapping[str, str]) -> str:
    """The `identity` of a new process in a session of its own, with its output added to `log`."""
    words = list(command)
    found = program(words[0])
    if found is None:
        raise FileNotFoundError(words[0])
    # Not Popen: it warns when it is forgotten, and a service outlives the test that starts it.
    pid = os.posix_spawn(
        found,
        words,
        dict(environment),
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGPIPE),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, DETACHED),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    return identity(pid)


def marked(folder: Path) -> list[psutil.Process]:
    """All that the service with this folder has started, and what those have started."""
    noted = folder / PIDS
    ours = set(noted.read_text().split()) if noted.exists() else set()
    found: dict[int, psutil.Process] = {}
    for each in psutil.process_iter():
        try:
            # Both: a program may write over its environment, a starter die before it takes a note.
            if each.environ().get(MARK) == str(folder) or identity(each.pid) in ours:
                # A container has an environment of its own, but its parent is one of ours.
                found |= {one.pid: one for one in (each, *each.children(recursive=True))}
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    found.pop(os.getpid(), None)
    return [each for each in found.values() if identity(each.pid)]


def sweep(folder: Path, *, grace: float = 0.0) -> None:
    """End all that the service has started: by SIGTERM for `grace` seconds, then by SIGKILL."""
    if grace:
        for each in marked(folder):
            _signal(each, signal.SIGTERM)
        psutil.wait_procs(marked(folder), timeout=grace)
    while found := marked(folder):  # again: it may have started more while it was killed
        for each in found:
            _signal(each, signal.SIGKILL)
        psutil.wait_procs(found, timeout=5)
        _reap(found)


def wait_for_end(name: str) -> None:
    """Return when the process with this `identity` has ended."""
    try:
        handle = os.pidfd_open(int(name.partition(":")[0]))
    except ProcessLookupError:
        return
    try:
        while alive(name):
            select.select([handle], [], [], 1.0)
    finally:
        os.close(handle)


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass


def _reap(processes: Iterable[psutil.Process]) -> None:
    """Take the exit status of our own children, which would stay zombies until we end."""
    for each in processes:
        try:
            os.waitpid(each.pid, os.WNOHANG)
        except ChildProcessError:
            continue
