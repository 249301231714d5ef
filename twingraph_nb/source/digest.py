"""Content ids of values and of code: equal in another process, on another day.

No hash of Python's own goes in (they change with PYTHONHASHSEED), no memory address, and no
pickle, whose bytes depend on which equal objects happen to be one and the same. Values that are
equal but not alike (1, True, 1.0; 0.0, -0.0) have different digests: they can give other results.
"""

from __future__ import annotations

import enum
import hashlib
import struct
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from operator import itemgetter
from pathlib import PurePath
from typing import Any
from weakref import WeakKeyDictionary

from twingraph_nb.errors import TwingraphError
from twingraph_nb.source.reach import Reach, importable, is_component
from twingraph_nb.source.text import normalised, text_of

__all__ = ["NotDigestable", "code_digest", "definition_digest", "digest_value"]

_sha = hashlib.sha256
_FLAT = frozenset({int, float, str, bytes, bool, complex, type(None)})
_DOUBLE = struct.Struct("<d")
_NAN = b"f:nan"
_PIECE = 1 << 16
_classes: WeakKeyDictionary[type, bytes] = WeakKeyDictionary()


class NotDigestable(TwingraphError):
    """A value has no content that could be told from another's: a lock, a socket, a generator."""

    def __init__(self, type_name: str, why: str = "") -> None:
        self.type_name = type_name
        told = f" ({why})" if why else ""
        super().__init__(
            f"a {type_name} has no digest{told}: a task that gets one cannot be cached or reused; "
            "pass plain data instead"
        )


def digest_value(value: object) -> bytes:
    """Give the sha256 of a value's content, 32 bytes.

    Raises:
        NotDigestable: something in it is not data.
    """
    kind = type(value)
    if kind is int:
        return _sha(b"i:%x" % value).digest()  # type: ignore[str-format]
    if kind is str:
        return _sha(b"s:" + value.encode("utf-8", "surrogatepass")).digest()  # type: ignore[attr-defined]
    try:
        return _Walk().of(value)
    except RecursionError:
        raise NotDigestable(kind.__qualname__, "nested too deeply") from None


def code_digest(source_digest: str, reach: Reach) -> str:
    """Give the sha256 of a component's code, as hex: its source and all that it leads to.

    Args:
        source_digest: of its own normalised source.
    Raises:
        NotDigestable: a captured value is not data; names the variable.
    """
    found = _sha(source_digest.encode())
    for name, thing in sorted(reach.functions.items()):
        found.update(b"\0f" + name.encode() + definition_digest(thing, reach.texts.get(name, "")))
    for name, line in sorted(reach.modules.items()):
        found.update(b"\0m" + name.encode() + b"\0" + line.encode())
    for name, component in sorted(reach.components.items()):
        digest = getattr(component, "digest", "") or component.source.digest  # type: ignore[attr-defined]
        found.update(b"\0c" + name.encode() + digest.encode())
    for name, value in sorted(reach.data.items()):
        try:
            found.update(b"\0d" + name.encode() + digest_value(value))
        except NotDigestable as exc:
            raise NotDigestable(exc.type_name, f"it is captured as {name!r}") from exc
    return found.hexdigest()


def definition_digest(thing: object, text: str) -> bytes:
    """Give what tells a helper from another: its text without layout and comments, if there is one.

    The values that it captured are in `Reach.data`.

    Raises:
        NotDigestable: it has no text, and is not data.
    """
    try:
        return normalised(text).encode() if text else _Walk().of(thing)
    except SyntaxError:
        return _sha(text.encode()).digest()


def _joined(tag: bytes, parts: Iterable[bytes]) -> bytes:
    return _sha(tag + b"\0" + b"".join(parts)).digest()


