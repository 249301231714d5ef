"""Tables: pandas by columns, so that versions may differ, and Arrow by its own stream format.

Standard library only at import, Python 3.9 or later: part of what travels to the far side.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable
from typing import Any

from twingraph_nb.values_kinds import (
    Reading,
    ValuesError,
    Writing,
    int_of,
    library,
    list_of,
    text_of,
)

__all__ = ["DECODERS", "written"]


def written(out: Writing, value: Any) -> list[Any] | None:
    """Give the node of a part of pandas or pyarrow, or None."""
    root = type(value).__module__.split(".")[0]
    if root == "pandas" and "pandas" in sys.modules:
        return _write_pandas(out, value, sys.modules["pandas"])
    if root == "pyarrow" and "pyarrow" in sys.modules:
        return _write_arrow(out, value, sys.modules["pyarrow"])
    return None


def _write_pandas(out: Writing, value: Any, pd: Any) -> list[Any] | None:
    kind, walk = type(value), out.walk
    if kind is pd.DataFrame:
        return _write_frame(out, value)
    if kind is pd.Series:
        return ["series", _column(out, value), walk(value.index), walk(value.name)]
    if isinstance(value, pd.Index):
        return _write_index(out, value, pd)
    if isinstance(value, pd.api.extensions.ExtensionArray):
        return _write_extension(out, value, pd)
    if value is pd.NaT or value is pd.NA:
        return ["pandas constant", "NaT" if value is pd.NaT else "NA"]
    if kind is pd.Timestamp:
        return ["timestamp", walk(value.to_datetime64()), walk(_zone_of(value.tzinfo))]
    if kind is pd.Timedelta:
        return ["pandas timedelta", walk(value.to_timedelta64())]
    if kind is pd.Period:
        return ["period", value.ordinal, value.freqstr]
    if kind is pd.Interval:
        return ["interval", walk(value.left), walk(value.right), value.closed]
    return None


def _zone_of(zone: Any) -> Any:
    """A zone, or of one of pytz, which is the default of pandas 2, its name."""
    if type(zone).__module__.split(".")[0] != "pytz":
        return zone
    name = getattr(zone, "zone", None)
    return name or library("datetime").timezone(zone.utcoffset(None))


def _zoned(zone: Any) -> Any:
    """What `_zone_of` gave; of a name, pandas makes its own default."""
    if type(zone) is str and not _ZONE.fullmatch(zone):  # some spellings make it open files
        raise ValuesError(f"malformed: {zone!r:.50} is no time zone")
    return zone


_ZONE = re.compile(r"[A-Z][A-Za-z0-9_+/-]*")


# -- series, indexes, frames --------------------------------------------------------------------


def _column(out: Writing, values: Any) -> Any:
    """The values of a series or an index: numpy's array where there is one."""
    plain = hasattr(values.dtype, "byteorder")  # numpy's own types have it
    return out.walk(values.to_numpy() if plain else values.array)


def _series(into: Reading, data: Any, index: Any, name: Any) -> Any:
    pd = library("pandas")
    return pd.Series(_arrayed(data), _indexed(index), dtype=data.dtype, name=name, copy=False)


def _arrayed(data: Any) -> Any:
    """Numpy's array or one of pandas, of one dimension."""
    ours = (library("numpy").ndarray, library("pandas").api.extensions.ExtensionArray)
    if not isinstance(data, ours) or data.ndim != 1:
        raise ValuesError("malformed: a column is an array")
    return data


def _indexed(index: Any) -> Any:
    if not isinstance(index, library("pandas").Index):
        raise ValuesError("malformed: an index is an Index")
    return index


def _write_index(out: Writing, index: Any, pd: Any) -> list[Any] | None:
    kind, walk = type(index), out.walk
    if kind is pd.RangeIndex:
        return ["range index", index.start, index.stop, index.step, walk(index.name)]
    if kind is pd.MultiIndex:
        levels = [walk(level) for level in index.levels]
        codes = [walk(codes) for codes in index.codes]
        return ["multi index", levels, codes, walk(list(index.names))]
    if kind.__module__.split(".")[0] != "pandas":
        return None
    beat = getattr(index, "freqstr", None) if kind is not pd.PeriodIndex else None
    return ["index", _column(out, index), walk(index.name), beat]


def _range_index(into: Reading, start: Any, stop: Any, step: Any, name: Any) -> Any:
    parts = map(int_of, (start, stop, step))
    return library("pandas").RangeIndex(*parts, name=name)


def _multi_index(into: Reading, levels: Any, codes: Any, names: Any) -> Any:
    found = [_indexed(level) for level in list_of(levels)]
    return library("pandas").MultiIndex(found, [_arrayed(c) for c in codes], names=list_of(names))


