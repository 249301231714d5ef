"""Questions of a run that goes on: who waits, what is said, and when nobody says anything."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, cast

from twingraph_nb.context import current_report
from twingraph_nb.errors import RunError, StoreError, TaskError, TaskTimeout
from twingraph_nb.events import Answered, Asked
from twingraph_nb.graph.summary import summary, without_passwords
from twingraph_nb.question import Question
from twingraph_nb.scheduler.notice import notify
from twingraph_nb.settings import Settings
from twingraph_nb.store.commands import Answer, Command

if TYPE_CHECKING:
    from twingraph_nb.scheduler.live import LiveRun, TaskReport

__all__ = ["Asking", "answered", "take_answer"]

_SHOWN, _LOGGED = 200, 1000
"""Characters of a prompt in messages, of a text in the log; all of it is kept as the output."""


class Asking:
    """A question that waits for its answer. On the scheduler's thread."""

    def __init__(self, report: TaskReport, question: Question) -> None:
        self.question, self.task, self.run = question, report.task, report.link
        self.notice: asyncio.Task[None] | None = None
        self.given: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def settle(self, value: object, who: str) -> Answered:
        """Take the first answer; there is no second."""
        run, number = self.run, self.task.number
        event = Answered(run.driver.now(), number, _answer_text(value), who)
        run.questions.pop(number, None)
        run.answered[number] = event
        self.given.set_result(value)
        run.driver.happen(run, event)
        return event


async def answered(
    question: Question, timeout: float | None, default: tuple[object, ...], address: str = ""
) -> tuple[object, str]:
    """Ask, as the running task; gives the answer's value and who gave it.

    Args:
        timeout: seconds to wait. default: the value that holds without an answer, as the only
            item; empty if there is none. address: of a webhook, or "".
    Raises:
        TaskTimeout: nobody answered in time, and there is no default.
        TaskError: nobody can answer, or the file of answers has one that is none.
    """
    report = cast("TaskReport", current_report.get())
    asking, run = Asking(report, question), report.link
    number = report.task.number
    run.answered.pop(number, None)  # of an attempt before
    run.questions[number] = asking
    run.driver.happen(run, _asked(asking, timeout, default))
    try:
        _from_settings(asking, default)
        if not asking.given.done():
            await _from_before(asking)
        if not asking.given.done():
            _tell(report, asking)
            asking.notice = _notice(report, asking, address or Settings.load().notify)
            await asyncio.wait([asking.given], timeout=timeout)
        if not asking.given.done():
            if not default:
                name = f"the question {question.prompt[:_SHOWN]!r}"
                raise TaskTimeout(name, timeout or 0.0, "was not answered by anybody within")
            asking.settle(default[0], "default")
        return asking.given.result(), run.answered[number].who
    finally:
        if run.questions.get(number) is asking:
            del run.questions[number]


def take_answer(run: LiveRun, facts: Mapping[str, object], who: str) -> Answer:
    """Give an answer to a question of a run; the first one that fits counts.

    Args:
        facts: `value`, as `Question.read` takes it; `task` may be left out if one waits.
    """
    number = cast("int | None", facts.get("task"))
    if number is None:
        if len(run.questions) != 1:
            names = ", ".join(f"{n} ({one.task.name})" for n, one in run.questions.items())
            said = f"several tasks ask: {names}; name one" if names else "no task asks anything"
            return Answer(said, refused=True)
        number = next(iter(run.questions))
    asking = run.questions.get(number)
    if asking is None:
        return Answer(_why_not(run, number), refused=True)
    try:
        value = asking.question.read(facts.get("value"))
    except ValueError as exc:
        return Answer(f"not an answer to {asking.question.prompt[:_SHOWN]!r}: {exc}", refused=True)
    return Answer(f"{asking.task.name} is answered: {asking.settle(value, who).text}")


def _why_not(run: LiveRun, number: int) -> str:
    first = run.answered.get(number)
    if first is None:
        return "that task asks nothing now"
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(first.at))
    return f"{first.who or 'somebody'} was first, at {clock}, with: {first.text}"


