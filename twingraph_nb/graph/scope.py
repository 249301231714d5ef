"""Where a call is made, and what a handle needs of the run it belongs to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from twingraph_nb.context import Silent, current_report
from twingraph_nb.events import TaskStateName

if TYPE_CHECKING:
    from concurrent.futures import Future

    from twingraph_nb.graph.task import Task

__all__ = ["Body", "Link", "Scope", "current_scope"]


class Link(Protocol):
    """What a handle needs of the run it belongs to."""

    id: str

    def state_of(self, task: Task) -> TaskStateName: ...
    def cancel_task(self, task: Task, why: str = "") -> None: ...
    def looks(self, task: Task, group: int | None) -> None:
        """The run's own code waits for the task, in the function of this group."""
        ...

    def asked(self, task: Task) -> None:
        """The task's error has reached somebody."""
        ...

    def interrupted(self, task: Task) -> None:
        """The user stopped waiting for the task (Ctrl-C, stop button, cancelled await)."""
        ...

    def wait(self, lock: threading.Lock, timeout: float | None, what: str) -> bool:
        """Block this thread until the lock is free; refuses on the scheduler's own thread."""
        ...

    def fetch(self, task: Task) -> Future[object]:
        """Bring a finished task's value here that is elsewhere; from any thread."""
        ...

    def log_of(self, task: Task) -> str: ...


class Scope(Protocol):
    """Where a call is made: inside the body of a pipeline, or inside a running component.

    group: the task it is called from. lazy: outputs are references there. above: the tasks it is
    called from, outermost first.
    """

    @property
    def link(self) -> Link: ...
    @property
    def group(self) -> int | None: ...
    @property
    def lazy(self) -> bool: ...
    @property
    def above(self) -> tuple[int, ...]: ...


class Body(Silent):
    """The scope of a pipeline's function."""

    __slots__ = ("above", "group", "link")

    lazy = True

    def __init__(self, link: Link, group: int | None, above: tuple[int, ...] = ()) -> None:
        self.link, self.group, self.above = link, group, above


def current_scope() -> Scope | None:
    """Give where this code runs; None in a notebook cell, a script, or on the far side."""
    found = current_report.get()
    return found if hasattr(found, "link") else None  # type: ignore[return-value]
