"""What a running task can say: progress and log lines, and where its prints go.

Standard library only: it is part of what travels to the far side.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Literal, Protocol, TextIO

__all__ = ["Context", "Reporter", "ctx", "current_report", "flushed_already", "route_prints"]


Stream = Literal["stdout", "stderr", "system"]


class Reporter(Protocol):
    """Where what a running task says goes."""

    @property
    def hash(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def restored(self) -> Sequence[object]:
        """What an earlier attempt had saved, as the only item; empty if it has saved nothing."""
        ...

    def checkpoint(self, state: object) -> None: ...
    def log(self, stream: Stream, text: str) -> None: ...
    def progress(self, fraction: float, message: str = "") -> None: ...


class Silent:
    """Stands in `current_report` where calls belong to something that has no log of its own."""

    __slots__ = ()


current_report: ContextVar[Reporter | Silent | None] = ContextVar("twingraph", default=None)
"""The running task, or pipeline function, in this context; None outside of both.

One variable for all: setting one costs a good part of a small task's time.
"""


def _reporter() -> Reporter | None:
    found = current_report.get()
    return None if found is None or isinstance(found, Silent) else found


_saved: dict[str, float] = {}  # when a task of this process last saved
_REMEMBERED = 1000


class Context:
    """``ctx``: what a component can say while it runs. Outside of a task it says nothing."""

    @property
    def hash(self) -> str:
        """The hash of the running task, "" outside of one."""
        report = _reporter()
        return report.hash if report else ""

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1; 0 outside of a task."""
        report = _reporter()
        return report.attempt if report else 0

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the task is.

        Args:
            fraction: in [0, 1]; values outside are moved to the nearest end.
            message: a few words shown with it.
        Raises:
            ValueError: the fraction is not a number.
        """
        report = _reporter()
        if report is not None:
            if fraction != fraction:
                raise ValueError("ctx.progress wants a number between 0 and 1, not nan")
            report.progress(min(1.0, max(0.0, float(fraction))), str(message))

    def log(self, text: str) -> None:
        """Write a line to the task's log."""
        report = _reporter()
        if report is not None:
            report.log("system", text if text.endswith("\n") else text + "\n")

    def checkpoint(self, state: object, every: float = 0.0) -> None:
        """Save how far the task is, so that another attempt goes on from here.

        It is on disk when this returns (from a task elsewhere: once it has arrived), and a retry
        or a resumed run finds it with `restore`.

        Args:
            state: any value that may travel as an output would.
            every: seconds since this attempt last saved before it does so again.
        Raises:
            StoreError: it cannot be saved; says why.
        """
        report = _reporter()
        if report is None:
            return
        now = time.monotonic()
        if every and now - _saved.get(report.hash, -math.inf) < every:
            return
        if len(_saved) > _REMEMBERED:
            _saved.clear()
        _saved[report.hash] = now
        report.checkpoint(state)

    def restore(self, default: object = None) -> object:
        """Give what an earlier attempt of this very task has saved last, else the default."""
        report = _reporter()
        found = report.restored if report is not None else ()
        return found[0] if found else default


ctx = Context()


class _Router:
    """A text stream that sends what a task writes to its report, all else to the real stream."""

    def __init__(self, real: TextIO, stream: Stream) -> None:
        self._real, self._stream = real, stream

    def write(self, text: str) -> int:
        report = _reporter()
        if report is None:
            return self._real.write(text)
        report.log(self._stream, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if _reporter() is None and not _flushed.get():
            self._real.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


_flushed: ContextVar[bool] = ContextVar("twingraph_flushed", default=False)


@contextlib.contextmanager
def flushed_already() -> Iterator[None]:
    """Make flushes do nothing here, as nothing was written since the last.

    Each display flushes both streams, and in a kernel each flush waits for another thread to take
    its turn, twice: while a run keeps the interpreter busy, that is up to 5 ms every time.
    """
    token = _flushed.set(True)
    try:
        yield
    finally:
        _flushed.reset(token)


def route_prints() -> None:
    """See to it that prints of tasks go to their own logs. Cheap to call again."""
    if type(sys.stdout) is not _Router and sys.stdout is not None:
        sys.stdout = _Router(sys.stdout, "stdout")
    if type(sys.stderr) is not _Router and sys.stderr is not None:
        sys.stderr = _Router(sys.stderr, "stderr")
