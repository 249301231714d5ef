"""Rows of facts as GraphBinary: most of what is sent, so written here and not by gremlinpython.

Its writer is made for all that can be in a traversal; a row is a map of texts, numbers and tokens.
That takes a fifth of the time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from gremlin_python.process.traversal import Direction, T
from gremlin_python.statics import long
from gremlin_python.structure.io.graphbinaryV1 import GraphBinaryWriter

__all__ = ["Row", "Rows", "rows_writer"]

Row = dict[Any, Any]
"""Names and tokens -> text, number, truth value or another such map."""

_INT = struct.Struct(">i").pack
_SIZED = struct.Struct(">BBi").pack  # type, no null, and the size; or a small whole number
_LONG = struct.Struct(">BBq").pack
_DOUBLE = struct.Struct(">BBd").pack
_LIST = b"\x09\x00"
_YES, _NO = b"\x27\x00\x01", b"\x27\x00\x00"
_LARGEST_INT = 2**31
_TOKENS = ((T, 0x20), (Direction, 0x18))


class Rows(list[Row]):
    """What one traversal is given to write."""


class _RowsIO:
    """How gremlinpython's writer writes `Rows`."""

    @classmethod
    def dictify(cls, rows: Rows, _writer: object, to: bytearray, *_: object) -> bytearray:
        """Add them to what is written."""
        to += _packed(rows)
        return to


def rows_writer() -> GraphBinaryWriter:
    """Give gremlinpython's writer of traversals, which knows `Rows`."""
    return GraphBinaryWriter({Rows: _RowsIO})


def _packed(rows: Rows) -> bytes:
    made = [_LIST, _INT(len(rows))]
    for row in rows:
        _add(row, made.append)
    return b"".join(made)


def _add(told: Mapping[Any, object], add: Callable[[bytes], None]) -> None:
    """Write a map."""
    add(_SIZED(0x0A, 0, len(told)))
    for key, value in told.items():
        add(_key(key))
        kind = type(value)
        if kind is str:
            raw = value.encode("utf-8", "replace")  # type: ignore[attr-defined]
            add(_SIZED(0x03, 0, len(raw)) + raw)
        elif kind is float:
            add(_DOUBLE(0x07, 0, value))
        elif kind is bool:
            add(_YES if value else _NO)
        elif kind is int or kind is long:
            short = kind is int and -_LARGEST_INT <= value < _LARGEST_INT  # type: ignore[operator]
            add(_SIZED(0x01, 0, value) if short else _LONG(0x02, 0, value))
        elif isinstance(value, Mapping):
            _add(value, add)
        else:
            raise TypeError(f"a row holds no {kind.__name__}: {value!r}")


@lru_cache(4096)
def _key(key: Any) -> bytes:
    """A name, or a token by its name."""
    name = key if isinstance(key, str) else key.name.rstrip("_")
    raw = name.encode("utf-8", "replace")
    text = _SIZED(0x03, 0, len(raw)) + raw
    kinds = [code for kind, code in _TOKENS if isinstance(key, kind)]
    return bytes((kinds[0], 0)) + text if kinds else text
