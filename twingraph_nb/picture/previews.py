"""A value as a small piece of HTML: tables, arrays, pictures, texts. Escaped and bounded."""

from __future__ import annotations

import base64
import io
import reprlib
from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Final

__all__ = ["html_preview"]

_ROWS: Final = 6
_COLUMNS: Final = 8
_CELL: Final = 40
"""Characters of one cell of a table."""
_TEXT: Final = 1_200
"""Characters of a text."""
_PICTURE: Final = 1_500_000
"""Bytes of a picture; a larger one is only named."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"

_short = reprlib.Repr()
_short.maxlevel = 4
_short.maxdict = _short.maxlist = _short.maxtuple = _short.maxset = 12
_short.maxstring = _short.maxother = 160


def html_preview(value: object) -> str:
    """Give a preview of the value, at most a few kB (pictures more); never raises."""
    try:
        return _preview(value)
    except Exception as exc:  # a user's class may raise anything when it is looked at
        return _pre(f"<{type(value).__name__}, no preview: {type(exc).__name__}>")


def _preview(value: Any) -> str:
    for class_ in type(value).__mro__:
        drawer = _DRAWERS.get(f"{class_.__module__.split('.')[0]}.{class_.__name__}")
        if drawer is not None:
            return drawer(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(value))
    if isinstance(value, str):
        return _pre(value, note=f"{len(value):,} characters" if len(value) > _TEXT else "")
    if isinstance(value, (list, tuple, set, frozenset, Mapping)) and len(value) > 12:
        return _pre(_short.repr(value), note=f"{type(value).__name__} of {len(value):,}")
    return _pre(_short.repr(value))


def _pre(text: str, *, note: str = "") -> str:
    shown = text if len(text) <= _TEXT else text[:_TEXT] + " …"
    told = f'<div class="tg-note">{escape(note)}</div>' if note else ""
    return f'{told}<pre class="tg-value">{escape(shown)}</pre>'


def _frame(frame: Any) -> str:
    rows, columns = len(frame), len(frame.columns)
    head = frame.iloc[:_ROWS, :_COLUMNS]
    names = [_cell(name) for name in head.columns]
    more = columns > _COLUMNS
    lines = ["<tr><th></th>" + "".join(f"<th>{n}</th>" for n in names) + "<th>…</th>" * more]
    for label, row in zip(head.index, head.itertuples(index=False, name=None), strict=True):
        cells = "".join(f"<td>{_cell(item)}</td>" for item in row)
        lines.append(f"<tr><th>{_cell(label)}</th>{cells}" + "<td>…</td>" * more)
    note = f"{type(frame).__name__}, {rows:,} rows x {columns:,} columns"
    body = "</tr>".join(lines)
    return f'<div class="tg-note">{note}</div><table class="tg-table">{body}</tr></table>'


def _series(series: Any) -> str:
    return _frame(series.to_frame(name="value" if series.name is None else series.name))


def _polars(frame: Any) -> str:
    return _pre(str(frame.head(_ROWS)), note=f"{frame.height:,} rows x {frame.width:,} columns")


def _cell(item: object) -> str:
    text = item if isinstance(item, str) else f"{item:.6g}" if type(item) is float else str(item)
    return escape(text if len(text) <= _CELL else text[: _CELL - 1] + "…")


def _array(array: Any) -> str:
    shape = " x ".join(f"{n:,}" for n in array.shape) or "scalar"
    note = f"{type(array).__name__}, {shape}, {array.dtype}"
    few = array.reshape(-1)[:24] if array.ndim else array
    text = str(few.tolist() if hasattr(few, "tolist") else few)
    return _pre(text if array.size <= 24 else text.rstrip("]") + ", …]", note=note)


def _figure(figure: Any) -> str:
    target = io.BytesIO()
    # Drawn by the file backend: a figure of another thread must not touch pyplot's state.
    figure.savefig(target, format="png", dpi=72, bbox_inches="tight")
    return _picture(target.getvalue(), "png")


def _image(image: Any) -> str:
    small = image.copy()
    small.thumbnail((480, 360))
    target = io.BytesIO()
    small.convert("RGBA").save(target, format="PNG")
    note = f'<div class="tg-note">{image.width} x {image.height}, {escape(image.mode)}</div>'
    return note + _picture(target.getvalue(), "png")


def _bytes(value: bytes) -> str:
    for start, kind in ((_PNG, "png"), (_JPEG, "jpeg")):
        if value.startswith(start) and len(value) <= _PICTURE:
            return _picture(value, kind)
    return _pre(repr(value[:200]), note=f"{len(value):,} bytes")


def _picture(body: bytes, kind: str) -> str:
    if len(body) > _PICTURE:
        return _pre(f"<picture of {len(body):,} bytes>")
    text = base64.b64encode(body).decode()
    return f'<img class="tg-picture" src="data:image/{kind};base64,{text}"/>'


_DRAWERS: Final[dict[str, Callable[[Any], str]]] = {
    "pandas.DataFrame": _frame,
    "pandas.Series": _series,
    "polars.DataFrame": _polars,
    "numpy.ndarray": _array,
    "torch.Tensor": _array,
    "matplotlib.Figure": _figure,
    "PIL.Image": _image,
}
