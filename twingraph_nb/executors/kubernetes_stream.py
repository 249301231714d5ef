"""The standard streams of a container as one websocket carries them, on an asyncio loop.

Protocol `v4.channel.k8s.io`: the first byte of a message is the channel, 0 standard input, 1
output, 2 error, 3 how it ended. The client library opens the connection; its own reader blocks
a thread for each pod, and joins all that has come to one text.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Sequence

__all__ = ["Channels", "Frames"]

_OUT, _ERROR = 1, 2
_MORE, _TEXT, _BINARY, _CLOSE, _PING = 0x0, 0x1, 0x2, 0x8, 0x9  # RFC 6455, 5.2
_PONG = 0xA
_CONTROL = 125  # bytes of a control frame, at most
_LAST, _MASKED = 0x80, 0x80
_MASK = b"\0\0\0\0"
"""Masks protect caches from scripts of web pages (RFC 6455, 10.3); zeros change nothing."""
_MOST = (1 << 16) - 2  # bytes in one message: its length fits in two bytes
_BEAT = 20.0  # seconds; some balancers cut what is silent for 60
_MISSED = 3  # beats without a sound from a server that has answered one, and it is gone
_HELD = 15  # so many after input, behind which the beats wait when the container is busy
_READ = 1 << 16
_READS = 32


class Channels:
    """One such websocket. All calls and callbacks are on the loop's thread.

    out, error: take what comes on the two streams. drained: called when `write` takes more
    again. gone: called once it has ended, however.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        out: Callable[[memoryview], None],
        error: Callable[[bytes], None],
        drained: Callable[[], None],
        gone: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock: socket.socket | None = sock
        self._drained, self._gone = drained, gone
        self._frames = Frames(out, error, self._answer)
        self._pending = memoryview(b"")
        self._writing = False
        self._silent, self._missed = 0, _MISSED
        self._loop.add_reader(sock, self._readable)
        self._beat: asyncio.Handle = self._loop.call_soon(self._alive)
        self._loop.call_soon(self._readable)  # what came with the handshake wakes nobody

    def write(self, data: Sequence[memoryview]) -> int:
        """Send some bytes to standard input; gives how many, 0 while it is full.

        Raises:
            OSError: it has ended.
        """
        if self._sock is None:
            raise BrokenPipeError("the connection has ended")
        if self._pending:
            return 0
        part = b"".join(_first(data, _MOST))
        self._missed = _HELD
        self._pending = memoryview(_frame(_BINARY, b"\0" + part))
        self._push()
        return len(part)

    def close(self) -> None:
        """End the connection, which ends the container's standard input. `gone` is not called."""
        self._beat.cancel()
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was quicker
            sock.close()

    def _readable(self) -> None:
        try:
            for _ in range(_READS):
                if self._sock is None:
                    return
                data = self._sock.recv(_READ)
                self._silent, self._missed = 0, _MISSED
                if not data or not self._frames.feed(data):
                    self._over()
                    return
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            self._over()
            return
        # More may be decrypted already, of which the loop hears nothing.
        self._loop.call_soon(self._readable)

    def _push(self) -> None:
        """Send what is pending; TLS wants the very same bytes again until it has taken them."""
        assert self._sock is not None
        try:
            while self._pending:
                count = self._sock.send(self._pending)
                self._pending = self._pending[count:]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        try:
            self._push()
        except OSError:
            self._over()
            return
        if not self._pending and self._sock is not None:
            self._writing = False
            self._loop.remove_writer(self._sock)
            self._drained()

    def _answer(self, frame: bytes) -> None:
        if not self._pending and self._sock is not None:
            self._pending = memoryview(frame)
            try:
                self._push()
            except OSError:
                self._over()

    def _alive(self) -> None:
        """Ask for a sign of life: a network may fail so that nobody hears of it."""
        # Counted, not timed: a loop that was held up must not take that for the server's silence.
        if self._frames.ponged and self._silent >= self._missed:
            self._over()
            return
        self._silent += 1
        self._beat = self._loop.call_later(_BEAT, self._alive)
        self._answer(_frame(_PING, b""))

    def _over(self) -> None:
        if self._sock is not None:
            self.close()
            self._gone()


class Frames:
    """Takes the frames of a server apart, as their bytes come.

    ponged: it has answered a ping, as not all do.
    """

    def __init__(
        self,
        out: Callable[[memoryview], None],
        error: Callable[[bytes], None],
        answer: Callable[[bytes], None],
    ) -> None:
        self._out, self._error, self._answer = out, error, answer
        self._head = b""
        self._kind = self._channel = -1
        self._left = 0  # bytes of the frame's body that are still to come
        self._body = b""  # of a control frame
        self.ponged = False

    def feed(self, data: bytes) -> bool:
        """Take bytes; False when the server has said that this is the end."""
        view = memoryview(data)
        while len(view):
            if self._left:
                part, view = view[: self._left], view[self._left :]
                self._left -= len(part)
                self._take(part)
            else:
                need = _size_of_head(self._head) - len(self._head)
                self._head, view = self._head + bytes(view[:need]), view[need:]
                if len(self._head) < _size_of_head(self._head):
                    continue
                self._begin()
            if not self._left and not self._head and not self._done():
                return False
        return True

    def _begin(self) -> None:
        """A frame's head is whole: know its kind and length."""
        kind, size = self._head[0] & 0x0F, self._head[1] & 0x7F
        if size == 126:
            (size,) = struct.unpack_from(">H", self._head, 2)
        elif size == 127:
            (size,) = struct.unpack_from(">Q", self._head, 2)
        if kind in (_TEXT, _BINARY):
            self._channel = -1
        self._kind, self._left, self._head, self._body = kind, size, b"", b""

    def _take(self, part: memoryview) -> None:
        if self._kind not in (_MORE, _TEXT, _BINARY):
            self._body = (self._body + bytes(part))[:_CONTROL]
            return
        if self._channel < 0:
            self._channel, part = part[0], part[1:]
        if self._channel == _OUT and len(part):
            self._out(part)
        elif self._channel == _ERROR and len(part):
            self._error(bytes(part))

    def _done(self) -> bool:
        """A frame is over; False if it was the one that closes."""
        if self._kind == _PING:
            self._answer(_frame(_PONG, self._body))
        self.ponged |= self._kind == _PONG
        return self._kind != _CLOSE


def _size_of_head(head: bytes) -> int:
    """Bytes of a frame's head, as far as its beginning tells; a server's frames have no mask."""
    size = head[1] & 0x7F if len(head) > 1 else 0
    return 2 + (2 if size == 126 else 8 if size == 127 else 0)


def _frame(kind: int, body: bytes) -> bytes:
    size = len(body)
    if size < 126:
        head = bytes((_LAST | kind, _MASKED | size))
    else:
        head = struct.pack(">BBH", _LAST | kind, _MASKED | 126, size)
    return head + _MASK + body


def _first(data: Sequence[memoryview], most: int) -> list[memoryview]:
    """As much of the buffers as makes up `most` bytes."""
    taken = []
    for one in data:
        taken.append(one[:most])
        most -= len(taken[-1])
        if not most:
            break
    return taken