class _Walk:
    """One walk through a value. Knows what it is inside of, so that cycles end."""

    def __init__(self) -> None:
        self._inside: dict[int, int] = {}  # id -> depth
        self._known: dict[int, tuple[bytes, object]] = {}  # keeps the object: ids are reused
        self._lowest = sys.maxsize  # depth of the outermost object a cycle has led back to

    def of(self, value: Any) -> bytes:
        kind = type(value)
        atom = _ATOMS.get(kind)
        if atom is not None:
            return _sha(atom(value)).digest()
        key = id(value)
        if key in self._known:
            return self._known[key][0]
        depth = len(self._inside)
        if key in self._inside:
            self._lowest = min(self._lowest, self._inside[key])
            return _sha(b"cycle:%d" % (depth - self._inside[key])).digest()
        before, self._lowest = self._lowest, sys.maxsize
        self._inside[key] = depth
        try:
            found = self._compound(value, kind)
        finally:
            del self._inside[key]
        if self._lowest >= depth:  # else it depends on where the walk came from
            self._known[key] = (found, value)
            self._lowest = before
        else:
            self._lowest = min(before, self._lowest)
        return found

    def many(self, tag: bytes, values: Iterable[Any]) -> bytes:
        return _joined(tag, map(self.of, values))

    def _compound(self, value: Any, kind: type) -> bytes:
        if kind is list or kind is tuple:
            tag = b"list" if kind is list else b"tuple"
            return _flat(tag, value) or self.many(tag, value)
        if kind is dict:
            return self._dict(value)
        if kind is set or kind is frozenset:
            return _joined(kind.__name__.encode(), sorted(map(self.of, value)))
        if isinstance(value, type):
            return _class(value)
        if isinstance(value, enum.Enum):
            return _joined(b"enum", (_class(kind), value.name.encode()))
        if isinstance(value, PurePath):
            return _sha(b"path:" + str(value).encode("utf-8", "surrogatepass")).digest()
        if isinstance(value, types.ModuleType):
            return _sha(b"module:" + value.__name__.encode()).digest()
        if isinstance(value, types.FunctionType):
            return self._function(value)
        home = kind.__module__.partition(".")[0]
        if home == "numpy":
            found = self._numpy(value)
        else:
            found = self._pandas(value) if home == "pandas" else None
        return found or self._object(value, kind)

    def _dict(self, value: dict[Any, Any]) -> bytes:
        if set(map(type, value)) <= {str}:
            values = [v for _, v in sorted(value.items(), key=itemgetter(0))]
            return _joined(b"names", (self.of(sorted(value)), self.of(values)))
        pairs = sorted(self.of(k) + self.of(v) for k, v in value.items())
        return _joined(b"dict", pairs)

    def _function(self, function: types.FunctionType) -> bytes:
        """By its source, its default values and what it has captured."""
        text = text_of(function)
        try:
            body = normalised(text).encode() if text else b""
        except SyntaxError:  # a lambda's lines are often no statement on their own
            body = b""
        if not body or function.__code__.co_name == "<lambda>":
            body += self._code(function.__code__)
        cells = [c.cell_contents for c in function.__closure__ or () if _is_bound(c)]
        rest = (function.__defaults__, function.__kwdefaults__, cells)
        return _joined(b"function", (body, self.of(rest)))

    def _code(self, code: types.CodeType) -> bytes:
        parts = [code.co_code, repr((code.co_names, code.co_varnames)).encode()]
        for const in code.co_consts:
            parts.append(self._code(const) if isinstance(const, types.CodeType) else self.of(const))
        return _joined(b"code", parts)

    def _numpy(self, value: Any) -> bytes | None:
        numpy = sys.modules["numpy"]
        if isinstance(value, numpy.generic):
            return _joined(b"scalar", (self.of(numpy.asarray(value)),))
        if type(value) not in (numpy.ndarray, numpy.memmap):
            return None
        shape = repr((value.dtype.descr, value.shape)).encode()
        if value.dtype.hasobject:
            return _joined(b"objects", (shape, self.of(value.ravel().tolist())))
        found = _sha(b"array:" + shape)
        found.update(numpy.ascontiguousarray(value).reshape(-1).view(numpy.uint8))
        return found.digest()

    def _pandas(self, value: Any) -> bytes | None:
        pandas = sys.modules["pandas"]
        if isinstance(value, pandas.DataFrame):
            columns = [self._column(value.iloc[:, at]) for at in range(value.shape[1])]
            return _joined(b"frame", (self.of(value.columns), self.of(value.index), *columns))
        if isinstance(value, pandas.Series):
            parts = (self.of(value.name), self.of(value.index), self._column(value))
            return _joined(b"series", parts)
        if isinstance(value, pandas.MultiIndex):
            levels = [self.of(value.get_level_values(at)) for at in range(value.nlevels)]
            return _joined(b"levels", (self.of(list(value.names)), *levels))
        if isinstance(value, pandas.Index):
            return _joined(b"index", (self.of(value.name), self._column(value)))
        return None

    def _column(self, column: Any) -> bytes:
        kind = str(column.dtype).encode()
        numpy = sys.modules["numpy"]
        if isinstance(column.dtype, numpy.dtype) and not column.dtype.hasobject:
            return _joined(kind, (self.of(column.to_numpy()),))
        return _joined(kind, (self.of(list(column.astype(object))),))

    def _object(self, value: Any, kind: type) -> bytes:
        """Anything else, by the parts that its own pickling names."""
        if is_component(value):
            return _sha(b"component:" + value.source.digest.encode()).digest()
        if is_dataclass(value):
            named = [(f.name, getattr(value, f.name)) for f in fields(value) if f.compare]
            return _joined(b"dataclass", (_class(kind), self.of(named)))
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return _joined(b"fields", (_class(kind), self.of(tuple(value))))
        if isinstance(value, types.BuiltinFunctionType) and importable(value):
            return _sha(f"builtin:{value.__module__}:{value.__qualname__}".encode()).digest()
        try:
            said = value.__reduce_ex__(4)
        except Exception as exc:  # a value's own __reduce__ may raise anything
            raise NotDigestable(f"{kind.__module__}.{kind.__qualname__}", str(exc)) from exc
        if isinstance(said, str):
            return _joined(b"name", (_class(kind), said.encode()))
        parts = [said[0], *said[1:3], *(list(more) for more in said[3:5] if more is not None)]
        return _joined(b"object", (_class(kind), *map(self.of, parts)))


