"""Values of every kind, and how to see that two are the same."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
import typing
import uuid
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic

__all__ = ["ARRAYS", "PLAIN", "SCALARS", "TABLES", "Color", "Inner", "Point", "Row", "same"]


class Color(enum.Enum):
    RED = 1
    BLUE = (1, "b")


class Size(enum.IntFlag):
    S = 1
    M = 2


class Side(enum.Flag):
    LEFT = 1
    RIGHT = 2


class Level(enum.IntEnum):
    LOW = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: object = None


@dataclasses.dataclass
class Inner:
    point: Point
    tags: dict[str, object] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seen = len(self.tags)


class Row(typing.NamedTuple):
    key: int
    text: str = "x"


Pair = collections.namedtuple("Pair", "first second")


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    rate: float
    inner: Model | None = None
    _kept: int = pydantic.PrivateAttr(default=3)


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
WEST = dt.timezone(dt.timedelta(hours=-3, minutes=-30))
NAMED = dt.timezone(dt.timedelta(hours=1), "here")

PLAIN: tuple[object, ...] = (
    None, True, 1, 2**63 - 1, -(2**63), 2**63, 10**6000, -(7**9000),
    1.5, -0.0, float("nan"), float("inf"), float("-inf"), 1 + 2j, complex("nan-infj"),
    "a\n\"'\\\0\x7f", "\U0001f600 ü", "\ud800", "\ud83d\ude00", "z" * 5_000,
    b"", b"\0\xff", b"y" * 5_000, bytearray(b"z" * 3_000), bytearray(b"q"),
    (), (1, (2,)), [], [[]], {}, {1, 2}, frozenset({"a", (1, 2)}), {frozenset({1})},
    range(1, 10, 3), range(2**70), slice(1, None, 2), ..., NotImplemented,
    dt.date(2020, 1, 2), dt.time(1, 2, 3, 4, fold=1), dt.time(1, tzinfo=dt.UTC),
    dt.datetime(2020, 1, 2, 3, 4, 5, 6), dt.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
    dt.datetime(2020, 1, 1, tzinfo=WEST), dt.datetime(2020, 1, 1, tzinfo=NAMED), BERLIN, dt.UTC,
    dt.timedelta(-1, 2, 3), dt.timedelta.max,
    decimal.Decimal("1.10"), decimal.Decimal("-Infinity"), decimal.Decimal("sNaN"),
    uuid.UUID(int=5), pathlib.Path("/a/b \udcff"), pathlib.PureWindowsPath("c:\\x"),
    pathlib.PurePosixPath("x/y"),
    Color.RED, Color.BLUE, Side.LEFT | Side.RIGHT, Side(0), Size.S | Size.M, Size(8), Level.LOW,
    Point(1, [2]), Inner(Point(1), {"a": Point(2)}), Row(1, "2"), Pair(1, {2}),
    Model(rate=1.5, inner=Model(rate=2), more=[1]),
    collections.OrderedDict(b=1, a=2), collections.defaultdict(list, {1: [2]}),
    collections.defaultdict(None, a=1), collections.Counter("aab"), collections.deque([1, 2], 3),
    {"$": 1, "a": 2}, {"a": {"$": ["tuple", 1]}}, {"ü": 1, "\ud800": 2},
    {1: "a", (1, 2): "b", None: 3, "x": 4, 1.5: {}, Point(1): 5, True + 1: 6},
    [1.5] * 50, [float("nan"), *[1.0] * 50], list(range(50)), [2**70] * 50, ["a"] * 50,
    ["\ud800"] * 50, [True] * 50, [True, 1, 1.0] * 20, [None] * 50,
)  # fmt: skip

_OFFSET = np.dtype({"names": ["a"], "formats": ["i4"], "offsets": [4], "itemsize": 16})
_FIELDS = np.dtype([("a", ">i4"), ("b", "f8", (2,)), ("c", [("d", "U3")])])

ARRAYS: tuple[Any, ...] = (
    np.arange(5), np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array(3.0), np.array([]), np.zeros((0, 3)), np.zeros((2, 0, 3), "U4"),
    np.arange(3, dtype=">i4"),
    np.array(["a", "bcd\ud800"]), np.array([b"a"]), np.array(["2020-01-01", "NaT"], "M8[ns]"),
    np.array(["2020-01"], "M8[M]"), np.array([1, 2], "m8[25s]"), np.zeros(2, _FIELDS),
    np.ones(3, _OFFSET), np.array([True, False]), np.array([1 + 2j]), np.array([1.0], "f2"),
    np.array([1], np.longdouble), np.zeros(3, "V4"), np.arange(30_000.0), np.array([1, 2], "u8"),
    np.array([None, 1, [2], {"a": Point(3)}], object), np.array([[1, None], ["a", 2]], object),
    np.array(None, object), np.array([(1, [1, 2])], [("a", "i4"), ("o", "O")]),
    np.arange(20.0).reshape(4, 5)[::2, 1::2], np.arange(5)[::-1],
    np.array(["a", "b"], np.dtypes.StringDType()),
    np.array(["a", None], np.dtypes.StringDType(na_object=None)),
)  # fmt: skip

SCALARS: tuple[Any, ...] = (
    np.float64(1.5), np.float32("nan"), np.int8(3), np.str_("abc"), np.str_(""), np.bytes_(b"ab"),
    np.datetime64("2020-01-01"), np.timedelta64(3, "D"), np.bool_(True), np.complex64(1j),
    np.longdouble(1) / 3, np.ones(1, _FIELDS)[0], np.dtype("i4"), _FIELDS,
    np.ma.array([1, 2, 3], mask=[0, 1, 0], fill_value=9),
    pd.Timestamp("2020-01-01 01:02:03.123456789"), pd.Timestamp("2020", tz="Asia/Tokyo"),
    pd.Timestamp("2020", tz="UTC"), pd.Timedelta("1s"), pd.NaT, pd.NA, pd.Period("2020-01", "M"),
    pd.Interval(1, 2),
)  # fmt: skip

_MIXED = pd.DataFrame({
    "a": [1, 2, 3], "b": [1.0, np.nan, 3], "c": ["x", None, "z"],
    "small": np.array([1, 2, 3], "u1"),
    "category": pd.Categorical(["u", None, "u"], categories=["v", "u"], ordered=True),
    "Int64": pd.array([1, None, 3], "Int64"), "Float64": pd.array([1.5, None, 2], "Float64"),
    "boolean": pd.array([True, None, False], "boolean"),
    "time": pd.to_datetime(["2020", "2021", None]), "span": pd.to_timedelta([1, 2, None], "s"),
    "zoned": pd.to_datetime(["2020", "2021", None]).tz_localize("Europe/Berlin"),
    "string": pd.array(["a", None, "b"], "string"), "object": [[1], {"a": 2}, None],
    "period": pd.period_range("2020", periods=3, freq="M"), "interval": pd.interval_range(0, 3),
    "arrow": pd.array([1, 2, None], pd.ArrowDtype(pa.int64())),
    "python": pd.array(["a", None, "b"], pd.StringDtype("python")),
    "words": pd.Series(["a", "b", "c"], dtype=object),
})  # fmt: skip
_DAYS = pd.date_range("2020", periods=2, freq="D", tz="UTC", name="day")
_ARROW = pa.table({
    "a": [1, None], "b": ["x", "y"], "c": pa.array(["u", "u"]).dictionary_encode(),
    "d": [{"q": 1}, None], "e": [[1], []],
})  # fmt: skip

TABLES: tuple[Any, ...] = (
    _MIXED, _MIXED.iloc[:0], *(_MIXED[name] for name in _MIXED), _MIXED.set_index(["a", "c"]),
    *(pd.Index(_MIXED[name], name=("of", name)) for name in _MIXED if name != "object"),
    pd.DataFrame(), pd.DataFrame(index=[1, 2]), pd.DataFrame(columns=["a"]),
    pd.DataFrame(np.ones((3, 2)), columns=["a", "a"]),
    pd.DataFrame({("a", 1): [1.0], ("b", 2): [2]}),
    pd.DataFrame(np.ones((2, 2)), index=_DAYS), pd.DataFrame({"a": ["x", 1]}, dtype=object),
    pd.Series([1, 2], index=pd.MultiIndex.from_product([["a"], [1, 2]], names=["p", None])),
    pd.RangeIndex(3, 9, 2, name="r"), pd.array([1, None], "Int64"), pd.array(np.array([1.5, 2])),
    _ARROW, _ARROW.slice(0, 0), _ARROW.to_batches()[0], _ARROW.to_batches()[0].slice(0, 0),
    _ARROW["a"], pa.array([1, None]),
)  # fmt: skip


def same(one: Any, two: Any) -> bool:
    """True if two values are of the same kind and equal, through and through."""
    if type(one) is not type(two):
        return False
    if isinstance(one, (list, tuple, collections.deque)):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict):
        return same(list(one), list(two)) and same(list(one.values()), list(two.values()))
    if isinstance(one, np.ndarray):
        return _same_array(one, two)
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        names = [field.name for field in dataclasses.fields(one)]
        return all(same(getattr(one, name), getattr(two, name)) for name in names)
    if isinstance(one, BaseException):
        return same((one.args, vars(one), one.__cause__), (two.args, vars(two), two.__cause__))
    if isinstance(one, (int, set, frozenset)):
        return bool(one == two)
    if isinstance(one, np.generic):
        return one.dtype == two.dtype and repr(one) == repr(two)
    if hasattr(one, "equals"):
        return bool(one.equals(two)) and _labels(one) == _labels(two)
    return repr(one) == repr(two)


def _same_array(one: Any, two: Any) -> bool:
    if one.dtype != two.dtype or one.shape != two.shape or repr(one) != repr(two):
        return False
    if one.dtype.kind == "O":
        return same(one.ravel().tolist(), two.ravel().tolist())
    return one.dtype.hasobject or one.dtype.kind == "T" or bool(one.tobytes() == two.tobytes())


def _labels(one: Any) -> list[object]:
    names: tuple[str, ...] = ("schema", "type")
    if type(one).__module__.startswith("pandas"):
        names = ("dtype", "dtypes", "names", "name", "freq", "index", "columns")
    found = [getattr(one, name, None) for name in names]
    return [repr(each) for each in found]
