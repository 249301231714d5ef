"""What a plan could not come to, as far as an earlier run tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twingraph_nb.graph.task import Task
from twingraph_nb.plan.history import History, Key
from twingraph_nb.plan.model import Row

__all__ = ["expected"]


def expected(
    history: History,
    keys: Mapping[Key, int],
    rows: Mapping[int, Row],
    stopped: Task | None,
    numbers: Iterator[int],
) -> list[Row]:
    """Give rows for tasks of the last run that the plan lacks, because it could not go on there.

    Those are the calls after the point where the pipeline stops, items of maps over values that
    are not there, and what components call themselves.

    Args:
        keys: the planned task with each key. rows: by number. stopped: see `PlannedRun.follow`.
        numbers: gives the next number of a task.
    """
    last = history.last
    if last is None or history.keys.keys() <= keys.keys():
        return []
    found: list[Row] = []
    planned: dict[int, int] = {}  # number then -> number here
    waits: dict[int | None, str] = {} if stopped is None else {None: stopped.name}
    for key, past in history.keys.items():
        added = past.added
        if key in keys:
            row = rows[keys[key]]
            planned[added.task] = row.number
            if row.action in ("run", "blocked"):
                waits[added.task] = row.name
            continue
        if added.group not in waits:
            continue
        number = planned[added.task] = next(numbers)
        first = waits[added.task] = waits[added.group]
        component = last.component(past)
        wires = [(planned[n], out, port) for n, out, port in added.wires if n in planned]
        found.append(
            Row(
                number, added.name, component, "blocked", "waits",
                f"known when {first} has run; run {last.id} had it",
                history.seconds(component) if added.form == "call" else None,
                added.form, None if added.group is None else planned[added.group], tuple(wires),
                past.count, expected=True,
                anew=history.seconds(component) if added.form == "call" else None,
            )
        )  # fmt: skip
    return found
