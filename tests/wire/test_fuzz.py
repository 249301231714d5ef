"""Whatever bytes come: a value, or one kind of error; no hang, and no memory that nobody sent."""

from __future__ import annotations

import collections
import datetime as dt
import json
import random
import resource
import struct
import zlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.wire.samples import ARRAYS, PLAIN, SCALARS, TABLES, Color, Inner, Point, Row, same
from twingraph_nb.failure import pack_failure, restore_failure
from twingraph_nb.values import NotPlain, ValuesError, decode, encode
from twingraph_nb.wire import Decoder, WireError, frame, pack, unpack

many = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

pieces_of_a_stream = st.integers(0, 2**32).map(random.Random)
texts = st.text(st.characters(codec=None), max_size=20)
keys = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts,
    st.binary(max_size=20), st.just("$"), st.decimals(allow_nan=False), st.uuids(), st.dates(),
    st.sampled_from(Color), st.builds(Point, st.integers()),
    st.tuples(st.integers(), texts), st.frozensets(st.integers(), max_size=3),
)  # fmt: skip
_zones = st.one_of(
    st.none(), st.timezones(),
    st.integers(-1_439, 1_439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes))),
)  # fmt: skip
arrays = hnp.arrays(
    st.one_of(hnp.scalar_dtypes(), hnp.array_dtypes(allow_subarrays=False)),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
leaves = st.one_of(
    keys, st.floats(), st.complex_numbers(), st.binary(max_size=3_000), st.integers(-(2**900)),
    st.binary(max_size=20).map(bytearray), st.datetimes(timezones=_zones), st.timedeltas(),
    st.times(), st.decimals(), st.sets(keys, max_size=4), arrays,
    st.lists(st.floats(), min_size=30, max_size=40), st.lists(texts, min_size=30, max_size=40),
    st.lists(st.integers(-(2**65), 2**65), min_size=30, max_size=40),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
    st.builds(slice, st.none() | st.integers(), st.integers()),
    st.lists(st.floats() | st.none(), max_size=4).map(pd.Series),
    st.lists(texts, max_size=4).map(lambda items: pd.DataFrame({"text": items, 1: 5})),
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=3).map(collections.OrderedDict),
        st.lists(inner, max_size=3).map(collections.deque),
        st.builds(Inner, st.builds(Point, st.integers(), inner), st.dictionaries(texts, inner)),
        st.builds(Row, st.integers(), inner),
        st.lists(inner, max_size=3).map(lambda args: ValueError(*args)),
    ),
    max_leaves=12,
)


@many
@given(values)
def test_any_value_arrives_equal(value: object) -> None:
    assert same(decode(encode(value)), value)
    assert same(decode([bytearray(one) for one in encode([value])]), [value])


def survives(frames: Any) -> None:
    """Reads frames that may be anything; an error of another kind is not caught."""
    try:
        decode(frames)
    except ValuesError:
        pass


GOOD = tuple(encode(value) for value in (*PLAIN, *ARRAYS, *SCALARS, *TABLES))
KINDS = sorted({part.split(b'"')[0].decode() for frames in GOOD
                for part in bytes(frames[0]).split(b'{"$":["')[1:]})  # fmt: skip


@many
@given(st.data())
def test_changed_frames_are_read_or_refused(data: st.DataObject) -> None:
    frames = [bytearray(one) for one in data.draw(st.sampled_from(GOOD))]
    for _ in range(data.draw(st.integers(1, 4))):
        one = data.draw(st.sampled_from(frames))
        if one:
            one[data.draw(st.integers(0, len(one) - 1))] ^= data.draw(st.integers(1, 255))
    at = data.draw(st.integers(0, len(frames) - 1))
    frames[at] = frames[at][: data.draw(st.integers(0, len(frames[at])))] + data.draw(
        st.binary(max_size=9)
    )
    survives(frames[: data.draw(st.integers(0, len(frames)))])
    survives(frames)


