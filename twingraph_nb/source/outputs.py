"""The result of a body form cell with several outputs: a tuple with names that pickles anywhere."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from functools import lru_cache

__all__ = ["outputs"]


def outputs(name: str, /, **values: object) -> tuple[object, ...]:
    """Give a named tuple of class `name` with these fields.

    A cell has no module that another process could import a class from, so the class is made
    again from its field names where the value is unpickled.
    """
    return _kind(name, tuple(values))(*values.values())


@lru_cache(maxsize=1024)
def _kind(name: str, fields: tuple[str, ...]) -> Callable[..., tuple[object, ...]]:
    plain = namedtuple(name, fields)  # type: ignore[misc]
    return type(name, (plain,), {"__slots__": (), "__reduce__": _reduce, "__module__": __name__})


def _reduce(value: tuple[object, ...]) -> tuple[object, ...]:
    fields: tuple[str, ...] = value._fields  # type: ignore[attr-defined]
    return _again, (type(value).__name__, fields, tuple(value))


def _again(name: str, fields: tuple[str, ...], values: tuple[object, ...]) -> tuple[object, ...]:
    return _kind(name, fields)(*values)
