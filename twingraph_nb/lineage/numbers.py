"""Numbers with Gremlin's types: which type a Python value carries, and how two of them combine.

| Gremlin | Python |
|---|---|
| Byte, Short, Integer | `SingleByte`, `short`, plain `int` of 32 bits |
| Long | `long`, or a longer `int` |
| BigInteger | `bigint`, or an `int` beyond 64 bits |
| Float, Double, BigDecimal | `Float32`, plain `float`, `decimal.Decimal` |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, localcontext
from typing import Any

from gremlin_python.statics import BigDecimal, SingleByte, bigint, long, short

from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.text_names import Float32

__all__ = [
    "NUMBER",
    "add",
    "compare_numbers",
    "divide",
    "is_number",
    "kind_of",
    "larger",
    "long_of",
    "made",
    "multiply",
    "same_number",
    "smaller",
    "subtract",
]

NUMBER = (int, float, Decimal)
"""Classes of numbers; `bool` is none although Python thinks so."""

_LONGEST = 100_000
"""Bits of a whole number; squares of squares would soon take minutes, and hold all others up."""

Number = Any
"""An `int`, a `float` or a `Decimal`; Python has no class of what all three can do."""

_KINDS = {
    SingleByte: "b", short: "s", long: "l", bigint: "n", float: "d", Float32: "f", Decimal: "m",
}  # fmt: skip
_BITS = {"b": 8, "s": 16, "i": 32, "l": 64, "n": 128, "f": 32, "d": 64, "m": 128}
_WHOLE = {8: "b", 16: "s", 32: "i", 64: "l", 128: "n"}
_BROKEN = {8: "f", 16: "f", 32: "f", 64: "d", 128: "m"}
_MAKE: dict[str, Callable[[Number], Number]] = {
    "b": lambda value: SingleByte(int(value)),
    "s": lambda value: int.__new__(short, int(value)),
    "i": int,
    "l": lambda value: int.__new__(long, int(value)),
    "n": lambda value: int.__new__(bigint, int(value)),
    "f": lambda value: Float32(float(value)),
    "d": float,
    "m": lambda value: decimal_of(value),
}


def long_of(value: int) -> int:
    """The value as a Long."""
    found: int = int.__new__(long, value)
    return found


def is_number(value: object) -> bool:
    """Whether Gremlin counts with it."""
    return isinstance(value, NUMBER) and not isinstance(value, bool)


def kind_of(value: object) -> str:
    """The letter of its type: b s i l n (whole), f d m (with a fraction), or "" for no number."""
    kind = _KINDS.get(type(value))
    if kind is not None:
        return kind
    if isinstance(value, bool) or not isinstance(value, NUMBER):
        return ""
    if isinstance(value, int):
        short_enough = -(1 << 31) <= value < 1 << 31
        return "i" if short_enough else "l" if -(1 << 63) <= value < 1 << 63 else "n"
    return "d" if isinstance(value, float) else "m"


def made(kind: str, value: Number) -> Number:
    """The value as a number of this kind, cut towards zero for a whole one."""
    return _MAKE[kind](value)


def decimal_of(value: Any) -> Decimal:
    """The exact decimal that is written for a number."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, BigDecimal):
        found: Decimal = value.value
        return found
    return Decimal(repr(float(value))) if isinstance(value, float) else Decimal(int(value))


def fits(kind: str, value: Number) -> bool:
    """Whether a whole number is in the range of this kind."""
    half = 1 << (_BITS[kind] - 1)
    return kind == "n" or -half <= value < half


def add(a: Number, b: Number) -> Number:
    """The sum, in the wider of the two types or the next that holds it."""
    return _combined(a, b, lambda x, y: x + y)


def subtract(a: Number, b: Number) -> Number:
    """The difference, likewise."""
    return _combined(a, b, lambda x, y: x - y)


def multiply(a: Number, b: Number) -> Number:
    """The product, likewise."""
    return _combined(a, b, lambda x, y: x * y)


