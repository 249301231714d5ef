"""Why a kernel process ended: exit code or signal, and how much memory it had used."""

from __future__ import annotations

import re
import resource
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MemoryWatch", "cause_of_death", "size_text"]

POLL = 0.05  # seconds between two looks at the process
_KIB = 1024


@dataclass(slots=True)
class _Peak:
    bytes: int = 0


class MemoryWatch:
    """Remembers the most memory (bytes, resident) that a process has used, while it lives.

    A dead process no longer says what it had used, so somebody has to have asked before.
    """

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._peak = _Peak()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="twingraph-memory", daemon=True)
        self._thread.start()

    @property
    def peak(self) -> int:
        """The most bytes seen; 0 when the system does not tell."""
        # The kernel's exact figure for children that have ended. A child inherits the figure
        # of its parent at the fork, so only one above our own is the child's.
        usage = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        unit = 1 if sys.platform == "darwin" else _KIB
        return max(self._peak.bytes, usage * unit if usage > own else 0)

    def stop(self) -> None:
        """End the watch."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            try:
                text = self._status.read_text()
            except OSError:  # it has ended, or this system has no /proc
                return
            found = re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)
            if found:
                self._peak.bytes = max(self._peak.bytes, int(found[1]) * _KIB)
            if self._stop.wait(POLL):
                return


def cause_of_death(code: int | None, peak: int = 0) -> str:
    """Give the end of a process as words: ``ended with exit code 3`` or ``was killed by SIGSEGV``.

    Args:
        code: what `Popen.returncode` says; a signal's number is negative there.
        peak: the most memory it had used, bytes; 0 if unknown.
    """
    if code is None:
        said = "stopped answering"
    elif code >= 0:
        said = f"ended with exit code {code}"
    else:
        said = f"was killed by {_signal_name(-code)}"
    if peak:
        said += f" after using up to {size_text(peak)} of memory"
    if code == -signal.SIGKILL:
        said += (
            "; nobody but the system usually does that, when memory runs out "
            "(the out-of-memory killer): use less memory in this cell, or a larger machine"
        )
    elif code == -signal.SIGSEGV:
        said += "; compiled code of a library it had loaded crashed"
    return said


def size_text(size: float) -> str:
    """Give bytes as people write them: ``1.5 GB``."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
