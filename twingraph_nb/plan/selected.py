"""The plan of a run of which only a part is selected; it does with calls as `Choosing` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from twingraph_nb.component import shelf
from twingraph_nb.errors import LeftOut, NotKept, StoreError, TaskSkipped
from twingraph_nb.graph.refs import needs_of, resolve
from twingraph_nb.graph.task import Task
from twingraph_nb.picture.progress import seconds_text
from twingraph_nb.plan.history import History, Past
from twingraph_nb.plan.planned import PlannedRun
from twingraph_nb.plan.reasons import Cause
from twingraph_nb.plan.values import Held, NotYet
from twingraph_nb.scheduler.choosing import only_left_out
from twingraph_nb.scheduler.earlier import Earlier
from twingraph_nb.scheduler.inputs import arguments_of, is_named
from twingraph_nb.scheduler.reuse import any_kept
from twingraph_nb.selection import Selecting, Selection
from twingraph_nb.store import Look

__all__ = ["SelectedRun"]


class SelectedRun(PlannedRun):
    """A planned run of which a part is selected.

    early: name of the task at whose value, which is not there, the pipeline's function ends; "" if
    it does not. note: says so.
    """

    def __init__(
        self, history: History, look: Look | None, earlier: Earlier | None, chosen: Selection
    ) -> None:
        if chosen.from_:
            earlier = Earlier("") if earlier is None else earlier
            earlier.all = True
        super().__init__(history, look, earlier, chosen.anew)
        self._selecting = Selecting(chosen)
        self._any = earlier or Earlier("")
        self._called: dict[int, tuple[Task, Past | None]] = {}
        self._missing: set[int] = set()
        self._unsure: set[int] = set()  # whether they run is known only when others have run
        self._whole = True
        self.early = self.note = ""

    def follow(self, function: Callable[[], object]) -> Task | None:
        """Call the function; see `PlannedRun.follow`."""
        try:
            stopped = super().follow(function)
        except NotKept as exc:  # as the run would
            stopped, self.early, self.note = None, exc.task, f"it fails: {exc}"
        except BaseException as exc:
            self.early = only_left_out(exc)
            if not self.early:
                raise
            stopped, self.note = (
                None,
                (
                    f"{self._history.pipeline} ends where it looks at the value of {self.early}, "
                    f"which is left out"
                ),
            )
        self._whole = stopped is None and not self.early
        if stopped is None:
            self._apply(self._selecting.end())
            for number in self._selecting.left():
                self._out(self._called[number][0], self._selecting.why(number))
        else:
            for task, _ in self._called.values():
                if not task.done and self._selecting.role(task.number) == "held":
                    said = f"it runs if it is needed, which is known when {stopped.name} has run"
                    self._row(task, Cause("waits", said))
        return stopped

    def check(self) -> None:
        """See that all that was selected is called.

        Raises:
            WiringError: something is not.
        """
        if self._whole:
            rows = self._rows.values()
            names = {name for row in rows for name in (row.name, row.component) if name}
            later = [name for row in rows if row.expected for name in (row.name, row.component)]
            self._selecting.check(names or {*shelf.components, *shelf.pipelines}, later)

    def looks(self, task: Task, group: int | None) -> None:
        if task.done or task.number < 0:
            return
        changed, verdict = self._selecting.look(task.number)
        self._apply(changed)
        if isinstance(task.exception(), LeftOut) and verdict == "fail":
            task.settle(None, NotKept(task.name, [task.name]))

    # -- calls -------------------------------------------------------------------------------

    def _take_in(self, task: Task, past: Past | None) -> None:
        self._called[task.number] = (task, past)
        component = task.component.name if task.component is not None else ""
        needs = [(o.number, bool(port)) for o, _, port in task.needs if o.link is self]
        changed = self._selecting.added(
            task.number, task.name, component, task.form, needs, task.group
        )
        self._apply(changed)
        if task.form == "call" and self._look is not None and is_named(task):
            task.digest = self._digests.of(task, task.bound or {})
        self._become(task, past)

    def _apply(self, changed: Iterable[int]) -> None:
        """Tasks have other roles than before; a pipeline comes after what is in it."""
        for number in sorted(changed, key=lambda one: (self._last(one), -one)):
            task, past = self._called[number]
            if number in self._returned:
                self._again(task)
            elif not task.done:
                self._become(task, past)

    def _last(self, number: int) -> int:
        """The number of the last task that is in a group."""
        if number not in self._returned:
            return number
        return max(map(self._last, self._inside.get(number, ())), default=number)

    def _become(self, task: Task, past: Past | None) -> None:
        role = self._selecting.role(task.number)
        if role in ("held", "left"):
            self._row(task, Cause("not selected", self._selecting.why(task.number)))
            if role == "left":
                self._out(task, self._selecting.why(task.number))
        elif task.form != "call":
            self._group(task, past)
        elif role == "take":
            self._take(task)
        else:
            self._run(task, past)
        if task.done:
            task.wake()

    def _run(self, task: Task, past: Past | None) -> None:
        inside = [need for need in task.needs if need[0].link is self]
        lacking = [o.name for o, _, port in inside if port and o.number in self._missing]
        if lacking:
            said = f"it wants the value of {' and '.join(lacking)}, which is not kept"
            self._settle(task, "blocked", Cause("value not kept", said), None)
            task.settle(None, NotYet(task))
            return
        for other, _, port in inside:
            if port and other.number in self._unsure:
                self._wait_for(task, other)
                return
            holds = port or self._selecting.orders(task.number, other.number)
            if holds and isinstance(other.exception(), TaskSkipped):
                self._out(task, f"{other.name} is left out")
                return
        self._decide(task, past)

    def _wait_for(self, task: Task, other: Task) -> None:
        self._unsure.update((task.number, *task.above))
        cause = Cause("waits", f"known when {other.name} has run")
        self._settle(task, "blocked", cause, self._history.seconds(task.component.name))
        task.settle(None, NotYet(task))

    def _take(self, task: Task) -> None:
        number, look = task.number, self._look
        digest = self._digest(task)
        lacks = None if digest is not None or is_named(task) else self._lacks(task.needs)
        if lacks is not None and isinstance(lacks.exception(), NotYet):
            self._wait_for(task, lacks)
            return
        found = None if digest is None or look is None else any_kept(look, self._any, digest)
        if found is not None:
            age = seconds_text(max(0.0, time.time() - found.at))
            cause = Cause("kept", f"an equal task was done {age} ago in run {found.run}")
            self._settle(task, "reuse", cause, 0.0, run=found.run)
            task.settle(Held(task.component, found.outputs))
            return
        if self._selecting.skipped(number):
            self._out(task, self._selecting.why(number))
            return
        self._missing.update((number, *task.above))
        self._out(task, self._selecting.why(number))

    def _digest(self, task: Task) -> bytes | None:
        """The task's name by content, with values read in that have to be."""
        if task.digest is not None or self._look is None:
            return task.digest
        if not is_named(task):
            values = [other for other, _, port in task.needs if port and other.link is self]
            if any(isinstance(other.exception(), TaskSkipped) for other in values):
                return None
            for other in values:
                self._apply(self._selecting.take(other.number))
                if isinstance(other.exception(), TaskSkipped):
                    return None
            if self._lacks(task.needs) is not None:
                return None
        try:
            arguments = arguments_of(task) if task.needs else task.bound or {}
            task.digest = self._digests.of(task, arguments)
        except (StoreError, TaskSkipped):
            return None
        return task.digest

    def _row(self, task: Task, cause: Cause) -> None:
        """Say that a task does not run, as far as is known."""
        if task.form == "call":
            self._settle(task, "blocked" if cause.reason == "waits" else "skip", cause, None)
            return
        row = self._group_row(task, self._wires(task), None)
        action = "blocked" if cause.reason == "waits" else "skip"
        self._reasons.named[task.number] = cause
        self._rows[task.number] = replace(
            row, action=action, reason=cause.reason, text=cause.text, seconds=None
        )

    def _out(self, task: Task, why: str) -> None:
        """It is left out for good."""
        self._row(task, Cause("not selected", why))
        task.settle(None, LeftOut(task.name, why))
        task.wake()

    # -- groups ------------------------------------------------------------------------------

    def _settle_group(self, task: Task, value: object, waits: Task | None) -> None:
        """Its value is there, waits for a task that runs, or lacks what is left out so far."""
        number, role = task.number, self._selecting.role(task.number)
        ended = waits is task and task.form == "pipeline"
        out = ended or (waits is not None and isinstance(waits.exception(), TaskSkipped))
        held = not out and waits is not None and not waits.done
        if not (out or held):
            super()._settle_group(task, value, waits)
            return
        if out and role == "take" and not self._selecting.skipped(number):
            self._missing.update((number, *task.above))
        rows = [self._rows[inside] for inside in self._inside.get(number, ())]
        why = "part of it is left out"
        if not any(row.action in ("run", "blocked") for row in rows):
            self._row(task, Cause("not selected", why))
        if out:
            task.settle(None, LeftOut(task.name, why))

    def _again(self, task: Task) -> None:
        """What is in a nested pipeline has other roles now; its function was called before."""
        returned = self._returned[task.number]
        waits = self._lacks(needs_of({"value": returned}))
        self._rows[task.number] = self._group_row(task, self._rows[task.number].wires, waits)
        self._settle_group(task, resolve(returned) if waits is None else None, waits)
        if task.done:
            task.wake()
