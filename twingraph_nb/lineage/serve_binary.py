"""GraphBinary 1 as it comes from a client: values, traversals, predicates, tokens.

Source of the format: Apache TinkerPop, IO Reference, GraphBinary. A length is believed only as far
as there are bytes behind it, so that a message cannot ask for more memory than it has sent.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, NoReturn
from uuid import UUID

from gremlin_python.process.traversal import (
    Binding,
    Bytecode,
    Direction,
    P,
    T,
    TraversalStrategy,
    Traverser,
)
from gremlin_python.statics import GremlinType, SingleByte, SingleChar, bigint, long, short
from gremlin_python.structure.graph import Edge, Path, Property, Vertex, VertexProperty

from twingraph_nb.lineage.serve_values import (
    LAMBDA,
    MalformedMessage,
    Values,
    bytecode,
    predicate,
    strategy,
    token,
)
from twingraph_nb.lineage.text_names import TOKENS, Float32
from twingraph_nb.lineage.text_values import frozen

__all__ = ["TOKEN_CODES", "Reader"]

TOKEN_CODES = {
    0x13: "Barrier", 0x16: "Cardinality", 0x17: "Column", 0x18: "Direction", 0x19: "Operator",
    0x1A: "Order", 0x1B: "Pick", 0x1C: "Pop", 0x1F: "Scope", 0x20: "T", 0x2E: "Merge", 0x2F: "DT",
    0x30: "GType",
}  # fmt: skip
_NULL = 0xFE
_TEXT = 0x0300
_HEAD, _HEAD_SIZE = struct.Struct(">HI").unpack_from, 6
"""Type and size of a text; a size below 0 is read as a huge one."""
_SMALLEST = 2
"""Bytes that a value takes at least: those of null."""
_DIGITS = 4096
"""Bytes of the longest whole number; arithmetic on longer ones would hold all others up."""


class Reader:
    """Reads values from bytes, one after the other.

    at: where the next one begins. parts: how many were no values, but parts of a traversal.
    """

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self.at, self.parts = data, at, 0

    def take(self, size: int) -> bytes:
        """Give the next bytes.

        Raises:
            MalformedMessage: there are not so many.
        """
        end = self.at + size
        if size < 0 or end > len(self._data):
            self._fail(f"{size} bytes are announced and {len(self._data) - self.at} are left")
        found = self._data[self.at : end]
        self.at = end
        return found

    def number(self, form: struct.Struct) -> Any:
        """Give the next number of this form."""
        try:
            (found,) = form.unpack_from(self._data, self.at)
        except struct.error:
            self._fail("the message ends too early")
        self.at += form.size
        return found

    def integer(self) -> int:
        """Give the next number of 32 bits."""
        at, end = self.at, self.at + 4
        if end > len(self._data):
            self._fail("the message ends too early")
        self.at = end
        return int.from_bytes(self._data[at:end], "big", signed=True)

    def text(self) -> str:
        """Give the next text, which has no type before it."""
        raw = self.take(self.integer())
        try:
            return raw.decode()
        except UnicodeDecodeError as exc:
            raise MalformedMessage(f"a text at byte {self.at} is not UTF-8") from exc

    def value(self) -> Any:
        """Give the next value, which has its type before it.

        Raises:
            MalformedMessage: these bytes are no value, or one that has no place in a request.
        """
        at, data = self.at, self._data
        try:
            code, size = _HEAD(data, at)
        except struct.error:
            code = size = 0
        if code == _TEXT:  # most are
            start = at + _HEAD_SIZE
            self.at = end = start + size
            if end > len(data):
                self.at = start
                self._fail(f"{size} bytes are announced and {len(data) - start} are left")
            try:
                return data[start:end].decode()
            except UnicodeDecodeError as exc:
                raise MalformedMessage(f"a text at byte {end} is not UTF-8") from exc
        if at + _SMALLEST > len(data):
            self._fail("the message ends too early")
        code, is_null = data[at], data[at + 1]
        self.at = at + _SMALLEST
        if code == _NULL:
            return None
        reader = _READERS.get(code)
        if reader is None:
            self._fail(f"there is no type 0x{code:02x} in a request")
        if is_null:
            return None
        try:
            return reader(self)
        except (ValueError, TypeError, ArithmeticError) as exc:
            if isinstance(exc, MalformedMessage):
                raise
            raise MalformedMessage(f"a value at byte {self.at} makes no sense: {exc}") from exc

    def mapping(self) -> dict[Any, Any]:
        """Give the next map, which has no type before it."""
        made: dict[Any, Any] = {}
        for _ in range(self.count(2)):
            key = self.value()
            made[key if type(key) in _HASHED else frozen(key)] = self.value()
        return made

    def items(self) -> list[Any]:
        """Give the next list, which has no type before it."""
        return [self.value() for _ in range(self.count())]

    def count(self, each: int = 1) -> int:
        """Give a number of items, of so many values each, that the rest can hold."""
        found = self.integer()
        if found < 0 or found * each * _SMALLEST > len(self._data) - self.at:
            self._fail(f"{found} values are announced and {len(self._data) - self.at} bytes left")
        return found

    def instructions(self) -> list[list[Any]]:
        """Give the calls of a traversal."""
        return [[self.text(), *self.items()] for _ in range(self.count())]

    def digits(self) -> int:
        """Give a whole number of any length."""
        size = self.integer()
        if size > _DIGITS:
            self._fail(f"a whole number of {size} bytes is too long (limit {_DIGITS})")
        return int.from_bytes(self.take(size), "big", signed=True)

    def _fail(self, why: str) -> NoReturn:
        raise MalformedMessage(f"{why}, at byte {self.at}")


_HASHED = (str, Direction, T)
"""What keys of maps are, mostly."""
_BYTE, _LONG = struct.Struct(">B"), struct.Struct(">q")
_SHORT, _SIGNED = struct.Struct(">h"), struct.Struct(">b")
_FLOAT, _DOUBLE = struct.Struct(">f"), struct.Struct(">d")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _list(r: Reader) -> list[Any]:
    before = r.parts
    made = r.items()
    return made if r.parts != before else Values(made)


def _part(read: Callable[[Reader], Any]) -> Callable[[Reader], Any]:
    """A reader of what is no value, and counts."""

    def counted(r: Reader) -> Any:
        r.parts += 1
        return read(r)

    return counted


def _bytecode(r: Reader) -> Bytecode:
    steps = r.instructions()
    return bytecode(r.instructions(), steps)


def _lambda(r: Reader) -> NoReturn:
    raise MalformedMessage(LAMBDA)


def _strategy(r: Reader) -> TraversalStrategy:
    name = r.text()
    return strategy(name, r.mapping())


def _token(kind: str) -> Callable[[Reader], Enum]:
    known = dict(TOKENS[kind])

    def read(r: Reader) -> Enum:
        name = r.value()
        found = known.get(name) if type(name) is str else None
        return token(kind, name) if found is None else found

    return read


def _predicate(r: Reader) -> P:
    name = r.text()
    return predicate(name, r.items())


def _vertex(r: Reader) -> Vertex:
    found = Vertex(r.value(), r.text())
    r.value()  # its properties: what is meant is the vertex with this id
    return found


def _edge(r: Reader) -> Edge:
    id, label = r.value(), r.text()
    in_ = Vertex(r.value(), r.text())
    out = Vertex(r.value(), r.text())
    r.value()
    r.value()
    return Edge(id, out, label, in_)


def _vertex_property(r: Reader) -> VertexProperty:
    found = VertexProperty(r.value(), r.text(), r.value(), None)
    r.value()
    r.value()
    return found


def _property(r: Reader) -> Property:
    found = Property(r.text(), r.value(), None)
    r.value()
    return found


def _decimal(r: Reader) -> Decimal:
    scale = r.integer()
    digits = r.digits()
    if abs(scale) > _DIGITS:
        raise MalformedMessage(f"a decimal with {scale} places is too long (limit {_DIGITS})")
    return Decimal((int(digits < 0), tuple(map(int, str(abs(digits)))), -scale))


def _zoned(r: Reader) -> datetime:
    year, month, day = r.integer(), r.number(_SIGNED), r.number(_SIGNED)
    nanos, offset = r.number(_LONG), r.integer()
    midnight = datetime(year, month, day, tzinfo=timezone(timedelta(seconds=offset)))
    return midnight + timedelta(microseconds=nanos / 1000)


def _char(r: Reader) -> str:
    first = r.take(1)
    more = 3 if first[0] >= 0xF0 else 2 if first[0] >= 0xE0 else 1 if first[0] >= 0xC0 else 0
    made: str = SingleChar((first + r.take(more)).decode())
    return made


_READERS: dict[int, Callable[[Reader], Any]] = {
    0x01: Reader.integer,
    0x02: lambda r: int.__new__(long, r.number(_LONG)),
    0x03: Reader.text,
    0x04: lambda r: _EPOCH + timedelta(milliseconds=r.number(_LONG)),
    0x05: lambda r: _EPOCH + timedelta(milliseconds=r.number(_LONG)),
    0x06: lambda r: GremlinType(r.text()),
    0x07: lambda r: r.number(_DOUBLE),
    0x08: lambda r: Float32(r.number(_FLOAT)),
    0x09: _list,
    0x0A: Reader.mapping,
    0x0B: lambda r: {frozen(item) for item in r.items()},
    0x0C: lambda r: UUID(bytes=r.take(16)),
    0x0D: _edge,
    0x0E: lambda r: Path(r.value(), r.value()),
    0x0F: _property,
    0x11: _vertex,
    0x12: _vertex_property,
    0x14: _part(lambda r: Binding(r.text(), r.value())),
    0x15: _part(_bytecode),
    0x1D: _lambda,
    0x1E: _part(_predicate),
    0x21: lambda r: Traverser(bulk=r.number(_LONG), object=r.value()),
    0x22: _decimal,
    0x23: lambda r: int.__new__(bigint, r.digits()),
    0x24: lambda r: SingleByte(r.number(_SIGNED)),
    0x25: lambda r: r.take(r.integer()),
    0x26: lambda r: int.__new__(short, r.number(_SHORT)),
    0x27: lambda r: r.number(_BYTE) == 1,
    0x28: _part(_predicate),
    0x29: _part(_strategy),
    0x80: _char,
    0x81: lambda r: timedelta(seconds=r.number(_LONG), microseconds=r.integer() / 1000),
    0x84: lambda r: date(r.integer(), r.number(_SIGNED), r.number(_SIGNED)),
    0x88: _zoned,
    **{code: _token(kind) for code, kind in TOKEN_CODES.items()},
}
