"""What stands in for a task when its last attempt has failed."""

from __future__ import annotations

from typing import cast

from twingraph_nb.component import Component, make_component
from twingraph_nb.errors import TaskCancelled, TaskSkipped
from twingraph_nb.fallback import NO_FALLBACK, described_fallback, is_component, is_function
from twingraph_nb.graph.refs import needs_of
from twingraph_nb.graph.task import Task
from twingraph_nb.scheduler.live import LiveRun, TaskReport

__all__ = ["stand_in", "standing_in"]


def standing_in(task: Task, error: BaseException) -> str:
    """Give in a few words what stands in for a task that has failed, or ""."""
    if task.form != "call" or isinstance(error, (TaskCancelled, TaskSkipped)):
        return ""
    fallback = task.component.policy.fallback
    return "" if fallback is NO_FALLBACK else described_fallback(fallback)


async def stand_in(run: LiveRun, task: Task, report: TaskReport) -> object:
    """Give the value that takes the place of the task's own.

    A component or function is a task of its own, drawn inside of the one that it stands in for.

    Raises:
        Exception: what it raised.
    """
    component = task.component
    fallback = component.policy.fallback
    if not (is_component(fallback) or is_function(fallback)):
        return fallback
    stand = _as_component(component, fallback)
    bound = _bound(component, stand, task.bound or {})
    child = run.new_task(
        stand,
        bound,
        needs_of(bound),
        name=stand.name,
        group=task.number,
        above=report.above,
    )
    return await child


def _as_component(component: Component, fallback: object) -> Component:
    if not is_function(fallback):
        return cast(Component, fallback)
    made = component.memo.get("stand-in")
    if made is None:
        plain = fallback.__name__.isidentifier()  # a lambda's is not
        name = fallback.__name__ if plain else f"{component.name}_fallback"
        made = component.memo["stand-in"] = make_component(fallback, name=name, keep=False)
    return cast(Component, made)


def _bound(component: Component, stand: Component, bound: dict[str, object]) -> dict[str, object]:
    """The arguments as the one that stands in takes them: by position if the other takes any
    number, else by name, without those it has no use for."""
    if not component.plain:
        args, kwargs = component.spread(bound)
        return stand.bind(args, kwargs)
    given = {
        port.name: bound.get(port.name, port.default)
        for port in component.inputs
        if port.name in bound or not port.required
    }
    if not any(port.variadic == "**" for port in stand.inputs):
        known = {port.name for port in stand.inputs}
        given = {name: value for name, value in given.items() if name in known}
    return stand.bind((), given)
