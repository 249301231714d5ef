"""Times, sizes and counts as people write them. Data only."""

from __future__ import annotations

import re

__all__ = ["amount_of", "bytes_of", "count_of", "seconds_of", "share_of", "whole_of"]

_TIME_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "ms": 0.001, "": 1.0}
_MEMORY_UNITS = {"": 2**20, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def seconds_of(value: object) -> float:
    """Give seconds of a number or a text such as ``"90"``, ``"1.5h"``, ``"30s"``, ``"7d"``.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return float(value)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(value).lower())
    if not found or found[2] not in _TIME_UNITS or float(found[1]) <= 0:
        raise ValueError("wants a time above 0: seconds, or text such as '30s', '5m', '1h', '7d'")
    return float(found[1]) * _TIME_UNITS[found[2]]


def bytes_of(value: object) -> int:
    """Give bytes of a number of MiB (as TwinGraph has it) or a text such as ``"2g"``, ``"512m"``.

    Raises:
        ValueError: it is neither.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgtb]?)(?:i?b)?\s*", str(value).lower())
    if not found or isinstance(value, bool):
        raise ValueError("wants a size: a number of MiB, or text such as '512m', '2g'")
    return int(float(found[1]) * _MEMORY_UNITS[found[2]])


def count_of(value: object, least: int = 0) -> int:
    """Give a whole number, `least` or more, of a number or its text.

    Raises:
        ValueError: it is none.
    """
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or int(text) < least:
        raise ValueError(f"wants a whole number, {least} or more")
    return int(text)


def whole_of(value: object) -> int:
    """Give a whole number, which may be negative, of a number or its text.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]+", str(value)):
        raise ValueError("wants a whole number")
    return int(str(value))


def amount_of(value: object) -> float:
    """Give a number, 0 or more, of a number or its text.

    Raises:
        ValueError: it is none.
    """
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if isinstance(value, bool) or not 0 <= number < float("inf"):
        raise ValueError("wants a number, 0 or more")
    return number


def share_of(value: object) -> float:
    """Give a number in [0, 1] of a number or its text.

    Raises:
        ValueError: it is none.
    """
    number = amount_of(value)
    if number > 1:
        raise ValueError("wants a share between 0 and 1")
    return number
