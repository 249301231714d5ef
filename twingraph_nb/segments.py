"""Large frames between processes of one machine: in sealed memory, handed over by descriptor.

Standard library only, and Python 3.9 or later: shipped to the far side as it is. The sender
copies a large frame once, into memory of its own that nobody can change any more; the receiver
maps it, privately, and may write there. Such memory ends with the last process that holds it,
however that one ends. Linux only; elsewhere all frames go through the socket.
"""

from __future__ import annotations

import array
import mmap
import os
import socket
import struct
import sys
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

from twingraph_nb.wire import Decoder, Message, WireError, frame

if sys.platform == "linux":
    import fcntl

__all__ = ["LARGE", "SHARED", "SHARES", "Arrivals", "Segments", "has_large"]

SHARES = sys.platform == "linux" and hasattr(os, "memfd_create")
"""True if frames can be shared here."""
LARGE = 1 << 20  # bytes; below, to copy through a socket costs less than to map
SHARED = 31
"""Kind of the message that announces segments: the places they take in the next one."""

_PLACE = struct.Struct("<I")
_MOST = 64  # segments of a message; Linux takes 253 descriptors at once
_OPEN = 128  # mappings that may hold a descriptor each; a process often has only 1,024
_KEEPS_NONE = sys.version_info >= (3, 13)  # from there a mapping needs no descriptor
_mapped: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def has_large(frames: Sequence[Any]) -> bool:
    """True if some of the frames are worth sharing, and can be."""
    if SHARES:
        for one in frames:
            if (len(one) if type(one) is bytes else memoryview(one).nbytes) >= LARGE:
                return True
    return False


class Segments:
    """A message whose large frames wait in memory to be handed over; `close` lets go of them."""

    def __init__(self, frames: Sequence[Any], *, kind: int, tag: int) -> None:
        """Copy the large frames.

        Raises:
            OSError: no memory, or too many open files.
        """
        self._fds: list[int] = []
        places: list[bytes] = []
        rest: list[Any] = []
        try:
            for place, one in enumerate(frames):
                view = memoryview(one).cast("B")
                if len(view) >= LARGE and len(self._fds) < _MOST:
                    self._fds.append(_kept(view))
                    places.append(_PLACE.pack(place))
                else:
                    rest.append(one)
        except BaseException:
            self.close()
            raise
        self._first = b"".join(frame([b"".join(places)], kind=SHARED, tag=tag))
        self.rest = frame(rest, kind=kind, tag=tag)
        """The buffers to send after this."""

    def send(self, sock: socket.socket) -> bytes:
        """Hand the memory over; gives what is left to be sent before `rest`.

        Raises:
            OSError: the other side is gone. BlockingIOError: not now.
        """
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", self._fds))]
        sent = sock.sendmsg([self._first], rights)
        self.close()
        return self._first[sent:]

    def close(self) -> None:
        """Let go of the memory; once or more."""
        while self._fds:
            os.close(self._fds.pop())


class Arrivals:
    """The messages that come over a socket, each with its shared frames in their places."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._decoder = Decoder()
        self._fds: deque[int] = deque()
        self._waiting: list[tuple[int, Any]] = []
        self.full = False
        """True if more may be there than the last look took."""

    def receive(self) -> list[Message] | None:
        """Give the messages now whole, None at the end of the stream.

        Raises:
            OSError: the socket is broken. BlockingIOError: nothing is there.
            WireError: what came is not a message.
        """
        buffer = self._decoder.buffer()
        if SHARES:
            count, rights, flags, _ = self._socket.recvmsg_into(
                [buffer], socket.CMSG_SPACE(_MOST * 4), socket.MSG_CMSG_CLOEXEC
            )
            if rights:
                self._take(rights)
            if flags & socket.MSG_CTRUNC:
                raise WireError("this process has too many open files to take a large value")
        else:
            count, rights = self._socket.recv_into(buffer), []
        if not count:
            return None
        # Linux ends a look behind descriptors, whatever is there.
        self.full = bool(rights) or count == len(buffer)
        found = self._decoder.advance(count)
        if self._fds or self._waiting:
            return self._put_back(found)
        for message in found:
            if message.kind == SHARED:
                return self._put_back(found)
        return found

    def close(self) -> None:
        """Let go of memory that came for messages which did not."""
        self._waiting.clear()
        while self._fds:
            os.close(self._fds.popleft())

    def _take(self, rights: Sequence[tuple[int, int, bytes]]) -> None:
        for level, kind, data in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                self._fds.extend(fds)

    def _put_back(self, messages: Sequence[Message]) -> list[Message]:
        found: list[Message] = []
        for message in messages:
            if message.kind == SHARED:
                for (place,) in _PLACE.iter_unpack(message.frames[0]):
                    if not self._fds:
                        raise WireError("a frame was announced that did not come")
                    self._waiting.append((place, _brought(self._fds.popleft())))
                continue
            for place, memory in self._waiting:
                message.frames.insert(place, memory)
            self._waiting.clear()
            found.append(message)
        return found


def _kept(view: memoryview) -> int:
    """A descriptor of memory that holds these bytes for good."""
    fd = os.memfd_create("twingraph-frame", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        at = 0
        while at < len(view):
            at += os.pwrite(fd, view[at:], at)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _brought(fd: int) -> Any:
    """Memory with the bytes behind a descriptor, which is closed."""
    try:
        size = os.fstat(fd).st_size
        # Without the seal the sender could cut it off, which kills whoever reads there.
        if not fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK or not size:
            raise WireError("a shared frame is not sealed")
        private: dict[str, Any] = {"flags": mmap.MAP_PRIVATE}
        if _KEEPS_NONE:
            private["trackfd"] = False
        if _KEEPS_NONE or len(_mapped) < _OPEN:
            found = mmap.mmap(fd, size, prot=mmap.PROT_READ | mmap.PROT_WRITE, **private)
            _mapped.add(found)
            return found
        return _copied(fd, size)
    finally:
        os.close(fd)


def _copied(fd: int, size: int) -> Any:
    memory = mmap.mmap(-1, size)
    with memoryview(memory) as view:
        at = 0
        while at < size:
            at += os.preadv(fd, [view[at:]], at)
    return memory
