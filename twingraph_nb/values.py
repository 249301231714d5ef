"""Values without pickle: how they travel to and from a place that is not trusted.

Standard library only, Python 3.9 or later: shipped to the far side as it is.

A value becomes frames: the first is a JSON document, the others the memory of arrays and of long
`bytes`, which is not copied. A value that JSON can hold is plain JSON and costs little more than
that. Every other part is a node (`values_kinds`), and a class travels by its name only: reading
makes an object of a class that is there already, and runs none of its code.
"""

from __future__ import annotations

import binascii
import json
import pickle
import re
from array import array
from collections.abc import Sequence
from itertools import accumulate
from math import isfinite
from typing import Any

from twingraph_nb import values_classes, values_data, values_kinds, values_tables
from twingraph_nb.values_kinds import NotPlain, NotTrusted, ValuesError, name_of, packed
from twingraph_nb.wire import Buffer, culprit

__all__ = ["NotPlain", "NotTrusted", "ValuesError", "decode", "encode"]

_DEPTH = 200  # containers in containers
_NESTED = 3 * _DEPTH + 10  # brackets in brackets: what that comes to in JSON
_FRAMES = 60_000  # below what `wire` allows
_ASIDE = 1 << 10  # bytes; what is shorter stands in the JSON
_COPIED = 1 << 16  # bytes; below, memory that cannot be written to is copied
_MANY = 32  # numbers that are cheaper packed
_WIDE = 1 << 63
_ATOMS = frozenset({str, int, float, bool, type(None)})
_NUMBERS = frozenset({int, float})

_ENCODERS = values_kinds.ENCODERS
_DECODERS = {
    **values_kinds.DECODERS,
    **values_classes.DECODERS,
    **values_data.DECODERS,
    **values_tables.DECODERS,
}
_dumped = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
).encode
_loaded = json.JSONDecoder().decode
_SIGNS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_OTHERS = bytes(set(range(256)) - set(b"[{]}"))
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def encode(value: object, *, pickles: bool = False) -> list[Buffer]:
    """Give the frames of a value: a JSON document, then binary ones that are not copied.

    Args:
        pickles: parts that cannot travel otherwise are pickled, each for itself.
    Raises:
        NotPlain: a part cannot travel; names it.
    """
    try:
        if _is_plain(value, _DEPTH):
            try:
                return [_dumped(value).encode()]
            except ValueError:  # nan, half a surrogate pair, or an integer of many digits
                pass
        return _Written(pickles).frames(value)
    except RecursionError:
        raise NotPlain("value", "it is nested too deeply") from None
    except NotPlain as exc:
        if exc.what:
            raise
        what = culprit(value, attempt=lambda part: _Written(pickles).frames(part))
        raise NotPlain(what, exc.why) from exc.__cause__


def decode(frames: Sequence[Any], *, trust: bool = False) -> Any:
    """Give the value whose frames `encode` made; its arrays live in the memory of the frames.

    Args:
        trust: pickled parts are read, and functions and classes imported. Without it nothing is
            imported and no code runs that came with the value or that belongs to a class of it.
    Raises:
        ValuesError: the frames are malformed, or hold what cannot be made here.
    """
    try:
        return _Read(frames, trust).value()
    except ValuesError:
        raise
    except RecursionError:
        raise ValuesError("malformed: nested too deeply") from None
    except Exception as exc:  # whatever made-up parts make a constructor raise
        said = f"the value cannot be read: {type(exc).__name__}: {exc}"
        raise ValuesError(said) from exc


def _is_plain(value: Any, depth: int, atoms: frozenset[Any] = _ATOMS) -> bool:
    """True if JSON gives the same value back, and briefly."""
    kind = type(value)
    if kind not in (dict, list):
        return kind in atoms
    if not depth:
        return False
    depth -= 1
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                return False
            if type(item) not in atoms and not _is_plain(item, depth):
                return False
        return "$" not in value
    if len(value) >= _MANY:
        kinds = set(map(type, value))
        if kinds <= atoms:
            return len(kinds) > 1 or not kinds <= _NUMBERS
    for item in value:  # noqa: SIM110 - twice as fast as all() with a generator
        if type(item) not in atoms and not _is_plain(item, depth):
            return False
    return True


