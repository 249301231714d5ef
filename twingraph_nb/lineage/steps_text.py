"""Steps on strings: concat, toUpper, trim, length, split, substring, replace, format ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gremlin_python.structure.graph import Path

from twingraph_nb.lineage.compiler import Scope, StepFunction, step
from twingraph_nb.lineage.containers import MISSING, is_collection, items_of
from twingraph_nb.lineage.conversions import java_text
from twingraph_nb.lineage.elements import Element
from twingraph_nb.lineage.instructions import Instruction, is_traversal
from twingraph_nb.lineage.modulators import bys
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.scoping import scoped
from twingraph_nb.lineage.steps_filter import is_local, scopeless
from twingraph_nb.lineage.traverser import Traverser

__all__ = ["on_text"]

_BLANK = " \t\n\r\f\v\u0000\u001c\u001d\u001e\u001f\u2000\u2001\u2003\u3000"


def on_text(scope: Scope, spot: Instruction, change: Callable[[str], Any]) -> StepFunction:
    """A step that changes strings; with `Scope.local` those in a list."""
    name, local = spot.name, is_local(spot)

    def changed(obj: Any) -> Any:
        if obj is None:
            return None
        if isinstance(obj, str):
            return change(obj)
        if not local:
            raise TraversalError(
                f"The {name}() step can only take string as argument, encountered {java_class(obj)}"
            )
        if not is_collection(obj):
            raise _wrong_local(name, obj)
        return [_inside(name, item, change) for item in obj]

    return scope.mapped(spot, lambda t: changed(t.obj))


def _inside(name: str, item: Any, change: Callable[[str], Any]) -> Any:
    if item is None:
        return None
    if not isinstance(item, str):
        raise _wrong_local(name, item)
    return change(item)


def _wrong_local(name: str, obj: Any) -> TraversalError:
    return TraversalError(
        f"The {name}(local) step can only take string or list of strings, encountered "
        f"{java_class(obj)}"
    )


def java_class(obj: Any) -> str:
    """The name of a value's class for error messages."""
    return type(obj).__name__


def _plain(name: str, change: Callable[[str], Any]) -> None:
    @step(name)
    def builder(scope: Scope, spot: Instruction) -> StepFunction:
        return on_text(scope, spot, change)


for _name, _change in (
    ("toUpper", str.upper),
    ("toLower", str.lower),
    ("trim", lambda text: text.strip(_BLANK)),
    ("lTrim", lambda text: text.lstrip(_BLANK)),
    ("rTrim", lambda text: text.rstrip(_BLANK)),
    ("length", len),
):
    _plain(_name, _change)


@step("replace")
def replace(scope: Scope, spot: Instruction) -> StepFunction:
    old, new = scopeless(spot)
    if old is None or new is None:
        return on_text(scope, spot, lambda text: text)
    run = scope.run

    def change(text: str) -> str:
        run.make(len(text) + text.count(old) * len(new))
        return text.replace(old, new)

    return on_text(scope, spot, change)


@step("split")
def split(scope: Scope, spot: Instruction) -> StepFunction:
    separator = scopeless(spot)[0]
    if separator is None:
        return on_text(scope, spot, lambda text: text.split())
    if separator == "":
        return on_text(scope, spot, list)
    return on_text(scope, spot, lambda text: _parts(text, separator))


def _parts(text: str, separator: str) -> list[str]:
    """The parts of a text. As in TinkerPop, an empty one counts only behind the last separator."""
    *before, last = text.split(separator)
    return [*filter(None, before), last] if text else []


@step("substring")
def substring(scope: Scope, spot: Instruction) -> StepFunction:
    args = [int(value) for value in scopeless(spot)]

    def change(text: str) -> str:
        size = len(text)
        start = max(args[0] + size, 0) if args[0] < 0 else min(args[0], size)
        end = size
        if len(args) > 1:
            end = max(args[1] + size, 0) if args[1] < 0 else min(args[1], size)
        return text[start:end] if start < end else ""

    return on_text(scope, spot, change)


