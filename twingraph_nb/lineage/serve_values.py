"""What both formats of the Gremlin protocol share: tokens, predicates, strategies, bytecode.

A client's message is data. Names are looked up in the tables of `text_names`; what is in none of
them is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum
from typing import Any

from gremlin_python.process.traversal import Bytecode, CardinalityValue, P, TraversalStrategy

from twingraph_nb.errors import LineageError, suggestion
from twingraph_nb.lineage.text_names import PREDICATES, STRATEGIES, TOKENS

__all__ = [
    "LAMBDA",
    "MalformedMessage",
    "Values",
    "bytecode",
    "duration",
    "predicate",
    "strategy",
    "token",
]

LAMBDA = (
    "lambdas are code and are not taken from a client: say it in steps, such as where(), choose(), "
    "math() or project()"
)

_PAIRS = {"between", "inside", "outside", "and", "or"}
"""Predicates of two values."""
_LISTS = {"within", "without"}
_PARTS = re.compile(
    r"(?P<sign>-?)P(?:(?P<days>-?[\d.]+)D)?"
    r"(?:T(?:(?P<hours>-?[\d.]+)H)?(?:(?P<minutes>-?[\d.]+)M)?(?:(?P<seconds>-?[\d.]+)S)?)?"
)


class MalformedMessage(LineageError):
    """A message that is not of the Gremlin protocol, or holds what has no place in it."""


class Values(list[Any]):
    """A list without a traversal, a predicate or a binding in it, so nobody has to look for one."""


def token(kind: str, name: object) -> Enum:
    """Give the token of a class, such as `T` and `label`.

    Raises:
        MalformedMessage: there is none.
    """
    found = TOKENS[kind].get(name) if isinstance(name, str) else None
    if found is None:
        raise MalformedMessage(f"{kind} has no {name!r}{suggestion(str(name), TOKENS[kind])}")
    return found


def predicate(operator: object, values: Sequence[object]) -> P:
    """Give a predicate with its values.

    Raises:
        MalformedMessage: there is no such predicate, or it takes another number of values.
    """
    if operator in ("and", "or"):
        kind: type[P] = P
    elif isinstance(operator, str) and operator in PREDICATES:
        kind, operator = PREDICATES[operator]
    else:
        raise MalformedMessage(f"there is no predicate {operator!r}")
    if operator in _LISTS:
        return kind(operator, list(values))
    if operator in _PAIRS:
        if len(values) != 2:
            raise MalformedMessage(f"{operator}() takes two values, not {len(values)}")
        if operator in ("and", "or") and not all(isinstance(one, P) for one in values):
            raise MalformedMessage(f"{operator}() takes two predicates")
        return kind(operator, *values)
    value = values[0] if len(values) == 1 else list(values)
    if operator == "not" and not isinstance(value, P):
        raise MalformedMessage("not() takes a predicate")
    return kind(operator, value)


def strategy(name: object, settings: Mapping[Any, object]) -> TraversalStrategy:
    """Give a strategy by its name, which may be that of a class in Java.

    Raises:
        MalformedMessage: there is none of this name.
    """
    short = name.rpartition(".")[2] if isinstance(name, str) else ""
    if short not in STRATEGIES:
        raise MalformedMessage(f"there is no strategy {name!r}{suggestion(short, STRATEGIES)}")
    return STRATEGIES[short].made({str(key): value for key, value in settings.items()})


def bytecode(sources: list[list[Any]], steps: list[list[Any]]) -> Bytecode:
    """Give a traversal; a value with a cardinality is one that has a source and no steps.

    Raises:
        MalformedMessage: a name in it is no text.
    """
    for name, *_ in (*sources, *steps):
        if not isinstance(name, str):
            raise MalformedMessage(f"{name!r} is not the name of a step")
    if sources and sources[0][0] == "CardinalityValueTraversal":
        if len(sources[0]) != 3:
            raise MalformedMessage("a value with a cardinality has two parts")
        return CardinalityValue(*sources[0][1:])
    made = Bytecode()
    made.source_instructions, made.step_instructions = sources, steps
    return made


def duration(text: object) -> timedelta:
    """Give a time span that is written as in ISO 8601, without months and years.

    Raises:
        MalformedMessage: it is not.
    """
    found = _PARTS.fullmatch(text) if isinstance(text, str) else None
    parts = {k: v for k, v in found.groupdict().items() if v and k != "sign"} if found else {}
    try:
        made = timedelta(**{unit: float(amount) for unit, amount in parts.items()})
    except (ValueError, OverflowError):
        parts = {}
    if not parts or found is None:
        raise MalformedMessage(f"{text!r} is no time span such as PT1H30M")
    return -made if found["sign"] else made
