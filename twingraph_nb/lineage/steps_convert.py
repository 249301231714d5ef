"""Steps that change the type of a value, and those on dates."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from gremlin_python.process.traversal import DT

from twingraph_nb.lineage.compiler import Scope, StepFunction, step
from twingraph_nb.lineage.containers import MISSING, is_collection
from twingraph_nb.lineage.conversions import as_bool, as_date, as_number, java_text
from twingraph_nb.lineage.instructions import Instruction, is_traversal
from twingraph_nb.lineage.numbers import long_of
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.steps_filter import is_local
from twingraph_nb.lineage.traverser import Traverser

__all__: list[str] = []


@step("asBool")
def as_bool_(scope: Scope, spot: Instruction) -> StepFunction:
    return scope.mapped(spot, lambda t: as_bool(t.obj))


@step("asDate")
def as_date_(scope: Scope, spot: Instruction) -> StepFunction:
    return scope.mapped(spot, lambda t: as_date(t.obj))


@step("asNumber")
def as_number_(scope: Scope, spot: Instruction) -> StepFunction:
    kind = spot.args[0] if spot.args else None
    if kind is not None:
        as_number(0, kind)  # a token that is no number is refused before anything runs
    return scope.mapped(spot, lambda t: as_number(t.obj, kind))


@step("asString")
def as_string(scope: Scope, spot: Instruction) -> StepFunction:
    def text(value: Any) -> str:
        if value is None:
            raise TraversalError("Can't parse null as String.")
        return java_text(value)

    def local(value: Any) -> Any:
        return [text(item) for item in value] if is_collection(value) else text(value)

    change = local if is_local(spot) else text
    return scope.mapped(spot, lambda t: change(t.obj))


_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


@step("dateAdd")
def date_add(scope: Scope, spot: Instruction) -> StepFunction:
    unit, number = spot.args
    name = unit.name if isinstance(unit, DT) else str(unit)

    def value(t: Traverser) -> datetime:
        if not isinstance(t.obj, datetime):
            raise TraversalError(
                f"dateAdd accept only DateTime or Date, and this is {java_text(t.obj)}"
            )
        try:
            return t.obj + timedelta(seconds=_SECONDS[name] * int(number))
        except OverflowError as wrong:
            raise TraversalError(
                f"dateAdd(): {number} {name}s from {java_text(t.obj)} is not in the years 1 to 9999"
            ) from wrong

    return scope.mapped(spot, value)


@step("dateDiff")
def date_diff(scope: Scope, spot: Instruction) -> StepFunction:
    other = spot.args[0]
    child = scope.child(other, "dateDiff") if is_traversal(other) else None

    def value(t: Traverser) -> int:
        if not isinstance(t.obj, datetime):
            raise TraversalError(
                f"dateDiff accept only DateTime or Date, and this is {java_text(t.obj)}"
            )
        found = other if child is None else child.first(t)
        if found is None or found is MISSING:
            zero = as_date(0)
            return long_of(round((t.obj - zero) / timedelta(milliseconds=1)))
        if not isinstance(found, datetime):
            raise TraversalError(
                f"dateDiff accept only DateTime or Date for argument, not {java_text(found)}"
            )
        gap = as_date(t.obj) - as_date(found)
        return long_of(round(gap / timedelta(milliseconds=1)))

    return scope.mapped(spot, value)