@step("concat")
def concat(scope: Scope, spot: Instruction) -> StepFunction:
    parts: list[Callable[[Traverser], list[Any]]] = []
    for value in spot.args:
        if is_traversal(value):
            child = scope.child(value, "concat")
            parts.append(lambda t, child=child: _first_text(child.first(t)))  # type: ignore[misc]
        else:
            texts = value if isinstance(value, list) else [value]
            parts.append(lambda t, texts=texts: texts)  # type: ignore[misc]

    def value_of(t: Traverser) -> Any:
        if t.obj is not None and not isinstance(t.obj, str):
            raise TraversalError(
                f"String concat() can only take string as argument, encountered {java_class(t.obj)}"
            )
        texts = [t.obj, *(text for part in parts for text in part(t))]
        there = [text for text in texts if text is not None]
        scope.run.make(sum(map(len, there)))
        return "".join(there) if there else None

    return scope.mapped(spot, value_of)


def _first_text(found: Any) -> list[Any]:
    if found is MISSING:
        raise TraversalError("The provided traverser does not map to a value in concat()")
    if found is not None and not isinstance(found, str):
        raise TraversalError(
            f"String concat() can only take string as argument, encountered {java_class(found)}"
        )
    return [found]


def _holes(text: str) -> Iterator[tuple[int, int]]:
    """Where each `%{name}` begins and ends; not by an expression, which could take n * n."""
    end = 0
    while (start := text.find("%{", end)) >= 0:
        end = text.find("}", start) + 1
        if not end:
            return
        yield start, end


@step("format")
def format_(scope: Scope, spot: Instruction) -> StepFunction:
    text, values, run = spot.args[0], bys(scope, spot), scope.run
    holes = list(_holes(text))

    def filled(t: Traverser) -> Any:
        used, parts, last = 0, [], 0
        for start, end in holes:
            name = text[start + 2 : end - 1]
            if name == "_":
                if not values:
                    raise TraversalError("The format() step has %{_} and no by() for it")
                found = values[used % len(values)](t)
                used += 1
            else:
                found = _named(t, name, run)
            if found is MISSING:
                return MISSING
            parts += [text[last:start], java_text(found)]
            last = end
        parts.append(text[last:])
        run.make(sum(map(len, parts)))
        return "".join(parts)

    return scope.mapped(spot, filled)


def _named(t: Traverser, name: str, run: Any) -> Any:
    if isinstance(t.obj, Element):
        found = next(t.obj.values(name), MISSING)
        if found is not MISSING:
            return found
    return scoped(run, t, name)


@step("reverse")
def reverse(scope: Scope, spot: Instruction) -> StepFunction:
    def changed(obj: Any) -> Any:
        if isinstance(obj, str):
            return obj[::-1]
        if is_collection(obj):
            return list(obj)[::-1]
        if isinstance(obj, Path):
            return list(obj.objects)[::-1]
        return obj

    return scope.mapped(spot, lambda t: changed(t.obj))


@step("conjoin")
def conjoin(scope: Scope, spot: Instruction) -> StepFunction:
    glue = spot.args[0]
    if glue is None:
        raise TraversalError("Input delimiter to conjoin step can't be null.")

    def value(t: Traverser) -> str:
        if t.obj is None:
            raise TraversalError("Incoming traverser for conjoin step can't be null")
        items = items_of(t.obj)
        if items is None:
            raise TraversalError(
                "conjoin step can only take an array or an Iterable type for incoming "
                f"traversers, encountered {java_class(t.obj)}"
            )
        parts = [java_text(item) for item in items if item is not None]
        scope.run.make(sum(map(len, parts)) + len(str(glue)) * len(parts))
        return str(glue).join(parts)

    return scope.mapped(spot, value)
