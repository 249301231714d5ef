"""The result of a cell with several outputs: a tuple with names that travels anywhere.

Standard library only, Python 3.9 or later: part of what travels to the far side.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from functools import lru_cache
from typing import Any

__all__ = ["Outputs", "outputs"]


class Outputs:
    """What all such tuples are. Their class is made again from its field names elsewhere, for a
    cell has no module that another process could import it from."""

    __slots__ = ()
    _fields: tuple[str, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self).__name__, self._fields, tuple(self))  # type: ignore[arg-type]


def outputs(name: str, /, **values: object) -> tuple[object, ...]:
    """Give a named tuple of class `name` with these fields.

    Raises:
        ValueError: a field is no name that Python takes.
    """
    return _kind(name, tuple(values))(*values.values())


@lru_cache(maxsize=1024)
def _kind(name: str, fields: tuple[str, ...]) -> Callable[..., tuple[object, ...]]:
    plain = namedtuple(name, fields)  # type: ignore[misc]
    return type(name, (Outputs, plain), {"__slots__": (), "__module__": __name__})


def _again(name: str, fields: tuple[str, ...], values: tuple[object, ...]) -> tuple[object, ...]:
    return _kind(name, fields)(*values)
