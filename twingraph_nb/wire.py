"""How values travel: one header, then frames, over a socket or in a file.

Standard library only: this file is shipped to the far side as it is.

A message is a header (20 bytes), a table of frame lengths (8 bytes each), and the frames. The
codec byte says what the frames hold. With `PICKLE`, the first frame is a pickle (protocol 5) and
the others its large buffers, so that an array is written from and read into its own memory.

The checksum is crc32: it finds truncation, bit rot and a stream that lost its place, at more
than 1 GB/s. It is no defence against an attacker; what comes from a place that is not trusted
must not be unpickled at all. Between processes of one machine it covers header and table only.
"""

from __future__ import annotations

import io
import mmap
import pickle
import socket
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from twingraph_nb.values_classes import exception_reduced

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = [
    "CODECS",
    "PICKLE",
    "RAW",
    "Decoder",
    "Message",
    "WireError",
    "culprit",
    "frame",
    "freeze",
    "pack",
    "send",
    "thaw",
    "unpack",
]

Buffer: TypeAlias = "bytes | bytearray | memoryview | mmap.mmap"

RAW, PICKLE = 0, 1
CODECS = frozenset({RAW, PICKLE})
"""Codec bytes this version reads."""

_HEAD = struct.Struct("<2sBBBBxxIII")  # magic, version, codec, kind, flags, tag, frames, crc
_LENGTH = struct.Struct("<Q")
_MAGIC, _VERSION, _CHECKED = b"tg", 1, 1
_FRAMES = 1 << 16
_LIMIT = 1 << 36  # 64 GiB: above any value one machine can hold, below what overflows an offset
_ASIDE = 1 << 14  # bytes; a smaller buffer costs less inside the pickle than as its own frame
_MAPPED = 1 << 20  # bytes; from here memory comes from mmap, which touches no page before use
_CHUNK = 1 << 16
_FEW = 8  # buffers that are cheaper joined
_VECTOR = 512  # buffers per sendmsg; Linux allows 1,024


class WireError(Exception):
    """The bytes are not a whole and sound message."""


class Message(NamedTuple):
    """A message as read: what kind, of whom, and its frames."""

    codec: int
    kind: int
    tag: int
    frames: list[Any]


def freeze(value: object) -> list[Buffer]:
    """Give the frames of a value: its pickle, then its large buffers, which are not copied.

    Raises:
        Exception: what pickle raises; `culprit` tells which part of the value is to blame.
    """
    aside: list[Buffer] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # strided memory has no single buffer: it goes into the pickle
            return True
        if raw.nbytes < _ASIDE or len(aside) + 2 >= _FRAMES:
            return True
        aside.append(raw)
        return False

    file = io.BytesIO()
    _Pickler(file, 5, buffer_callback=keep).dump(value)
    return [file.getvalue(), *aside]


class _Pickler(pickle.Pickler):
    """Takes exceptions along with their causes."""

    def reducer_override(self, thing: Any) -> Any:
        return exception_reduced(thing) if isinstance(thing, BaseException) else NotImplemented


def thaw(frames: Sequence[Any]) -> Any:
    """Give the value whose frames `freeze` made; its arrays live in the memory of the frames.

    Raises:
        Exception: what pickle raises, for example when a class is not there.
    """
    if len(frames) == 1:
        return pickle.loads(frames[0])
    return pickle.loads(frames[0], buffers=frames[1:])


def frame(
    frames: Sequence[Buffer],
    *,
    codec: int = RAW,
    kind: int = 0,
    tag: int = 0,
    checked: bool = False,
) -> list[Buffer]:
    """Give the buffers of a message: header and table as one, then the frames as they are.

    Args:
        kind: what the two ends agreed on, in [0, 255]. tag: whose message, below 2**32.
        checked: the checksum covers the frames too.
    """
    sizes = [len(one) if type(one) is bytes else memoryview(one).nbytes for one in frames]
    table = struct.pack(f"<{len(frames)}Q", *sizes)
    flags = _CHECKED if checked else 0
    crc = _checksum(codec, kind, flags, tag, table, frames)
    head = _HEAD.pack(_MAGIC, _VERSION, codec, kind, flags, tag, len(frames), crc)
    return [head + table, *frames]


def pack(value: object) -> list[Buffer]:
    """Give the buffers of a value to be written one after the other, with a full checksum.

    Raises:
        Exception: what pickle raises for a value it cannot take.
    """
    return frame(freeze(value), codec=PICKLE, checked=True)


