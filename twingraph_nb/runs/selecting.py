"""``--only --to --skip --force --from`` on the command line, alike in every command."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from twingraph_nb.errors import NotebookError, WiringError, suggestion
from twingraph_nb.events import Batch, ComponentUsed, TaskAdded
from twingraph_nb.selection import Selection, base_of, fits, read_selection

__all__ = ["add_arguments", "check_cells", "environment", "selected_by", "unmet", "words_of"]

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
    """Give what the arguments select."""
    given = {name: ",".join(getattr(namespace, name)) for name in Selection.__slots__}
    return read_selection(given)


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
        NotebookError: one is nowhere in it; with the nearest that is.
    """
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    if "import *" in text:
        return
    words = set(_WORD.findall(text))
    for kind, names in chosen.named.items():
        for one in names:
            if not any(fits(base_of(one), word) for word in words):
                near = suggestion(base_of(one), words)
                raise NotebookError(f"--{kind.rstrip('_')}: the notebook has no {one!r}{near}")


def unmet(chosen: Selection, logs: Iterable[Iterable[Batch]]) -> str:
    """Say what of it no task was called, "" if all was there."""
    names: set[str] = set()
    for batches in logs:
        for batch in batches:
            for event in batch.events:
                if isinstance(event, (TaskAdded, ComponentUsed)):
                    names.add(event.name)
    for kind, selectors in chosen.named.items():
        for one in selectors:
            if not any(fits(one, name) for name in names):
                near = suggestion(base_of(one), names)
                return str(WiringError(f"--{kind.rstrip('_')}: no task was called {one!r}{near}"))
    return ""
