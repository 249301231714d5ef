"""numpy's arrays and scalars: their memory as it is, described by a type and a shape.

Standard library only at import, Python 3.9 or later: part of what travels to the far side.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from typing import Any

from twingraph_nb.values_kinds import (
    NotPlain,
    Reading,
    ValuesError,
    Writing,
    int_of,
    library,
    list_of,
    text_of,
)

__all__ = ["DECODERS", "written"]

_SIMPLE = re.compile(r"[<>|=][?biufcmMSUVO][0-9]{0,10}(\[[0-9]{0,9}[A-Za-zμ]{1,8}\])?")
_EMPTY = 1 << 20  # items without any bytes: more would cost memory that nobody sent
_LONGEST = (1 << 63) - 1


def written(out: Writing, value: Any) -> list[Any] | None:
    """Give the node of an array, a scalar or a type of numpy, or None."""
    np = sys.modules.get("numpy")
    if np is None:
        return None
    kind = type(value)
    if kind is np.ndarray or kind is np.memmap:
        return _write_array(out, np.asarray(value))
    if isinstance(value, np.generic):
        return _write_scalar(out, value)
    if isinstance(value, np.dtype):
        return ["dtype", _form(value)]
    if kind.__name__ == "MaskedArray" and kind.__module__.split(".")[0] == "numpy":
        mask = None if value.mask is np.ma.nomask else out.walk(value.mask)
        return ["masked", out.walk(value.data), mask, out.walk(value.fill_value)]
    return None


# -- types --------------------------------------------------------------------------------------


def _form(dtype: Any) -> Any:
    """A type as JSON: its code, or its parts."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ["sub", _form(base), list(shape)]
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names]
        titles = [field[2] if len(field) > 2 else None for field in fields]
        if not all(title is None or type(title) is str for title in titles):
            raise NotPlain("", "a title of its dtype is no string")
        forms = [_form(field[0]) for field in fields]
        places = [int(field[1]) for field in fields]
        return ["fields", list(dtype.names), forms, places, dtype.itemsize, titles]
    if dtype.type.__module__ != "numpy" or not _SIMPLE.fullmatch(dtype.str):
        raise NotPlain("", f"its dtype {dtype} is not one of numpy's own")
    return dtype.str


def _type(form: Any) -> Any:
    """The type a form describes."""
    np = library("numpy")
    if type(form) is str:
        if not _SIMPLE.fullmatch(form):
            raise ValuesError(f"malformed: {form!r:.50} is no dtype")
        return np.dtype(form)
    kind, *parts = list_of(form)
    if kind == "sub":
        base, shape = parts
        return np.dtype((_type(base), _shape(shape)))
    if kind != "fields":
        raise ValuesError(f"malformed: {kind!r:.50} is no dtype")
    names, forms, places, size, titles = parts
    spec = {
        "names": list(map(text_of, list_of(names))),
        "formats": [_type(each) for each in list_of(forms)],
        "offsets": list(map(int_of, list_of(places))),
        "itemsize": int_of(size),
    }
    if any(list_of(titles)):
        spec["titles"] = titles
    return np.dtype(spec)


def _shape(parts: Any) -> tuple[int, ...]:
    shape = tuple(map(int_of, list_of(parts)))
    if any(not 0 <= each <= _LONGEST for each in shape):
        raise ValuesError("malformed: no array has such a shape")
    return shape


# -- arrays -------------------------------------------------------------------------------------


def _write_array(out: Writing, array: Any) -> list[Any]:
    np, dtype, shape = sys.modules["numpy"], array.dtype, list(array.shape)
    if dtype.kind == "T":
        return _write_texts(out, array)
    if dtype.hasobject and dtype.names is not None:
        return ["records", _form(dtype), shape, *[out.walk(array[name]) for name in dtype.names]]
    if dtype.hasobject:
        return ["objects", shape, out.walk(array.ravel().tolist())]
    form, order = _form(dtype), "C"
    if not array.flags.c_contiguous:
        order = "F" if array.flags.f_contiguous else "C"
        array = array.T if order == "F" else np.ascontiguousarray(array)
    raw = array.reshape(-1).view(np.uint8).data if array.nbytes else b""
    return ["array", form, shape, order, out.put(raw)]


