"""``twingraph plan|diff``: what resuming a run would do, and how two runs differ."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twingraph_nb.errors import RunError
from twingraph_nb.plan import Action, Plan
from twingraph_nb.plan.diff import RunDiff, diff_of
from twingraph_nb.plan.stored import functions_of, plan_stored
from twingraph_nb.runs.page import page
from twingraph_nb.runs.selecting import selected_by, unmet
from twingraph_nb.runs.tables import PIPE_WIDTH
from twingraph_nb.settings import Settings
from twingraph_nb.store import RunRow, Store

__all__ = ["diff", "plan"]

_STYLES: Mapping[Action, str] = {
    "run": "yellow",
    "reuse": "magenta",
    "blocked": "dim",
    "skip": "dim",
}
_MARKS = {"+": "green", "-": "red", "@": "cyan"}


def plan(namespace: argparse.Namespace) -> int:
    """Say what ``twingraph resume RUN`` would do."""
    with closing(Store.open(Settings.load().home, readonly=True)) as store:
        row = _meant(store, namespace.run)
        if row.state == "running":
            raise RunError(f"run {row.id} still runs: it can be resumed when it has ended")
        functions = functions_of(Path(row.notebook)) if row.notebook else {}
        chosen = selected_by(namespace)
        members = _members(store, row)
        plans = [plan_stored(store, one, functions, chosen) for one in members]
        rows = (one for made in plans for one in made)
        tasks = ((one.name, one.component, one.action in ("run", "blocked")) for one in rows)
        if said := unmet(chosen, tasks):
            raise RunError(said)
    if namespace.json:
        json.dump([made.facts() for made in plans], sys.stdout, indent=2)
        sys.stdout.write("\n")
        return 0
    console = _console()
    for made in plans:
        _print(made, console, every=namespace.all)
    for note in dict.fromkeys(made.note for made in plans):
        console.print(Text(note, style="dim"))
    return 0


def diff(namespace: argparse.Namespace) -> int:
    """Say how two runs differ."""
    with closing(Store.open(Settings.load().home, readonly=True)) as store:
        found = diff_of(store, namespace.first, namespace.second)
    if namespace.html:
        _write_page(Path(namespace.html), found)
    if namespace.json:
        sys.stdout.write(found.json() + "\n")
        return 0
    console = _console()
    for line in found.lines():
        console.print(Text(line))
    for change in found.code:
        _print_diff(change.diff, console)
    return 0


def _meant(store: Store, text: str) -> RunRow:
    """The run that is meant; by a notebook its newest."""
    if not text.endswith(".ipynb"):
        return store.run(store.resolve(text))
    path = str(Path(text).resolve())
    for row in store.runs(limit=None):
        if row.notebook == path and row.parent is None:
            return row
    raise RunError(f"no run of {text} is recorded, so there is nothing to reuse: all of it runs")


def _write_page(path: Path, found: RunDiff) -> None:
    title = f"{found.first} and {found.second}"
    body = (f"<h1>{title}</h1>", f'<section class="card">{found._repr_html_()}</section>')
    try:
        path.write_text(page(title, body), encoding="utf-8")
    except OSError as exc:
        raise RunError(f"--html {path}: {exc.strerror or exc}") from exc


def _members(store: Store, row: RunRow) -> list[RunRow]:
    """The runs that are gone on with together; a notebook's or script's as a whole."""
    return [one for one in store.family(row.id) if one.form != "notebook"]


def _console() -> Console:
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def _print(made: Plan, console: Console, *, every: bool) -> None:
    console.print(Text(made.summary, style="bold"))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("task", "action", "why", "time"):
        table.add_column(column, overflow="fold", justify="right" if column == "time" else "left")
    for name, action, text, time in made.table(every=every):
        style = _STYLES[action]
        table.add_row(Text(name), Text(action, style=style), Text(text), Text(time))
    console.print(table)
    for text in {row.component: row.diff for row in made if row.diff}.values():
        _print_diff(text, console)


def _print_diff(text: str, console: Console) -> None:
    if text:
        console.print()
    for line in text.splitlines():
        console.print(Text(line, style=_MARKS.get(line[:1], "")))
