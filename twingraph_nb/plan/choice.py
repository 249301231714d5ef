"""What a selection means for the tasks of a recorded run."""

from __future__ import annotations

from twingraph_nb.events import TaskAdded
from twingraph_nb.plan.history import Past, Recorded
from twingraph_nb.plan.model import Action
from twingraph_nb.plan.reasons import Cause
from twingraph_nb.selecting import Selecting
from twingraph_nb.selection import Selection, fits

__all__ = ["Choice"]


class Choice:
    """Corrects why tasks run by what is selected; asked in the order of the calls."""

    def __init__(self, run: Recorded, chosen: Selection) -> None:
        self._run, self._chosen = run, chosen
        self._selecting = Selecting(chosen, lenient=True)
        self._forced: set[int] = set()
        self._out: set[int] = set()
        self._lacking: set[int] = set()
        self._blocked: set[int] = set()
        if chosen:
            for number, task in run.tasks.items():
                added = task.added
                needs = [(need, bool(port)) for need, _, port in added.wires]
                block = run.tasks.get(added.group) if added.group is not None else None
                if added.last and block is not None and not block.added.last:
                    self._selecting.close(block.added.task, more=True)
                self._selecting.added(
                    number, added.name, run.component(task), added.form, needs, added.group
                )
            self._selecting.end()
            self._selecting.left()

    def of(self, task: Past, cause: Cause) -> Cause:
        """Give why a call runs or does not, or is reused.

        Args:
            cause: why it would if all was selected.
        """
        if not self._chosen:
            return cause
        added = task.added
        number, role = added.task, self._selecting.role(added.task)
        wanted = [need for need, _, port in added.wires if port]
        forced = self._why_forced(task, wanted)
        if role == "run" and (lacking := [n for n in wanted if n in self._lacking]):
            self._blocked.add(number)
            names = " and ".join(self._run.tasks[n].added.name for n in lacking)
            return Cause("value not kept", f"it wants the value of {names}, which is not kept")
        if role == "run" and not self._out.intersection(wanted):
            return Cause("forced", forced) if forced else cause
        if role == "take" and cause.reason == "kept":
            return cause
        self._out.add(number)
        if role == "take" and not self._selecting.skipped(number):
            self._lacking.update((number, *self._above(added)))
        said = "what it gets is left out" if role == "run" else self._selecting.why(number)
        return Cause("not selected", said)

    def action(self, number: int, cause: Cause) -> Action:
        """Give what becomes of a task."""
        if number in self._blocked:
            return "blocked"
        if cause.reason == "not selected":
            return "skip"
        return "reuse" if cause.reason == "kept" else "run"

    def _why_forced(self, task: Past, wanted: list[int]) -> str:
        added, said = task.added, ""
        names = [self._run.tasks[n].added.name for n in self._above(added)]
        names += [added.name, self._run.component(task)]
        if any(fits(one, *names) for one in self._chosen.anew):
            said = "it is forced"
        elif first := [n for n in wanted if n in self._forced]:
            said = f"an input is forced: {self._run.tasks[first[0]].added.name}"
        if said:
            self._forced.update((added.task, *self._above(added)))
        return said

    def _above(self, added: TaskAdded) -> list[int]:
        found, group = [], added.group
        while group is not None and group in self._run.tasks:
            found.append(group)
            group = self._run.tasks[group].added.group
        return found
