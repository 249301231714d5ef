"""The processes of far sides, as this machine has them, and how to wait for them."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable

__all__ = ["PATIENCE", "kill", "mark", "pids_of", "until"]

PATIENCE = 150.0
"""Seconds after which a platform counts as hung."""


def mark() -> str:
    """A name of at most 15 characters for a process (see `steps.known_as`)."""
    return f"tg{secrets.token_hex(6)}"


def pids_of(name: str) -> list[int]:
    """The Pythons of this machine that go by a name, those in containers too.

    Asked again and again while others work: it looks at no thread of what is no Python.
    """
    found, wanted = [], f"{name}\n"
    for process in filter(str.isdigit, os.listdir("/proc")):
        folder = f"/proc/{process}"
        with contextlib.suppress(OSError):
            if "python" not in os.readlink(f"{folder}/exe"):
                continue
            threads = os.listdir(f"{folder}/task")
            if any(_read(f"{folder}/task/{one}/comm") == wanted for one in threads):
                state = _read(f"{folder}/stat").rsplit(")", 1)[1].split()[0]
                if state != "Z":
                    found.append(int(process))
    return found


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def kill(name: str) -> None:
    """Kill -9 the processes that go by a name."""
    for pid in pids_of(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], object]) -> None:
    """Wait for something that a process elsewhere does; there is no event to wait for."""
    end = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        pause.wait(0.05)
