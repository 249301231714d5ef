"""The types that ports of other languages have, and values held against them."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twingraph_nb.source.ports import ANY

__all__ = ["KINDS", "Kind", "Misfit", "fit", "kind_of"]

KINDS = "int, float, bool, str, bytes, None, Optional[T], list[T], dict[str, T], tuple[T, ...]"
"""The types there are, as users write them."""

_PLAIN = {int: "int", float: "float", bool: "bool", str: "str", bytes: "bytes"}
_LEAST, _MOST = -(2**63), 2**63 - 1
_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True)
class Kind:
    """A type that every language has a word for.

    name: none, int, float, bool, str, bytes, optional, list, dict, tuple, or any (plain data).
    items: what it is made of: one for optional, list and dict (its values), each for a tuple.
    """

    name: str
    items: tuple[Kind, ...] = ()

    def __str__(self) -> str:
        inner = [str(item) for item in self.items]
        if self.name == "optional":
            return f"{inner[0]} | None"
        if self.name == "dict":
            return f"dict[str, {inner[0]}]"
        plain = {"none": "None", "any": "Any"}.get(self.name, self.name)
        return f"{plain}[{', '.join(inner)}]" if inner else plain

    @property
    def flat(self) -> bool:
        """True for text-like values without parts, and for None or one of them."""
        inner = self.items[0] if self.name == "optional" else self
        return inner.name in ("none", "int", "float", "bool", "str", "bytes")


class Misfit(ValueError):
    """A value is not of the kind; path: where in it, for example ``xs[3]``."""

    def __init__(self, path: str, kind: Kind, given: str) -> None:
        self.path, self.kind, self.given = path, kind, given
        super().__init__(f"{path} wants {kind}, not {given}")


def kind_of(annotation: object) -> Kind | None:
    """Give the kind of an annotation, or None if it is none of `KINDS`."""
    if annotation is ANY or annotation is object:
        return Kind("any")
    if annotation is None or annotation is type(None):
        return Kind("none")
    if isinstance(annotation, type) and annotation in _PLAIN:
        return Kind(_PLAIN[annotation])
    origin, given = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return kind_of(given[0])
    if annotation in (list, dict):
        return Kind(annotation.__name__, (Kind("any"),))
    if origin in (typing.Union, types.UnionType):
        return _optional([part for part in given if part is not type(None)], len(given))
    if origin is dict and given[0] is not str:
        return None
    if origin is tuple and Ellipsis in given:
        given = given[:1]
        origin = list  # any number of one kind; the value comes back as a list
    if origin not in (list, dict, tuple):
        return None
    parts = [kind_of(part) for part in (given[1:] if origin is dict else given)]
    found = tuple(part for part in parts if part is not None)
    return Kind(origin.__name__, found) if found and len(found) == len(parts) else None


def _optional(parts: list[object], count: int) -> Kind | None:
    inner = kind_of(parts[0]) if len(parts) == 1 and count == 2 else None
    return None if inner is None else Kind("optional", (inner,))


def fit(kind: Kind, value: object, path: str) -> object:
    """Give the value as plain Python data of that kind.

    Arrays and scalars of numpy count as the lists and numbers they hold; numbers widen from bool
    to int to float, and a float without a fraction may be an int.
    Raises:
        Misfit: it is of another kind, or an integer does not fit 64 bits.
    """
    return _FITS[kind.name](kind, value, path)


def _no(path: str, kind: Kind, value: object) -> Misfit:
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."
    return Misfit(path, kind, f"{shown} ({type(value).__name__})")


def _unwrapped(kind: Kind, value: object, path: str) -> object:
    """The value again, once it is out of its numpy (or pandas) clothes."""
    bare = getattr(value, "tolist", None)
    if bare is None:
        raise _no(path, kind, value)
    plain = bare()
    if type(plain) is type(value):
        raise _no(path, kind, value)
    return fit(kind, plain, path)


def _none(kind: Kind, value: object, path: str) -> object:
    if value is not None:
        raise _no(path, kind, value)
    return None


def _int(kind: Kind, value: object, path: str) -> object:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int):
        return _unwrapped(kind, value, path)
    if not _LEAST <= value <= _MOST:
        size = f"a number of {value.bit_length()} bits"
        raise Misfit(path, kind, f"{size}, which does not fit 64 bits with a sign")
    return int(value)


def _float(kind: Kind, value: object, path: str) -> object:
    if isinstance(value, float):
        return float(value)
    if not isinstance(value, int):
        return _unwrapped(kind, value, path)
    try:
        return float(value)
    except OverflowError:
        raise Misfit(path, kind, "a number that is too large for a float") from None


def _bool(kind: Kind, value: object, path: str) -> object:
    return value if isinstance(value, bool) else _unwrapped(kind, value, path)


def _str(kind: Kind, value: object, path: str) -> object:
    return str(value) if isinstance(value, str) else _unwrapped(kind, value, path)


def _bytes(kind: Kind, value: object, path: str) -> object:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise _no(path, kind, value)


def _maybe(kind: Kind, value: object, path: str) -> object:
    return None if value is None else fit(kind.items[0], value, path)


def _list(kind: Kind, value: object, path: str) -> object:
    if not isinstance(value, (list, tuple)):
        return _unwrapped(kind, value, path)
    item = kind.items[0]
    # Lists of numbers may be long: types are compared and limits found without a loop in Python.
    there = set(map(type, value))
    if item.name == "float" and there <= {float}:
        return list(value)
    if item.name == "str" and there <= {str}:
        return list(value)
    if item.name == "int" and there == {int} and min(value) >= _LEAST and max(value) <= _MOST:
        return list(value)
    return [fit(item, one, f"{path}[{at}]") for at, one in enumerate(value)]


def _dict(kind: Kind, value: object, path: str) -> object:
    if not isinstance(value, Mapping):
        raise _no(path, kind, value)
    item = kind.items[0]
    for key in value:
        if not isinstance(key, str):
            raise Misfit(f"a key of {path}", Kind("str"), f"{key!r} ({type(key).__name__})")
    return {str(k): fit(item, one, f"{path}[{k!r}]") for k, one in value.items()}


def _tuple(kind: Kind, value: object, path: str) -> object:
    if not isinstance(value, (list, tuple)):
        return _unwrapped(kind, value, path)
    if len(value) != len(kind.items):
        raise Misfit(path, kind, f"{len(value)} items")
    pairs = zip(kind.items, value, strict=True)
    return tuple(fit(item, one, f"{path}[{at}]") for at, (item, one) in enumerate(pairs))


def _any(kind: Kind, value: object, path: str) -> object:
    if value is None or isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int):
        return _int(Kind("int"), value, path)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (list, tuple)):
        return [_any(kind, one, f"{path}[{at}]") for at, one in enumerate(value)]
    if isinstance(value, Mapping):
        return _dict(Kind("dict", (kind,)), value, path)
    return _unwrapped(Kind("any"), value, path)


_FITS: Mapping[str, Callable[[Kind, object, str], object]] = {
    "none": _none, "int": _int, "float": _float, "bool": _bool, "str": _str, "bytes": _bytes,
    "optional": _maybe, "list": _list, "dict": _dict, "tuple": _tuple, "any": _any,
}  # fmt: skip
