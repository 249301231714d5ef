"""Values arrive equal without pickle, or are refused by name."""

from __future__ import annotations

import collections
import json
import sqlite3
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.wire.samples import (
    ARRAYS,
    PLAIN,
    SCALARS,
    TABLES,
    Color,
    Inner,
    Point,
    Row,
    same,
)
from twingraph_nb.outputs import outputs
from twingraph_nb.values import NotPlain, NotTrusted, ValuesError, decode, encode
from twingraph_nb.wire import Decoder, frame

EVERY = (*PLAIN, *ARRAYS, *SCALARS, *TABLES)


class Stranger:
    """Of no kind the codec knows."""

    def __init__(self, array: Any = None) -> None:
        self.array = array


class Refused(ValueError):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{why} ({code})")
        self.code = code


def sent(value: object, **options: bool) -> list[Any]:
    """The frames as they are when they have crossed a wire."""
    stream = memoryview(b"".join(map(bytes, frame(encode(value, **options), checked=True))))
    decoder = Decoder()
    while True:
        room = decoder.buffer()
        count = min(len(room), len(stream))
        room[:count] = stream[:count]
        stream = stream[count:]
        found = decoder.advance(count)
        if found:
            return found[0].frames


@pytest.mark.parametrize("value", EVERY, ids=lambda value: type(value).__name__)
def test_a_value_arrives_equal(value: object) -> None:
    back = decode(sent(value))
    assert same(back, value)
    nested = {"in": [value, (value,)], 1: {"a": value}}
    assert same(decode(sent(nested, pickles=True)), nested)


def test_all_values_at_once_arrive_equal() -> None:
    assert same(decode(sent(EVERY)), EVERY)


