"""What the record of earlier runs tells about the tasks of a pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from twingraph_nb.events import (
    Batch,
    ComponentUsed,
    MapExpanded,
    TaskAdded,
    TaskCancelled,
    TaskDone,
    TaskErred,
    TaskReused,
    TaskSkipped,
    TaskStarted,
    TaskTicketed,
)
from twingraph_nb.source.used import Uses
from twingraph_nb.store import Store

__all__ = ["TOP", "History", "Key", "Names", "Past", "Recorded", "by_key", "plain", "recorded"]

Key = tuple[int, str, int]
"""(place of the group, name, how many of that name came before it in that group)"""
TOP = -1
"""The place of what is in no group."""
_HANDLE = re.compile(
    r"<(?:task )?(\S+?),? (?:waiting|ready|running|retrying|\w+ed)\b(?:, hash \w*)?>?"
)
"""A task or an output in the text of a container; the text may be cut in the middle of it."""
_LOOKED = 200
"""So many of the newest runs are looked through for some of the pipeline."""
_TIMED_RUNS = 3
_TIMED_EVENTS = 100_000
"""From so many runs and events of them the usual times are taken."""


class Names:
    """Tells which task of one run is which of another: by name and order within its group."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], int] = {}
        self._places: dict[Key, int] = {}

    def key(self, group: int, name: str) -> Key:
        """Give the key of the next task of this name; `group` is the place of its group."""
        before = self._seen.get((group, name), 0)
        self._seen[group, name] = before + 1
        return group, name, before

    def place(self, key: Key) -> int:
        """Give a number that stands for the group with this key, in every run alike."""
        return self._places.setdefault(key, len(self._places))

    def again(self) -> None:
        """Begin another run."""
        self._seen.clear()


class Past(msgspec.Struct, gc=False):
    """A task as a record tells of it.

    state: as tasks have it; what has no end is "unfinished". seconds: of its last attempt.
    kept: blobs of its outputs. ticket: its job had a name elsewhere and no end.
    """

    added: TaskAdded
    state: str = "unfinished"
    error: str = ""
    seconds: float | None = None
    digest: str = ""
    kept: Mapping[str, str] | None = None
    outputs: Mapping[str, str] | None = None
    run: str = ""
    count: int | None = None
    ticket: bool = False
    began: float | None = None


def plain(texts: Mapping[str, str] | None) -> dict[str, str]:
    """Give short texts of inputs without what differs between equal runs: hashes and states."""
    return {
        port: _HANDLE.sub(r"<\1>", text) if "<" in text else text
        for port, text in (texts or {}).items()
    }


@dataclass(slots=True)
class Recorded:
    """A run as it was: its tasks by number, its components by digest."""

    id: str
    tasks: dict[int, Past] = field(default_factory=dict)
    used: dict[str, ComponentUsed] = field(default_factory=dict)

    def component(self, task: Past) -> str:
        """Give the name of a task's component, "" for a nested pipeline."""
        used = self.used.get(task.added.component)
        return used.name if used is not None else ""


def recorded(run: str, batches: Iterable[Batch]) -> Recorded:
    """Give the tasks of a run as its record tells."""
    found = Recorded(run)
    tasks = found.tasks
    for batch in batches:
        for event in batch.events:
            kind = type(event)
            if kind is TaskAdded:
                tasks[event.task] = Past(event)  # type: ignore[attr-defined, arg-type]
            elif kind is TaskStarted:
                tasks[event.task].began = event.at  # type: ignore[attr-defined]
            elif kind is TaskDone:
                _done(tasks[event.task], event)  # type: ignore[attr-defined, arg-type]
            elif kind in _OTHERS:
                _OTHERS[kind](tasks[event.task], event)  # type: ignore[attr-defined]
            elif kind is ComponentUsed:
                found.used[event.digest] = event  # type: ignore[attr-defined, assignment]
    return found


def _done(task: Past, event: TaskDone) -> None:
    task.state, task.error, task.ticket = "succeeded", "", False
    task.digest, task.kept, task.outputs = event.digest or "", event.kept, event.outputs
    if task.began is not None:
        task.seconds = event.at - task.began


def _reused(task: Past, event: TaskReused) -> None:
    task.state, task.digest, task.kept = "reused", event.digest, event.kept
    task.outputs, task.run = event.outputs, event.run


