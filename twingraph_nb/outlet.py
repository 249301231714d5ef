"""What a running job prints, on its way to the near side. Standard library only."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

__all__ = ["Output"]

_STREAMS = {"stdout": b"o", "stderr": b"e", "system": b"s"}
_FLUSH = 0.05  # seconds a part of a line, or a flood of lines, may wait
_SOON = 0.002  # seconds; lines that come slower than this are sent one by one
_BATCH = 1 << 15  # characters that are sent at once at the latest
_MOST = 64 << 20  # characters of output of one job; an endless loop must not fill a disk


class Output:
    """What the running job prints: sent line by line, in larger pieces when it is a flood."""

    def __init__(self, say: Callable[[int, bytes], None]) -> None:
        """`say` takes the tag of the job and the stream's first letter with what was written."""
        self._say = say
        self._lock = threading.RLock()
        self._tag, self._stream, self._count = 0, "stdout", 0
        self._kept: list[str] = []
        self._size, self._sent_at = 0, 0.0
        self._late: threading.Event | None = None

    def stream(self, name: str, number: int, real: TextIO | None) -> TextIO:
        """Give what stands for `sys.stdout` or `sys.stderr`."""
        if real is not None and isinstance(real, io.TextIOWrapper):
            real.reconfigure(line_buffering=True)
        return _Stream(self, name, number, real)  # type: ignore[return-value]

    def begin(self, tag: int) -> None:
        """From now on all is of that job."""
        with self._lock:
            self._tag, self._count = tag, 0

    def end(self) -> None:
        """Send the rest; what is written from now on is of no job."""
        with self._lock:
            self.flush()
            self._tag = 0

    @property
    def open(self) -> bool:
        """True while a job runs."""
        return self._tag != 0

    def write(self, stream: str, text: str) -> None:
        """Take what the job writes; from any thread."""
        with self._lock:
            if not self._tag or not text or self._count > _MOST:
                return
            self._count += len(text)
            if self._count > _MOST:
                stream, text = "system", "\n[more output is not kept]\n"
            if stream != self._stream:
                self.flush()
                self._stream = stream
            self._kept.append(text)
            self._size += len(text)
            calm = time.monotonic() - self._sent_at > _SOON
            if self._size > _BATCH or (calm and "\n" in text):
                self.flush()
            elif self._late is None:
                self._late = threading.Event()
                threading.Thread(target=self._flush_late, args=(self._late,), daemon=True).start()
            elif not self._late.is_set():  # to set it again costs half of a line
                self._late.set()

    def flush(self) -> None:
        """Send what is kept."""
        with self._lock:
            if not self._kept:
                return
            text, self._kept, self._size = "".join(self._kept), [], 0
            body = _STREAMS[self._stream] + text.encode("utf-8", "backslashreplace")
            self._say(self._tag, body)
            self._sent_at = time.monotonic()

    def _flush_late(self, wanted: threading.Event) -> None:
        while True:
            time.sleep(_FLUSH)
            self.flush()
            wanted.wait()
            wanted.clear()


class _Stream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a worker: to the running job's log, else to the real one."""

    def __init__(self, out: Output, name: str, number: int, real: TextIO | None) -> None:
        self._out, self._name, self._number, self._real = out, name, number, real

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self._out.open:
            self._out.write(self._name, text)
        elif self._real is not None:
            self._real.write(text)
        return len(text)

    def flush(self) -> None:
        self._out.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def buffer(self) -> Any:
        return getattr(self._real, "buffer", None)

    def __iter__(self) -> NoReturn:
        raise io.UnsupportedOperation("not readable")