def _index(into: Reading, data: Any, name: Any, beat: Any) -> Any:
    made = library("pandas").Index(_arrayed(data), dtype=data.dtype, name=name, copy=False)
    if beat is not None:
        try:
            made.freq = text_of(beat)
        except ValueError:  # another version spells it otherwise: the values are the same
            return made
    return made


def _write_frame(out: Writing, frame: Any) -> list[Any]:
    """Columns of one numpy type go together: a block of pandas is then not copied."""
    groups: dict[Any, list[int]] = {}
    for at, dtype in enumerate(frame.dtypes):
        plain = hasattr(dtype, "byteorder")
        groups.setdefault((dtype.str, dtype.kind) if plain else at, []).append(at)
    parts = []
    for key, places in groups.items():
        if type(key) is tuple:
            whole = frame if len(places) == frame.shape[1] else frame.iloc[:, places]
            parts.append([places, out.walk(whole.to_numpy())])
        else:
            parts.append([places, out.walk(frame.iloc[:, places[0]].array)])
    return ["frame", out.walk(frame.columns), out.walk(frame.index), parts]


def _frame(into: Reading, columns: Any, index: Any, parts: Any) -> Any:
    pd, np = library("pandas"), library("numpy")
    width, height = len(_indexed(columns)), len(_indexed(index))
    if len(list_of(parts)) == 1:
        places, data = parts[0]
        whole = isinstance(data, np.ndarray) and data.shape == (height, width)
        if whole and places == list(range(width)):
            return pd.DataFrame(data, index, columns, dtype=data.dtype, copy=False)
    found: dict[int, Any] = {}
    for places, data in parts:
        block = isinstance(data, np.ndarray) and data.ndim == 2
        if len(list_of(places)) != (data.shape[1] if block else 1):
            raise ValuesError("malformed: a block has one column for each place")
        for at, place in enumerate(places):
            column = _arrayed(data[:, at] if block else data)
            if len(column) != height:
                raise ValuesError("malformed: a column is as long as the index")
            found[int_of(place)] = pd.Series(column, index, dtype=column.dtype, copy=False)
    if sorted(found) != list(range(width)):
        raise ValuesError("malformed: a frame has all its columns")
    if not found:
        return pd.DataFrame(index=index, columns=columns)
    made = pd.DataFrame({at: found[at] for at in range(width)}, copy=False)
    made.index, made.columns = index, columns
    return made


# -- arrays of pandas ---------------------------------------------------------------------------


def _write_extension(out: Writing, values: Any, pd: Any) -> list[Any] | None:
    dtype, walk = values.dtype, out.walk
    if hasattr(dtype, "byteorder"):
        return ["pandas array", walk(values.to_numpy()), type(values).__name__]
    if isinstance(dtype, pd.CategoricalDtype):
        return ["categorical", walk(values.codes), walk(values.categories), bool(values.ordered)]
    if isinstance(dtype, pd.DatetimeTZDtype):
        moments = values.tz_convert(None).to_numpy()
        return ["zoned times", walk(moments), walk(_zone_of(dtype.tz))]
    if isinstance(dtype, pd.PeriodDtype):
        return ["periods", walk(values.asi8), values.freqstr]
    if isinstance(dtype, pd.IntervalDtype):
        return ["intervals", walk(values.left), walk(values.right), values.closed]
    if isinstance(dtype, pd.StringDtype):
        missing = getattr(dtype, "na_value", pd.NA) is pd.NA
        items = values.to_numpy(object, na_value=None).tolist()
        return ["strings", dtype.storage, missing, walk(items)]
    if isinstance(dtype, getattr(pd, "ArrowDtype", ())):
        return ["arrow column", walk(values.__arrow_array__())]
    if type(values).__name__ in _MASKED and hasattr(values, "_mask"):
        return ["masked column", type(values).__name__, walk(values._data), walk(values._mask)]
    return None


_MASKED = ("IntegerArray", "FloatingArray", "BooleanArray")


def _pandas_array(into: Reading, data: Any, kind: Any) -> Any:
    pd = library("pandas")
    if kind in ("DatetimeArray", "TimedeltaArray"):
        return pd.Index(_arrayed(data), copy=False).array
    ours = getattr(pd.arrays, "NumpyExtensionArray", None) or pd.arrays.PandasArray
    return ours(_arrayed(data))


def _categorical(into: Reading, codes: Any, categories: Any, ordered: Any) -> Any:
    dtype = library("pandas").CategoricalDtype(_indexed(categories), bool(ordered))
    return library("pandas").Categorical.from_codes(_arrayed(codes), dtype=dtype)


def _zoned_times(into: Reading, moments: Any, zone: Any) -> Any:
    index = library("pandas").DatetimeIndex(_arrayed(moments))
    return index.tz_localize("UTC").tz_convert(_zoned(zone)).array


def _periods(into: Reading, ordinals: Any, beat: Any) -> Any:
    pd = library("pandas")
    return pd.arrays.PeriodArray(_arrayed(ordinals), dtype=pd.PeriodDtype(text_of(beat)))


