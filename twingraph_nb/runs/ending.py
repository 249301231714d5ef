"""How a notebook's run ended, and the kernel's part of ending it.

`finish` is called in the kernel, by the batch run, after the last cell.
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass, field

from twingraph_nb.events import ErrorInfo, RunStateName

__all__ = ["FINISH", "CellTrouble", "Ending", "Left", "finish", "left_from", "told"]

FINISH = (
    "__import__('sys').modules.get('twingraph_nb.session') and "
    "__import__('twingraph_nb.runs.ending', fromlist=['finish']).finish(cancel={cancel})"
)
"""What the kernel evaluates: nothing is imported in a kernel that has not used the package."""

_PATIENCE = 10.0  # seconds for cancelled work to end before the kernel is shut down anyway


@dataclass(frozen=True, slots=True)
class Left:
    """A run, or a call made in a cell, that no cell had waited for.

    run: its run's id. name: of the pipeline or component. state: its final one. error: as text.
    """

    run: str
    name: str
    state: str
    error: str = ""


_OWN_WORDS = frozenset({"Interrupted", "KernelDied", "NotebookError", "RunError", "RunTimeout"})


def told(error: ErrorInfo) -> str:
    """Give an error as a sentence; only errors of the user's code need their type in front."""
    if error.type in _OWN_WORDS or not error.type:
        return error.message
    return f"{error.type}: {error.message}" if error.message else error.type


@dataclass(frozen=True, slots=True)
class CellTrouble:
    """Which cell stopped the notebook, counted from 1 among the code cells; and its error."""

    number: int
    source: str
    error: ErrorInfo


@dataclass(slots=True)
class Ending:
    """How the run of a notebook ended."""

    state: RunStateName = "succeeded"
    error: ErrorInfo | None = None
    cell: CellTrouble | None = None
    left: list[Left] = field(default_factory=list)
    interrupted: bool = False

    @property
    def code(self) -> int:
        """The exit code: 0 succeeded, 130 stopped by Ctrl-C, else 1."""
        if self.interrupted:
            return 130
        return 0 if self.state == "succeeded" else 1


def finish(*, cancel: bool = False) -> str:
    """In the kernel: wait for (or cancel) all work that no cell has waited for.

    Returns:
        JSON, one object for each of those runs and loose calls: run, name, state, error.
    """
    from twingraph_nb.session import get_session  # what runs on the batch side needs no session

    session = get_session()
    left = [*session.driver.unseen.take(), *session.unfinished()]
    if cancel:
        for task in left:
            task.cancel()
    with contextlib.suppress(TimeoutError):  # what does not obey dies with the kernel
        session.drain(timeout=_PATIENCE if cancel else None)
    session.driver.unseen.take()  # those that have failed just now are among them
    views = sys.modules.get("twingraph_nb.views.show")
    if views is not None:  # only a kernel that has shown something has pictures to finish
        views.settle()
    found = []
    for task in left:
        error = task.error
        said = f"{type(error).__name__}: {error}" if error is not None else ""
        found.append({"run": task.link.id, "name": task.name, "state": task.state, "error": said})
    return json.dumps(found)


def left_from(text: str) -> list[Left]:
    """Give what `finish` told, from the repr of its result; empty when there was no session."""
    if not text.startswith(("'", '"')):
        return []
    import ast

    return [Left(**entry) for entry in json.loads(ast.literal_eval(text))]
