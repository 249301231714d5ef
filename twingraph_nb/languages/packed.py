"""Values as bytes without any marks, for languages that know the types: C++ and Rust.

All numbers are little-endian: int 8 bytes, float 8, bool 1, None 1. str (UTF-8) and bytes: their
length (4 bytes), then themselves. optional: 1 byte, then the value if there is one. list and
dict: a count (4 bytes), then the items, of a dict each key before its value; the items of a tuple
follow each other. Both sides go through the ports in order. No value takes no byte, so that a
count without its items is found before anything is made of it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from twingraph_nb.languages.kinds import Kind

__all__ = ["pack", "unpack"]

_COUNT, _INT, _FLOAT = struct.Struct("<I"), struct.Struct("<q"), struct.Struct("<d")
_LETTERS = {"int": "q", "float": "d"}
_WIDTH = 8  # bytes of an int or float


def pack(kinds: Sequence[Kind], values: Sequence[object]) -> bytes:
    """Give the bytes of values that `fit` has made.

    Raises:
        UnicodeEncodeError: a text has half a surrogate pair.
        struct.error: a text or list has 2**32 bytes or items, or more.
    """
    out = bytearray()
    for kind, value in zip(kinds, values, strict=True):
        _put(out, kind, value)
    return bytes(out)


def unpack(kinds: Sequence[Kind], body: bytes | memoryview) -> list[object]:
    """Give the values back.

    Raises:
        ValueError: these are not the bytes of such values.
    """
    reader = _Reader(memoryview(body))
    try:
        values = [reader.take(kind) for kind in kinds]
    except struct.error:
        raise ValueError("the values end early") from None
    if reader.at != len(body):
        raise ValueError(f"{len(body) - reader.at} bytes are left over")
    return values


def _put(out: bytearray, kind: Kind, value: object) -> None:
    name = kind.name
    if name == "int":
        out += _INT.pack(value)
    elif name == "float":
        out += _FLOAT.pack(value)
    elif name == "bool":
        out.append(bool(value))
    elif name in ("str", "bytes"):
        body = value.encode() if isinstance(value, str) else value
        out += _COUNT.pack(len(body))  # type: ignore[arg-type]
        out += body  # type: ignore[arg-type]
    elif name == "optional":
        out.append(value is not None)
        if value is not None:
            _put(out, kind.items[0], value)
    elif name == "tuple":
        for item, one in zip(kind.items, value, strict=True):  # type: ignore[call-overload]
            _put(out, item, one)
    elif name == "none":
        out.append(0)
    else:
        _put_several(out, kind, value)


def _put_several(out: bytearray, kind: Kind, value: object) -> None:
    assert isinstance(value, (list, dict))
    out += _COUNT.pack(len(value))
    item = kind.items[0]
    if isinstance(value, dict):
        for key, one in value.items():
            _put(out, Kind("str"), key)
            _put(out, item, one)
    elif item.name in _LETTERS:
        out += struct.pack(f"<{len(value)}{_LETTERS[item.name]}", *value)
    else:
        for one in value:
            _put(out, item, one)


class _Reader:
    """Takes values off a body, which may be anything."""

    def __init__(self, body: memoryview) -> None:
        self._body, self.at = body, 0

    def take(self, kind: Kind) -> object:
        name = kind.name
        if name == "none":
            self._slice(1)
            return None
        if name in _LETTERS:
            return self._number(_INT if name == "int" else _FLOAT)
        if name == "bool":
            return self._slice(1)[0] != 0
        if name in ("str", "bytes"):
            body = bytes(self._slice(self._count()))
            return body.decode() if name == "str" else body
        if name == "optional":
            return self.take(kind.items[0]) if self._slice(1)[0] else None
        if name == "tuple":
            return tuple(self.take(item) for item in kind.items)
        return self._several(kind)

    def _several(self, kind: Kind) -> object:
        count, item = self._count(), kind.items[0]
        if count > len(self._body) - self.at:
            raise ValueError("the values end early")
        if kind.name == "dict":
            return {str(self.take(Kind("str"))): self.take(item) for _ in range(count)}
        if item.name in _LETTERS:
            body = self._slice(count * _WIDTH)
            return list(struct.unpack(f"<{count}{_LETTERS[item.name]}", body))
        return [self.take(item) for _ in range(count)]

    def _number(self, form: struct.Struct) -> object:
        return form.unpack(self._slice(form.size))[0]

    def _count(self) -> int:
        return int(_COUNT.unpack(self._slice(_COUNT.size))[0])

    def _slice(self, size: int) -> memoryview:
        if self.at + size > len(self._body):
            raise ValueError("the values end early")
        self.at += size
        return self._body[self.at - size : self.at]
