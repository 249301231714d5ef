"""A worker for many jobs whose kernel has died in the middle of one: it tells that one to another.

Its standard streams belong to the kernel that has died, so it is asked at a door, a socket with a
path of its own. The door is there before: an end of the streams may be seen late, or never, when a
machine or a network is gone. Standard library only: shipped to the far side as it is.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twingraph_nb.remote import AGAIN, SECONDS
from twingraph_nb.remote_kept import LATE, Story
from twingraph_nb.wire import Decoder, Message, WireError

__all__ = ["Orphan", "Will"]

_READ = 1 << 16
_PATIENCE = 30.0  # seconds for a question


class Will(NamedTuple):
    """What is to become of a job if its kernel dies.

    door: path of a socket, of this job only. linger: seconds its answer waits. limit: seconds it
    may go on, 0 for any.
    """

    tag: int
    door: str
    linger: float
    limit: float

    @classmethod
    def read(cls, message: Message) -> Will:
        """Give what a message of kind KEEP says."""
        door, linger, limit = map(bytes, message.frames)
        seconds = SECONDS.unpack(linger)[0], SECONDS.unpack(limit)[0]
        return cls(message.tag, door.decode(), *seconds)


class Orphan:
    """A job that may have to go on without its kernel, and another one that hears it.

    sending: held by who writes to that kernel or adds to the story.

    Raises:
        OSError: there is no place for a door.
        RuntimeError: it may not have another thread.
    """

    def __init__(self, will: Will, story: Story, sending: threading.Lock) -> None:
        self.will, self._story, self._sending = will, story, sending
        self._heir: socket.socket | None = None
        self._waiting: threading.Timer | None = None
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(will.door)
        os.chmod(will.door, 0o600)
        self._door.listen()

    def begin(self) -> None:
        """It goes on without its kernel from now on."""
        if self.will.limit:
            _alarm(self.will.limit, LATE)

    def close(self) -> None:
        """The kernel lives, and has heard the job to its end: nobody will ask for it."""
        with contextlib.suppress(OSError):  # the job may have removed it
            os.unlink(self.will.door)
        _hang_up(self._door)  # which wakes `serve`
        self._door.close()

    def say(self, buffers: Sequence[Any]) -> None:
        """Send a message to the other kernel, if there is one. The caller holds `sending`."""
        if self._heir is None:
            return
        try:
            for one in buffers:
                self._heir.sendall(one)
        except OSError:
            self._lose()

    def answered(self) -> None:
        """The answer was given: it waits now."""
        with self._sending:
            self._wait()

    def serve(self, left: Callable[[Orphan], bool]) -> None:
        """Tell the story to each kernel that asks for it, until the door is closed.

        Args:
            left: called when one has come; whatever the streams say counts no more then. False if
                the job is over, and another one has come.
        """
        while True:
            try:
                heir, _ = self._door.accept()
            except OSError:
                return
            heir.settimeout(_PATIENCE)
            try:
                mark = self._asked(heir)
            except (OSError, ValueError, WireError):
                mark = None
            if mark is None or not left(self):
                heir.close()
                continue
            heir.settimeout(None)
            before = self._heir
            if before is not None:
                _hang_up(before)  # one that hangs holds the lock
            with self._sending:
                self._tell(heir, mark)

    def _tell(self, heir: socket.socket, mark: bytes) -> None:
        if self._story.torn:
            os._exit(1)
        self._lose()
        self._heir = heir
        if self._waiting is not None:
            self._wait()
        try:
            heir.sendall(mark)
            self._story.tell(heir.sendall)
        except OSError:
            self._lose()

    def _asked(self, heir: socket.socket) -> bytes | None:
        """The mark of a kernel's question; None if it has none."""
        decoder = Decoder()
        while part := heir.recv(_READ):
            for message in decoder.feed(part):
                if message.kind == AGAIN:
                    return bytes(message.frames[0])
        return None

    def _wait(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = _alarm(self.will.linger, 0)

    def _lose(self) -> None:
        heir, self._heir = self._heir, None
        if heir is not None:
            heir.close()


def _alarm(seconds: float, status: int) -> threading.Timer:
    """End this process after that time: by a thread, as the job may use the signal."""
    timer = threading.Timer(seconds, os._exit, [status])
    timer.daemon = True
    timer.start()
    return timer


def _hang_up(peer: socket.socket) -> None:
    try:
        peer.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is gone already
