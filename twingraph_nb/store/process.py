"""Who a process is, so that another one can tell later whether it still lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path

__all__ = ["identity", "is_gone"]


def identity() -> dict[str, str]:
    """Give the keys of `RunStarted.origin` that name this process: pid, host, pid_started."""
    pid = os.getpid()
    return {"pid": str(pid), "host": socket.gethostname(), "pid_started": _own_start(pid)}


def is_gone(origin: Mapping[str, str]) -> bool:
    """True when the process of `origin` ran on this machine and has ended.

    False when it lives, and when nothing can be said: another host, or no pid recorded.
    A pid that now belongs to a younger process counts as gone.
    """
    pid = origin.get("pid", "")
    if not pid.isdigit() or origin.get("host") != socket.gethostname():
        return False
    if not _alive(int(pid)):
        return True
    then, now = origin.get("pid_started", ""), _started(int(pid))
    if not then or now is None:
        return False
    return then not in (now, now.partition(".")[2])  # without the boot's name is fine too


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return _psutil_alive(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, so it lives
    return _stat(pid)[:1] != ["Z"]


def _started(pid: int) -> str | None:
    """When the process began, as a text that no other process of this machine shares."""
    fields = _stat(pid)
    if fields:
        return f"{_boot()}.{fields[19]}"
    return _psutil_started(pid)


@lru_cache(maxsize=1)
def _own_start(pid: int) -> str:
    """The same of this process, looked up once; `pid` is another after a fork."""
    return _started(pid) or ""


def _stat(pid: int) -> list[str]:
    """The fields of Linux' /proc/PID/stat after the command, state first; [] elsewhere."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


@cache
def _boot() -> str:
    """Start times on Linux count from the boot, so they need its name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return ""


def _psutil_alive(pid: int) -> bool:
    try:
        import psutil  # type: ignore[import-untyped]  # comes with ipykernel
    except ImportError:
        return True
    return bool(psutil.pid_exists(pid))


def _psutil_started(pid: int) -> str | None:
    try:
        import psutil
    except ImportError:
        return None
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return None
