"""Digests of values and code: equal content, equal digest; in any process."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import functools
import os
import pathlib
import subprocess
import sys
import threading
import uuid
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twingraph_nb.source.digest import NotDigestable, code_digest, digest_value
from twingraph_nb.source.reach import Reach, reach


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Point:
    x: int
    y: object = None


class Row(NamedTuple):
    x: int
    y: object


Loose = namedtuple("Loose", "x y")


class Plain:
    def __init__(self, x: object) -> None:
        self.x = x


FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [1.5, float("nan")]})


def different() -> list[object]:
    return [
        None, True, False, 0, 1, -1, 2**70, 1.0, 0.0, -0.0, float("inf"), 1j, "", "1", b"", b"1",
        bytearray(b"1"), "\ud800", [], [1], [1.0], [True], ["1"], (), (1,), [[1]], [(1,)], [[]], {},
        {1: 2}, {2: 1}, {"1": 2}, {True: 2}, set(), {1}, frozenset({1}), range(3), ...,
        dt.date(2024, 1, 1), dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")), dt.time(1), dt.timedelta(1),
        decimal.Decimal("1"), decimal.Decimal("1.0"), uuid.UUID(int=1), pathlib.Path("a"),
        Color.RED, Color.BLUE, Level.LOW, Point(1), Point(2), Point(1, 2), Row(1, 2), Loose(1, 2),
        (1, 2), Plain(1), Plain(2), Plain([1]), OrderedDict(a=1), int, str, Point, os, sys, len,
        np.int64(1), np.float64(1), np.array(1), np.array([1]), np.array([1.0]),
        np.array([[1]]), np.array([1], dtype="i4"), np.array(["a"]), np.array(["a"], dtype=object),
        np.array([("a", 1)], dtype=[("n", "U1"), ("v", "i8")]), np.array(["2024"], dtype="M8[D]"),
        np.array([1], dtype=">i8"), FRAME, FRAME.rename(columns={"a": "z"}), FRAME[::-1],
        FRAME["a"],
        FRAME["b"], FRAME["a"].astype("category"), FRAME["a"].astype("Int64"), FRAME.index,
        FRAME.set_index(["a", "b"]), functools.partial(int, base=2), functools.partial(int, base=3),
        lambda x: x, lambda x: x + 1, np.zeros((0, 2)), np.zeros((2, 0)),
    ]  # fmt: skip


def test_no_two_different_values_have_one_digest() -> None:
    values = different()
    found: dict[bytes, object] = {}
    for value in values:
        digest = digest_value(value)
        assert digest not in found, f"{value!r} has the digest of {found[digest]!r}"
        assert len(digest) == 32
        found[digest] = value


def test_a_value_made_again_has_the_same_digest() -> None:
    first, second = ([digest_value(v) for v in different()] for _ in range(2))
    assert first == second


def test_nan_is_nan_and_order_of_dicts_and_sets_does_not_count() -> None:
    assert digest_value(float("nan")) == digest_value(-float("nan"))
    assert digest_value({"a": 1, "b": [2]}) == digest_value({"b": [2], "a": 1})
    assert digest_value({1: 1, "b": 2}) == digest_value({"b": 2, 1: 1})
    assert digest_value({"a", 1, None}) == digest_value({None, "a", 1})


def test_memory_layout_of_an_array_does_not_count() -> None:
    array = np.arange(12).reshape(3, 4)
    assert digest_value(array) == digest_value(np.asfortranarray(array))
    assert digest_value(array[::2, ::2]) == digest_value(array[::2, ::2].copy())
    assert digest_value(array) != digest_value(array.reshape(4, 3))


def test_shared_parts_do_not_count_and_do_not_explode() -> None:
    shared: list[object] = [1]
    assert digest_value([shared, shared]) == digest_value([[1], [1]])
    deep: object = "x"
    for _ in range(100):
        deep = [deep, deep]
    assert len(digest_value(deep)) == 32


def test_a_value_that_holds_itself_ends() -> None:
    def loop(item: object) -> list[object]:
        made: list[object] = [item]
        made.append(made)
        made.append({"again": made})
        return made

    assert digest_value(loop(1)) == digest_value(loop(1))
    assert digest_value(loop(1)) != digest_value(loop(2))


@pytest.mark.parametrize(
    "make",
    [threading.Lock, lambda: (x for x in "a"), lambda: open(os.devnull)],  # noqa: SIM115
)
def test_what_is_no_data_is_refused_by_name(make: object) -> None:
    value = make()  # type: ignore[operator]
    try:
        with pytest.raises(NotDigestable, match=type(value).__name__):
            digest_value({"deep": [value]})
    finally:
        getattr(value, "close", lambda: None)()


def test_nesting_without_end_is_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotDigestable, match="too deeply"):
        digest_value(deep)


SCRIPT = """
import datetime, decimal, enum, sys
from dataclasses import dataclass
import numpy as np, pandas as pd
from twingraph_nb.source.digest import digest_value
@dataclass
class P:
    names: set
