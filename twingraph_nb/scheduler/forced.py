"""Tasks that run although what they gave before is kept, because somebody asked for it."""

from __future__ import annotations

from collections.abc import Iterable

from twingraph_nb.graph.task import Task
from twingraph_nb.selection import fits

__all__ = ["Forced"]


class Forced:
    """The forced tasks of one run: those that are named, and all that needs their values.

    names: of components, items and pipelines, or patterns.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = tuple(names)
        self._tasks: set[int] = set()
        self._groups: set[int] = set()

    def called(self, task: Task) -> None:
        """Take in the call of a map or pipeline, before what is in it."""
        if self.names and any(fits(name, task.name) for name in self.names):
            self._groups.add(task.number)

    def why(self, task: Task) -> str:
        """Say why this task is forced, "" if it is not. To be asked before its outcome is set,
        and of what it needs first."""
        if not self.names:
            return ""
        named = any(fits(name, task.name, task.component.name) for name in self.names)
        named = named or not self._groups.isdisjoint(task.above)
        said = "it is forced" if named else self._because(task)
        if said:
            self._tasks.update((task.number, *task.above))  # a map's value comes from its items
        return said

    def _because(self, task: Task) -> str:
        for other, _, port in task.needs:
            if port and other.link is task.link and other.number in self._tasks:
                return f"input {port!r}: {other.name} is forced"
        return ""
