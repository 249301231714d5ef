"""Values in a plan: those that are kept, and those that have yet to be made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from twingraph_nb.component import Component
from twingraph_nb.graph.outputs import whole
from twingraph_nb.graph.remote_value import RemoteParts, RemoteValue
from twingraph_nb.graph.task import Task
from twingraph_nb.store import Look

__all__ = ["Held", "NotYet", "alone", "load", "not_yet_in"]


class NotYet(BaseException):
    """The pipeline's function looks at a value that has yet to be made.

    A BaseException, so that the function's own `except Exception` lets it out.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        super().__init__(task.name)


class Held(RemoteValue):
    """A value that is in the store until somebody looks."""

    __slots__ = ("component", "outputs")

    def __init__(self, component: Component, outputs: Mapping[str, str]) -> None:
        super().__init__("store", "a value that is kept in the store")
        self.component, self.outputs = component, outputs


def load(look: Look | None, value: object) -> object:
    """Give a value with all that is kept read in.

    Raises:
        StoreError: something is damaged, or its class is not there to read it.
    """
    if isinstance(value, RemoteParts):
        return [load(look, part) for part in value.parts]
    if not isinstance(value, Held):
        return value
    assert look is not None
    return whole(value.component, {port: look.load(b) for port, b in value.outputs.items()})


def not_yet_in(several: BaseExceptionGroup[BaseException]) -> NotYet | None:
    """Give the first `NotYet` of a group of errors, such as an asyncio.TaskGroup raises."""
    for error in several.exceptions:
        found = not_yet_in(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, NotYet):
            return found
    return None


def alone(function: Callable[[], object]) -> object:
    """Run an async pipeline's function to its end on a loop of its own.

    In a thread, because a notebook's own thread has a loop that runs already.
    """
    with ThreadPoolExecutor(1, "twingraph-plan") as pool:
        work = function()
        return pool.submit(copy_context().run, asyncio.run, work).result()  # type: ignore[arg-type]
