"""What `by(...)` computes: a property, a token, a column, or the first result of a traversal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gremlin_python.process.traversal import Column, Order, T
from gremlin_python.structure.graph import Path, Property, VertexProperty

from twingraph_nb.lineage.compiler import Scope, Value
from twingraph_nb.lineage.containers import MISSING, Entry, Uniques
from twingraph_nb.lineage.elements import Element
from twingraph_nb.lineage.instructions import Instruction, is_traversal
from twingraph_nb.lineage.problems import NotSupported, TraversalError
from twingraph_nb.lineage.traverser import Run, Traverser
from twingraph_nb.lineage.visible import entries_of

__all__ = ["by_value", "bys", "column", "is_token", "itself", "only_by", "token"]

_TOKENS = {"id", "id_", "label", "key", "value"}


def itself(t: Traverser) -> Any:
    """The object of the traverser."""
    return t.obj


def is_token(value: object) -> bool:
    """Whether an argument is one of `T.id`, `T.label`, `T.key`, `T.value`."""
    return isinstance(value, T)


def token(name: str, obj: Any) -> Any:
    """The id, label, key or value of an element or property.

    Raises:
        TraversalError: the object has no such thing.
    """
    name = name.rstrip("_")
    if isinstance(obj, Element | Property):
        if name in ("id", "label") and isinstance(obj, Element):
            return getattr(obj, name)
        if name == "label":
            return obj.key
        if name in ("key", "value") and isinstance(obj, VertexProperty | Property):
            return getattr(obj, name)
    if isinstance(obj, Entry) and name in ("key", "value"):
        return getattr(obj, name)
    raise TraversalError(f"{name}() cannot be taken from {obj!r}, a {type(obj).__name__}")


def column(name: str, obj: Any) -> Any:
    """The keys or the values of a map, an entry or a path."""
    keys = name == "keys"
    if isinstance(obj, Mapping):
        return Uniques(obj) if keys else list(obj.values())
    if isinstance(obj, Entry):
        return obj.key if keys else obj.value
    if isinstance(obj, Path):
        return [set(labels) for labels in obj.labels] if keys else list(obj.objects)
    raise TraversalError(f"The provided object does not have accessible {name}: {obj!r}")


def property_of(run: Run, key: str, obj: Any) -> Any:
    """The first value of a property of an element, or the entry of a map."""
    none = MISSING if run.productive is None or key in run.productive else None
    if isinstance(obj, Element):
        if run.sees is not None:
            return next((entry.value for entry in entries_of(run, obj, (key,))), none)
        return next(obj.values(key), none)
    if isinstance(obj, Mapping):
        return obj.get(key, none)
    raise TraversalError(
        f'The by("{key}") modulator can only be applied to a traverser that is an Element or a '
        f"Map - it is being applied to [{obj!r}] a {type(obj).__name__} class instead"
    )


def by_value(scope: Scope, spot: Instruction, args: list[Any]) -> Value:
    """What one `by(...)` computes."""
    run = scope.run
    if not args or args[0] is None or isinstance(args[0], Order):
        return itself
    first = args[0]
    if is_traversal(first):
        child = scope.child(first, spot.name)
        if run.productive is not None:
            return lambda t: _or_null(child.first(t))
        return child.first
    if isinstance(first, str):
        return lambda t: property_of(run, first, t.obj)
    if isinstance(first, T):
        return lambda t: token(first.name, t.obj)
    if isinstance(first, Column):
        return lambda t: column(first.name, t.obj)
    raise NotSupported(f"{spot.name}().by", f"{first!r} is not a key, a token or a traversal")


def _or_null(found: Any) -> Any:
    return None if found is MISSING else found


def bys(scope: Scope, spot: Instruction) -> list[Value]:
    """What the `by(...)` of a step compute, in their order; empty when there are none."""
    return [by_value(scope, spot, args) for args in spot.bys]


def only_by(scope: Scope, spot: Instruction, title: str) -> Value:
    """What the one `by(...)` of a step computes; the object itself when there is none.

    Raises:
        TraversalError: there are several.
    """
    if len(spot.bys) > 1:
        raise TraversalError(f"{title} step can only have one by modulator")
    return by_value(scope, spot, spot.bys[0]) if spot.bys else itself
