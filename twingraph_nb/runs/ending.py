"""How a notebook's run ended, and the kernel's part of ending it.

`finish` is called in the kernel, by the batch run, after the last cell.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from twingraph_nb.events import ErrorInfo, RunStateName

__all__ = ["FINISH", "CellTrouble", "Ending", "Left", "finish", "left_from"]

FINISH = (
    "__import__('sys').modules.get('twingraph_nb.session') and "
    "__import__('twingraph_nb.runs.ending', fromlist=['finish']).finish(cancel={cancel})"
)
"""What the kernel evaluates: nothing is imported in a kernel that has not used the package."""

_PATIENCE = 10.0  # seconds for cancelled work to end before the kernel is shut down anyway


@dataclass(frozen=True, slots=True)
class Left:
    """A run that no cell had waited for: its id, name, final state, and error as text."""

    run: str
    name: str
    state: str
    error: str = ""


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
    """In the kernel: wait for (or cancel) every run that no cell has waited for.

    Returns:
        JSON, one object for each of those runs: run, name, state, error.
    """
    from twingraph_nb.session import get_session  # what runs on the batch side needs no session

    session = get_session()
    left = [run for run in session.runs.values() if run.state == "running"]
    if cancel:
        for run in left:
            session.cancel(run.id)
    session.drain(timeout=_PATIENCE if cancel else None)
    found = []
    for run in left:
        error = None if run.form == "session" else run.root.exception()
        said = f"{type(error).__name__}: {error}" if error is not None else ""
        found.append({"run": run.id, "name": run.name, "state": run.state, "error": said})
    return json.dumps(found)


def left_from(text: str) -> list[Left]:
    """Give what `finish` told, from the repr of its result; empty when there was no session."""
    if not text.startswith(("'", '"')):
        return []
    import ast

    return [Left(**entry) for entry in json.loads(ast.literal_eval(text))]
