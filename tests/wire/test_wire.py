"""Messages arrive whole or not at all."""

from __future__ import annotations

import re
import resource
import socket
import sqlite3
import struct
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twingraph_nb.wire import (
    PICKLE,
    Decoder,
    Message,
    WireError,
    culprit,
    frame,
    freeze,
    pack,
    send,
    thaw,
    unpack,
)

VALUES = (None, 1, "text", {"a": [1, (2, b"3")]}, b"x" * 100_000, {"s": {1, 2}})


def joined(value: object) -> bytes:
    return b"".join(map(bytes, pack(value)))


def read(stream: bytes, pieces: int, limit: int = 1 << 30) -> list[Message]:
    decoder, found = Decoder(limit), list[Message]()
    while stream:
        room = decoder.buffer()
        count = min(len(room), pieces, len(stream))
        room[:count] = stream[:count]
        stream = stream[count:]
        found += decoder.advance(count)
    decoder.finish()
    return found


@pytest.mark.parametrize("value", VALUES)
def test_a_value_comes_back(value: object) -> None:
    assert unpack(joined(value)) == value


def test_large_arrays_are_not_copied() -> None:
    array = np.arange(1_000_000.0)
    buffers = pack({"array": array, "name": "x"})
    assert np.shares_memory(np.frombuffer(buffers[-1], "u1"), array)
    data = b"".join(map(bytes, buffers))
    back = unpack(data)["array"]
    assert np.array_equal(back, array)
    assert np.shares_memory(back, np.frombuffer(data, "u1"))


def test_arrays_read_from_a_stream_can_be_written_to() -> None:
    for size in (10, 5_000, 1_000_000):
        (message,) = read(b"".join(map(bytes, frame(freeze(np.zeros(size)), codec=PICKLE))), 9_999)
        array = thaw(message.frames)
        array[0] = 1
        assert array.sum() == 1


def test_every_truncation_is_an_error() -> None:
    data = joined({"a": np.arange(3_000), "b": "c"})
    for end in [*range(60), len(data) // 2, len(data) - 1]:
        with pytest.raises(WireError):
            unpack(data[:end])
        if end:
            with pytest.raises(WireError):
                read(data[:end], 1000)


@given(st.data())
def test_every_changed_byte_is_noticed(data: st.DataObject) -> None:
    good = joined(["some", {"value": 1.5}])
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    # Bits 4 to 7 of the flags byte and the two padding bytes mean nothing yet.
    if at in (6, 7):
        return
    with pytest.raises(WireError):
        unpack(bytes(bad))


@given(st.binary(max_size=200))
def test_garbage_is_an_error_or_no_message(garbage: bytes) -> None:
    with pytest.raises(WireError):
        unpack(garbage)
    try:
        assert read(garbage, 7) == []
    except WireError:
        pass


def test_an_announced_size_takes_no_memory_before_it_comes() -> None:
    head = frame([b""], kind=3)[0]
    assert isinstance(head, bytes)
    with pytest.raises(WireError, match="checksum"):
        read(head[:20] + struct.pack("<Q", 1 << 40), 1000)
    huge = memoryview(bytearray(1)).cast("B")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    decoder = Decoder()
    start = announced(1 << 33)
    decoder.buffer()[: len(start)] = start
    decoder.advance(len(start))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
    assert len(huge) == 1
    with pytest.raises(WireError, match="are allowed"):
        read(announced(1 << 33), 1000, limit=1 << 20)


def test_what_came_whole_before_garbage_is_given_before_it_is_refused() -> None:
    stream = Decoder(1 << 20).feed(joined("first") + joined("second") + announced(1 << 33))
    assert [thaw(next(stream).frames) for _ in range(2)] == ["first", "second"]
    with pytest.raises(WireError, match="are allowed"):
        next(stream)


def announced(size: int) -> bytes:
    """The start of a well-formed message with one frame of `size` bytes."""
    import zlib

    table = struct.pack("<Q", size)
    crc = zlib.crc32(table, 3 << 16)
    return struct.pack("<2sBBBBxxIII", b"tg", 1, 0, 3, 0, 0, 1, crc) + table


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1),
                       st.lists(st.binary(max_size=30), max_size=4)), max_size=5),
    st.integers(1, 50),
)  # fmt: skip
def test_messages_come_out_as_they_went_in(
    messages: list[tuple[int, int, list[bytes]]], pieces: int
) -> None:
    stream = b"".join(
        bytes(b) for kind, tag, frames in messages for b in frame(frames, kind=kind, tag=tag)
    )
    assert [(m.kind, m.tag, m.frames) for m in read(stream, pieces)] == messages


