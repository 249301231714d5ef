"""Errors that somebody may still ask for: of tasks that plain code has called a moment ago.

A sync pipeline, or a sync component that calls tasks, runs on in its thread after a call. If the
task fails before that code has done anything else, nobody knows yet whether it is about to wait
for it. Such an error belongs to the run (or to the member of a group) only when the code has
called or waited for something else, or has ended, without asking.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from twingraph_nb.events import ErrorInfo, TaskUnobserved
from twingraph_nb.graph.task import Task
from twingraph_nb.scheduler.blocks import contained, fell_inside

if TYPE_CHECKING:
    from twingraph_nb.scheduler.live import LiveRun

__all__ = ["Unseen", "blocked", "hear", "hold", "may_ask", "plain"]

_UNSEEN = 20
"""Failures that are kept with all that their errors hold, until somebody asks."""


def may_ask(run: LiveRun, task: Task) -> bool:
    """Tell whether the code that has called a task is neither waiting nor over."""
    caller = task.group
    if caller in run.blocked:
        return False
    if caller in run.plain:
        return True
    parent = None if caller is None else run.open.get(caller)
    if parent is None or parent.form != "call":
        return False
    component = parent.component
    return component.platform == "local" and component.style in ("sync", "stream")


def hold(run: LiveRun, task: Task, error: BaseException, info: ErrorInfo) -> None:
    """Keep an error until its caller has moved on; see `hear`."""
    run.unheard.setdefault(task.group, []).append((task, error, info))
    if task.group in run.blocked:  # since it was asked: it has not seen this one
        hear(run, task.group)


def hear(run: LiveRun, caller: int | None) -> None:
    """Give the errors that a caller has not asked for to whom they belong.

    For when it calls, waits or has ended. On the scheduler's thread.
    """
    for task, error, info in run.unheard.pop(caller, ()):
        if task.waiters:
            continue
        if contained(run, task):
            fell_inside(run, task, error)
            continue
        run.unclaimed(task, error)
        driver = run.driver
        driver.happen(run, TaskUnobserved(driver.now(), task.number, info))


class Unseen:
    """Runs and loose calls that have failed without anybody asking how they ended, the first 20."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def take(self) -> list[Task]:
        """Give them, to be told of."""
        found = list(self._tasks.values())
        self._tasks.clear()
        return found

    def add(self, task: Task) -> None:
        """Take in a call that has failed, or the root of a run."""
        if len(self._tasks) < _UNSEEN:
            self._tasks[task.hash] = task
        if task.looked:  # in another thread, meanwhile
            self._tasks.pop(task.hash, None)

    def discard(self, run: LiveRun, task: Task) -> None:
        """Somebody has asked for the error of a task. From any thread.

        Who learns that it was skipped learns of the failure behind it, too.
        """
        self._tasks.pop(task.hash, None)
        number = run.skips.get(task.number)
        while number is not None:
            self._tasks.pop(run.hash_of(number), None)
            number = run.skips.get(number)


@contextmanager
def plain(run: LiveRun, caller: int | None) -> Generator[None, None, None]:
    """While the function of a sync pipeline runs."""
    run.plain.add(caller)
    try:
        yield
    finally:
        run.plain.discard(caller)
        hear(run, caller)


@contextmanager
def blocked(run: LiveRun, above: tuple[int, ...]) -> Generator[None, None, None]:
    """While code of a run waits, in its own thread; `above`: the tasks that it is called from."""
    caller = next((n for n in reversed(above) if n not in run.blocks), None)
    run.blocked.add(caller)  # before the look: who holds an error looks the other way round
    if caller in run.unheard:
        run.driver.call(partial(hear, run, caller))
    try:
        yield
    finally:
        run.blocked.discard(caller)
