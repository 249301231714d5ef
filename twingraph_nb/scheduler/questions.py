"""The built-in component `ask`: a task that waits for a person, and holds no thread."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twingraph_nb.component import Component, make_component
from twingraph_nb.errors import TaskError
from twingraph_nb.graph.task import Task
from twingraph_nb.question import Question
from twingraph_nb.scheduler.answering import answered

__all__ = ["ask_component", "is_question"]


async def ask(
    prompt: object,
    kind: object = "approval",
    options: object = (),
    fields: object = None,
    timeout: float | None = None,
    default: tuple[object, ...] = (),
    required: bool = False,
    notify_secret: str = "",  # a name that keeps it out of the log
) -> Any:
    # What an answer is kept by is the content of this function and its arguments, so what it
    # does is elsewhere: another version of the package must not ask again.
    try:
        question = Question.of(prompt, kind, options, fields)
        default = tuple([question.read(one) for one in default])
    except ValueError as exc:
        raise TaskError(f"ask: {exc}") from None
    value, who = await answered(question, timeout, default, notify_secret)
    if required and value is False:
        raise TaskError(f"{question.prompt!r} was answered with no, by {who}")
    return value


_ASK = make_component(ask, keep=False)


def ask_component(name: str = "") -> Component:
    """Give the component; with a name of its own, its tasks are called so."""
    return replace(_ASK, name=name, digest="") if name else _ASK


def is_question(task: Task) -> bool:
    """True of a task that waits for a person: it takes no place, and its answer is kept."""
    return task.component is not None and task.component.function is ask
