"""math(): an arithmetic expression, parsed into functions and never evaluated as code."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

from twingraph_nb.lineage.compiler import Scope, StepFunction, step
from twingraph_nb.lineage.containers import MISSING
from twingraph_nb.lineage.instructions import Instruction
from twingraph_nb.lineage.modulators import bys, itself
from twingraph_nb.lineage.numbers import is_number
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.scoping import scoped, wanted
from twingraph_nb.lineage.traverser import Traverser

__all__ = ["Expression", "parsed"]

Lookup = Callable[[str], float]
Node = Callable[[Lookup], float]

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|([A-Za-z_]\w*)|(.))")
_CONSTANTS = {"pi": math.pi, "π": math.pi, "φ": (1 + 5**0.5) / 2, "e": math.e}
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "abs": abs, "acos": math.acos, "asin": math.asin, "atan": math.atan,
    "cbrt": lambda x: _cube_root(x), "ceil": math.ceil, "cos": math.cos, "cosh": math.cosh,
    "exp": math.exp, "floor": math.floor, "log": math.log, "log10": math.log10, "log2": math.log2,
    "signum": lambda x: math.copysign(1.0, x) if x and x == x else x,
    "sin": math.sin, "sinh": math.sinh, "sqrt": math.sqrt, "tan": math.tan, "tanh": math.tanh,
}  # fmt: skip
_LOGARITHMS = {"log", "log10", "log2"}


class Expression:
    """A parsed expression: its variables in their order, and its value for given ones."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.at = 0
        self.names: list[str] = []
        self.root = self._sum()
        if self.at < len(self.tokens):
            raise self._wrong(self.tokens[self.at])

    def value(self, lookup: Lookup) -> float:
        """The value, with the variables looked up."""
        try:
            return float(self.root(lookup))
        except (ValueError, OverflowError) as wrong:
            raise TraversalError(f"math({self.text!r}): {wrong}") from wrong

    def _wrong(self, what: str) -> TraversalError:
        return TraversalError(f"math({self.text!r}): {what!r} is not expected here")

    def _take(self, *marks: str) -> str:
        if self.at < len(self.tokens) and self.tokens[self.at] in marks:
            self.at += 1
            return self.tokens[self.at - 1]
        return ""

    def _sum(self) -> Node:
        left = self._product()
        while mark := self._take("+", "-"):
            left = _binary(mark, left, self._product())
        return left

    def _product(self) -> Node:
        left = self._signed()
        while mark := self._take("*", "/", "%"):
            left = _binary(mark, left, self._signed())
        return left

    def _signed(self) -> Node:
        if self._take("-"):
            inner = self._signed()
            return lambda lookup: -inner(lookup)
        if self._take("+"):
            return self._signed()
        return self._power()

    def _power(self) -> Node:
        base = self._atom()
        if self._take("^"):
            return _binary("^", base, self._signed())
        return base

    def _atom(self) -> Node:
        if self.at >= len(self.tokens):
            raise self._wrong("the end")
        token = self.tokens[self.at]
        self.at += 1
        if token == "(":
            inner = self._sum()
            if not self._take(")"):
                raise self._wrong("a missing )")
            return inner
        if token[0].isdigit() or token[0] == ".":
            number = float(token)
            return lambda lookup: number
        if not (token[0].isalpha() or token[0] == "_"):
            raise self._wrong(token)
        return self._named(token)

    def _named(self, name: str) -> Node:
        if name in _FUNCTIONS:
            inner = self._atom()
            return lambda lookup: _applied(name, inner(lookup))
        if name not in self.names:
            self.names.append(name)
        return lambda lookup: lookup(name)


def _cube_root(x: float) -> float:
    root = math.cbrt(x)  # of 27 it is not quite 3
    return float(round(root)) if round(root) ** 3 == x else root


def _applied(name: str, x: float) -> float:
    """What a function gives; as in Java not-a-number or infinity where Python has an error."""
    try:
        return float(_FUNCTIONS[name](x))
    except ValueError:
        return -math.inf if x == 0 and name in _LOGARITHMS else math.nan
    except OverflowError:
        if math.isinf(x):  # ceil() and floor() make whole numbers, and of this there is none
            return x
        return -math.inf if name == "sinh" and x < 0 else math.inf


def _power(a: float, b: float) -> float:
    """The first to the power of the second, likewise."""
    try:
        return math.pow(a, b)
    except (ValueError, OverflowError):
        if a < 0 and not b.is_integer():
            return math.nan
        odd = b.is_integer() and b % 2 == 1
        return -math.inf if odd and math.copysign(1.0, a) < 0 else math.inf


def _tokens(text: str) -> list[str]:
    found = [number or name or mark for number, name, mark in _TOKEN.findall(text)]
    return [token for token in found if token.strip()]


def _binary(mark: str, left: Node, right: Node) -> Node:
    def value(lookup: Lookup) -> float:
        a, b = left(lookup), right(lookup)
        if mark == "+":
            return a + b
        if mark == "-":
            return a - b
        if mark == "*":
            return a * b
        if mark == "^":
            return _power(a, b)
        if b == 0:
            raise ValueError("Division by zero!")
        return a / b if mark == "/" else math.fmod(a, b)

    return value


def parsed(text: str) -> Expression:
    """The expression that a text writes."""
    return Expression(text)


@step("math")
def math_(scope: Scope, spot: Instruction) -> StepFunction:
    expression = parsed(spot.args[0])
    values, run = bys(scope, spot) or [itself], scope.run

    def value(t: Traverser) -> Any:
        found, used = dict[str, float](), itertools.cycle(values)
        for name in expression.names:
            if name in _CONSTANTS and scoped(run, t, name) is MISSING:
                found[name] = _CONSTANTS[name]
                continue
            obj = t.obj if name == "_" else wanted(run, t, name)
            one = next(used)(Traverser(obj, 1, t.path, t.sack, t.loops))
            if one is MISSING:
                return MISSING
            if not is_number(one):
                raise TraversalError(
                    f"The variable {name} for math() step must resolve to a Number - it is "
                    f"instead of type {type(one).__name__} with value {one!r}"
                )
            found[name] = float(one)
        return expression.value(found.__getitem__)

    return scope.mapped(spot, value)