def _erred(task: Past, event: TaskErred) -> None:
    task.state, task.ticket = "failed", False
    task.error = f"{event.error.type}: {event.error.message}"


def _cancelled(task: Past, event: TaskCancelled) -> None:
    task.state, task.ticket = "cancelled", False


def _skipped(task: Past, event: TaskSkipped) -> None:
    task.state = "skipped"


def _ticketed(task: Past, event: TaskTicketed) -> None:
    task.ticket = True


def _expanded(task: Past, event: MapExpanded) -> None:
    task.count = event.count


_OTHERS: Mapping[type, Callable[..., None]] = {
    TaskReused: _reused,
    TaskErred: _erred,
    TaskCancelled: _cancelled,
    TaskSkipped: _skipped,
    TaskTicketed: _ticketed,
    MapExpanded: _expanded,
}


def by_key(run: Recorded, names: Names) -> Iterator[tuple[Key, Past]]:
    """Give the tasks of a run in the order of the calls, each with its key."""
    places: dict[int | None, int] = {None: TOP}
    groups = {task.added.group for task in run.tasks.values()}
    for number, task in run.tasks.items():
        added = task.added
        key = names.key(TOP if added.group is None else places.get(added.group, TOP), added.name)
        if number in groups:
            places[number] = names.place(key)
        yield key, task
    names.again()


class History:
    """What earlier runs of a pipeline tell of its tasks, and how long they take.

    pipeline: its name. names: tells which task of the plan is which of the last run. last: the
    run that is resumed, or else the newest of the pipeline; None if there is none.
    """

    def __init__(
        self,
        store: Store | None,
        pipeline: str,
        resumes: str,
        names: Names,
        events: Callable[[str], list[Batch]] | None = None,
    ) -> None:
        self.pipeline, self.names, self._store = pipeline, names, store
        self.last: Recorded | None = None
        self.keys: dict[Key, Past] = {}
        self._seconds: dict[str, list[float]] = {}
        self._typical: dict[str, float | None] = {}
        self._versions: dict[str, str | None] = {}
        if store is not None:
            self._read(store, resumes, events or store.events)
            self._name()

    def _read(self, store: Store, resumes: str, events_of: Callable[[str], list[Batch]]) -> None:
        rows = [row for row in store.runs(limit=_LOOKED) if row.name == self.pipeline]
        chosen = [store.run(resumes)] if resumes else []
        chosen += [row for row in rows if row.id != resumes and row.state != "running"]
        events = 0
        for row in chosen[:_TIMED_RUNS]:
            events += row.events
            if self.last is not None and events > _TIMED_EVENTS:
                break
            run = recorded(row.id, events_of(row.id))
            if self.last is None:
                self.last = run
            for task in run.tasks.values():
                if task.seconds is not None:
                    self._seconds.setdefault(run.component(task), []).append(task.seconds)

    def _name(self) -> None:
        """Find out which key each task of the last run has."""
        if self.last is None:
            return
        for key, task in by_key(self.last, self.names):
            self.keys[key] = task

    def seconds(self, component: str) -> float | None:
        """Give how long a task of this component usually takes: the median; None if unknown."""
        try:
            return self._typical[component]
        except KeyError:
            known = self._seconds.get(component)
            typical = self._typical[component] = _median(known) if known else None
            return typical

    def source(self, component: str) -> str | None:
        """Give the source of the version that ran last; None if none has run."""
        if component not in self._versions:
            self._versions[component] = self._source(component)
        return self._versions[component]

    def _source(self, component: str) -> str | None:
        used = self.last.used.values() if self.last is not None else ()
        here = [one.source for one in used if one.name == component]
        if here:
            return here[-1]
        return self._store.last_source(component) if self._store is not None else None

    def uses(self, component: str) -> Uses:
        """Give what the version that ran in the last run used of its notebook."""
        used = self.last.used.values() if self.last is not None else ()
        here = [one.uses for one in used if one.name == component]
        return here[-1] if here else {}

    def platform(self, component: str) -> str:
        """Give where a component ran in the last run, "" if it did not."""
        used = self.last.used.values() if self.last is not None else ()
        return next((one.platform for one in used if one.name == component), "")


def _median(numbers: list[float]) -> float:
    # Of `statistics`, the import alone would cost a tenth of a small plan.
    ordered, half = sorted(numbers), len(numbers) // 2
    return (ordered[half] + ordered[~half]) / 2
