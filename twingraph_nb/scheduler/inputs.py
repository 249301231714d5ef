"""The values a task gets: whether they are here, bringing them, putting them in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twingraph_nb.events import FarWire, Wire
from twingraph_nb.executors.base import Executor, RemoteValue, TakesRemote
from twingraph_nb.graph.refs import resolve
from twingraph_nb.graph.remote_value import brought
from twingraph_nb.graph.task import Ref, Task

__all__ = [
    "any_remote",
    "arguments_of",
    "bring",
    "fetched",
    "fetched_all",
    "is_named",
    "wires_of",
]


def wires_of(run: object, task: Task) -> tuple[tuple[Wire, ...], tuple[FarWire, ...]]:
    """Give what a task of a run takes or waits for: from tasks of its own run, and of others."""
    mine = tuple([(t.number, out, port) for t, out, port in task.needs if t.link is run])
    if len(mine) == len(task.needs):
        return mine, ()
    far = [need for need in task.needs if need[0].link is not run]
    return mine, tuple([(t.hash, out, port) for t, out, port in far])


def is_named(task: Task) -> bool:
    """Tell whether each value that comes from another task is an argument of its own, and named
    by that task's digest."""
    bound = task.bound or {}
    for other, _, name in task.needs:
        given = bound.get(name)
        if name and (other.digest is None or (type(given) is not Task and type(given) is not Ref)):
            return False
    return True


def any_remote(task: Task) -> bool:
    """Tell whether a value that the task needs is still elsewhere."""
    return any(isinstance(other.peek(), RemoteValue) for other, _, _ in task.needs)


async def fetched(task: Task) -> object:
    """Give a finished task's value, brought here if it was elsewhere. On the driver's loop."""
    value = task.peek()
    if isinstance(value, RemoteValue):
        value = await value.fetch()
        task.arrived(value)
    return value


async def fetched_all(tasks: Iterable[Task]) -> None:
    """Bring the values of finished tasks here, those that were elsewhere. On the driver's loop."""
    far = {task: value for task in tasks if isinstance(value := task.peek(), RemoteValue)}
    for task, value in zip(far, await brought(list(far.values())), strict=True):
        task.arrived(value)


async def bring(task: Task, executor: Executor) -> None:
    """Bring the values here that the task needs, but for those its platform takes as they are."""
    wanted = []
    for other, port, name in task.needs:
        value = other.peek()
        if not name or not isinstance(value, RemoteValue):
            continue
        whole = not port or len(other.ports) == 1
        direct = whole and (task.bound or {}).get(name) is other
        if direct and isinstance(executor, TakesRemote) and executor.takes(value, task.component):
            continue
        wanted.append(other)
    await fetched_all(wanted)


def arguments_of(task: Task) -> Mapping[str, object]:
    """The arguments with the values of what they need put in."""
    if not task.needs:
        return task.bound or {}
    arguments = dict(task.bound or {})
    resolved: tuple[str, ...] = ()
    for other, _, port in task.needs:
        value = other.peek()
        if value is None and other.error is not None:
            other.result()  # raises: one of another run may have failed
        if not port:  # order only
            continue
        if arguments[port] is other:
            arguments[port] = value
        elif port not in resolved:
            arguments[port] = resolve(arguments[port])
            resolved += (port,)
    return arguments
