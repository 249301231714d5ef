"""How events change the row of their run; the one fold that listings need."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twingraph_nb.events import (
    CancelAsked,
    ComponentUsed,
    Event,
    RunFinished,
    RunStarted,
    RunTimedOut,
    TaskAdded,
    TaskCancelled,
    TaskDone,
    TaskErred,
    TaskReused,
    TaskSkipped,
    TaskUnobserved,
)
from twingraph_nb.store.encoding import as_builtins

__all__ = ["Change", "Live", "component_facts"]

_COUNTED: Mapping[type[Event], str] = {
    TaskAdded: "tasks",
    TaskDone: "done",
    TaskReused: "reused",
    TaskSkipped: "skipped",
    TaskCancelled: "cancelled",
}
_TELLING = frozenset(
    {
        RunStarted,
        ComponentUsed,
        TaskErred,
        TaskUnobserved,
        CancelAsked,
        RunTimedOut,
        RunFinished,
    }
)
"""What has to be looked at one by one; all else is counted."""


@dataclass(slots=True)
class Change:
    """What one write does to the row of a run."""

    counts: dict[str, int] = field(default_factory=dict)
    sets: dict[str, object] = field(default_factory=dict)
    components: list[ComponentUsed] = field(default_factory=list)


class Live:
    """A run that this process records.

    next: number of the event that comes next. incomplete: why its record ends early, or "".
    """

    __slots__ = (
        "_attempts",
        "_groups",
        "_patient",
        "_stopping",
        "id",
        "incomplete",
        "next",
        "started",
    )

    def __init__(self, id: str) -> None:
        self.id, self.next, self.incomplete = id, 0, ""
        self.started: RunStarted | None = None
        self._attempts: dict[str, int] = {}  # of components that may be tried again, by digest
        self._patient: dict[int, int] = {}  # attempts of a task, if it has more than one
        self._groups: set[int] = set()  # maps and nested pipelines: their items count, they do not
        self._stopping = False  # no task gets another attempt

    def fold(self, events: Sequence[Event]) -> Change:
        """Give what these events, which follow those seen before, change in the run's row."""
        change = Change()
        kinds = Counter(map(type, events))
        for kind, column in _COUNTED.items():
            if kinds[kind]:
                change.counts[column] = kinds[kind]
        if events:
            change.sets["seen"] = events[-1].at
        if kinds[TaskAdded] or kinds[ComponentUsed]:
            self._note_added(events)
        if self._groups:
            self._discount(events, change)
        for event in events if any(kinds[kind] for kind in _TELLING) else ():
            if type(event) in _TELLING:
                self._fold_one(event, change)
        if self._patient:
            for event in events:
                if type(event) is TaskDone or type(event) is TaskReused:
                    self._patient.pop(event.task, None)
        return change

    def first_row(self, at: float) -> dict[str, object]:
        """Give the row as it is before any event is counted."""
        said = self.started or RunStarted(at=at, run=self.id, name=self.id)
        return {
            "id": self.id,
            "name": said.name,
            "form": said.form,
            "state": "running",
            "parent": said.parent,
            "started": said.at,
            "seen": said.at,
            "params": json.dumps(dict(said.params)),
            "origin": json.dumps(dict(said.origin)),
            "resumes": said.resumes,
            "arguments": said.arguments,
        }

    def _note_added(self, events: Sequence[Event]) -> None:
        self._groups.update([e.task for e in events if type(e) is TaskAdded and e.form != "call"])
        for used in [event for event in events if type(event) is ComponentUsed]:
            self._attempts.update(_attempts(used))
        if self._attempts:
            for event in events:
                if isinstance(event, TaskAdded) and event.component in self._attempts:
                    self._patient[event.task] = self._attempts[event.component]

    def _discount(self, events: Sequence[Event], change: Change) -> None:
        for event in events:
            column = _COUNTED.get(type(event))
            if column is not None and event.task in self._groups:  # type: ignore[attr-defined]
                change.counts[column] -= 1

    def _fold_one(self, event: Event, change: Change) -> None:
        if isinstance(event, TaskErred):
            self._fold_error(event, change)
        elif isinstance(event, TaskUnobserved):
            self._stopping = self._stopping or self._fails_fast
        elif isinstance(event, ComponentUsed):
            change.components.append(event)
        elif isinstance(event, RunStarted):
            self.started = event
        elif isinstance(event, RunFinished):
            change.sets.update(state=event.state, finished=event.at)
            if event.error is not None:
                change.sets["error"] = f"{event.error.type}: {event.error.message}"
            self._attempts, self._patient, self._groups = {}, {}, set()
        elif isinstance(event, RunTimedOut) or getattr(event, "task", None) is None:
            self._stopping = True  # CancelAsked without a task means the whole run

    def _fold_error(self, event: TaskErred, change: Change) -> None:
        again = event.retryable and event.attempt < self._patient.get(event.task, 1)
        goes_on = (again or bool(event.fallback)) and not self._stopping
        if goes_on or event.task in self._groups:
            return
        change.counts["failed"] = change.counts.get("failed", 0) + 1
        self._stopping = self._stopping or (self._fails_fast and not event.observed)

    @property
    def _fails_fast(self) -> bool:
        return self.started is None or self.started.on_error == "fail_fast"


def component_facts(used: ComponentUsed) -> dict[str, object]:
    """Give what is kept of a component beside its name and source."""
    facts: Mapping[str, object] = as_builtins(used)
    return {k: v for k, v in facts.items() if k not in ("kind", "at", "digest", "name", "source")}


def _attempts(used: ComponentUsed) -> dict[str, int]:
    retries = used.policy.get("retries")
    return {used.digest: retries + 1} if isinstance(retries, int) and retries else {}
