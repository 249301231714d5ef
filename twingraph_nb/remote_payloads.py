"""Large parts of a job's inputs on the far side: they come once, and many jobs use them.

Standard library only, and Python 3.9 or later: shipped to the far side as it is.

A job names a part by its digest, and says where it is: sent before over the same stream, in a
folder that is mounted here, behind a URL, or where the platform keeps such things. What was
fetched is checked against its digest before anything reads it. Each job gets memory of its own:
it may write into an array without another one noticing.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twingraph_nb import values
from twingraph_nb.wire import Decoder, Message

__all__ = [
    "ROOM",
    "Part",
    "PayloadError",
    "Payloads",
    "ask",
    "digest_of",
    "fetch",
    "messages",
    "value_at",
]

ROOM = 256 << 20
"""Bytes of parts that a worker keeps for the next job."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TRIES = 5
_PATIENCE = 60.0  # seconds for an answer of the store

Part = tuple[int, str, int, str]
"""A part: its place among the job's frames, its digest, its size in bytes, and where it is."""


class PayloadError(Exception):
    """A part of the inputs is not there, or is not what it should be."""


def digest_of(buffers: Sequence[Any]) -> str:
    """Give the name of a content: 64 hexadecimal digits, BLAKE2b of 32 bytes."""
    made = hashlib.blake2b(digest_size=32)
    for one in buffers:
        made.update(one)
    return made.hexdigest()


class Payloads:
    """The parts that this process knows.

    room: bytes of fetched parts to keep. find: gives a part that is neither in a folder nor
    behind a URL, by its digest and place, as memory that may be written to; it may raise a
    `PayloadError`.
    """

    def __init__(self, room: int = ROOM, find: Callable[[str, str], Any] | None = None) -> None:
        self._room, self._find = room, find
        self._sent: dict[str, _Memory] = {}
        self._fetched: OrderedDict[str, _Memory] = OrderedDict()

    def put(self, digest: str, memory: Any) -> None:
        """Keep a part that was sent, until it is dropped."""
        self._sent[digest] = _Memory(memory)

    def drop(self, digest: str) -> None:
        """Let go of a part that was sent."""
        self._sent.pop(digest, None)

    def whole(self, frames: Sequence[Any], parts: Sequence[Part]) -> Sequence[Any]:
        """Give the frames of a job with its parts put in, each in memory of its own.

        Raises:
            PayloadError: one is not there or not what it should be.
        """
        found = list(frames)
        for index, digest, size, where in parts:
            found.insert(index, self._part(digest, size, where))
        return found

    def _part(self, digest: str, size: int, where: str) -> Any:
        if not _DIGEST.fullmatch(digest):
            raise PayloadError("a part of its inputs has a name that is no digest")
        sent = self._sent.get(digest)
        if sent is not None:
            return sent.copy(digest)
        if digest in self._fetched:
            self._fetched.move_to_end(digest)
            return self._fetched[digest].copy()
        if where.startswith("/"):  # the system keeps what is often read
            return _checked(_read(os.path.join(where, digest)), digest, size)
        memory = _checked(self._brought(digest, size, where), digest, size)
        self._keep(digest, memory)
        return memory

    def _brought(self, digest: str, size: int, where: str) -> Any:
        if where.startswith(("http://", "https://")):
            try:
                return _download(where, size)
            except OSError as exc:
                raise PayloadError(f"its inputs cannot be fetched: {exc}") from exc
        if self._find is None:
            raise PayloadError("a part of its inputs was not sent")
        return self._find(digest, where)

    def _keep(self, digest: str, memory: Any) -> None:
        if len(memory) > self._room:
            return
        self._fetched[digest] = _Memory(memory)
        while sum(one.size for one in self._fetched.values()) > self._room:
            self._fetched.popitem(last=False)


