"""Exceptions as data: whose they are, where in the user's cell, and whether to try again."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import re
import traceback
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from twingraph_nb.errors import (
    BreakerOpen,
    ExecutorError,
    RunError,
    RunTimeout,
    TaskCancelled,
    TaskSkipped,
    TwingraphError,
)
from twingraph_nb.events import ErrorInfo, RunStateName
from twingraph_nb.graph.task import Task
from twingraph_nb.policy import Policy
from twingraph_nb.source.text import Source, place_of

if TYPE_CHECKING:
    from twingraph_nb.scheduler.live import LiveRun

__all__ = ["error_info", "retry_wanted", "run_error", "tries_again", "user_part"]

_FILE = re.compile(r'File "([^"\n]+)"')
_TRIED = "__twingraph_tried__"
_HERE = str(Path(__file__).parent.parent)
_BETWEEN = tuple(str(Path(str(one.__file__)).parent) for one in (asyncio, concurrent.futures))
"""What stands between frames of ours where something is done in a thread."""


def user_part(error: BaseException) -> BaseException:
    """Give the error with our own frames cut off the front of its traceback.

    One of ours that no code of the user's has seen says all in its message.
    """
    ours = (_HERE, *_BETWEEN) if isinstance(error, TwingraphError) else (_HERE,)
    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(ours):
        tb = tb.tb_next
    return error.with_traceback(tb)


def retry_wanted(error: BaseException, attempt: int, policy: Policy) -> bool:
    """Tell whether the policy allows another attempt after this one (1 = first) and its error."""
    if attempt > policy.retries_after(error):
        return False
    if isinstance(error, (ExecutorError, BreakerOpen)):  # nothing was started, or it is in order
        return True
    if isinstance(error, (TaskCancelled, TaskSkipped)):
        return False
    if not policy.retry_on:
        return True
    return any(cls.__name__ in policy.retry_on for cls in type(error).__mro__)


def tries_again(error: BaseException, attempt: int, task: Task, run_id: str) -> bool:
    """Tell whether a task is tried again after this attempt and its error.

    Retries do not nest: two tasks, one in the other, with three retries each would make sixteen
    attempts. What a task inside has tried again in vain is not tried again outside, with a note.
    """
    if retry_wanted(error, attempt, task.component.policy) and not _tried_inside(
        error, task, run_id
    ):
        return True
    if attempt > 1:
        with contextlib.suppress(AttributeError):  # a class may allow no attributes
            setattr(error, _TRIED, (run_id, task.above, task.name, attempt))
    return False


def _tried_inside(error: BaseException, task: Task, run_id: str) -> bool:
    if isinstance(error, BaseExceptionGroup):  # such as an asyncio.TaskGroup raises
        return any(_tried_inside(one, task, run_id) for one in error.exceptions)
    run, above, name, tries = getattr(error, _TRIED, ("", (), "", 0))
    if run != run_id or task.number not in above:
        return False
    error.add_note(f"{task.name} is not tried again: {name} in it was tried {tries} times")
    return True


def error_info(error: BaseException, name: str, source: Source | None, *, note: bool) -> ErrorInfo:
    """Give the error as data.

    Args:
        note: also add a note to the exception that names the component, the cell and the line.
    """
    line = _line(error.__traceback__, source)
    cell = source.cell if source is not None else ""
    remote = getattr(error, "twingraph_traceback", "")
    if note and source is not None and not isinstance(error, TwingraphError):
        place = f"in component {name}, {cell}" + (f", line {line}" if line else "")
        if place not in getattr(error, "__notes__", ()):
            error.add_note(place)
    notes = tuple(str(n) for n in getattr(error, "__notes__", ()))
    text = _FILE.sub(_place, remote or "".join(traceback.format_exception(error)))
    return ErrorInfo(type(error).__name__, _message(error), text, cell, line, notes)


def _place(found: re.Match[str]) -> str:
    place = place_of(found[1])
    return found[0] if place == found[1] else place.capitalize()


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as exc:  # a user's __str__ may raise anything
        return f"<its message raised {type(exc).__name__}>"


def _line(tb: TracebackType | None, source: Source | None) -> int:
    """The last line of the traceback that is in the component's own file or cell."""
    if source is None:
        return 0
    line = 0
    while tb is not None:
        if tb.tb_frame.f_code.co_filename == source.filename:
            line = tb.tb_lineno
        tb = tb.tb_next
    return line


def run_error(run: LiveRun, state: RunStateName, error: ErrorInfo | None) -> BaseException:
    """Give an error for a run that no error of the user's has ended."""
    if error is not None and error.type == "RunTimeout":
        return RunTimeout(run.id, run.options.timeout or 0.0)
    said = error.message if error is not None else state
    return RunError(f"run {run.handle.name} ({run.id}): {said}")