def _array(into: Reading, form: Any, shape: Any, order: Any, place: Any) -> Any:
    np, dtype, shape = library("numpy"), _type(form), _shape(shape)
    if dtype.hasobject or dtype.subdtype is not None or order not in ("C", "F"):
        raise ValuesError("malformed: an array of objects has no memory of its own")
    buffer = memoryview(into.take(place)).cast("B")
    count = math.prod(shape)
    if count * dtype.itemsize != buffer.nbytes:
        raise ValuesError(
            f"malformed: {count} items of {dtype} do not fill {buffer.nbytes} bytes exactly"
        )
    if not buffer.nbytes:
        if count > _EMPTY:
            raise ValuesError("malformed: too many items without a size")
        return np.ndarray(shape, dtype, bytearray(16), order=order)
    return np.ndarray(shape, dtype, buffer, order=order)


def _objects(into: Reading, shape: Any, items: Any) -> Any:
    np, shape, items = library("numpy"), _shape(shape), list_of(items)
    if math.prod(shape) != len(items):
        raise ValuesError(f"malformed: {len(items)} objects do not fill the shape {shape}")
    made = np.empty(len(items), object)
    for at, item in enumerate(items):  # at once, items that are lists would be unfolded
        made[at] = item
    return made.reshape(shape)


def _records(into: Reading, form: Any, shape: Any, *columns: Any) -> Any:
    np, dtype, shape = library("numpy"), _type(form), _shape(shape)
    if dtype.names is None or len(columns) != len(dtype.names):
        raise ValuesError("malformed: records have one column for each field")
    if dtype.itemsize > 64 + 8 * sum(dtype[name].itemsize for name in dtype.names):
        raise ValuesError("malformed: records are mostly filled")
    for name, column in zip(dtype.names, columns):  # noqa: B905 - not known to Python 3.9
        sub = dtype[name].shape
        if type(column) is not np.ndarray or column.shape != shape + sub:
            raise ValuesError("malformed: each column has the shape of the records")
    made = np.zeros(shape, dtype)
    for name, column in zip(dtype.names, columns):  # noqa: B905
        made[name] = column
    return made


def _write_texts(out: Writing, array: Any) -> list[Any]:
    """The node of an array of numpy's StringDType."""
    dtype = array.dtype
    missing = [out.walk(dtype.na_object)] if hasattr(dtype, "na_object") else []
    items = [None if type(each) is not str else each for each in array.ravel().tolist()]
    return ["texts", list(array.shape), dtype.coerce, out.walk(items), *missing]


def _texts(into: Reading, shape: Any, coerce: Any, items: Any, *missing: Any) -> Any:
    np = library("numpy")
    kinds: Any = getattr(getattr(np, "dtypes", None), "StringDType", None)
    if kinds is None:
        raise ValuesError("an array of StringDType needs numpy 2 or later here")
    given = {"na_object": missing[0]} if missing else {}
    filled = [missing[0] if each is None and missing else text_of(each) for each in list_of(items)]
    made = np.array(filled, kinds(coerce=bool(coerce), **given))
    return made.reshape(_shape(shape))


# -- scalars ------------------------------------------------------------------------------------


def _write_scalar(out: Writing, value: Any) -> list[Any] | None:
    np = sys.modules["numpy"]
    kind = type(value)
    if kind is np.str_:
        return ["numpy str", out.walk(str(value))]
    if kind is np.bytes_:
        return ["numpy bytes", out.put(bytes(value))]
    if value.dtype.hasobject:
        return None
    return ["scalar", _form(value.dtype), out.put(np.asarray(value).tobytes())]


def _scalar(into: Reading, form: Any, place: Any) -> Any:
    return _array(into, form, [], "C", place)[()]


def _masked(into: Reading, data: Any, mask: Any, fill: Any) -> Any:
    np = library("numpy")
    if type(data) is not np.ndarray or not (mask is None or type(mask) is np.ndarray):
        raise ValuesError("malformed: a masked array has arrays")
    kept = np.ma.nomask if mask is None else mask
    return np.ma.MaskedArray(data, mask=kept, fill_value=fill)


DECODERS: dict[str, Callable[..., Any]] = {
    "array": _array,
    "objects": _objects,
    "records": _records,
    "texts": _texts,
    "scalar": _scalar,
    "numpy str": lambda into, text: library("numpy").str_(text_of(text)),
    "numpy bytes": lambda into, place: library("numpy").bytes_(bytes(into.take(place))),
    "masked": _masked,
    "dtype": lambda into, form: _type(form),
}