def _flat(tag: bytes, value: list[Any] | tuple[Any, ...]) -> bytes | None:
    """Of a sequence of plain atoms at the speed of C: `repr` is exact for all of them."""
    if not _FLAT.issuperset(map(type, value)):
        return None
    found = _sha(b"flat " + tag)
    try:
        for at in range(0, len(value), _PIECE):
            found.update(repr(value[at : at + _PIECE]).encode("utf-8", "surrogatepass"))
    except ValueError:  # an integer of more digits than Python turns into text
        return None
    return found.digest()


def _class(kind: type) -> bytes:
    """A class by its name, one of a notebook by its source as well: it changes under its name."""
    found = _classes.get(kind)
    if found is None:
        name = f"class:{kind.__module__}:{kind.__qualname__}".encode()
        text = "" if importable(kind) or kind.__module__ == "builtins" else text_of(kind)
        found = _joined(name, (normalised(text).encode(),) if text else ())
        _classes[kind] = found
    return found


def _is_bound(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - the look alone tells
    except ValueError:
        return False
    return True


def _float(value: float) -> bytes:
    return b"f:" + _DOUBLE.pack(value) if value == value else _NAN


_ATOMS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"None",
    bool: lambda value: b"b:1" if value else b"b:0",
    int: lambda value: b"i:%x" % value,
    float: _float,
    complex: lambda value: b"c:" + _float(value.real) + _float(value.imag),
    str: lambda value: b"s:" + value.encode("utf-8", "surrogatepass"),
    bytes: lambda value: b"y:" + value,
    bytearray: lambda value: b"a:" + value,
    type(Ellipsis): lambda value: b"...",
    type(NotImplemented): lambda value: b"NotImplemented",
    range: lambda value: b"range:" + repr(value).encode(),
}
