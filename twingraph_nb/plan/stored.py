"""What resuming a recorded run would do, from its record and the notebook as it is now."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from twingraph_nb.events import ComponentUsed
from twingraph_nb.picture.progress import seconds_text
from twingraph_nb.plan.choice import Choice
from twingraph_nb.plan.history import History, Names, Past, Recorded
from twingraph_nb.plan.model import Plan, Row
from twingraph_nb.plan.reasons import CHANGES, UNDONE, Cause, numbered, running, source_diff
from twingraph_nb.selecting import PART
from twingraph_nb.selection import ANY, Selection
from twingraph_nb.source.parsed import parse
from twingraph_nb.source.text import segment
from twingraph_nb.store import Look, RunRow, Store

__all__ = ["functions_of", "plan_stored"]

_DEFINED = re.compile(r"^\s*(?:async\s+)?def\s+(\w+)", re.MULTILINE)
_NOTE = (
    "read from the record of the run: only `pipeline.plan(resume=...)` sees that the pipeline or a "
    "captured value has changed, and what else is called then"
)


def functions_of(notebook: Path) -> dict[str, str]:
    """Give the text of each function that the cells of a notebook define, by name, last wins.

    Cells that are no Python are left out; {} if there is no such notebook.
    """
    try:
        cells = json.loads(notebook.read_text())["cells"]
        texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    found: dict[str, str] = {}
    for text in texts:
        lines = ["" if line.startswith(("%", "!")) else line for line in text.splitlines()]
        code = "\n".join(lines)
        try:
            tree = parse(code)
        except SyntaxError:
            continue
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found[node.name] = segment(code, node)
    return found


def plan_stored(
    store: Store, row: RunRow, functions: Mapping[str, str], chosen: Selection = ANY
) -> Plan:
    """Give what resuming this run would do with its tasks.

    Args:
        chosen: what of it is to run.
        functions: text of each function as it is now, by name; what is missing counts as
            unchanged.
    Raises:
        StoreError: its record is damaged.
    """
    history = History(store, row.name, row.id, Names())
    run = history.last
    assert run is not None
    with store.looking() as look:
        made = _Stored(run, history, look, functions, chosen)
        rows = tuple(made.rows())
    platforms = {used.name: used.platform for used in run.used.values()}
    return Plan(row.name, rows, row.id, _NOTE, platforms)


def _change(used: ComponentUsed, functions: Mapping[str, str]) -> Cause | None:
    """What has changed in a component's source, or in that of a helper, as far as texts tell."""
    defined = _DEFINED.search(used.source)
    now = functions.get(defined[1], "") if defined is not None else ""
    if diff := source_diff(used.name, used.source, now):
        return Cause("source changed", "its source has changed", diff)
    diffs = {
        name: diff
        for name, (_, text) in used.uses.items()
        if name in functions and (diff := source_diff(name, text, functions[name]))
    }
    said = f"what it uses has changed: {', '.join(diffs)}"
    return Cause("source changed", said, "\n".join(diffs.values())) if diffs else None


class _Stored:
    def __init__(
        self,
        run: Recorded,
        history: History,
        look: Look,
        functions: Mapping[str, str],
        chosen: Selection,
    ) -> None:
        self._run, self._history, self._look = run, history, look
        self._causes: dict[int, Cause] = {}
        self._inside: dict[int, list[int]] = {}
        self._choice = Choice(run, chosen)
        self._changes = {digest: _change(used, functions) for digest, used in run.used.items()}

    def rows(self) -> list[Row]:
        """A row for each task, groups after what is in them has been decided."""
        tasks = self._run.tasks
        for number, task in tasks.items():
            if task.added.group is not None:
                self._inside.setdefault(task.added.group, []).append(number)
        for number, task in tasks.items():
            if task.added.form == "call":
                self._causes[number] = self._choice.of(task, self._cause(task))
        for number in reversed(tasks):
            if tasks[number].added.form != "call":
                self._causes[number] = self._group(self._inside.get(number, ()), tasks[number])
        return [self._row(number, task) for number, task in tasks.items()]

    def _cause(self, task: Past) -> Cause:
        added = task.added
        if changed := self._changes.get(added.component):
            return changed
        for number, _, port in added.wires:
            cause = self._causes.get(number)
            if port and cause is not None and cause.reason in CHANGES:
                name = self._run.tasks[number].added.name
                return Cause("input changed", f"input {port!r}: {name} runs ({cause.reason})")
        if task.state in UNDONE:
            said = f"it {UNDONE[task.state]}" + (f": {task.error}" if task.error else "")
            return Cause("did not finish", said)
        if task.kept and self._look.has(task.kept.values()):
            return Cause("kept", f"run {task.run or self._run.id} has done it")
        if task.kept:
            return Cause("value not kept", "what it gave is no longer in the store")
        took = f" (it took {seconds_text(task.seconds)})" if task.seconds is not None else ""
        return Cause("value not kept", f"it finished, but its value was not kept{took}")

    def _group(self, members: Sequence[int], task: Past) -> Cause:
        causes, form = [self._causes[n] for n in members], task.added.form
        out = [cause for cause in causes if cause.reason == "not selected"]
        run = [cause for cause in causes if cause.reason not in ("kept", "not selected")]
        if run:
            return Cause(run[0].reason, running(len(run), len(causes), form))
        if out:
            return Cause("not selected", out[0].text if len(out) == len(causes) else PART)
        if task.state in UNDONE:
            return Cause("did not finish", f"it {UNDONE[task.state]}")
        return Cause("kept", numbered(len(causes), form))

    def _row(self, number: int, task: Past) -> Row:
        cause, added, name = self._causes[number], task.added, self._run.component(task)
        action = self._choice.action(number, cause)
        return Row(
            number, added.name, name, action, cause.reason, cause.text, self._seconds(number),
            added.form, added.group, added.wires, task.count, cause.diff,
            task.run or self._run.id if action == "reuse" else "",
            anew=self._history.seconds(name) if added.form == "call" else None,
        )  # fmt: skip

    def _seconds(self, number: int) -> float | None:
        """How long it will take; of a group, what runs in it."""
        task, reason = self._run.tasks[number], self._causes[number].reason
        if reason in ("kept", "not selected"):
            return 0.0 if reason == "kept" else None
        if task.added.form == "call":
            return self._history.seconds(self._run.component(task))
        return sum(self._seconds(inside) or 0.0 for inside in self._inside.get(number, ()))