@many
@given(st.lists(st.binary(max_size=60), max_size=3))
def test_random_frames_are_read_or_refused(frames: list[bytes]) -> None:
    survives(frames)


_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(), texts,
              st.integers(2**30, 2**66), st.sampled_from(["<f8", "|O", "C", "Inner", "", "2020"]),
              st.sampled_from(["tests.wire.samples:Inner", "builtins:ValueError", "os:system"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.tuples(st.sampled_from(KINDS), st.lists(inner, max_size=6)).map(
            lambda pair: {"$": [pair[0], *pair[1]]}
        ),
    ),
    max_leaves=15,
)  # fmt: skip


@many
@given(_json, st.lists(st.binary(max_size=40), max_size=2))
@example({"$": ["range index", 0, 2**62, 1, None]}, [])
@example({"$": ["deque", 2**70, 1]}, [])
def test_made_up_nodes_are_read_or_refused(document: object, frames: list[bytes]) -> None:
    survives([json.dumps(document).encode(), *frames])


_FIELDS = ["fields", ["a", "o"], ["<f8", "|O"], [0, 8], 2**31 - 1, [None, None]]
BOMBS: tuple[Any, ...] = (
    ["array", "<f8", [2**60], "C", ""], ["array", "<f8", [2**62, 2**62], "C", ""],
    ["array", "|S0", [2**40], "C", ""], ["array", "|V0", [2**40], "C", ""],
    ["array", "|S2000000000", [2], "C", ""], ["array", "|O", [1], "C", "AAAAAAAAAAA="],
    ["array", ["sub", "<f8", [2**40]], [1], "C", ""],
    ["records", _FIELDS, [3], {"$": ["array", "<f8", [3], "C", "A" * 32]},
     {"$": ["objects", [3], [1, 2, 3]]}],
    ["objects", [2**50], []], ["scalar", "|V2000000000", ""], ["texts", [2**50], True, []],
    ["frame", {"$": ["range index", 0, 3, 1, None]}, {"$": ["range index", 0, 2**60, 1, None]}, []],
    ["series", {"$": ["array", "<f8", [0], "C", ""]}, {"$": ["range index", 0, 2**60, 1, None]}, 1],
    ["range", 0, 2**200, 1], ["set", {"$": ["range", 0, 2**60, 1]}], ["bytes", 2**60],
    ["bytearray", -1], ["bytes", 10**9], ["floats", 1], ["tuple", *[{"$": ["bytes", 1]}] * 9],
    ["timedelta", 2**80], ["decimal", "1e999999999999999999999"], ["int", "z"],
    ["arrow", "Table", ""],
)  # fmt: skip


@pytest.mark.parametrize("node", BOMBS, ids=lambda node: str(node)[:40])
def test_an_announced_size_takes_no_memory(node: object) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    survives([json.dumps({"$": node}).encode(), b"x" * 100])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_a_frame_used_twice_is_refused() -> None:
    with pytest.raises(ValuesError, match="used twice"):
        decode([json.dumps([{"$": ["bytes", 1]}] * 2).encode(), b"x" * 2_000])


# -- failures -----------------------------------------------------------------------------------


def failing() -> dict[str, Any]:
    try:
        try:
            {}["k"]
        except KeyError as exc:
            raise ValueError("no", 1) from exc
    except ValueError as exc:
        exc.add_note("note")
        return pack_failure(exc, pickles=False)


@many
@given(st.data())
def test_changed_failures_are_read_or_refused(data: st.DataObject) -> None:
    failure = failing()
    within = data.draw(st.sampled_from([failure, failure["cause"]]))
    for key in data.draw(st.sets(st.sampled_from(sorted(within)), max_size=3)):
        if data.draw(st.booleans()):
            del within[key]
        else:
            within[key] = data.draw(_json)
    try:
        assert isinstance(restore_failure(failure, trust=False), BaseException)
    except ValuesError:
        pass


