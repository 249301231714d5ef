"""The standard streams of a container on an asyncio loop, taken apart."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence

__all__ = ["Streams"]

_HEADER = struct.Struct(">BxxxI")  # stream, length; Docker Engine API, "Stream format"
_STDERR = 2
_READ = 1 << 18
_READS = 8


class Streams:
    """The streams of a container on an asyncio loop, taken apart.

    out, error: get what it writes. gone: called once when there is no more. over: so it is.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        out: Callable[[memoryview], None],
        error: Callable[[bytes], None],
        gone: Callable[[], None],
    ) -> None:
        self._loop, self._gone = loop, gone
        self._out, self._error = out, error
        self._sock: socket.socket | None = None
        self._writing = False
        self._head = b""
        self._left = self._stream = 0
        self.over = False

    def open(self, sock: socket.socket) -> None:
        """Read from now on."""
        self._sock = sock
        self._loop.add_reader(sock, self._readable)

    def write(self, data: Sequence[memoryview], more: Callable[[], object]) -> int:
        """Send some of the bytes without waiting; gives how many.

        Args:
            more: called when more can be sent, if that was none.
        Raises:
            OSError: the container is gone.
        """
        if self._sock is None:
            raise BrokenPipeError
        try:
            count = self._sock.sendmsg(data)
        except BlockingIOError:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._sock, more)
            return 0
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock)
        return count

    def close(self) -> None:
        """Let go of them; `gone` is not called."""
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
            self._sock = None

    # -- inside --------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            for _ in range(_READS):
                if self._sock is None:  # closed by one who heard what came
                    return
                data = self._sock.recv(_READ)
                if not data:
                    self._end()
                    return
                self._feed(data)
                if len(data) < _READ:
                    return
        except BlockingIOError:
            pass
        except OSError:
            self._end()

    def _end(self) -> None:
        self.over = True
        self.close()
        self._gone()

    def _feed(self, data: bytes) -> None:
        view = memoryview(data)
        while len(view):
            if not self._left:
                need = _HEADER.size - len(self._head)
                self._head += bytes(view[:need])
                view = view[need:]
                if len(self._head) < _HEADER.size:
                    return
                self._stream, self._left = _HEADER.unpack(self._head)
                self._head = b""
                continue
            part = view[: self._left]
            view = view[len(part) :]
            self._left -= len(part)
            if self._stream == _STDERR:
                self._error(bytes(part))
            else:
                self._out(part)