def unpack(data: Buffer) -> Any:
    """Give the value that `pack` made. Its arrays share the memory of `data`.

    Raises:
        WireError: truncated, changed, or not such a message; or a class it needs is not there.
    """
    view = memoryview(data).cast("B")
    head = _Head.read(view)
    table_end = _HEAD.size + head.frames * _LENGTH.size
    if len(view) < table_end:
        raise WireError(f"truncated: the table of {head.frames} frames is not whole")
    lengths = head.lengths(view[_HEAD.size : table_end], _LIMIT)
    if len(view) != table_end + sum(lengths):
        raise WireError(
            f"{len(view):,} bytes where {table_end + sum(lengths):,} are announced: "
            "truncated, or more than one message"
        )
    frames, at = [], table_end
    for length in lengths:
        frames.append(view[at : at + length])
        at += length
    head.check(view[_HEAD.size : table_end], frames)
    if head.codec != PICKLE or not frames:
        raise WireError("the message holds no pickled value")
    try:
        return thaw(frames)
    except Exception as exc:  # whatever a changed or outdated pickle makes Python raise
        raise WireError(f"the value cannot be read: {type(exc).__name__}: {exc}") from exc


class _Head(NamedTuple):
    codec: int
    kind: int
    flags: int
    tag: int
    frames: int
    crc: int

    @classmethod
    def read(cls, view: memoryview, at: int = 0) -> _Head:
        if len(view) < at + _HEAD.size:
            raise WireError("truncated: the header is not whole")
        magic, version, codec, kind, flags, tag, count, crc = _HEAD.unpack_from(view, at)
        if magic != _MAGIC:
            raise WireError("this is not a message of twingraph_nb")
        if version != _VERSION or codec not in CODECS:
            raise WireError(f"version {version}, codec {codec} is not known here")
        if count > _FRAMES:
            raise WireError(f"{count:,} frames are announced; {_FRAMES:,} are allowed")
        return cls(codec, kind, flags, tag, count, crc)

    def lengths(self, table: Buffer, limit: int) -> tuple[int, ...]:
        if not self.flags & _CHECKED:
            self.check(table, ())  # before any memory is set aside for what it announces
        lengths = struct.unpack(f"<{self.frames}Q", table)
        if sum(lengths) > limit:
            raise WireError(f"{sum(lengths):,} bytes are announced; {limit:,} are allowed")
        return lengths

    def check(self, table: Buffer, frames: Sequence[Any]) -> None:
        if _checksum(self.codec, self.kind, self.flags, self.tag, table, frames) != self.crc:
            raise WireError("the checksum does not fit: the message was changed on its way")


def _checksum(
    codec: int, kind: int, flags: int, tag: int, table: Buffer, frames: Sequence[Any]
) -> int:
    crc = zlib.crc32(table, (codec << 24 | kind << 16 | flags << 8) ^ tag)
    if flags & _CHECKED:
        for one in frames:
            crc = zlib.crc32(one, crc)
    return crc


