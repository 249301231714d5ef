"""``--only --to --skip --force --from`` on the command line, alike in every command."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from twingraph_nb.errors import NotebookError, RunError, WiringError
from twingraph_nb.events import Batch, ComponentUsed, TaskAdded, TaskReused, TaskSkipped
from twingraph_nb.selection import Selection, fits, read_selection

__all__ = [
    "add_arguments",
    "check_cells",
    "environment",
    "selected_by",
    "tasks_of",
    "unmet",
    "words_of",
]

_WHAT = {
    "only": "run just these; what they get is taken from the store",
    "to": "run these and what they need",
    "skip": "do not run these; their values are taken from the store, or what gets them is skipped",
    "force": "run these even if their values are kept, and all that gets their values",
    "from": "the same, and reuse all else that is kept",
}
_WORD = re.compile(r"\w+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what each command takes that runs or plans something."""
    group = parser.add_argument_group(
        "what is to run", "NAMES of components, 'name[3]', patterns with * and ?, commas between"
    )
    for kind, what in _WHAT.items():
        dest = "from_" if kind == "from" else kind
        group.add_argument(
            f"--{kind}", dest=dest, action="append", default=[], metavar="NAMES", help=what
        )


def selected_by(namespace: argparse.Namespace) -> Selection:
    """Give what the arguments select.

    Raises:
        RunError: one of them names nothing.
    """
    given = {name: getattr(namespace, name) for name in Selection.__slots__}
    words = {name: ",".join(texts) if texts else None for name, texts in given.items()}
    try:
        return read_selection(words, option=_option)
    except WiringError as exc:
        raise RunError(str(exc)) from None


def words_of(chosen: Selection) -> list[str]:
    """Give the arguments that select just this."""
    return [
        word
        for kind, names in chosen.named.items()
        for word in (f"--{kind.rstrip('_')}", ",".join(names))
    ]


def environment(chosen: Selection) -> Mapping[str, str]:
    """Give what tells a kernel of it."""
    return {"TWINGRAPH_SELECTED": json.dumps(chosen.named)} if chosen else {}


def check_cells(chosen: Selection, cells: Iterable[Any]) -> None:
    """See that the code of a notebook has the names, before anything runs.

    Raises:
        NotebookError: one is nowhere in it; with the nearest that are. Or `--skip` leaves
            nothing of another one.
    """
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    if "import *" in text:
        return
    try:
        chosen.check(set(_WORD.findall(text)), where="the notebook has no", option=_option)
    except WiringError as exc:
        raise NotebookError(str(exc)) from None


def unmet(chosen: Selection, tasks: Iterable[tuple[str, str, bool]]) -> str:
    """Say what of it no task was called, or was left out by the rest of it; "" if all was there.

    Args:
        tasks: the name of each, that of its component, and whether it may run.
    """
    several = list(tasks)
    try:
        names = {name for row in several for name in row[:2] if name}
        chosen.check(names, where="no task was called", option=_option)
        for kind, one in ((k, one) for k in ("force", "from_") for one in getattr(chosen, k)):
            met = [row for row in several if fits(one, row[0], row[1])]
            if not any(runs for _, _, runs in met):
                found = [name for name, _, _ in met]
                raise chosen.clash(kind, one, found, "only", "to", "skip", option=_option)
    except WiringError as exc:
        return str(exc)
    return ""


def tasks_of(logs: Iterable[Iterable[Batch]]) -> Iterator[tuple[str, str, bool]]:
    """Give the tasks of some runs, as `unmet` wants them."""
    for batches in logs:
        components: dict[str, str] = {}
        tasks: dict[int, TaskAdded] = {}
        out: set[int] = set()
        for event in (event for batch in batches for event in batch.events):
            if isinstance(event, ComponentUsed):
                components[event.digest] = event.name
            elif isinstance(event, TaskAdded):
                tasks[event.task] = event
            elif isinstance(event, TaskReused) or (
                # What is skipped because of another task might have run.
                isinstance(event, TaskSkipped) and event.because < 0
            ):
                out.add(event.task)
        for number, added in tasks.items():
            yield added.name, components.get(added.component, ""), number not in out


def _option(kind: str) -> str:
    """A selector as it is written on a command line."""
    return f"--{kind.rstrip('_')}"
