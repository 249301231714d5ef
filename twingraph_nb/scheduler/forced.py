"""Tasks that run although what they gave before is kept, because somebody asked for it."""

from __future__ import annotations

from collections.abc import Iterable

from twingraph_nb.graph.task import Task

__all__ = ["Forced"]


class Forced:
    """The forced tasks of one run: of the components named, and all that needs their values.

    names: of components.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = frozenset(names)
        self._tasks: set[int] = set()

    def why(self, task: Task) -> str:
        """Say why this task is forced, "" if it is not. To be asked before its outcome is set,
        and of what it needs first."""
        if not self.names:
            return ""
        said = "it is forced" if task.component.name in self.names else self._because(task)
        if said:
            self._tasks.update((task.number, *task.above))  # a map's value comes from its items
        return said

    def _because(self, task: Task) -> str:
        for other, _, port in task.needs:
            if port and other.link is task.link and other.number in self._tasks:
                return f"input {port!r}: {other.name} is forced"
        return ""
