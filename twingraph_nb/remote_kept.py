"""What a job has said, kept on the far side for a kernel that comes after one that has died.

Standard library only: shipped to the far side as it is.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any

from twingraph_nb.remote import CHECKPOINT, CHUNK, FAILED, LOG, PROGRESS, RESULT, TURNED

__all__ = ["UNFED", "Kept"]

UNFED = 60
"""Seconds without a byte from the near side after which a worker without a job ends."""
_LOGS = 8 << 20  # bytes of output that are kept; the near side keeps no more of a task either
_LATE = 124  # exit status of a job that ran too long, as `timeout` of coreutils has it
_READ = 1 << 20

Write = Callable[[Any], None]


class Kept:
    """All that is needed to tell of the one job of this process from its beginning.

    linger: seconds its answer waits. limit: seconds it may run, 0 for any; the near side ends it
    sooner, if there is one.
    """

    def __init__(self, linger: float, limit: float = 0.0) -> None:
        self._linger, self._limit = max(1, round(linger)), limit
        self._logged = 0
        self._newest: dict[int, list[Any]] = {}
        self.fed = self._torn = False
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        except OSError:  # no place to write to
            self._torn = True
        self._alarm(UNFED)

    def wait_on(self) -> None:
        """Bytes have come, and the job is not whole yet."""
        if not self.fed:
            signal.alarm(UNFED)

    def begin(self) -> None:
        """The job is here."""
        self.fed = True
        signal.alarm(0)
        if self._limit:
            timer = threading.Timer(self._limit, os._exit, [_LATE])
            timer.daemon = True
            timer.start()

    def over(self) -> None:
        """The answer was given: it waits now. For the main thread."""
        self._alarm(self._linger)

    def note(self, kind: int, buffers: Sequence[Any]) -> None:
        """Keep a message. One that cannot be kept ends the keeping: better none than a part."""
        if kind in (PROGRESS, CHECKPOINT, RESULT, FAILED, TURNED):
            self._newest[kind] = list(buffers)
        elif kind in (LOG, CHUNK) and not self._torn:
            size = sum(memoryview(one).nbytes for one in buffers)
            if kind == LOG:
                self._logged += size
                if self._logged > _LOGS:
                    return
            try:
                for one in buffers:
                    self._file.write(one)
            except OSError:  # the disk is full
                self._torn = True

    @property
    def tells(self) -> bool:
        """False while the job has not come, and when something of it could not be kept."""
        return self.fed and not self._torn

    def tell(self, write: Write) -> None:
        """Write all that is kept."""
        if self._newest.get(RESULT) or self._newest.get(FAILED):
            signal.alarm(self._linger)
        self._tell(write, TURNED)
        self._file.flush()
        at = 0
        while part := os.pread(self._file.fileno(), _READ, at):
            at += len(part)
            write(part)
        for kind in (PROGRESS, CHECKPOINT, RESULT, FAILED):
            self._tell(write, kind)

    def _tell(self, write: Write, kind: int) -> None:
        for one in self._newest.get(kind, ()):
            write(one)

    @staticmethod
    def _alarm(seconds: int) -> None:
        # The job may have had a use of its own for this signal.
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.alarm(seconds)