def divide(a: Number, b: Number, *, broken: bool = False) -> Number:
    """The quotient; of whole numbers it is whole, unless `broken`."""
    return _combined(a, b, _quotient, broken=broken)


def _combined(
    a: Number, b: Number, work: Callable[[Number, Number], Number], *, broken: bool = False
) -> Number:
    if a is None or b is None:
        return a
    bits, fraction = _common(a, b)
    fraction = fraction or broken
    kind = (_BROKEN if fraction else _WHOLE)[bits]
    if kind == "m":
        with localcontext(Context(prec=200)):
            return work(decimal_of(a), decimal_of(b))
    if fraction:
        return _float_result(kind, work(float(a), float(b)))
    result = work(int(a), int(b))
    while not fits(kind, result):
        if kind == "l":
            raise TraversalError("long overflow")
        bits *= 2
        kind = _WHOLE[bits]
    if kind == "n" and result.bit_length() > _LONGEST:
        raise TraversalError(f"a whole number of {result.bit_length()} bits is too long")
    return made(kind, result)


def _float_result(kind: str, result: Number) -> Number:
    if kind == "f":
        single = Float32(float(result))
        return single if not math.isinf(single) else float(result)
    return result


def _quotient(x: Number, y: Number) -> Number:
    if isinstance(x, Decimal) and isinstance(y, Decimal):
        return _decimal_quotient(x, y)
    if isinstance(x, float) or isinstance(y, float):
        if y == 0:
            return math.nan if x == 0 or x != x else math.copysign(math.inf, x) * _sign(y)
        return x / y
    if y == 0:
        raise TraversalError("/ by zero")
    quotient = abs(x) // abs(y)
    return quotient if (x < 0) == (y < 0) else -quotient


def _sign(value: Number) -> float:
    return math.copysign(1.0, value)


def _decimal_quotient(x: Decimal, y: Decimal) -> Decimal:
    if y == 0:
        raise TraversalError("/ by zero")
    context = Context(prec=100)
    context.traps[Inexact] = True
    try:
        return context.divide(x, y)
    except Inexact:
        digits = max(len(x.as_tuple().digits), len(y.as_tuple().digits)) + 10
        result = Context(prec=digits, rounding=ROUND_HALF_UP).divide(x, y)
        places = max(_places(x), _places(y), 10)
        if _places(result) > places:
            result = result.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
        return result


def _places(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _common(a: object, b: object) -> tuple[int, bool]:
    kinds = [kind_of(x) for x in (a, b) if x == x]
    if "m" in kinds:
        return 128, True
    return max((_BITS[k] for k in kinds), default=8), any(k in "fd" for k in kinds)


def smaller(a: Number, b: Number) -> Number:
    """The smaller of two numbers, in the wider of their types; not-a-number loses."""
    return _chosen(a, b, -1)


def larger(a: Number, b: Number) -> Number:
    """The larger of two numbers, likewise."""
    return _chosen(a, b, 1)


def _chosen(a: Number, b: Number, wanted: int) -> Number:
    if a != a or b != b:
        return b if a != a else a
    bits, fraction = _common(a, b)
    kind = (_BROKEN if fraction else _WHOLE)[bits]
    return made(kind, a if compare_numbers(a, b) in (wanted, 0) else b)


def compare_numbers(a: Number, b: Number) -> int:
    """-1, 0 or 1; not-a-number is equal to itself and stands above infinity."""
    if a != a or b != b:
        return 0 if a != a and b != b else 1 if a != a else -1
    if isinstance(a, Decimal) != isinstance(b, Decimal):
        if isinstance(a, float) and math.isinf(a):
            return 1 if a > 0 else -1
        if isinstance(b, float) and math.isinf(b):
            return -1 if b > 0 else 1
        a, b = decimal_of(a), decimal_of(b)
    return int(a > b) - int(a < b)


def same_number(a: Number, b: Number) -> bool:
    """Whether they are equal across their types; not-a-number is equal to nothing."""
    return a == a and b == b and compare_numbers(a, b) == 0