def test_small_and_large_messages_in_one_stream() -> None:
    frames = [[b"a"], [bytes(200_000), b"", b"b" * 70_000, b"c"], [], [b"d"] * 9_000, [b"e"]]
    stream = b"".join(bytes(b) for one in frames for b in frame(one))
    for pieces in (1_000, 65_536, 1 << 20):
        assert [list(map(bytes, m.frames)) for m in read(stream, pieces)] == frames


def test_a_message_of_many_frames_crosses_a_socket() -> None:
    near, far = socket.socketpair()
    frames = [bytes([n % 256]) * 1_000 for n in range(5_000)]
    with near, far:
        sender = threading.Thread(target=send, args=(near, frame(frames, tag=7)))
        sender.start()
        decoder, found = Decoder(), list[Message]()
        while not found:
            found = decoder.advance(far.recv_into(decoder.buffer()))
        sender.join()
    assert found[0].tag == 7
    assert [bytes(f) for f in found[0].frames] == frames


def test_a_later_version_or_codec_is_named() -> None:
    head = bytearray(frame([b"x"])[0])
    head[3] = 9
    with pytest.raises(WireError, match="codec 9"):
        unpack(bytes(head) + b"x")


def test_the_part_to_blame_is_found() -> None:
    with sqlite3.connect(":memory:") as db:
        assert culprit({"a": [1, {"db": db}]}, "job") == "job['a'][1]['db'], a sqlite3.Connection"
    db.close()


# -- exceptions, which pickle alone takes apart --------------------------------------------------


class Odd(ValueError):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.one = one


class Spoken(Exception):
    """It says itself how it is pickled."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return Spoken, (self.code,)


def test_exceptions_come_back_with_cause_context_and_notes() -> None:
    cause, context = FileNotFoundError(2, "gone", "the file"), Spoken(5)
    cause.add_note("of the cause")
    cause.__context__ = context
    for error in (Odd(1, 2), Spoken(3), ImportError("no", name="it", path="there"), OSError(1, "")):
        error.add_note("one")
        error.add_note("two")
        error.__cause__ = cause
        back = unpack(joined({"deep": [error]}))["deep"][0]
        assert (type(back), back.args, str(back)) == (type(error), error.args, str(error))
        assert vars(back) == vars(error)
        assert back.__notes__ == ["one", "two"]
        assert (type(back.__cause__), str(back.__cause__)) == (FileNotFoundError, str(cause))
        assert back.__cause__.__notes__ == ["of the cause"]
        assert back.__cause__.__context__.code == 5
        assert back.__suppress_context__
        assert getattr(back, "name", None) == getattr(error, "name", None)


def test_errors_of_a_group_keep_their_causes() -> None:
    error = Odd(1, 2)
    error.__cause__ = KeyError("k")
    back = unpack(joined(ExceptionGroup("several", [error, ValueError(3)])))
    assert (back.message, [str(one) for one in back.exceptions]) == ("several", ["1 and 2", "3"])
    assert str(back.exceptions[0].__cause__) == "'k'"


def test_a_cause_that_cannot_be_pickled_is_the_one_to_blame() -> None:
    error = ValueError("x")
    error.__cause__ = RuntimeError(threading.Lock())
    said = r"value\[0\]\.__cause__\.args\[0\], a _thread\.lock"
    assert re.fullmatch(said, culprit([error]))
