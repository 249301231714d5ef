"""GraphBinary 1 as it goes to a client: results with their types."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

from gremlin_python.process.traversal import Traverser
from gremlin_python.statics import BigDecimal
from gremlin_python.structure.graph import Edge, Path, Property, Vertex, VertexProperty

from twingraph_nb.lineage.graphson import GraphSONError
from twingraph_nb.lineage.numbers import kind_of
from twingraph_nb.lineage.serve_binary import TOKEN_CODES
from twingraph_nb.lineage.serve_elements import Cell, cells_of, entries_of

__all__ = ["Writer", "pack_text"]

_INT, _LONG = struct.Struct(">i").pack, struct.Struct(">q").pack
_NULL = b"\xfe\x01"
_TOKENS = {kind: code for code, kind in TOKEN_CODES.items()}
_LIST, _SET, _MAP = b"\x09\x00", b"\x0b\x00", b"\x0a\x00"
_STRING, _TRAVERSER = b"\x03\x00", b"\x21\x00"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def pack_text(text: str) -> bytes:
    """Give a text without its type."""
    raw = text.encode("utf-8", "replace")
    return _INT(len(raw)) + raw


def _whole(value: int) -> bytes:
    raw = value.to_bytes(
        (value if value >= 0 else ~value).bit_length() // 8 + 1, "big", signed=True
    )
    return _INT(len(raw)) + raw


def _decimal(value: Any) -> bytes:
    sign, digits, exponent = value.as_tuple()
    whole = int("".join(map(str, digits)) or "0")
    return b"\x22\x00" + _INT(-exponent) + _whole(-whole if sign else whole)


_NUMBERS: dict[str, Callable[[Any], bytes]] = {
    "b": lambda value: b"\x24\x00" + struct.pack(">b", value),
    "s": lambda value: b"\x26\x00" + struct.pack(">h", value),
    "i": lambda value: b"\x01\x00" + _INT(value),
    "l": lambda value: b"\x02\x00" + _LONG(value),
    "n": lambda value: b"\x23\x00" + _whole(value),
    "f": lambda value: b"\x08\x00" + struct.pack(">f", value),
    "d": lambda value: b"\x07\x00" + struct.pack(">d", value),
    "m": _decimal,
}


class Writer:
    """Writes results.

    whole: elements come with their properties, else with id and label only.
    """

    def __init__(self, *, whole: bool = True) -> None:
        self.whole = whole

    def typed(self, value: Any) -> bytes:
        """Give a value with its type.

        Raises:
            GraphSONError: the format has no type for it.
        """
        if type(value) is str:
            return _STRING + pack_text(value)
        if value is None:
            return _NULL
        if isinstance(value, bool):
            return b"\x27\x00\x01" if value else b"\x27\x00\x00"
        kind = kind_of(value)
        if kind:
            return self._number(kind, value)
        if isinstance(value, Traverser):
            return _TRAVERSER + _LONG(value.bulk) + self.typed(value.object)
        if isinstance(value, Vertex | Edge | VertexProperty | Property):
            return self._element(value)
        if isinstance(value, Mapping):
            return _MAP + self.map(value)
        if isinstance(value, list | tuple):
            return _LIST + self.items(value)
        if isinstance(value, set | frozenset):
            return _SET + self.items(value)
        if isinstance(value, Path):
            return b"\x0e\x00" + self.typed(value.labels) + self.typed(value.objects)
        return self._scalar(value)

    def map(self, value: Mapping[Any, Any]) -> bytes:
        """Give a map without its type."""
        return _INT(len(value)) + b"".join(
            self.typed(one) for pair in value.items() for one in pair
        )

    def items(self, value: Iterable[Any]) -> bytes:
        """Give a list without its type."""
        made = [self.typed(item) for item in value]
        return _INT(len(made)) + b"".join(made)

    def _number(self, kind: str, value: Any) -> bytes:
        try:
            return _NUMBERS[kind](value)
        except (struct.error, TypeError, ValueError) as exc:
            raise GraphSONError(f"{value!r} cannot be sent: {exc}") from exc

    def _scalar(self, value: Any) -> bytes:
        if isinstance(value, str):
            return _STRING + pack_text(str(value))
        if isinstance(value, Enum) and type(value).__name__ in _TOKENS:
            name = _STRING + pack_text(value.name.rstrip("_"))
            return bytes((_TOKENS[type(value).__name__], 0)) + name
        if isinstance(value, UUID):
            return b"\x0c\x00" + value.bytes
        if isinstance(value, BigDecimal):
            return _decimal(value.value)
        if isinstance(value, datetime):
            return _moment(value)
        if isinstance(value, date):
            return b"\x84\x00" + _INT(value.year) + bytes((value.month, value.day))
        if isinstance(value, timedelta):
            seconds = value.days * 86400 + value.seconds
            return b"\x81\x00" + _LONG(seconds) + _INT(value.microseconds * 1000)
        if isinstance(value, bytes | bytearray):
            return b"\x25\x00" + _INT(len(value)) + bytes(value)
        raise GraphSONError(f"GraphBinary has no type here for a {type(value).__name__}: {value!r}")

    def _element(self, value: Any) -> bytes:
        if isinstance(value, Vertex):
            cells = [self._cell(cell) for cell in cells_of(value)] if self.whole else []
            return b"\x11\x00" + self.typed(value.id) + pack_text(value.label) + self._many(cells)
        if isinstance(value, Edge):
            return b"\x0d\x00" + b"".join(
                (
                    self.typed(value.id), pack_text(value.label),
                    self.typed(value.inV.id), pack_text(value.inV.label),
                    self.typed(value.outV.id), pack_text(value.outV.label),
                    _NULL, self._entries(entries_of(value)),
                )
            )  # fmt: skip
        if isinstance(value, VertexProperty):
            return self._cell(Cell(value.id, value.key, value.value, entries_of(value)))
        return b"\x0f\x00" + pack_text(value.key) + self.typed(value.value) + _NULL

    def _cell(self, cell: Cell) -> bytes:
        head = b"\x12\x00" + self.typed(cell.id) + pack_text(cell.key) + self.typed(cell.value)
        return head + _NULL + self._entries(cell.properties)

    def _entries(self, entries: Iterable[tuple[str, object]]) -> bytes:
        return self._many(
            [b"\x0f\x00" + pack_text(key) + self.typed(value) + _NULL for key, value in entries]
            if self.whole
            else []
        )

    def _many(self, made: list[bytes]) -> bytes:
        return _LIST + _INT(len(made)) + b"".join(made) if made else _NULL


def _moment(value: datetime) -> bytes:
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    offset = value.utcoffset() or timedelta()
    day = value.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    nanos = (value.replace(tzinfo=None) - day) // timedelta(microseconds=1) * 1000
    head = _INT(value.year) + bytes((value.month, value.day)) + _LONG(nanos)
    return b"\x88\x00" + head + _INT(round(offset.total_seconds()))