def test_an_exception_arrives_with_its_cause_context_and_notes() -> None:
    error = Refused(3, "no")
    error.add_note("look here")
    error.__cause__ = KeyError("k")
    error.__context__ = FileNotFoundError(2, "gone", "the file")
    group = ExceptionGroup("several", [error, UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")])
    back = decode(sent([group]))[0]
    assert same(back.exceptions[0], error)
    assert str(back.exceptions[0]) == "no (3)"
    assert same(back.exceptions[0].__cause__, error.__cause__)
    assert back.exceptions[0].__context__.filename == "the file"
    assert str(back.exceptions[1]) == str(group.exceptions[1])


def test_plain_values_are_plain_json() -> None:
    value = {"a": [1, 1.5, None, True, {"b": "ü"}], "$x": []}
    assert [json.loads(bytes(one)) for one in encode(value)] == [value]


def test_the_document_is_strict_json_in_utf8() -> None:
    def refused(text: str) -> None:
        raise AssertionError(text)

    for value in PLAIN:
        json.loads(bytes(encode(value)[0]).decode("utf-8"), parse_constant=refused)


# -- memory -------------------------------------------------------------------------------------


def test_a_large_array_is_not_copied_and_can_be_written_to() -> None:
    array = np.arange(50_000_000 // 8, dtype=float)
    frames = encode({"a": array})
    assert np.shares_memory(np.frombuffer(frames[1], "u1"), array)
    come = [bytes(frames[0]), bytearray(frames[1])]
    back = decode(come)["a"]
    assert np.shares_memory(back, np.frombuffer(come[1], "u1"))
    back[0] = 7
    assert np.frombuffer(come[1])[0] == 7


def test_a_block_of_a_frame_is_not_copied() -> None:
    frame = pd.DataFrame(np.ones((1_000, 8)), columns=list("abcdefgh"))
    frames = encode(frame)
    assert len(frames) == 2
    assert np.shares_memory(np.frombuffer(frames[1], "u1"), frame.to_numpy())


@pytest.mark.parametrize("size", [3, 200, 3_000, 100_000])
def test_what_arrives_over_the_wire_can_be_written_to(size: int) -> None:
    array, frame = decode(sent((np.zeros(size), pd.DataFrame({"a": np.zeros(size), "b": 1}))))
    array[0] = 1
    frame.loc[0, "a"] = 2
    assert (array.sum(), frame["a"].sum()) == (1, 2)


def test_more_arrays_than_frames_are_allowed_still_travel() -> None:
    many = [bytes(1_100)] * 66_000
    assert decode(sent(many)) == many


# -- refusals -----------------------------------------------------------------------------------


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with sqlite3.connect(":memory:") as found:
        yield found
    found.close()


def test_the_part_that_cannot_travel_is_named(db: sqlite3.Connection) -> None:
    cases = {
        "value['a'][1], a sqlite3.Connection": {"a": [1, db]},
        "value[0].point.y, a sqlite3.Connection": [Inner(Point(1, db))],
        "value.text, a sqlite3.Connection": Row(1, db),  # type: ignore[arg-type]
        "value, a collections.defaultdict": collections.defaultdict(lambda: db),
    }
    for what, value in cases.items():
        for pickles in (False, True):
            with pytest.raises(NotPlain) as caught:
                encode(value, pickles=pickles)
            assert caught.value.what == what
            assert what in str(caught.value)


def test_only_the_unknown_part_is_pickled() -> None:
    array = np.zeros(10_000)
    value = {"known": Point(1), "unknown": [Stranger(array)]}
    with pytest.raises(NotPlain, match=r"value\['unknown'\]\[0\], a .*Stranger"):
        encode(value)
    frames = encode(value, pickles=True)
    assert any(np.shares_memory(np.frombuffer(one, "u1"), array) for one in frames[1:])
    back = decode(frames, trust=True)
    assert back["known"] == Point(1)
    assert same(back["unknown"][0].array, array)


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("sprung"),))


def test_a_pickle_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frames = encode([1, {"x": Trap()}], pickles=True)
    with pytest.raises(NotTrusted, match=r"Trap.*trust=True allows it"):
        decode(frames)
    assert not Path("sprung").exists()
    decode(frames, trust=True)
    assert Path("sprung").exists()


def test_functions_classes_and_modules_need_trust() -> None:
    for value in (len, json.dumps, Point, json):
        assert decode(encode([value]), trust=True) == [value]
        with pytest.raises(NotTrusted, match="trust=True"):
            decode(encode([value]))


def test_a_class_is_imported_only_with_trust(tmp_path: Path, monkeypatch: Any) -> None:
    source = "import enum, dataclasses\n@dataclasses.dataclass\nclass Far:\n    x: int\n"
    (tmp_path / "far_away.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    frames = [b'{"$":["dataclass","far_away:Far",{"x":1}]}']
    with pytest.raises(ValuesError, match=r"far_away\.Far is not known here: define or import it"):
        decode(frames)
    assert "far_away" not in sys.modules
    try:
        assert decode(frames, trust=True).x == 1
    finally:
        sys.modules.pop("far_away", None)


@pytest.mark.parametrize(
    "node",
    [
        ["dataclass", "subprocess:Popen", {}],
        ["dataclass", "builtins:object", {}],
        ["enum", "os:environ", "x"],
        ["named", "builtins:tuple", 1],
        ["exception", "subprocess:Popen", [["true"]], {}, [], None, None, False],
        ["model", "subprocess:Popen", [], {}, None, None],
        ["dataclass", "tests.wire.samples:Inner", {"__class__": 1, "point": 1}],
        ["dataclass", "tests.wire.samples:Inner", {}],
        ["dataclass", "tests.wire.samples:Inner.__init__.__globals__", {}],
        ["enum", "tests.wire.samples:Color", "_member_map_"],
        ["named", "tests.wire.samples:Row", 1, 2, 3],
    ],
    ids=lambda node: f"{node[0]} {node[1]}",
)
def test_only_classes_of_known_kinds_are_made(node: list[object]) -> None:
    with pytest.raises(ValuesError):
        decode([json.dumps({"$": node}).encode()])


@pytest.mark.parametrize(
    "parts",
    [
        ["Two", ["a", "b"], 1],
        ["Two", ["a", "a"], 1, 2],
        ["Two", ["a", "_b"], 1, 2],
        ["Two", ["a", "b=print()"], 1, 2],
        ["print()", ["a", "b"], 1, 2],
        [7, ["a", "b"], 1, 2],
        ["Two", "ab", 1, 2],
    ],
)
def test_several_outputs_arrive_with_their_names_or_not_at_all(parts: list[object]) -> None:
    value = outputs("Two", a=1, b={2: "x"})
    back = decode(sent(value))
    assert (back, back.b, type(back)) == (value, {2: "x"}, type(value))
    with pytest.raises(ValuesError):
        decode([json.dumps({"$": ["outputs", *parts]}).encode()])


def test_no_code_of_a_class_runs_when_an_object_is_made() -> None:
    ran: list[str] = []
    home = types.ModuleType("noisy_home")
    source = (
        "import dataclasses\n"
        "@dataclasses.dataclass\n"
        "class Noisy:\n"
        "    x: int\n"
        "    def __post_init__(self): ran.append('post')\n"
        "    def __setattr__(self, name, value):\n"
        "        ran.append(name)\n"
        "        super().__setattr__(name, value)\n"
        "    def __setstate__(self, state): ran.append('state')\n"
        "    @property\n"
        "    def y(self): return 0\n"
        "    @y.setter\n"
        "    def y(self, value): ran.append('y')\n"
        "class Loud(Exception):\n"
        "    def __new__(cls, *args): ran.append('new'); return super().__new__(cls, *args)\n"
        "    def __init__(self, *args): ran.append('init')\n"
    )
    vars(home)["ran"] = ran
    sys.modules["noisy_home"] = home
    try:
        exec(source, vars(home))
        value = [home.Noisy(1), home.Loud("a")]
        frames = encode(value)
        ran.clear()
        back = decode(frames)
        decode([b'{"$":["dataclass","noisy_home:Noisy",{"x":1,"y":2}]}'])
    finally:
        del sys.modules["noisy_home"]
    assert (back[0].x, back[1].args, ran) == (1, ("a",), [])


def test_a_cycle_is_an_error_not_a_crash() -> None:
    ring: list[object] = [1]
    ring.append({"x": (ring,)})
    for pickles in (False, True):
        with pytest.raises(NotPlain, match="contains itself"):
            encode(ring, pickles=pickles)


def test_nesting_is_bounded_on_both_sides() -> None:
    deep: object = 1
    for _ in range(199):
        deep = (deep,)
    assert decode(encode(deep)) == deep
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(NotPlain, match="deeper than 200"):
        encode(deep)
    for opening in (b"[", b'{"a":', b'["]",', b'{"$":["tuple",'):
        with pytest.raises(ValuesError, match="nested deeper"):
            decode([opening * 100_000])


def test_brackets_in_strings_and_side_by_side_are_not_depth() -> None:
    for value in (["[{" * 2_000, '\\"[' * 2_000], [[]] * 5_000, [{"a": [{}]}] * 2_000):
        assert decode(encode(value)) == value


def test_a_class_defined_again_is_told() -> None:
    old = Color.RED
    again = types.new_class("Color", (), {})
    home = sys.modules[Color.__module__]
    vars(home)["Color"] = again
    try:
        with pytest.raises(NotPlain, match="make the object anew if it was defined again"):
            encode([old])
    finally:
        vars(home)["Color"] = type(old)


def test_compressed_arrow_columns_are_refused() -> None:
    table = pa.table({"a": [0] * 10_000, "b": pa.array(["x"] * 10_000).dictionary_encode()})
    for codec in ("lz4", "zstd"):
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression=codec)
        with pa.ipc.new_stream(sink, table.schema, options=options) as stream:
            stream.write(table)
        with pytest.raises(ValuesError, match="not compressed"):
            decode([b'{"$":["arrow","Table",1]}', memoryview(sink.getvalue())])


def test_importing_the_codec_loads_no_heavy_library() -> None:
    script = (
        "import sys\n"
        "from twingraph_nb.values import decode, encode\n"
        "assert decode(encode({'a': (1, 2)})) == {'a': (1, 2)}\n"
        "print(*sorted({'numpy', 'pandas', 'pyarrow', 'pydantic', 'asyncio'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