class C(enum.Enum):
    A = "a"
class O:
    def __init__(self): self.tags = {"x", "y", "z"}
def f(x, y={"q", "r"}): return x in {"a", "b", "c"}
print([digest_value(v).hex() for v in (
    {"a", "b", ("c", 1)}, {"k": {1, "b"}, 2: None}, P({"u", "v", "w"}), C.A, O(), f,
    lambda x: x in {"a", "b", "c"},
    pd.DataFrame({"a": ["x", "y"]}), np.arange(3), decimal.Decimal("1.10"), [1, "a", 2.5, None],
)])
"""


def test_digests_are_the_same_in_another_process_with_another_hash_seed(
    tmp_path: pathlib.Path,
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join(p for p in sys.path if p)

    def run(seed: str) -> str:
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        return subprocess.run(
            [sys.executable, str(script)], env=env, check=True, capture_output=True, text=True
        ).stdout

    assert run("1") == run("2") != ""


NUMBERS = st.booleans() | st.integers() | st.floats(allow_nan=False)
TREES = st.recursive(
    st.none() | NUMBERS | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(TREES, st.data())
def test_digests_are_equal_exactly_when_the_texts_are(value: object, data: st.DataObject) -> None:
    # `repr` tells 1 from 1.0 and True, and keeps all that these types hold; only order differs.
    def canonical(v: object) -> str:
        if isinstance(v, dict):
            return f"{{{sorted((k, canonical(x)) for k, x in v.items())}}}"
        if isinstance(v, (list, tuple)):
            return f"{type(v).__name__}{[canonical(x) for x in v]}"
        return repr(v)

    other = data.draw(st.sampled_from([value, [value], (value,), None, 0]))
    same = canonical(value) == canonical(other)
    assert (digest_value(value) == digest_value(other)) is same


def base(x: int) -> int:
    return helper(x) + LIMIT


def helper(x: int) -> int:
    return x


LIMIT = 3


def test_code_digest_changes_with_helpers_and_captured_data_only() -> None:
    found = reach(base)
    same = Reach(found.functions, found.texts, found.modules, dict(found.data), found.components)
    assert code_digest("s", found) == code_digest("s", same)
    assert code_digest("s", found) != code_digest("t", found)
    changed = {**found.data, "LIMIT": 4}
    assert code_digest("s", found) != code_digest(
        "s", Reach(found.functions, found.texts, {}, changed)
    )
    texts = {**found.texts, "helper": "def helper(x):\n    return x + 1\n"}
    assert code_digest("s", found) != code_digest(
        "s", Reach(found.functions, texts, {}, found.data)
    )
    texts = {**found.texts, "helper": "def helper(x: int) -> int:\n    # said\n    return x\n"}
    assert code_digest("s", found) == code_digest(
        "s", Reach(found.functions, texts, found.modules, found.data)
    )


def test_captured_data_without_digest_is_named() -> None:
    with pytest.raises(NotDigestable, match="'guard'"):
        code_digest("s", Reach(data={"guard": threading.Lock()}))
