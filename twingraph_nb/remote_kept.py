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

__all__ = ["LATE", "UNFED", "Kept", "Story"]

UNFED = 60
"""Seconds without a byte from the near side after which a worker without a job ends."""
LATE = 124
"""Exit status of a job that ran too long, as `timeout` of coreutils has it."""
_LOGS = 8 << 20  # bytes of output that are kept; the near side keeps no more of a task either
_READ = 1 << 20

Write = Callable[[Any], None]


class Story:
    """All that a job has said, to be told from its beginning.

    room: bytes of chunks that are kept, 0 for any. torn: a part of it could not be kept: it is
    not told then, better nothing than a part.
    """

    def __init__(self, room: int = 0) -> None:
        self._room = room
        self._logged = self._size = 0
        self._newest: dict[int, list[Any]] = {}
        self._file: Any = None
        self.torn = False

    def note(self, kind: int, buffers: Sequence[Any]) -> None:
        """Keep a message."""
        if kind == CHECKPOINT:
            self._newest[kind] = [bytes(one) for one in buffers]  # the task goes on changing it
        elif kind in (PROGRESS, RESULT, FAILED, TURNED):
            self._newest[kind] = list(buffers)
        elif kind in (LOG, CHUNK) and not self.torn:
            size = sum(memoryview(one).nbytes for one in buffers)
            if kind == LOG:
                self._logged += size
                if self._logged > _LOGS:
                    return
            self._write(buffers, size)

    def clear(self) -> None:
        """Begin another story."""
        self._newest.clear()
        if self._size:
            self._logged = self._size = 0
            self.torn = False
            self._shorten()

    @property
    def answered(self) -> bool:
        """True once the answer was given."""
        return RESULT in self._newest or FAILED in self._newest

    def tell(self, write: Write) -> None:
        """Write all that is kept."""
        self._tell(write, TURNED)
        if self._file is not None:
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

    def _write(self, buffers: Sequence[Any], size: int) -> None:
        self._size += size
        try:
            if self._room and self._size > self._room:
                raise OSError("too much is to be kept")
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
            for one in buffers:
                self._file.write(one)
        except OSError:  # the disk is full, or there is no place to write to
            self.torn = True
            self._shorten()

    def _shorten(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.seek(0)
                file.truncate()
                self._file = file
        except OSError:  # what it still holds cannot be written
            self.torn = True


class Kept(Story):
    """The story of the one job of this process.

    linger: seconds its answer waits. limit: seconds it may run, 0 for any; the near side ends it
    sooner, if there is one.
    """

    def __init__(self, linger: float, limit: float = 0.0) -> None:
        super().__init__()
        self._linger, self._limit = max(1, round(linger)), limit
        self.fed = False
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
            timer = threading.Timer(self._limit, os._exit, [LATE])
            timer.daemon = True
            timer.start()

    def over(self) -> None:
        """The answer was given: it waits now. For the main thread."""
        self._alarm(self._linger)

    @property
    def tells(self) -> bool:
        """False while the job has not come, and when something of it could not be kept."""
        return self.fed and not self.torn

    def tell(self, write: Write) -> None:
        if self.answered:
            signal.alarm(self._linger)
        super().tell(write)

    @staticmethod
    def _alarm(seconds: int) -> None:
        # The job may have had a use of its own for this signal.
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.alarm(seconds)
