"""Events of a run, a slice at a time, as facts that a database elsewhere can take in any order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from twingraph_nb.events import Batch, ComponentUsed, RunFinished
from twingraph_nb.lineage.changes import Changes
from twingraph_nb.lineage.facts import Folder
from twingraph_nb.lineage.remote_upsert import MOVING, REVISION, Guard, Request, requests

__all__ = ["NEWER", "Slice", "Slicer"]

NEWER = "new_version_of"
"""The one label of edges that follows from what all machines have told; see `remote_versions`."""

_OVER = frozenset({"succeeded", "reused", "failed", "skipped", "cancelled"})
_OWN = ("Run", "Task")
_Moving = dict[str, dict[str, object]]


@dataclass(frozen=True, slots=True)
class Slice:
    """What follows from the events of a run up to a number.

    until: the number of the first event that is not in it. size: events in it. names: of the
    components that it tells of. over: nothing more comes in this run.
    """

    run: str
    until: int
    size: int
    changes: Changes
    guards: Mapping[str, Guard] = field(default_factory=dict)
    first_used: Mapping[str, float] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    over: bool = False

    def requests(self, most: int) -> Iterator[Request]:
        """Give what writes it, `most` rows each; the last says that all the others are there."""
        last, rest = Changes(), Changes()
        rest.vertices, rest.edges = dict(self.changes.vertices), self.changes.edges
        me = f"run:{self.run}"
        last.vertices[me] = rest.vertices.pop(me)
        yield from requests(rest, self.guards, most=most, leave=(NEWER,))
        for digest, at in self.first_used.items():
            earlier = Changes()
            earlier.vertex(f"component:{digest}", "Component", {"first_used": at})
            yield from requests(earlier, {f"component:{digest}": ("first_used", "lte", at)})
        yield from requests(last, self.guards)


class Slicer:
    """Folds batches of runs into slices, and remembers what each must repeat.

    A slice tells of a vertex all that moves, not only what has changed, so that the newest alone
    is enough, whichever comes first.
    """

    def __init__(self) -> None:
        self._folder = Folder()
        self._moving: dict[str, _Moving] = {}
        self._early: dict[str, list[Batch]] = {}

    def next(self, run: str) -> int:
        """The number of the first event of a run that is not folded yet."""
        return self._folder.next(run)

    @property
    def waiting(self) -> list[str]:
        """The runs of which events have come that others must come before."""
        return list(self._early)

    def is_open(self, run: str) -> bool:
        """Whether something of the run may still move, as far as its events tell."""
        return run in self._moving

    def forget(self, run: str) -> None:
        """Fold this run from its start when it comes again."""
        self._folder.forget(run)
        self._moving.pop(run, None)
        self._early.pop(run, None)

    def take(self, run: str, batches: Sequence[Batch]) -> Slice | None:
        """Give what follows from batches of one run, or None when that is nothing new."""
        before = self.next(run)
        batches = self._in_turn(run, batches)
        changes = self._folder.fold(batches)
        until = self.next(run)
        if until == before:
            return None
        used, over = _components(batches)
        guards = self._repeated(run, until, changes)
        for digest, event in used.items():
            id = f"component:{digest}"
            if id in changes.vertices:
                changes.vertices[id][1].pop("first_used", None)
                guards[id] = ("last_used", "gt", event.at)
        if over:
            self._moving.pop(run, None)
        first = {digest: event.at for digest, event in used.items()}
        names = frozenset(event.name for event in used.values())
        return Slice(run, until, until - before, changes, guards, first, names, over)

    def _in_turn(self, run: str, batches: Sequence[Batch]) -> list[Batch]:
        """The batches whose turn it is, with those that came early; the others wait."""
        reach, ready = self.next(run), []
        early: list[Batch] = []
        for batch in sorted([*self._early.pop(run, ()), *batches], key=lambda one: one.seq):
            if batch.seq <= reach:
                ready.append(batch)
                reach = max(reach, batch.seq + len(batch.events))
            else:
                early.append(batch)
        if early:
            self._early[run] = early
        return ready

    def _repeated(self, run: str, until: int, changes: Changes) -> dict[str, Guard]:
        """Add what moved earlier; gives who is to be left alone by older slices."""
        known = self._moving.setdefault(run, {})
        me = f"run:{run}"
        changes.vertex(me, "Run", {"run": run})  # carries the revision of the whole
        guards: dict[str, Guard] = {}
        for id, (label, told) in changes.vertices.items():
            if label not in _OWN or (label == "Run" and id != me):
                continue
            moves = {key: told[key] for key in told.keys() & MOVING}
            held = known.get(id)
            if held is None:
                if not moves and id != me:
                    continue  # a task of another run
                held = known[id] = {}
            held.update(moves)
            told.update(held)
            guards[id] = (REVISION, "gt", until)
            if label == "Task" and held.get("state") in _OVER:
                del known[id]
        return guards

    def interrupted(self, run: str) -> Slice:
        """Give what is so when the process of a run has gone, after all its events."""
        until, changes = self.next(run), Changes()
        for id in self._moving.get(run, {f"run:{run}": {}}):
            changes.vertex(id, "Run" if id.startswith("run:") else "Task", {"state": "interrupted"})
        guards = self._repeated(run, until, changes)
        self._moving.pop(run, None)
        return Slice(run, until, 0, changes, guards, over=True)

    def incomplete(self, run: str, why: str) -> Slice:
        """Give what says that events of a run are missing."""
        until, changes = self.next(run), Changes()
        changes.vertex(f"run:{run}", "Run", {"incomplete": why})
        return Slice(run, until, 0, changes, self._repeated(run, until, changes))


def _components(batches: Sequence[Batch]) -> tuple[dict[str, ComponentUsed], bool]:
    """The components that are told of, by digest, and whether the run has ended."""
    used: dict[str, ComponentUsed] = {}
    over = False
    for batch in batches:
        for event in batch.events:
            if type(event) is ComponentUsed:
                used[event.digest] = event
            elif type(event) is RunFinished:
                over = True
    return used, over
