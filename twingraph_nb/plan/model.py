"""A plan: one row for each task that a run would have, and how it is shown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from twingraph_nb.events import TaskForm, Wire
from twingraph_nb.picture.progress import seconds_text
from twingraph_nb.plan.drawn import plan_html

__all__ = ["ACTIONS", "Action", "Plan", "Reason", "Row"]

Action = Literal["run", "reuse", "blocked", "skip"]
ACTIONS: tuple[Action, ...] = ("run", "reuse", "blocked", "skip")
Reason = Literal[
    "kept",  # its value is there
    "forced",  # somebody asked for it
    "never ran",
    "source changed",
    "input changed",
    "policy",  # nothing is reused between runs, unless a component has cache=
    "expired",
    "value not kept",  # it finished, and its value is computed again
    "did not finish",
    "not selected",  # only=, to= or skip= leave it out
    "waits",  # known only when another task has run
]
MOST_ITEMS = 8
"""Items of a map that a table shows one by one."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """What a run would do with one task.

    action: run it, reuse what it gave, "skip" it since it is not selected, or "blocked": known only
    when another task has run.
    reason: of what kind; text: the same as a sentence. seconds: how long it will take as
    earlier runs tell, 0 if it is reused, None if no run tells. number, group: of the task and of
    the map or pipeline that it is in. wires: what it needs. count: items of a map, if known.
    diff: what has changed in its source, as a unified diff. run: who made the value it reuses.
    expected: it is here because an earlier run had it. anew: seconds to run it even if it is
    reused, None if no run tells.
    """

    number: int
    name: str
    component: str
    action: Action
    reason: Reason
    text: str
    seconds: float | None = None
    form: TaskForm = "call"
    group: int | None = None
    wires: tuple[Wire, ...] = ()
    count: int | None = None
    diff: str = ""
    run: str = ""
    expected: bool = False
    anew: float | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.action}, {self.text}"


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What a run would do: rows in the order of the calls; a sequence, also by a task's name.

    pipeline: its name. resumes: the run it would take over from, or "". note: why the plan ends
    before the pipeline does, or "". platforms: where each component runs, by name.
    """

    pipeline: str
    rows: tuple[Row, ...]
    resumes: str = ""
    note: str = ""
    platforms: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | str) -> Row:
        if isinstance(key, int):
            return self.rows[key]
        found = next((row for row in self.rows if row.name == key), None)
        if found is None:
            raise KeyError(f"no task of this plan is called {key!r}")
        return found

    @property
    def calls(self) -> list[Row]:
        """The rows of plain calls: maps and nested pipelines only stand for theirs."""
        return [row for row in self.rows if row.form == "call"]

    @property
    def counts(self) -> dict[Action, int]:
        """How many calls would run, be reused, or cannot be told yet; "skip" if there are any."""
        found = Counter(row.action for row in self.calls)
        return {action: found[action] for action in ACTIONS if action != "skip" or found[action]}

    @property
    def seconds(self) -> float:
        """What the calls that run will cost together, one after the other, as far as earlier
        runs tell."""
        return sum(row.seconds or 0.0 for row in self.calls if row.action == "run")

    @property
    def seconds_at_most(self) -> float:
        """The same if all that cannot be told yet runs too."""
        return sum(row.seconds or 0.0 for row in self.calls)

    @property
    def seconds_anew(self) -> float:
        """What it would cost if nothing was reused: to refresh all of it."""
        return sum(row.anew or 0.0 for row in self.calls if row.action != "skip")

    @property
    def summary(self) -> str:
        """One line: how many of each, and what it will take."""
        counts = self.counts
        said = [f"{counts[action]:,} {action}" for action in counts if counts[action]]
        if self.resumes:
            said.append(f"resumes {self.resumes}")
        calls = [row for row in self.calls if row.action != "skip"]
        unknown = sum(row.seconds is None for row in calls)
        if self.seconds or unknown < len(calls):
            about, most, anew = map(
                seconds_text, (self.seconds, self.seconds_at_most, self.seconds_anew)
            )
            more = f", at most {most}" * (most != about)
            more += f", {anew} if nothing was reused" * (self.seconds_anew > self.seconds_at_most)
            said.append(f"about {about} of work{more}")
        if unknown:
            said.append(f"{unknown:,} of unknown length")
        return f"{self.pipeline}: {' · '.join(said) or 'no tasks'}"

    def facts(self) -> dict[str, object]:
        """Give all of it as JSON can hold it."""
        return {
            "pipeline": self.pipeline,
            "resumes": self.resumes,
            "note": self.note,
            "counts": dict(self.counts),
            "seconds": self.seconds,
            "seconds_at_most": self.seconds_at_most,
            "seconds_anew": self.seconds_anew,
            "tasks": [msgspec.structs.asdict(row) for row in self.rows],
        }

    def json(self) -> str:
        """Give all of it as JSON text."""
        return json.dumps(self.facts(), indent=2)

    def table(self, *, every: bool = False) -> list[tuple[str, Action, str, str]]:
        """Give lines to show: task, action, reason, time; of what is reused what that saves.

        Args:
            every: each item of a map; else of a large one only how many do what.
        """
        lines: list[tuple[str, Action, str, str]] = []
        hidden: set[int] = set()
        for row, depth, items in self._nested():
            if row.group in hidden:
                hidden.add(row.number)
                continue
            time = "" if row.seconds is None else seconds_text(row.seconds)
            if row.action == "reuse":
                time = f"saves {seconds_text(row.anew)}" if row.anew else ""
            text = row.text
            if len(items) > MOST_ITEMS and not every:
                hidden.add(row.number)
                several = len({(item.action, item.reason) for item in items}) > 1
                text = _summed(items) if several or row.action == "run" else text
            lines.append((f"{'  ' * depth}{row.name}", row.action, text, time))
        return lines

    def _nested(self) -> Iterator[tuple[Row, int, Sequence[Row]]]:
        """Each row with its depth and what belongs to it, groups before their items."""
        inside: dict[int | None, list[Row]] = {}
        known = {row.number for row in self.rows}
        for row in self.rows:
            inside.setdefault(row.group if row.group in known else None, []).append(row)
        stack = [(row, 0) for row in reversed(inside.get(None, []))]
        while stack:
            row, depth = stack.pop()
            items = inside.get(row.number, [])
            yield row, depth, items
            stack.extend((item, depth + 1) for item in reversed(items))

    def __repr__(self) -> str:
        head = ("task", "", "why", "time")
        lines = [head, *self.table()]
        wide = [max(len(line[n]) for line in lines) for n in range(3)]
        text = [
            "  ".join([*(one.ljust(w) for one, w in zip(line, wide, strict=False)), line[3]])
            for line in lines
        ]
        diffs = [f"\n{row.component} has changed:\n{row.diff}" for row in _changed(self.rows)]
        return "\n".join([self.summary, *(line.rstrip() for line in text), *self._notes(), *diffs])

    def _notes(self) -> list[str]:
        return [self.note] if self.note else []

    def _repr_html_(self) -> str:
        return plan_html(self)


def _summed(items: Sequence[Row]) -> str:
    counts = Counter((row.action, row.reason) for row in items)
    return ", ".join(
        f"{count:,} {action}" + ("" if reason in ("kept", "waits") else f": {reason}")
        for (action, reason), count in counts.items()
    )


def _changed(rows: Sequence[Row]) -> list[Row]:
    """The first row of each component whose source has changed."""
    return list({row.component: row for row in reversed(rows) if row.diff}.values())[::-1]
