"""Values made of values: how Java writes them, and asNumber(), asDate(), asBool(), asString()."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from gremlin_python.process.traversal import GType
from gremlin_python.structure.graph import Path

from twingraph_nb.lineage.containers import Entry, is_collection, is_set
from twingraph_nb.lineage.elements import Edge, Element, Property, Vertex, VertexProperty
from twingraph_nb.lineage.numbers import decimal_of, fits, is_number, kind_of, long_of, made
from twingraph_nb.lineage.problems import TraversalError

__all__ = ["as_bool", "as_date", "as_number", "java_text", "java_type"]

_NAMES = {
    "b": "Byte", "s": "Short", "i": "Integer", "l": "Long", "n": "BigInteger", "f": "Float",
    "d": "Double", "m": "BigDecimal",
}  # fmt: skip
_TOKENS = {
    "BYTE": "b", "SHORT": "s", "INT": "i", "LONG": "l", "BIGINT": "n", "FLOAT": "f",
    "DOUBLE": "d", "BIGDECIMAL": "m",
}  # fmt: skip


def java_type(value: Any) -> str:
    """The simple name that Java gives the class of a value."""
    kind = kind_of(value)
    if kind:
        return _NAMES[kind]
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, str):
        return "String"
    if is_set(value):
        return "LinkedHashSet"
    if is_collection(value):
        return "ArrayList"
    if isinstance(value, Mapping):
        return "LinkedHashMap"
    if isinstance(value, datetime):
        return "OffsetDateTime"
    return type(value).__name__


def java_text(value: Any) -> str:
    """A value as Java's toString() writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if is_number(value):
        return _number_text(value)
    if isinstance(value, datetime):
        return date_text(value)
    if isinstance(value, Element | Property):
        return element_text(value)
    if isinstance(value, Entry):
        return f"{java_text(value.key)}={java_text(value.value)}"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{java_text(k)}={java_text(v)}" for k, v in value.items())
        return "{" + inside + "}"
    if isinstance(value, Path):
        return "path[" + ", ".join(map(java_text, value.objects)) + "]"
    if is_collection(value):
        return "[" + ", ".join(map(java_text, value)) + "]"
    if isinstance(value, Enum):
        return value.name.rstrip("_")
    return str(value)


def element_text(value: Any) -> str:
    """A vertex, an edge or a property as Gremlin shows it."""
    if isinstance(value, Vertex):
        return f"v[{value.id}]"
    if isinstance(value, Edge):
        return f"e[{value.id}][{value.out.id}-{value.label}->{value.in_.id}]"
    sign = "vp" if isinstance(value, VertexProperty) else "p"
    return f"{sign}[{value.key}->{java_text(value.value)[:20]}]"


