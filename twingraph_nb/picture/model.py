"""The model of a run that is drawn: its tasks, components and counters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from twingraph_nb.events import (
    ComponentUsed,
    ErrorInfo,
    RunStateName,
    TaskAdded,
    TaskStateName,
)
from twingraph_nb.question import Pending

__all__ = ["FINAL", "GOOD", "KEPT", "STATES", "Mark", "Part", "Screen", "Shown", "needed"]

STATES: Final[tuple[TaskStateName, ...]] = (
    "waiting",
    "ready",
    "running",
    "retrying",
    "succeeded",
    "reused",
    "failed",
    "skipped",
    "cancelled",
)
FINAL: Final = frozenset({"succeeded", "reused", "failed", "skipped", "cancelled"})
GOOD: Final = frozenset({"succeeded", "reused"})
KEPT: Final = 10_000
"""Items of one map that stay on screen one by one; of the others that have ended, their number."""
LOG_TAIL: Final = 4_000
"""Characters kept of what one task printed."""
LOG_BUDGET: Final = 2_000_000
"""Characters kept of all logs together; the tasks that printed first lose theirs."""


class Shown:
    """One task as it is on screen. Times are seconds since the epoch, None = not yet.

    pending: how many of the tasks it needs have not succeeded. seconds: how long the attempts
    that have ended took together. items: tasks that belong to it if it is a group. folded: how
    many more there were, by state. why: why it was reused, skipped or cancelled.
    """

    __slots__ = (
        "added",
        "after",
        "attempt",
        "began",
        "chunks",
        "component",
        "count",
        "error",
        "finished",
        "folded",
        "form",
        "fraction",
        "group",
        "hash",
        "index",
        "inputs",
        "items",
        "message",
        "name",
        "number",
        "outputs",
        "pending",
        "seconds",
        "started",
        "state",
        "why",
        "wires",
        "worker",
    )

    def __init__(self, event: TaskAdded) -> None:
        self.number, self.hash, self.name = event.task, event.hash, event.name
        self.component, self.form, self.wires = event.component, event.form, event.wires
        self.group, self.index, self.inputs = event.group, event.index, event.inputs
        self.added = event.at
        self.state: TaskStateName = "ready"
        self.attempt = self.chunks = self.pending = 0
        self.seconds = 0.0
        self.fraction: float | None = None
        self.count: int | None = None
        self.started: float | None = None
        self.began: float | None = None
        self.finished: float | None = None
        self.message = self.worker = self.why = ""
        self.error: ErrorInfo | None = None
        self.outputs: Mapping[str, str] | None = None
        self.after: list[int] | None = None
        self.items: list[int] | None = None
        self.folded: dict[TaskStateName, int] | None = None

    @property
    def final(self) -> bool:
        """True when its state will not change any more."""
        return self.state in FINAL

    def elapsed(self, now: float) -> float | None:
        """Seconds from its first start to its end, or to `now`; None if it never started."""
        if self.started is None:
            return None
        return max(0.0, (self.finished if self.finished is not None else now) - self.started)


class _Tasks(dict[int, Shown]):
    """By number. Items that were folded into their map look alike, like a group without items."""

    def __missing__(self, number: int) -> Shown:
        return _FOLDED


_FOLDED: Final = Shown(TaskAdded(0.0, -1, "", "an item of a large map", "", form="map"))
_FOLDED.state, _FOLDED.finished = "succeeded", 0.0


class Part:
    """One component's share of a run. open: tasks not finished; seconds: of `timed` tasks."""

    __slots__ = ("facts", "open", "retries", "seconds", "timed", "total")

    def __init__(self, facts: ComponentUsed | None) -> None:
        self.facts = facts
        retries = facts.policy.get("retries", 0) if facts is not None else 0
        self.retries = retries if isinstance(retries, int) else 0
        self.total = self.open = self.timed = 0
        self.seconds = 0.0


class Mark(NamedTuple):
    """What is said of a task beside its state: of what kind, see `marks.py`, and as a sentence."""

    kind: str
    text: str


class Screen:
    """The model of one run.

    tasks: by number, in the order they were called. counts: plain calls by state (maps and
    nested pipelines do not count, their items do). version: grows with each change; structure:
    grows with each new task.
    """

    def __init__(self) -> None:
        self.run = self.name = ""
        self.form = "pipeline"
        self.parent: str | None = None
        self.params: Mapping[str, str] = {}
        self.origin: Mapping[str, str] = {}
        self.state: RunStateName = "running"
        self.started: float | None = None
        self.finished: float | None = None
        self.error: ErrorInfo | None = None
        self.note = ""
        self.selected = ""
        """What of it was chosen to run, in words."""
        self.fail_fast = True
        self.stopping = False
        """True when no task will get another attempt."""
        self.tasks: dict[int, Shown] = _Tasks()
        self.questions: dict[int, Pending] = {}
        """What tasks ask of people, by the number of the task."""
        self.marks: Mapping[int, Mark] = {}
        """What is said of tasks beside their states."""
        self.parts: dict[str, Part] = {}
        self.counts: dict[str, int] = dict.fromkeys(STATES, 0)
        self.version = 0
        self.structure = 0
        self.busy = 0.0
        """Seconds of work done so far, all attempts of all plain calls."""
        self.first_start: float | None = None
        self._logs: dict[int, str] = {}
        self._logged = 0

    @property
    def total(self) -> int:
        """How many plain calls there are so far."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """How many plain calls succeeded or were reused."""
        return self.counts["succeeded"] + self.counts["reused"]

    @property
    def over(self) -> bool:
        """True when the run has finished."""
        return self.state != "running"

    def log_of(self, task: int) -> str:
        """The last lines the task printed, at most about 4,000 characters."""
        return self._logs.get(task, "")

    def facts_of(self, task: Shown) -> ComponentUsed | None:
        """What is known of the task's component."""
        part = self.parts.get(task.component)
        return part.facts if part is not None else None

    def log(self, task: int, text: str) -> None:
        """Keep the tail of what a task printed."""
        old = self._logs.pop(task, "")
        new = (old + text)[-LOG_TAIL:]
        self._logs[task] = new
        self._logged += len(new) - len(old)
        while self._logged > LOG_BUDGET:
            first = next(iter(self._logs))
            self._logged -= len(self._logs.pop(first))


def needed(screen: Screen, task: int) -> frozenset[int]:
    """Give the numbers of the task, of all it needs, and of the items of groups among them."""
    found: set[int] = set()
    todo = [task]
    while todo:
        number = todo.pop()
        shown = screen.tasks.get(number)
        if shown is None or number in found:
            continue
        found.add(number)
        todo.extend(wire[0] for wire in shown.wires)
        todo.extend(shown.items or ())
    return frozenset(found)
