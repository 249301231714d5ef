"""``ask``: a question to a person, as a task of the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twingraph_nb.amounts import seconds_of
from twingraph_nb.context import Silent, current_report
from twingraph_nb.errors import ArgumentError, RunError
from twingraph_nb.graph.refs import needs_of
from twingraph_nb.graph.scope import current_scope
from twingraph_nb.graph.task import Task
from twingraph_nb.question import Kind, Question
from twingraph_nb.scheduler.notice import checked_address
from twingraph_nb.scheduler.questions import ask_component

__all__ = ["ask"]

_NOTHING = object()
_SIGNATURE = "(prompt, kind='approval', *, options, fields, timeout, default, required, ...)"


def ask(
    prompt: object,
    kind: Kind = "approval",
    *,
    options: Sequence[object] | Task = (),
    fields: Mapping[str, object] | None = None,
    timeout: float | str | None = None,
    default: object = _NOTHING,
    required: bool = False,
    notify: str = "",
    name: str = "",
    parent_hash: object = None,
) -> object:
    """Ask a person: under the cell, by `twingraph answer`, or from a file of answers.

    The question outlives its process: whoever resumes the run asks it again, or goes on with the
    answer that has come meanwhile. The first answer that fits counts.

    Args:
        prompt: the question; may come from a task, as all of these may.
        kind: "approval" gives True or False, "text" a text, "choice" one of the options, "multi"
            a list of them, "form" a dict.
        options: what to choose from.
        fields: of a form, by name: str, int, float, bool, or a list of options.
        timeout: seconds, or text such as "2h"; then the default holds, or the task fails.
        default: the answer that holds when nobody answers in time, or nobody is there to answer.
        required: an approval that is not given fails the task.
        notify: a webhook that is told of the question, as JSON with a `text`; not logged. For all
            questions of a process: the variable TWINGRAPH_NOTIFY.
        name: of its task, by which a file of answers may call it; "ask" if not given.
        parent_hash: what must be over before it is asked; see `Component.__call__`.
    Returns:
        Its task, to await or to pass on; in a sync component the answer itself.
    Raises:
        ArgumentError: options, fields or default do not fit the kind.
        RunError: called by a task that runs elsewhere than in the kernel.
    """
    _refuse_far_side()
    component = ask_component(name)
    given: dict[str, object] = {"prompt": prompt, "kind": kind}
    try:
        if timeout is not None:
            given["timeout"] = _seconds(timeout)
        if notify:
            given["notify_secret"] = checked_address(notify)
        given |= _checked(prompt, kind, options, fields, default)
    except ValueError as exc:
        raise ArgumentError("ask", str(exc), _SIGNATURE) from None
    if required:
        given["required"] = True
    task = component(parent_hash=parent_hash, **given)
    scope = current_scope()
    if isinstance(task, Task) and getattr(getattr(scope, "task", None), "component", None):
        style = scope.task.component.style  # type: ignore[union-attr]
        if style in ("sync", "stream"):
            return task.result()
    return task


def _seconds(timeout: float | str) -> float:
    try:
        return seconds_of(timeout)
    except ValueError as exc:
        raise ValueError(f"timeout={timeout!r}: it {exc}") from None


def _checked(
    prompt: object, kind: Kind, options: object, fields: object, default: object
) -> dict[str, object]:
    """The arguments in the form that the task is named by; checked as far as they are here."""
    found: dict[str, object] = {}
    if options:
        found["options"] = options if needs_of({"": options}) else list(options)  # type: ignore[call-overload]
    if fields:
        found["fields"] = fields
    if default is not _NOTHING:
        found["default"] = (default,)
    if not needs_of({"": [options, fields, default, kind]}):
        question = Question.of("", kind, options, fields)
        if question.fields is not None:
            found["fields"] = dict(question.fields)
        if default is not _NOTHING:
            found["default"] = (question.read(default),)
    return found


def _refuse_far_side() -> None:
    found = current_report.get()
    if found is None or isinstance(found, Silent) or hasattr(found, "link"):
        return
    raise RunError(
        "ask(...) works in pipelines and in components on platform 'local': a task elsewhere "
        "cannot hear the answer. Ask in the pipeline, and give the answer to the component as "
        "an input"
    )