class Decoder:
    """Messages from a stream of bytes: fill `buffer()`, then say how much with `advance`.

    A large frame is read into its own memory directly.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._small = bytearray(_CHUNK)
        self._view = memoryview(self._small)
        self._start = self._end = 0
        self._message: tuple[_Head, bytes, list[Any]] | None = None
        self._gap: memoryview | None = None  # of the frame being filled
        self._ahead: list[int] = []  # lengths of the frames after it, the next one last

    def buffer(self) -> memoryview:
        """Give the memory to read into next, never empty."""
        if self._gap is not None:
            return self._gap
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._small):
            self._view[: self._end - self._start] = self._view[self._start : self._end]
            self._start, self._end = 0, self._end - self._start
        return self._view[self._end :]

    def advance(self, count: int) -> list[Message]:
        """Take note of `count` bytes read into `buffer()`; gives the messages now whole.

        Raises:
            WireError: what came is not a message, or larger than the limit.
        """
        return list(self._advanced(count))

    def feed(self, data: Buffer) -> Iterator[Message]:
        """Take in bytes that are here already; gives the messages as they get whole.

        Raises:
            WireError: see `advance`; after the messages that came before it.
        """
        left = memoryview(data).cast("B")
        while len(left):
            room = self.buffer()
            count = min(len(room), len(left))
            room[:count] = left[:count]
            left = left[count:]
            yield from self._advanced(count)

    def finish(self) -> None:
        """Say that the stream ended.

        Raises:
            WireError: in the middle of a message.
        """
        if self._gap is not None or self._end > self._start:
            raise WireError("the stream ended in the middle of a message")

    def _advanced(self, count: int) -> Iterator[Message]:
        if self._gap is not None:
            self._gap = self._gap[count:]
            if not len(self._gap):
                self._open_gap()
            if self._gap is None:
                yield self._whole()
            return
        self._end += count
        while self._end - self._start >= _HEAD.size:
            message = self._next()
            if message is None:
                return
            yield message

    def _next(self) -> Message | None:
        """The next message of the small buffer, if it is all there."""
        view, start = self._view, self._start
        head = _Head.read(view, start)
        table_at = start + _HEAD.size
        body_at = table_at + head.frames * _LENGTH.size
        if body_at > self._end:
            self._make_room(body_at - start)
            return None
        table = bytes(view[table_at:body_at])
        lengths = head.lengths(table, self._limit)
        if body_at + sum(lengths) <= self._end:
            frames: list[Any] = []
            for length in lengths:
                # Arrays live in their frame, and a user may write into them.
                made = bytearray if length >= _ASIDE else bytes
                frames.append(made(view[body_at : body_at + length]))
                body_at += length
            self._start = body_at
            if head.flags & _CHECKED:
                head.check(table, frames)
            return Message(head.codec, head.kind, head.tag, frames)
        self._set_aside(head, table, lengths, body_at)
        return None

    def _set_aside(self, head: _Head, table: bytes, lengths: tuple[int, ...], at: int) -> None:
        self._message = (head, table, [])
        self._ahead = list(reversed(lengths))
        self._open_gap(self._view[at : self._end])
        self._start = self._end = 0

    def _open_gap(self, have: memoryview | None = None) -> None:
        """Set memory aside for the next frame that is not whole, and for none after it.

        What is only announced then costs no more than the largest frame's address space.
        """
        assert self._message is not None
        self._gap = None
        while self._ahead and self._gap is None:
            length = self._ahead.pop()
            memory = _memory(length)
            self._message[2].append(memory)
            found = 0
            if have is not None:
                found = min(length, len(have))
                memoryview(memory)[:found] = have[:found]
                have = have[found:]
            if found < length:
                self._gap = memoryview(memory)[found:]

    def _whole(self) -> Message:
        assert self._message is not None
        (head, table, frames), self._message = self._message, None
        if head.flags & _CHECKED:
            head.check(table, frames)
        return Message(head.codec, head.kind, head.tag, frames)

    def _make_room(self, need: int) -> None:
        if need > len(self._small):
            grown = bytearray(need + _CHUNK)
            grown[: self._end - self._start] = self._view[self._start : self._end]
            self._start, self._end = 0, self._end - self._start
            self._small, self._view = grown, memoryview(grown)


def _memory(length: int) -> Any:
    """Memory for a frame; a length that is only announced costs nothing before bytes come."""
    if length < _MAPPED:
        return bytearray(length)
    try:
        return mmap.mmap(-1, length)
    except (OSError, ValueError, OverflowError) as exc:
        raise WireError(f"no memory for a frame of {length:,} bytes: {exc}") from exc


def send(sock: socket.socket, buffers: Sequence[Buffer]) -> None:
    """Send all buffers over a blocking socket.

    Raises:
        OSError: the other side is gone.
    """
    if len(buffers) < _FEW and all(len(one) < _ASIDE for one in buffers):
        sock.sendall(b"".join(buffers))
        return
    left = [memoryview(one).cast("B") for one in buffers if len(one)]
    while left:
        sent = sock.sendmsg(left[:_VECTOR])
        while left and sent >= len(left[0]):
            sent -= len(left.pop(0))
        if sent:
            left[0] = left[0][sent:]


def culprit(
    value: object,
    name: str = "value",
    depth: int = 5,
    attempt: Callable[[object], object] = freeze,
) -> str:
    """Tell which part of a value cannot be pickled: ``value['db'], a sqlite3.Connection``.

    Args:
        name: how the value itself is called.
        depth: how far to look inside. attempt: what the value must survive.
    """
    for part, inner in _parts(value, name) if depth else ():
        try:
            attempt(inner)
        except Exception:  # any refusal counts: this walk only looks for the one to name
            return culprit(inner, part, depth - 1, attempt)
    kind = type(value)
    plain = kind.__module__ in ("builtins", "__main__")
    shown = kind.__qualname__ if plain else f"{kind.__module__}.{kind.__qualname__}"
    named = getattr(value, "__qualname__", "")
    return f"{name}, a {shown}" + (f" ({named})" if isinstance(named, str) and named else "")


def _parts(value: object, name: str) -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [(f"{name}[{key!r}]", item) for key, item in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(f"{name}.{key}", getattr(value, key)) for key in value._fields]
    if isinstance(value, (list, tuple)):
        return [(f"{name}[{at}]", item) for at, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return [(f"an item of {name}", item) for item in value]
    held = getattr(value, "__dict__", {})
    if isinstance(value, BaseException):
        parts = {"args": value.args, "__cause__": value.__cause__, "__context__": value.__context__}
        held = {**parts, **held}
    slots = [key for key in getattr(value, "__dataclass_fields__", ()) if key not in held]
    found = {**held, **{key: getattr(value, key) for key in slots if hasattr(value, key)}}
    return [(f"{name}.{key}", item) for key, item in found.items()]
