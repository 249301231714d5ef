"""Why a task would run: the first reason that holds, as a sentence."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec

from twingraph_nb.component import Component
from twingraph_nb.events import TaskForm
from twingraph_nb.graph.summary import summaries
from twingraph_nb.graph.task import Task
from twingraph_nb.picture.progress import seconds_text
from twingraph_nb.plan.history import History, Past, plain
from twingraph_nb.plan.model import Reason
from twingraph_nb.scheduler.digests import used_by
from twingraph_nb.source.reach import Reach
from twingraph_nb.source.text import normalised
from twingraph_nb.source.used import Uses, changed_uses, used_text
from twingraph_nb.store import Look

__all__ = [
    "CHANGES",
    "UNDONE",
    "Cause",
    "Reasons",
    "numbered",
    "running",
    "source_diff",
    "used_cause",
    "uses_diff",
]

CHANGES: frozenset[Reason] = frozenset({"source changed", "input changed", "never ran"})
"""What makes the inputs of later tasks others than they were."""
UNDONE = {
    "failed": "failed",
    "skipped": "was skipped",
    "cancelled": "was cancelled",
    "unfinished": "did not finish",
}


class Cause(msgspec.Struct, frozen=True, gc=False):
    """A reason with its sentence, and what has changed in the source if that is it."""

    reason: Reason
    text: str
    diff: str = ""


@dataclass(slots=True)
class Reasons:
    """Finds out why tasks would run.

    reuses: what has no cache is reused too, of the run that is resumed or with `from_`. named: the
    causes of tasks of this plan so far, by number.
    """

    history: History
    look: Look | None
    reuses: bool
    named: dict[int, Cause] = field(default_factory=dict)
    _diffs: dict[str, str] = field(default_factory=dict)
    _causes: dict[str, Cause | None] = field(default_factory=dict)

    def of(self, task: Task, past: Past | None) -> Cause:
        """Give why this call runs, which is not reused."""
        component = task.component
        last = self.history.source(component.name)
        if last is None:
            return Cause("never ran", "it has never run")
        diff = self._diff(component, last)
        if diff:
            return Cause("source changed", "its source has changed", diff)
        if used := self._used(component):
            return used
        if component.policy.cache is None and not self.reuses:
            return Cause("policy", "it has no cache: it runs every time")
        if past is None:
            return self._expired(task) or Cause("never ran", "this call is new")
        if past.state in UNDONE and self.reuses:
            return Cause("did not finish", self._undone(past))
        changed = self._changed(task, past) or self._expired(task) or self._reached(task, past)
        return changed or self._lost(task, past)

    def _diff(self, component: Component, last: str) -> str:
        name = component.name
        if name not in self._diffs:
            self._diffs[name] = source_diff(name, last, component.source.text)
        return self._diffs[name]

    def _used(self, component: Component) -> Cause | None:
        """Something of the notebook that it uses and that is not what it was."""
        if component.name not in self._causes:
            before, now = self.history.uses(component.name), used_by(component)
            self._causes[component.name] = used_cause(before, now)
        return self._causes[component.name]

    @staticmethod
    def _undone(past: Past) -> str:
        said = f"it {UNDONE[past.state]}" + (f": {past.error}" if past.error else "")
        if past.ticket:
            said += "; its job is awaited if it is still there"
        return said

    def _changed(self, task: Task, past: Past) -> Cause | None:
        """An input that is not what it was."""
        for other, _, port in task.needs:
            cause = self.named.get(other.number) if other.link is task.link else None
            if port and cause is not None and cause.reason in CHANGES:
                return Cause("input changed", f"input {port!r}: {other.name} runs ({cause.reason})")
        bound = task.bound or {}
        now, before = plain(summaries(bound)), plain(past.added.inputs)
        for port in [*now, *(port for port in before if port not in now)]:
            if now.get(port) != before.get(port):
                was, is_ = before.get(port, "not given"), now.get(port, "not given")
                return Cause("input changed", f"input {port!r} was {was}, is {is_}")
        wires = {(port, self._name(number)) for number, _, port in past.added.wires if port}
        for other, _, port in task.needs:
            if port and (port, other.name) not in wires:
                return Cause("input changed", f"input {port!r} now comes from {other.name}")
        return None

    def _name(self, number: int) -> str:
        last = self.history.last
        return last.tasks[number].added.name if last is not None and number in last.tasks else ""

    def _expired(self, task: Task) -> Cause | None:
        cache = task.component.policy.cache
        if self.look is None or cache is None or cache is True or task.digest is None:
            return None
        found = self.look.find(task.digest.hex())
        if found is None:
            return None
        seconds = time.time() - found.at
        if seconds < 0:
            return Cause("expired", "what it gave is of a time to come: a clock was set meanwhile")
        age, most = seconds_text(seconds), seconds_text(float(cache))
        return Cause("expired", f"what it gave is {age} old, its cache is of {most}")

    def _reached(self, task: Task, past: Past) -> Cause | None:
        """Its own source and inputs are the same, but not what names it."""
        digest = task.digest
        if digest is None or not past.digest or digest.hex() == past.digest:
            return None
        found = cast("Reach | None", task.component.memo.get("reach"))
        groups = (found.functions, found.components, found.data) if found is not None else ()
        names = sorted(name for group in groups for name in group)
        if names:
            one = "one of " * (len(names) > 1)
            return Cause("source changed", f"what it uses has changed: {one}{_listed(names)}")
        return Cause("input changed", "an input has changed in what its short text does not show")

    def _lost(self, task: Task, past: Past) -> Cause:
        if past.kept:
            return Cause("value not kept", "what it gave is no longer in the store")
        took = f" (it took {seconds_text(past.seconds)})" if past.seconds is not None else ""
        return Cause("value not kept", f"it finished, but its value was not kept{took}")


def used_cause(before: Uses, now: Uses) -> Cause | None:
    """Give the reason that something a component uses has changed: what, with its diff."""
    changed = changed_uses(before, now)
    if not changed:
        return None
    said = _listed([used_text(name, before, now) for name in changed])
    return Cause("source changed", f"what it uses has changed: {said}", uses_diff(before, now))


def uses_diff(before: Uses, now: Uses, whose: tuple[str, str] = ("as it ran", "now")) -> str:
    """Give what has changed in the sources of helpers that both use."""
    several = [
        source_diff(name, before[name][1], now[name][1], whose)
        for name in changed_uses(before, now)
        if not now[name][1].startswith("= ")
    ]
    return "\n".join(filter(None, several))


def numbered(count: int, form: TaskForm) -> str:
    """Say how many tasks a group has, or items a map."""
    noun = "item" if form == "map" else "task"
    return f"{count:,} {noun}{'s' * (count != 1)}" if count else f"no {noun}s"


def running(count: int, of: int, form: TaskForm) -> str:
    """Say how many of them run."""
    part = f"{count:,} of " if count < of else ""
    return f"{part}{numbered(of, form)} run{'s' * (count == 1)}"


def source_diff(
    name: str, old: str, new: str, whose: tuple[str, str] = ("as it ran", "now")
) -> str:
    """Give what has changed from one source to another; "" if only layout or comments have."""
    if old == new or not old or not new or _same(old, new):
        return ""
    before, after = (f"{name} ({one})" for one in whose)
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), before, after, lineterm="")
    return "\n".join(lines)


def _same(old: str, new: str) -> bool:
    try:
        return normalised(old) == normalised(new)
    except SyntaxError:  # of another language
        return False


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return "; ".join(names[:6]) + more