# -- wire ---------------------------------------------------------------------------------------


def fed(stream: bytes, random_pieces: random.Random, limit: int = 1 << 36) -> None:
    """A stream in random pieces through a decoder; an error of another kind is not caught."""
    decoder, left = Decoder(limit), memoryview(stream)
    try:
        while left:
            room = decoder.buffer()
            assert len(room) > 0
            count = min(len(room), random_pieces.randint(1, 5_000), len(left))
            room[:count] = left[:count]
            left = left[count:]
            decoder.advance(count)
        decoder.finish()
    except WireError:
        pass


@many
@given(st.binary(max_size=300), pieces_of_a_stream)
def test_random_bytes_are_no_message(garbage: bytes, pieces: random.Random) -> None:
    with pytest.raises(WireError):
        unpack(garbage)
    fed(garbage, pieces)
    fed(b"tg\x01" + garbage, pieces)


@many
@given(st.data(), pieces_of_a_stream)
def test_changed_messages_are_refused(data: st.DataObject, pieces: random.Random) -> None:
    good = b"".join(map(bytes, pack({"a": np.arange(9_000), "b": ["c"] * 10})))
    bad = bytearray(good * 2)
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, 200))] ^= data.draw(st.integers(1, 255))
    fed(bytes(bad), pieces)
    cut = data.draw(st.integers(0, len(good) - 1))
    with pytest.raises(WireError):
        unpack(good[:cut])
    with pytest.raises(WireError):
        unpack(good + data.draw(st.binary(min_size=1, max_size=50)))
    fed(good[:cut] + good, pieces)


@many
@given(
    st.lists(st.sampled_from([0, 1, 5, 1 << 14, (1 << 20) - 1, 1 << 20, 1 << 35, 2**60, 2**64 - 1])
             | st.integers(0, 2**64 - 1), max_size=6),
    st.integers(0, 2**32 - 1), st.integers(0, 1), pieces_of_a_stream,
)  # fmt: skip
def test_announced_lengths_are_not_believed(
    lengths: list[int], crc: int, checked: int, pieces: random.Random
) -> None:
    start = announced(lengths, checked)
    with pytest.raises(WireError):
        unpack(start + b"x" * 50)
    fed(start + b"x" * 50, pieces)
    fed(start[:16] + struct.pack("<I", crc) + start[20:] + b"x" * 50, pieces, limit=1 << 20)


def test_many_announced_frames_take_no_memory_before_they_come() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fed(announced([(1 << 20) - 1] * 65_000) + b"x" * 3_000_000, random.Random(1))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def announced(lengths: list[int], checked: int = 0) -> bytes:
    """The start of a well-formed message whose frames are to follow."""
    table = b"".join(struct.pack("<Q", one) for one in lengths)
    crc = zlib.crc32(table, (checked << 8) ^ 0)
    head = struct.pack("<2sBBBBxxIII", b"tg", 1, 0, 0, checked, 0, len(lengths), crc)
    return head + table


@many
@given(st.lists(st.binary(max_size=40_000), max_size=5), pieces_of_a_stream)
def test_frames_come_whole_in_any_pieces(frames: list[bytes], pieces: random.Random) -> None:
    stream = b"".join(map(bytes, frame(frames, tag=3, checked=True)))
    decoder, left, found = Decoder(), memoryview(stream), list[Any]()
    while left:
        room = decoder.buffer()
        count = min(len(room), pieces.randint(1, 30_000), len(left))
        room[:count] = left[:count]
        left = left[count:]
        found += decoder.advance(count)
    decoder.finish()
    assert [list(map(bytes, message.frames)) for message in found] == [frames]


def test_what_cannot_be_encoded_is_one_kind_of_error() -> None:
    for value in (object(), lambda: 1, (n for n in [1]), memoryview(b"x"), open):
        with pytest.raises(NotPlain) if value is not open else pytest.raises(ValuesError):
            decode(encode([value]))