def _intervals(into: Reading, left: Any, right: Any, closed: Any) -> Any:
    pd = library("pandas")
    return pd.arrays.IntervalArray.from_arrays(_indexed(left), _indexed(right), closed)


def _strings(into: Reading, storage: Any, missing: Any, items: Any) -> Any:
    pd = library("pandas")
    given = {} if missing is True else {"na_value": float("nan")}
    try:
        dtype = pd.StringDtype(text_of(storage), **given)
    except (ImportError, TypeError):  # no pyarrow here, or an older pandas
        try:
            dtype = pd.StringDtype("python", **given)
        except TypeError:
            dtype = pd.StringDtype("python")
    return pd.array([each if each is None else text_of(each) for each in list_of(items)], dtype)


def _masked_column(into: Reading, kind: Any, data: Any, mask: Any) -> Any:
    if kind not in _MASKED:
        raise ValuesError(f"malformed: {kind!r:.50} is no array of pandas")
    return getattr(library("pandas").arrays, kind)(_arrayed(data), _arrayed(mask))


def _timestamp(into: Reading, moment: Any, zone: Any) -> Any:
    made = library("pandas").Timestamp(moment)
    return made if zone is None else made.tz_localize("UTC").tz_convert(_zoned(zone))


def _constant(into: Reading, name: Any) -> Any:
    pd = library("pandas")
    return {"NaT": pd.NaT, "NA": pd.NA}[name]


# -- Arrow --------------------------------------------------------------------------------------

_ARROW = ("Table", "RecordBatch", "ChunkedArray", "Array")


def _write_arrow(out: Writing, value: Any, pa: Any) -> list[Any] | None:
    kind = next((name for name in _ARROW if isinstance(value, getattr(pa, name))), None)
    if kind is None:
        return None
    table = value
    if kind in ("ChunkedArray", "Array"):
        table = pa.table({"": value})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write(table)
    return ["arrow", kind, out.put(memoryview(sink.getvalue()))]


def _arrow(into: Reading, kind: Any, place: Any) -> Any:
    pa, ipc = library("pyarrow"), library("pyarrow.ipc")
    buffer = pa.py_buffer(into.take(place))
    for message in ipc.MessageReader.open_stream(buffer):
        if _is_squeezed(bytes(message.metadata)):
            raise ValuesError("malformed: Arrow columns come as they are, not compressed")
    table = ipc.open_stream(buffer).read_all()
    table.validate(full=True)
    if kind == "Table":
        return table
    if kind == "RecordBatch":
        batches = table.to_batches()
        if len(batches) == 1:
            return batches[0]
        empty = [pa.array([], field.type) for field in table.schema]
        return pa.RecordBatch.from_arrays(empty, schema=table.schema)
    column = table.column(0)
    if kind == "ChunkedArray":
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.array([], column.type)


def _arrow_column(into: Reading, column: Any) -> Any:
    return library("pandas").arrays.ArrowExtensionArray(column)


def _is_squeezed(metadata: bytes) -> bool:
    """True if an Arrow message holds compressed memory: its size would be the sender's word.

    Source: Message.fbs of the Arrow format; a field is found through the table before it.
    """

    def at(code: str, place: int) -> int:
        return int(struct.unpack_from(code, metadata, place)[0])

    def field(table: int, number: int) -> int:
        """The place of a field, or 0."""
        names = table - at("<i", table)
        entry = 4 + 2 * number
        offset = at("<H", names + entry) if entry < at("<H", names) else 0
        return table + offset if offset else 0

    message = at("<I", 0)
    kind, header = field(message, 1), field(message, 2)
    if not kind or not header or metadata[kind] not in (_DICTIONARY, _RECORDS):
        return False
    batch = header + at("<I", header)
    if metadata[kind] == _DICTIONARY:
        inner = field(batch, 1)
        if not inner:
            return False
        batch = inner + at("<I", inner)
    return field(batch, 3) != 0


_DICTIONARY, _RECORDS = 2, 3

DECODERS: dict[str, Callable[..., Any]] = {
    "frame": _frame,
    "series": _series,
    "index": _index,
    "range index": _range_index,
    "multi index": _multi_index,
    "pandas array": _pandas_array,
    "categorical": _categorical,
    "zoned times": _zoned_times,
    "periods": _periods,
    "intervals": _intervals,
    "strings": _strings,
    "masked column": _masked_column,
    "arrow column": _arrow_column,
    "pandas constant": _constant,
    "timestamp": _timestamp,
    "pandas timedelta": lambda into, span: library("pandas").Timedelta(span),
    "period": lambda into, ordinal, beat: library("pandas").Period(
        ordinal=int_of(ordinal), freq=text_of(beat)
    ),
    "interval": lambda into, left, right, closed: library("pandas").Interval(left, right, closed),
    "arrow": _arrow,
}