class _Memory:
    """A content that can be had many times, each a private copy; pages are copied when written."""

    def __init__(self, content: Any) -> None:
        self.size = memoryview(content).nbytes
        self._uses = 0
        self._file, self._bytes = -1, b""
        try:
            self._file = os.memfd_create("twingraph")
            left = memoryview(content).cast("B")
            while len(left):
                left = left[os.write(self._file, left) :]
        except (AttributeError, OSError):  # not Linux, or not allowed here
            self._close()
            self._bytes = bytes(content)

    def copy(self, digest: str = "") -> Any:
        """Give a copy; from the second one on it has been compared with the digest, if given.

        Its first user gets what was sent for it, as with any value; others only the same.
        """
        self._uses += 1
        if self._file < 0:
            made: Any = bytearray(self._bytes)
        else:
            made = mmap.mmap(self._file, self.size, access=mmap.ACCESS_COPY)
        return _checked(made, digest, self.size) if digest and self._uses == 2 else made

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    __del__ = _close


def _checked(memory: Any, digest: str, size: int) -> Any:
    if len(memory) != size or digest_of([memory]) != digest:
        raise PayloadError(
            "a part of its inputs is not what its digest says: it was changed where it is kept, "
            "or in the kernel after it was passed to a task; pass a copy of what you change"
        )
    return memory


def _read(path: str) -> bytearray:
    try:
        with open(path, "rb") as file:
            memory = bytearray(os.fstat(file.fileno()).st_size)
            file.readinto(memory)
            return memory
    except OSError as exc:
        raise PayloadError(
            f"a part of its inputs is not in {os.path.dirname(path)} here ({exc.strerror}): "
            "is the folder that payloads= names mounted there?"
        ) from exc


def messages(data: Any) -> list[Message]:
    """Give the messages of a letter; a `WireError` of `wire` says that it is not a whole one."""
    decoder = Decoder(limit=memoryview(data).nbytes)
    found = list(decoder.feed(data))
    decoder.finish()
    return found


def value_at(url: str, digest: str, size: int, trust: bool) -> Any:
    """Give the result of another job, which stayed where it was made; inputs name this function.

    Raises:
        PayloadError: it is not there any more, or was changed.
    """
    try:
        data = _download(url, size)
    except OSError as exc:
        raise PayloadError(f"the result of another task cannot be fetched: {exc}") from exc
    (message,) = messages(_checked(data, digest, size))
    return values.decode(message.frames[1:], trust=trust)


def fetch(url: str, start: int = -1, stop: int = -1) -> bytes:
    """Give an object by its presigned URL, or its bytes from `start` to before `stop`.

    Raises:
        OSError: the store does not give it.
    """
    headers = {"Range": f"bytes={start}-{stop - 1}"} if stop >= 0 else {}
    found: bytes = ask(url, None, headers, lambda answer: answer.read())
    return found


def _download(url: str, size: int) -> bytearray:
    """The object of a URL that should have so many bytes, in memory that may be written to."""

    def read(answer: Any) -> bytearray:
        memory = bytearray(size)
        left = memoryview(memory)
        while len(left):
            count = answer.readinto(left)
            if not count:
                break
            left = left[count:]
        if len(left) or answer.read(1):
            raise PayloadError("a part of its inputs has another size where it is kept")
        return memory

    found: bytearray = ask(url, None, {}, read)
    return found


def ask(url: str, data: Any, headers: Mapping[str, str], read: Callable[[Any], Any] = bytes) -> Any:
    """Give what `read` makes of a store's answer, asked again where that may help.

    Args:
        data: buffers to send, None for none.
    Raises:
        OSError: it does not answer, or refuses.
    """
    from urllib.request import Request, urlopen  # only here: who fetches nothing starts faster

    for attempt in range(1, _TRIES + 1):
        try:
            with urlopen(Request(url, data, dict(headers)), timeout=_PATIENCE) as answer:
                return read(answer)
        except OSError as exc:  # URLError and HTTPError are of this kind
            code = getattr(exc, "code", 500)
            if attempt == _TRIES or (code < 500 and code != 429):
                raise
        time.sleep(0.2 * 2.0**attempt)
    raise AssertionError("unreachable")