def _number_text(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if not isinstance(value, float):
        return str(int(value))
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return _digits(value)
    mantissa, _, exponent = format(Decimal(repr(value)), "E").partition("E")
    whole = Decimal(mantissa).normalize()
    shown = format(whole, "f")
    return f"{shown if '.' in shown else shown + '.0'}E{int(exponent)}"


def _digits(value: float) -> str:
    text = format(Decimal(repr(value)), "f")
    return text if "." in text else text + ".0"


def date_text(value: datetime) -> str:
    """A point in time as Java's OffsetDateTime writes it."""
    text = value.strftime("%Y-%m-%dT%H:%M")
    if value.second or value.microsecond:
        text += value.strftime(":%S")
    if value.microsecond:
        part = f"{value.microsecond:06d}"
        text += "." + (part[:3] if part.endswith("000") else part)
    offset = value.utcoffset()
    if not offset:
        return text + "Z"
    minutes = int(offset.total_seconds() // 60)
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return f"{text}{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def as_bool(value: Any) -> bool:
    """What asBool() makes of a value.

    Raises:
        TraversalError: it means neither yes nor no.
    """
    if isinstance(value, bool):
        return value
    if is_number(value):
        return bool(value != 0 and value == value)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise TraversalError(f"Can't parse {java_text(value)} as Boolean.")


_FIRST_MILLISECOND, _LAST_MILLISECOND = -62_135_596_800_000, 253_402_300_800_000
"""The begin of the year 1 and the end of the year 9999, where Python's dates end."""
_WHOLE = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|#[0-9a-fA-F]+|[0-9]+)")
_SUFFIXES = {"b": "b", "s": "s", "i": "i", "l": "l", "n": "n", "f": "f", "d": "d", "m": "m"}


def as_number(value: Any, token: Any = None) -> Any:
    """What asNumber() makes of a value, of the type that a `GType` names.

    Raises:
        TraversalError: it is no number, or does not fit the type.
    """
    kind = ""
    if token is not None:
        name = token.name if isinstance(token, GType) else str(token)
        if name not in _TOKENS and name != "NUMBER":
            raise TraversalError(f"asNumber() requires a numeric type token, got {name}")
        kind = _TOKENS.get(name, "")
    if isinstance(value, datetime):
        value = long_of(_millis(value))
    elif value is None:
        return None
    elif isinstance(value, str):
        value = _parsed(value)
    elif not is_number(value):
        raise TraversalError(f"Can't parse type {java_type(value)} as number.")
    return cast(value, kind) if kind else value


def _parsed(text: str) -> Any:
    body = text.strip()
    try:
        if _WHOLE.fullmatch(body):
            sign = -1 if body.startswith("-") else 1
            digits = body.lstrip("+-")
            if digits[:2].lower() == "0x":
                number = sign * int(digits[2:], 16)
            elif digits.startswith("#"):
                number = sign * int(digits[1:], 16)
            else:
                number = sign * int(digits, 10)
            return number if kind_of(number) == "i" else made(kind_of(number), number)
        if body[-1:].lower() in _SUFFIXES and re.fullmatch(r"[+-]?[0-9.eE+-]+", body[:-1]):
            return cast(Decimal(body[:-1]), _SUFFIXES[body[-1].lower()])
        if body in ("NaN", "Infinity", "-Infinity", "+Infinity"):
            return float(body.replace("Infinity", "inf"))
        if re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", body):
            return float(body)
    except (ArithmeticError, ValueError) as wrong:
        raise TraversalError(f"Can't parse string '{text}' as number.") from wrong
    raise TraversalError(f"Can't parse string '{text}' as number.")


def cast(value: Any, kind: str) -> Any:
    """A number as one of another kind.

    Raises:
        TraversalError: it does not fit.
    """
    if kind == "m":
        return decimal_of(value)
    if kind in "fd":
        found = made(kind, value)
        if isinstance(found, float) and abs(found) == float("inf") != abs(value):
            raise _overflow(value, kind)
        return found
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        raise _overflow(value, kind)
    whole = int(value)
    if not fits(kind, whole):
        raise _overflow(value, kind)
    return made(kind, whole)


def _overflow(value: Any, kind: str) -> TraversalError:
    return TraversalError(
        f"Can't convert number of type {java_type(value)} to {_NAMES[kind]} due to overflow."
    )


def _millis(value: datetime) -> int:
    zoned = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return round((zoned - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def as_date(value: Any) -> datetime:
    """What asDate() makes of a value: ISO 8601 text, or whole milliseconds since 1970.

    Raises:
        TraversalError: it names no point in time.
    """
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if kind_of(value) in tuple("bsiln") and _FIRST_MILLISECOND <= value < _LAST_MILLISECOND:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(value))
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value.strip())
        except ValueError as wrong:
            raise TraversalError(f"Can't parse {value} as OffsetDateTime.") from wrong
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    if value is None:
        raise TraversalError("Can't parse null as DateTime.")
    raise TraversalError(f"Can't parse {java_type(value)} {java_text(value)} as OffsetDateTime.")
