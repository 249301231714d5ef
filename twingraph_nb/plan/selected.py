"""The plan of a run of which only a part is selected; it does with calls as `Choosing` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

from msgspec.structs import replace

from twingraph_nb.errors import LeftOut, NotKept, StoreError, TaskSkipped
from twingraph_nb.graph.refs import needs_of, resolve
from twingraph_nb.graph.task import Task
from twingraph_nb.plan.history import History, Past
from twingraph_nb.plan.planned import Need, PlannedRun
from twingraph_nb.plan.reasons import Cause
from twingraph_nb.plan.values import NotYet
from twingraph_nb.scheduler.blocks import Block, not_selected
from twingraph_nb.scheduler.choosing import only_left_out, selectable
from twingraph_nb.scheduler.earlier import Earlier
from twingraph_nb.scheduler.inputs import arguments_of, is_named
from twingraph_nb.scheduler.reuse import any_kept
from twingraph_nb.selecting import PART, Selecting
from twingraph_nb.selection import Selection
from twingraph_nb.settled import Settled
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
        self._doubtful: dict[int, str] = {}  # whether they are taken is known when that has run
        self._late: list[Task] = []  # of clean-ups, that get what nobody wants so far
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
            stopped = None
            self.note = (
                f"{self._history.pipeline} ends where it looks at the value of {self.early}, "
                f"which is left out"
            )
        self._whole = stopped is None and not self.early
        if stopped is None:
            self._apply(self._selecting.end())
            self._end()
        else:
            for task, _ in self._called.values():
                if not task.done and self._selecting.role(task.number) == "held":
                    said = f"it runs if it is needed, which is known when {stopped.name} has run"
                    self._row(task, Cause("waits", said))
        return stopped

    def _end(self) -> None:
        """All that may be wanted is known: settle what waited for that."""
        for number in self._selecting.left():
            task = self._called[number][0]
            if first := self._doubtful.get(number):
                said = f"it is taken if it is needed, which is known when {first} has run"
                self._row(task, Cause("waits", said))
                task.settle(None, NotYet(task))
            else:
                self._out(task, self._selecting.why(number))
        for task in self._late:
            self._run(*self._called[task.number])
        for number in reversed(self._called):
            task = self._called[number][0]
            if self._was_called(number):
                if task.done and task.error is None:
                    self._rows[number] = self._group_row(task, self._rows[number].wires, None)
                elif not task.done:
                    self._again(task)

    def check(self) -> None:
        """See that all that was selected is called.

        Raises:
            WiringError: something is not.
        """
        if self._whole:
            rows = self._rows.values()
            names = {name for row in rows for name in (row.name, row.component) if name}
            later = [name for row in rows if row.expected for name in (row.name, row.component)]
            self._selecting.check(names or selectable(), later)

    def looks(self, task: Task, group: int | None) -> None:
        if task.done or task.number < 0:
            return
        changed, verdict = self._selecting.look(task.number)
        self._apply(changed)
        if isinstance(task.error, LeftOut) and verdict == "fail":
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
            if self._was_called(number):
                self._again(task)
            elif not task.done:
                self._become(task, past)

    def _was_called(self, number: int) -> bool:
        """Tell whether a pipeline's function, or the code of a block, has called all it calls."""
        return number in self._returned or (number in self._blocks and self._blocks[number].closed)

    def _last(self, number: int) -> int:
        """The number of the last task that is in a group."""
        if not self._was_called(number):
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

    def close_block(self, task: Task, block: Block, error: BaseException | None) -> None:
        more = block.catch is not None or block.finally_ is not None
        self._selecting.close(task.number, more=more)
        super().close_block(task, block, error)

    def _run(self, task: Task, past: Past | None) -> None:
        inside = [need for need in task.needs if need[0].link is self]
        if self._is_late(task, inside):
            self._late.append(task)
            return
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
            if holds and isinstance(other.error, TaskSkipped):
                self._out(task, f"{other.name} is left out")
                return
        self._decide(task, past)

    def _is_late(self, task: Task, inside: Sequence[Need]) -> bool:
        """Tell whether a call of a clean-up gets what nobody wants so far."""
        if self._selecting.over or not self._selecting.behind(task.number):
            return False
        for other, _, port in inside:
            if port and not other.done and self._selecting.role(other.number) in ("held", "open"):
                said = f"it runs if {other.name} does, which is known only later"
                self._row(task, Cause("waits", said))
                return True
        return False

    def _wait_for(self, task: Task, other: Task) -> None:
        self._unsure.update((task.number, *task.above))
        cause = Cause("waits", f"known when {other.name} has run")
        self._settle(task, "blocked", cause, self._history.seconds(task.component.name))
        task.settle(None, NotYet(task))

    def _take(self, task: Task) -> None:
        number, look = task.number, self._look
        digest = self._digest(task)
        lacks = None if digest is not None or is_named(task) else self._lacks(task.needs)
        if lacks is not None and isinstance(lacks.error, NotYet):
            self._wait_for(task, lacks)
            return
        found = None if digest is None or look is None else any_kept(look, self._any, digest)
        if found is not None:
            self._reuse(task, found)
            return
        if not self._selecting.skipped(number):
            self._missing.update((number, *task.above))
        self._out(task, self._selecting.why(number))

    def _digest(self, task: Task) -> bytes | None:
        """The task's name by content, with values read in that have to be."""
        if task.digest is not None or self._look is None:
            return task.digest
        if not is_named(task):
            values = [other for other, _, port in task.needs if port and other.link is self]
            if any(isinstance(other.error, TaskSkipped) for other in values):
                return None
            for at, other in enumerate(values):
                self._apply(self._selecting.take(other.number))
                if isinstance(other.error, TaskSkipped):
                    return None
                if isinstance(other.error, NotYet):
                    self._doubt(values[at + 1 :], other)  # a run looks no further if it fails
                    return None
            if self._lacks(task.needs) is not None:
                return None
        try:
            arguments = arguments_of(task)
            task.digest = self._digests.of(task, arguments)
        except (StoreError, TaskSkipped):
            return None
        return task.digest

    def _doubt(self, tasks: Iterable[Task], other: Task) -> None:
        """Whether the values of these are taken is known only when another task has run."""
        todo = list(tasks)
        while todo:
            task = todo.pop()
            if not task.done and task.number not in self._doubtful:
                self._doubtful[task.number] = other.name
                todo += [need for need, _, port in task.needs if port and need.link is self]
                todo += [self._called[one][0] for one in self._inside.get(task.number, ())]

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
        out = ended or (waits is not None and isinstance(waits.error, TaskSkipped))
        held = not out and waits is not None and not waits.done
        if not (out or held):
            super()._settle_group(task, value, waits)
            return
        if out and role == "take" and not self._selecting.skipped(number):
            self._missing.update((number, *task.above))
        rows = [self._rows[inside] for inside in self._inside.get(number, ())]
        if not any(row.action in ("run", "blocked") for row in rows):
            whole = role == "open" and all(row.action == "skip" for row in rows)
            said = self._selecting.why(number) if whole else PART
            self._row(task, Cause("not selected", said))
        if out:
            task.settle(None, LeftOut(task.name, PART))

    def _returned_by(self, block: Block, members: Sequence[Task]) -> tuple[object, Task | None]:
        out = {one.number: one for one in members if isinstance(one.error, TaskSkipped)}
        if not out:
            return super()._returned_by(block, members)
        told = [one for one in members if one.number not in out]
        waits = self._lacks([(one, "", "value") for one in told])
        settled = [
            not_selected(one) if one.number in out else Settled(one.name, "succeeded", one)
            for one in members
        ]
        if waits is not None and block.policy.users:
            return settled, waits
        judged = settled if waits is not None else cast(list[Settled], resolve(settled))
        return settled, waits if block.policy.verdict(judged, 0) else next(iter(out.values()))

    def _again(self, task: Task) -> None:
        """What is in a group has other roles now; its function was called before."""
        if task.number in self._blocks:
            self._judge(task, self._blocks[task.number])
            return
        returned = self._returned[task.number]
        waits = self._lacks(needs_of({"value": returned}))
        self._rows[task.number] = self._group_row(task, self._rows[task.number].wires, waits)
        self._settle_group(task, resolve(returned) if waits is None else None, waits)
        if task.done:
            task.wake()
