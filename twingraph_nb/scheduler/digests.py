"""Content ids of tasks: equal work, equal digest."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping

from twingraph_nb.component import Component
from twingraph_nb.graph.task import Ref, Task
from twingraph_nb.source.digest import NotDigestable, code_digest, digest_value
from twingraph_nb.source.reach import Reach, reach

__all__ = ["Digests", "is_heavy"]

_LIGHT = 2**20
"""Bytes of arguments that are read on the scheduler's own thread; more go to a worker thread."""
_ATOMS = frozenset({type(None), bool, int, float, complex})


class Digests:
    """Gives the digest of a task: its code, what the code captures, and its inputs' digests.

    An input that comes from another task counts by that task's digest, so that a chain needs no
    look at the values between; a plain argument counts by its content.
    """

    def __init__(self) -> None:
        self._codes: weakref.WeakKeyDictionary[object, tuple[str, Reach]] = (
            weakref.WeakKeyDictionary()
        )

    def of(self, task: Task, arguments: Mapping[str, object]) -> bytes | None:
        """Give 32 bytes, or None if an argument or a captured value has no stable content."""
        component, bound = task.component, task.bound or {}
        found = hashlib.sha256(self.code(component).encode())
        try:
            for name in sorted(arguments) if len(arguments) > 1 else arguments:
                given = bound.get(name)
                own = _of_source(given)
                found.update(name.encode())
                found.update(digest_value(arguments[name]) if own is None else own)
        except NotDigestable:
            return None
        return found.digest()

    def code(self, component: Component) -> str:
        """Give the digest of a component's code with its helpers and captured values.

        Raises:
            NotDigestable: a captured value has no stable content.
        """
        function = component.function
        known = self._codes.get(function)
        if known is not None and _unchanged(function, known[1]):
            return known[0]
        found = reach(function)
        digest = code_digest(component.source.digest, found)
        if not found.data:
            self._codes[function] = (digest, found)
        return digest


def _of_source(given: object) -> bytes | None:
    """The digest of the task an argument came from, if that says it all."""
    kind = type(given)
    if kind is Task:
        return given.digest  # type: ignore[attr-defined,no-any-return]
    if kind is Ref and given.task.digest is not None:  # type: ignore[attr-defined]
        return given.task.digest + given.port.encode()  # type: ignore[attr-defined,no-any-return]
    return None


def _unchanged(function: object, known: Reach) -> bool:
    names = getattr(function, "__globals__", {})
    return all(names.get(n) is f for n, f in known.functions.items()) and all(
        names.get(n) is c for n, c in known.components.items()
    )


def is_heavy(bound: Mapping[str, object]) -> bool:
    """Tell whether reading the plain arguments takes long enough to leave the loop for it."""
    return any(type(value) not in _ATOMS and _size(value, 3) > _LIGHT for value in bound.values())


def _size(value: object, depth: int) -> int:
    kind = type(value)
    if kind is Task or kind is Ref:
        return 0
    if kind is str or kind is bytes:
        return len(value)  # type: ignore[arg-type]
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size
    if kind in (list, tuple, dict, set, frozenset):
        count = len(value)  # type: ignore[arg-type]
        if not count or not depth:
            return count * 50
        items = value.values() if kind is dict else value  # type: ignore[attr-defined]
        first = next(iter(items))
        return count * max(50, _size(first, depth - 1))
    return _LIGHT + 1 if hasattr(value, "memory_usage") else 0