def _asked(asking: Asking, timeout: float | None, default: tuple[object, ...]) -> Asked:
    question, task, now = asking.question, asking.task, asking.run.driver.now()
    fields = question.fields
    return Asked(
        now,
        task.number,
        without_passwords(question.prompt),
        question.kind,
        tuple(map(str, question.options)),
        {
            name: spec if isinstance(spec, str) else tuple(map(str, spec))
            for name, spec in fields.items()
        }
        if fields
        else None,
        _answer_text(default[0]) if default else None,
        None if timeout is None else now + timeout,
        task.digest.hex() if task.digest is not None else "",
    )


def _tell(report: TaskReport, asking: Asking) -> None:
    """Say what is asked in the task's log, and in the terminal of a script."""
    question, run = asking.question, asking.run.id
    told = (
        f"asks: {without_passwords(question.prompt)}\n"
        f"answer with {question.wanted}: twingraph answer {run} {asking.task.number} ANSWER\n"
    )
    report.log("system", told)
    if "ipykernel" not in sys.modules and sys.__stderr__ is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.__stderr__.write(f"twingraph: {asking.task.name} {told}")
            sys.__stderr__.flush()


def _notice(report: TaskReport, asking: Asking, address: str) -> asyncio.Task[None] | None:
    """Tell a webhook of the question, meanwhile; its address goes into no log.

    Its `text` is written as Slack wants it, where `<!channel>` in a prompt would call everybody.
    """
    if not address:
        return None
    question, task, run = asking.question, asking.task, asking.run
    how = f"{question.wanted}: twingraph answer {run.id} {task.number} ANSWER"
    prompt = without_passwords(question.prompt)
    facts = {
        "text": escape(f"{run.handle.name} asks: {prompt}\n{how}", quote=False),
        "run": run.id,
        "pipeline": run.handle.name,
        "task": task.number,
        "name": task.name,
        "prompt": prompt,
        "kind": question.kind,
        "options": [str(option) for option in question.options],
    }

    async def tell() -> None:
        if problem := await notify(address, facts):
            report.log("system", f"nobody could be notified: {problem}\n")

    return asyncio.get_running_loop().create_task(tell())


def _answer_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return summary(value)
    return without_passwords(value if len(value) <= _LOGGED else f"{value[:_LOGGED]}…")


def _from_settings(asking: Asking, default: tuple[object, ...]) -> None:
    """Take the answer of ``--answers``; with ``--no-input``, nothing else is waited for."""
    settings, question, name = Settings.load(), asking.question, asking.task.name
    for key in (name, question.prompt):
        if key in settings.answers:
            try:
                value = question.read(settings.answers[key])
            except ValueError as exc:
                raise TaskError(
                    f"the file of answers has no answer to {question.prompt[:_SHOWN]!r} "
                    f"({key[:_SHOWN]}): {exc}"
                ) from None
            asking.settle(value, "answers file")
            return
    if settings.no_input and not default:
        raise TaskError(
            f"the question {question.prompt[:_SHOWN]!r} ({name}) needs an answer, but this run "
            f"takes no input: put `{name}: ...` into a file for --answers, or give ask(...) a "
            f"default="
        )
    if settings.no_input:
        asking.settle(default[0], "default")


async def _from_before(asking: Asking) -> None:
    """Take an answer that was given while the run which this one resumes was dead."""
    run, digest = asking.run, asking.task.digest
    keeper = run.driver.keeper
    if run.earlier is None or digest is None or keeper is None:
        return
    before = run.earlier.question(digest, asking.task.hash)
    if before is None:
        return
    earlier_run, number = before
    try:
        said = await asyncio.to_thread(keeper.commands, earlier_run, "answer")
        for command in said:
            if command.facts.get("task") == number and not asking.given.done():
                keeper.answer(command.id, _taken(asking, command))
    except (RunError, StoreError):
        return  # then somebody has to answer again


def _taken(asking: Asking, command: Command) -> Answer:
    try:
        value = asking.question.read(command.facts.get("value"))
    except ValueError as exc:
        return Answer(str(exc), refused=True)
    asking.settle(value, command.who)
    return Answer(f"run {asking.run.id} goes on with it")