class _Written:
    """A value on its way into frames."""

    def __init__(self, pickles: bool) -> None:
        self._pickles = pickles
        self._frames: list[Buffer] = [b""]
        self._path: list[object] = []  # the containers around the part at hand

    def frames(self, value: object) -> list[Buffer]:
        self._frames[0] = _dumped(self.walk(value)).encode()
        return self._frames

    def walk(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return value if value.isascii() else self._text(value)
        if kind is bool or value is None:
            return value
        if kind is int:
            return value if -_WIDE < value < _WIDE else {"$": ["int", hex(value)]}
        if kind is float:
            return value if isfinite(value) else {"$": ["float", repr(value)]}
        path = self._path
        path.append(value)
        if len(path) > _DEPTH:
            self._too_deep()
        made: Any
        if kind is list:
            made = self._numbers(value) or [self.walk(item) for item in value]
        elif kind is dict:
            if "$" not in value and all(type(k) is str and k.isascii() for k in value):
                made = {key: self.walk(item) for key, item in value.items()}
            else:
                made = {"$": ["dict", *values_kinds.pairs(self, value)]}
        else:
            made = {"$": self._node(kind, value)}
        path.pop()
        return made

    def put(self, buffer: Buffer) -> int | str:
        size = memoryview(buffer).nbytes
        if size < _ASIDE or len(self._frames) >= _FRAMES:
            return binascii.b2a_base64(buffer, newline=False).decode()
        self._frames.append(buffer)
        return len(self._frames) - 1

    def _node(self, kind: type, value: Any) -> list[Any]:
        depth, count = len(self._path), len(self._frames)
        try:
            encoder = _ENCODERS.get(name_of(kind))
            if encoder is not None:
                return encoder(self, value)
            for other in (values_data.written, values_tables.written, values_classes.written):
                made = other(self, value)
                if made is not None:
                    return made
            raise NotPlain("")
        except _Final:
            raise
        except NotPlain as exc:
            if not self._pickles:
                raise _Final(exc.what, exc.why) from None
            del self._path[depth:], self._frames[count:]
            return self._pickled(value)

    def _pickled(self, value: object) -> list[Any]:
        aside: list[pickle.PickleBuffer] = []
        room = _FRAMES - len(self._frames)

        def keep(buffer: pickle.PickleBuffer) -> bool:
            try:
                small = buffer.raw().nbytes < _ASIDE
            except BufferError:  # strided memory has no single buffer
                return True
            if small or len(aside) >= room:
                return True
            aside.append(buffer)
            return False

        try:
            body = pickle.dumps(value, 5, buffer_callback=keep)
        except Exception as exc:  # a user's __reduce__ may raise anything
            raise _Final("", f"{type(exc).__name__}: {exc}") from exc
        # Who looks for what belongs to the notebook reads the document only.
        named = "__main__" if b"__main__" in body else ""
        places = [self.put(buffer.raw()) for buffer in aside]
        return ["pickle", name_of(type(value)), named, self.put(body), *places]

    def _text(self, value: str) -> Any:
        try:
            value.encode()
        except UnicodeEncodeError:
            return {"$": ["text", self.put(value.encode("utf-8", "surrogatepass"))]}
        return value

    def _numbers(self, value: list[Any]) -> Any:
        if len(value) < _MANY:
            return None
        kinds = set(map(type, value))
        if kinds == {str}:
            try:
                "".join(value).encode()
            except UnicodeEncodeError:
                return None
            return value
        if kinds == {float}:
            return {"$": ["floats", self.put(packed(value, "d"))]}
        if kinds == {int}:
            try:
                return {"$": ["ints", self.put(packed(value, "q"))]}
            except OverflowError:
                return None
        return None

    def _too_deep(self) -> None:
        seen = set()
        for each in self._path:
            if id(each) in seen:
                raise _Final(f"value, in which a {type(each).__name__} contains itself")
            seen.add(id(each))
        raise _Final(f"value, which is nested deeper than {_DEPTH} levels")


class _Final(NotPlain):
    """Pickling what is around that part does not help."""


class _Read:
    """Frames on their way to a value."""

    def __init__(self, frames: Sequence[Any], trust: bool) -> None:
        if not frames:
            raise ValuesError("malformed: no frames")
        self.trust = trust
        self._frames: list[Any] = list(frames)

    def value(self) -> Any:
        document = self._frames[0]
        if type(document) is not bytes:
            document = bytes(document)
        self._frames[0] = None
        _check_depth(document)
        text = document.decode()
        if '"$"' in text:
            return json.loads(text, object_hook=self._made)
        return _loaded(text)

    def take(self, place: Any) -> Any:
        if type(place) is str:
            return bytearray(binascii.a2b_base64(place))
        if type(place) is not int or not 0 < place < len(self._frames):
            raise ValuesError(f"malformed: there is no frame {place!r:.50}")
        found, self._frames[place] = self._frames[place], None
        if found is None:  # twice would be a cheap way to fill the memory
            raise ValuesError(f"malformed: frame {place} is used twice")
        view = memoryview(found).cast("B")
        return bytearray(view) if view.readonly and view.nbytes < _COPIED else found

    def _made(self, found: dict[str, Any]) -> Any:
        if "$" not in found:
            return found
        node = found["$"]
        if type(node) is not list or not node or len(found) > 1 or type(node[0]) is not str:
            raise ValuesError("malformed: a node that is none")
        if node[0] == "pickle":
            return self._unpickled(*node[1:])
        decoder = _DECODERS.get(node[0])
        if decoder is None:
            raise ValuesError(f"a part of kind {node[0]!r:.50} is not known here")
        return decoder(self, *node[1:])

    def _unpickled(self, name: Any, named: Any, *places: Any) -> Any:
        if not self.trust:
            raise NotTrusted(
                f"the value holds a pickled {name!s:.200}: trust=True allows it; without, give "
                "back plain data, for example a dict, list, array, DataFrame or dataclass"
            )
        body, *aside = [self.take(place) for place in places]
        return pickle.loads(body, buffers=aside)


def _check_depth(document: bytes) -> None:
    """See to it that reading cannot exhaust the stack, which is no error but an end."""
    if document.count(b"[") + document.count(b"{") <= _NESTED:
        return
    signs = _STRING.sub(b"", document).translate(_SIGNS, _OTHERS)
    if max(accumulate(array("b", signs)), default=0) > _NESTED:
        raise ValuesError(f"malformed: nested deeper than {_DEPTH} levels")
