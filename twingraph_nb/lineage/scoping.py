"""What a name means at a traverser: an entry of its map, a side effect, or a place of its path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from twingraph_nb.lineage.containers import MISSING
from twingraph_nb.lineage.instructions import Instruction
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.traverser import Node, Run, Traverser

__all__ = ["between", "labelled", "objects_of", "scoped", "wanted"]


def labelled(t: Traverser, label: str) -> Iterator[Any]:
    """The objects of the path with this label, the last one first."""
    node: Node | None = t.path
    while node is not None:
        if label in node[2]:
            yield node[1]
        node = node[0]


def scoped(run: Run, t: Traverser, name: str, pop: str = "last") -> Any:
    """The value of a name, `MISSING` when nothing is called so.

    Args:
        pop: `last`, `first`, `all` (a list) or `mixed` (a list when there are several).
    """
    obj = t.obj
    if (type(obj) is dict or isinstance(obj, Mapping)) and name in obj:
        return obj[name]
    if name in run.side_effects:
        return run.side_effects[name]
    if pop == "last":
        node: Node | None = t.path
        while node is not None:
            if name in node[2]:
                return node[1]
            node = node[0]
        return MISSING
    found = list(labelled(t, name))[::-1]
    if not found:
        return MISSING
    if pop == "first":
        return found[0]
    return found[0] if pop == "mixed" and len(found) == 1 else found


def wanted(run: Run, t: Traverser, name: str) -> Any:
    """The value of a name.

    Raises:
        TraversalError: nothing is called so.
    """
    found = scoped(run, t, name)
    if found is MISSING:
        raise TraversalError(f"neither the map, the side effects, nor the path has a {name!r}")
    return found


def between(t: Traverser, spot: Instruction) -> list[tuple[Any, tuple[str, ...]]]:
    """The places of the path, from the label of `from()` to the one of `to()`."""
    places: list[tuple[Any, tuple[str, ...]]] = []
    node: Node | None = t.path
    while node is not None:
        places.append((node[1], node[2]))
        node = node[0]
    places.reverse()
    first = _place(places, spot.origin, 0)
    last = _place(places, spot.target, len(places) - 1)
    return places[first : last + 1]


def _place(places: list[tuple[Any, tuple[str, ...]]], label: list[Any] | None, default: int) -> int:
    if label is None:
        return default
    found = [i for i, (_, labels) in enumerate(places) if label[0] in labels]
    if not found:
        raise TraversalError(f"the path has no label {label[0]!r}")
    return found[-1]


def objects_of(t: Traverser, spot: Instruction) -> list[Any]:
    """The objects between `from()` and `to()`."""
    return [obj for obj, _ in between(t, spot)]
