"""Content ids of tasks: equal work, equal digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from types import CellType
from typing import cast

from twingraph_nb.component import Component
from twingraph_nb.graph.summary import is_secret
from twingraph_nb.graph.task import Ref, Task
from twingraph_nb.source.digest import NotDigestable, code_digest, digest_value
from twingraph_nb.source.reach import Reach, reach
from twingraph_nb.source.used import Uses, uses_of

__all__ = ["LIGHT", "Digests", "reach_of", "size_of", "used_by"]

LIGHT = 2**20
"""Bytes of arguments that are read on the scheduler's own thread; more go to a worker thread."""
_ATOMS = frozenset({type(None), bool, int, float, complex})
_LASTING = _ATOMS | {str, bytes}
_PLAIN = _LASTING | {list, tuple, dict, set, frozenset}


class Digests:
    """Gives the digest of a task: its code, what the code captures, and its inputs' digests.

    An input that comes from another task counts by that task's digest, so that a chain needs no
    look at the values between; a plain argument counts by its content.
    """

    def of(self, task: Task, arguments: Mapping[str, object], most: int = 0) -> bytes | None:
        """Give 32 bytes, or None if an argument or a captured value has no stable content.

        Args:
            most: None too if plain arguments of more bytes would have to be read; 0 = no limit.
        """
        bound = task.bound or {}
        try:
            parts = [self._code(task.component)]
            for name, word in task.component.ordered:
                if name not in bound:
                    continue
                given = bound[name]
                kind = type(given)
                parts.append(word)
                if kind is Task and given.digest is not None:  # type: ignore[attr-defined]
                    parts.append(given.digest)  # type: ignore[attr-defined]
                elif kind is int:
                    parts.append(b"%x" % given)  # type: ignore[str-format]
                elif kind is Ref and given.task.digest is not None:  # type: ignore[attr-defined]
                    parts.append(given.task.digest + given.port.encode())  # type: ignore[attr-defined]
                elif most and kind not in _ATOMS and _size(given, 3) > most:
                    return None
                else:
                    parts.append(digest_value(arguments[name]))
        except NotDigestable:
            return None
        return hashlib.sha256(b"\0".join(parts)).digest()

    def _code(self, component: Component) -> bytes:
        """The digest of the component's code with its helpers and captured values.

        What the code reaches is looked up again only when a name stands for something else, and
        read again only if some of it may change in place.
        """
        memo = component.memo
        fixed = memo.get("fixed")
        if fixed is not None:
            return fixed  # type: ignore[return-value]
        if component.language != "python":
            memo["fixed"] = made = _foreign(component)
            return made
        found = reach_of(component)
        before = cast("tuple[Reach, bytes] | None", memo.get("code"))
        if before is not None and before[0] is found:
            return before[1]
        known = code_digest(component.source.digest, found).encode()
        if _lasts(found):
            memo["code"] = found, known
        if not (found.missing or found.functions or found.components or found.data):
            memo["fixed"] = known
        return known


def reach_of(component: Component) -> Reach:
    """Give what a component's code reaches; looked up again only when a name stands for something
    else than before. Nothing of one in another language."""
    if component.language != "python":
        return Reach()
    memo, function = component.memo, component.function
    found = cast("Reach | None", memo.get("reach"))
    if found is None or not _unchanged(function, found):
        found = memo["reach"] = reach(function, component.source.text)
    return found


def used_by(component: Component, *, again: bool = True) -> Uses:
    """Give what a component uses of its notebook now; nothing if that cannot be looked at.

    Args:
        again: also look at values that may have changed in place.
    """
    try:
        found = reach_of(component)
        known = cast("tuple[Reach, Uses] | None", component.memo.get("uses"))
        if known is None or known[0] is not found or (again and not _lasts(found)):
            readable = [n for n, v in found.data.items() if _is_light(v) and not is_secret(n)]
            known = component.memo["uses"] = found, uses_of(found, readable)
    except Exception:  # an object of the notebook may raise anything: its task will say so
        return {}
    return known[1]


def _lasts(found: Reach) -> bool:
    """Tell whether no value that is reached can change in place."""
    return all(type(value) in _LASTING for value in found.data.values())


def _is_light(value: object) -> bool:
    """Tell whether it is plain data that is read in no time: other objects may do anything."""
    plain = type(value) in _PLAIN or isinstance(getattr(value, "nbytes", None), int)
    return plain and size_of(value) <= LIGHT


def _foreign(component: Component) -> bytes:
    """The digest of code in another language, which reaches nothing of the notebook."""
    facts = (component.language, component.source.digest)
    return hashlib.sha256(repr(facts).encode()).hexdigest().encode()


def _unchanged(function: Callable[..., object], known: Reach) -> bool:
    if known.missing:
        return False
    names = function.__globals__
    cells = function.__code__.co_freevars
    if cells:
        names = names | dict(zip(cells, map(_content, function.__closure__ or ()), strict=True))
    for group in (known.functions, known.components, known.data):
        for name, value in group.items():
            if names.get(name, value) is not value:
                return False
    return True


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return cell


def size_of(value: object) -> int:
    """Give about how many bytes would have to be read of a value; looks at few of its items."""
    return _size(value, 4)


def _size(value: object, depth: int) -> int:
    kind = type(value)
    if kind is Task:
        return 0 if value.digest is not None else _size(value.peek(), depth)  # type: ignore[attr-defined]
    if kind is Ref:
        return 0 if value.task.digest is not None else _size(value.task.peek(), depth)  # type: ignore[attr-defined]
    if kind is str or kind is bytes:
        return len(value)  # type: ignore[arg-type]
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        count = len(value)
        if not count or not depth:
            return count * 50
        first = next(iter(value.values() if isinstance(value, dict) else value))
        return count * max(50, _size(first, depth - 1))
    return LIGHT + 1 if hasattr(value, "memory_usage") else 0
