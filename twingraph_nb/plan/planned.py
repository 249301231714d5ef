"""A run that is only planned: its tasks say what would become of them."""

from __future__ import annotations

import inspect
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from typing import cast

from msgspec.structs import replace

from twingraph_nb.component import Component
from twingraph_nb.context import current_report
from twingraph_nb.errors import LeftOut, StoreError
from twingraph_nb.events import TaskForm, TaskStateName
from twingraph_nb.graph.refs import needs_of, resolve
from twingraph_nb.graph.remote_value import RemoteParts, RemoteValue
from twingraph_nb.graph.run import LISTED, Run
from twingraph_nb.graph.scope import Body
from twingraph_nb.graph.task import Task
from twingraph_nb.picture.progress import seconds_text
from twingraph_nb.plan.expected import expected
from twingraph_nb.plan.history import TOP, History, Key, Past
from twingraph_nb.plan.model import Action, Row
from twingraph_nb.plan.reasons import Cause, Reasons, numbered, running
from twingraph_nb.plan.values import Held, NotYet, alone, load, not_yet_in
from twingraph_nb.scheduler.blocks import Block, block_of
from twingraph_nb.scheduler.digests import LIGHT, Digests
from twingraph_nb.scheduler.earlier import Earlier
from twingraph_nb.scheduler.forced import Forced
from twingraph_nb.scheduler.inputs import arguments_of, is_named
from twingraph_nb.scheduler.maps import Given, is_sized
from twingraph_nb.scheduler.reuse import KeptResult, taken, valid
from twingraph_nb.settled import Settled
from twingraph_nb.store import Look

__all__ = ["PlannedRun"]

Need = tuple[Task, str, str]
_STATES: Mapping[Action, TaskStateName] = {
    "run": "ready",
    "reuse": "reused",
    "blocked": "waiting",
    "skip": "skipped",
}


@dataclass(slots=True)
class _Going:
    """What calls ask of a run's state."""

    stopping: bool = False


class PlannedRun:
    """A run that is only planned: the link of its tasks, which say what would become of them."""

    def __init__(
        self,
        history: History,
        look: Look | None,
        earlier: Earlier | None,
        force: Iterable[str] = (),
    ) -> None:
        self.id = f"plan{secrets.token_hex(6)}"
        self.state = _Going()
        self.platforms: dict[str, str] = {}
        self.about = earlier.about if earlier is not None else ""
        self._look, self._earlier, self._history = look, earlier, history
        self.forced = Forced(force)
        self._digests = Digests()
        self._reasons = Reasons(history, look, earlier is not None)
        self._rows: dict[int, Row] = {}
        self._places: dict[int | None, int] = {None: TOP}
        self._keys: dict[Key, int] = {}
        self._inside: dict[int, list[int]] = {}
        self._returned: dict[int, object] = {}  # by nested pipelines
        self.last: frozenset[int] = frozenset()  # no run that stops is planned
        self._blocks: dict[int, Block] = {}
        self._causes: dict[tuple[str, float], Cause] = {}
        self._numbers = itertools.count()
        root = Task(self, -1, f"{self.id}-run", None, history.pipeline, None, "pipeline")  # type: ignore[arg-type]
        self.handle = Run(self, history.pipeline, "pipeline", None, root)  # type: ignore[arg-type]

    # -- the pipeline's function -------------------------------------------------------------

    def follow(self, function: Callable[[], object]) -> Task | None:
        """Call the function; gives the task whose value it waits for, or None at its end."""
        try:
            copy_context().run(self._body, function, None, ())
        except NotYet as stop:
            return stop.task
        except BaseExceptionGroup as several:
            if (inside := not_yet_in(several)) is None:
                raise
            return inside.task
        return None

    def _body(
        self, function: Callable[[], object], group: int | None, above: tuple[int, ...]
    ) -> object:
        """Call a pipeline's function; gives what it returned, with the values of tasks put in."""
        token = current_report.set(Body(self, group, above))
        try:
            if inspect.iscoroutinefunction(getattr(function, "func", function)):
                returned = alone(function)
            else:
                returned = function()
        finally:
            current_report.reset(token)
        if group is None:
            return None
        self._returned[group] = returned
        needs = needs_of({"value": returned})
        missing = self._lacks(needs)
        if missing is not None:
            raise NotYet(missing)
        return resolve(returned)

    def new_task(
        self,
        component: Component | None,
        bound: dict[str, object],
        needs: Sequence[Need],
        *,
        name: str,
        form: TaskForm = "call",
        group: int | None = None,
        index: int | None = None,
        above: tuple[int, ...] = (),
    ) -> Task:
        """Take in a call, and say what would become of it."""
        number = next(self._numbers)
        task = Task(
            self, number, f"{self.id}{number:08x}", component, name, bound, form,  # type: ignore[arg-type]
            group=group, index=index,
        )  # fmt: skip
        task.above, task.needs = above, needs or ()
        self.handle.tasks.add(task)
        key = self._history.names.key(self._places[group], name)
        self._keys[key] = number
        if group is not None:
            self._inside.setdefault(group, []).append(number)
        if component is not None:
            self.platforms.setdefault(component.name, component.platform)
        if form != "call":
            self._places[number] = self._history.names.place(key)
            self.forced.called(task)
        if group is not None and group in self._blocks:
            self._blocks[group].join(task)
        self._take_in(task, self._history.keys.get(key))
        if task.done:
            task.wake()
        return task

    def _take_in(self, task: Task, past: Past | None) -> None:
        if task.form == "call":
            self._decide(task, past)
        else:
            self._group(task, past)

    # -- calls -------------------------------------------------------------------------------

    def _decide(self, task: Task, past: Past | None) -> None:
        component, keeper = task.component, self._look
        forced = self.forced.why(task)
        digest, waits = self._name(task)
        found: KeptResult | None = None
        if digest is not None and not forced and keeper is not None:
            if self._earlier is not None:
                found = taken(keeper, self._earlier, digest)
            found = found or valid(keeper, component, digest)
        if found is not None:
            self._reuse(task, found)
            return
        cause = Cause("forced", forced) if forced else self._reasons.of(task, past)
        action: Action = "run"
        undone = cause.reason == "did not finish" and self.about  # else another run may have it
        certain = forced or undone or cause.reason == "source changed"
        if waits is not None and not certain and self._history.source(component.name) is not None:
            action, cause = "blocked", Cause("waits", f"known when {waits.name} has run")
        self._settle(task, action, cause, self._history.seconds(component.name))
        task.settle(None, NotYet(task))

    def _name(self, task: Task) -> tuple[bytes | None, Task | None]:
        """Set the task's digest as a run does; give it, or the task whose value it waits for."""
        if self._look is None:
            return None, None
        cached = task.component.policy.cache is not None
        if is_named(task):
            arguments: Mapping[str, object] = task.bound or {}
        else:
            waits = self._lacks(task.needs)
            if waits is not None:
                return None, waits if cached or self._earlier is not None else None
            arguments = arguments_of(task)
        digest = task.digest = self._digests.of(task, arguments, LIGHT)
        if digest is None and (cached or self._earlier is not None):
            digest = self._digests.of(task, arguments)
            task.digest = digest if cached else None
        return digest, None

    def _reuse(self, task: Task, found: KeptResult) -> None:
        self._settle(task, "reuse", self._kept(found), 0.0, run=found.run)
        task.settle(Held(task.component, found.outputs))

    def _kept(self, found: KeptResult) -> Cause:
        """The reason of what is reused; most tasks of a run are of about the same age."""
        age = max(0.0, time.time() - found.at)
        key = found.run, int(age) if age > 60 else age
        cause = self._causes.get(key)
        if cause is None:
            said = f"an equal task was done {seconds_text(key[1])} ago in run {found.run}"
            cause = self._causes[key] = Cause("kept", said)
        return cause

    def _settle(
        self, task: Task, action: Action, cause: Cause, seconds: float | None, run: str = ""
    ) -> None:
        """Write down what becomes of a call. Before its outcome is set, which drops its needs."""
        number, component = task.number, task.component.name
        self._reasons.named[number] = cause
        self._rows[number] = Row(
            number, task.name, component, action, cause.reason, cause.text, seconds, "call",
            task.group, self._wires(task) if task.needs else (), None, cause.diff, run, False,
            self._history.seconds(component),
        )  # fmt: skip

    def _wires(self, task: Task) -> tuple[tuple[int, str, str], ...]:
        if not task.needs:
            return ()
        return tuple([(t.number, out, port) for t, out, port in task.needs if t.link is self])

    # -- maps and nested pipelines -----------------------------------------------------------

    def _group(self, task: Task, past: Past | None) -> None:
        needs, bound = task.needs, task.bound or {}
        wires = self._wires(task)
        self._rows[task.number] = self._group_row(task, wires, None)
        if (block := block_of(task)) is not None:
            self._blocks[task.number] = block
            return
        count: int | None = None
        waits: Task | None
        value: object = None
        if task.form == "map":
            waits = self._lacks(needs)
            if waits is None:
                value, waits, count = self._items(task, cast(Given, bound["given"]))
            elif past is not None:
                count = past.count
        else:
            above = (*task.above, task.number)
            try:
                value, waits = self._body(bound["function"], task.number, above), None  # type: ignore[arg-type]
            except NotYet as stop:
                waits = stop.task
            except LeftOut:
                waits = task
        row = self._group_row(task, wires, waits)
        self._rows[task.number] = replace(row, count=count)
        if waits is task and task.form == "map":  # what its items are is known only later
            task.settle(None, NotYet(task))
        else:
            self._settle_group(task, value, waits)

    def _settle_group(self, task: Task, value: object, waits: Task | None) -> None:
        task.settle(value, None if waits is None else NotYet(task))

    def close_block(self, task: Task, block: Block, error: BaseException | None) -> None:
        """A group's block has been left: it has its value if all members have theirs."""
        block.close(error)
        if block.finally_ is not None and (error is None or isinstance(error, LeftOut)):
            above, bound = (*task.above, task.number), {"function": block.finally_, "args": ()}
            self.new_task(
                None, bound, (), name="finally", form="pipeline", group=task.number, above=above
            )
        self._judge(task, block)

    def _judge(self, task: Task, block: Block) -> None:
        """Say what becomes of a block that has been left."""
        error = block.error
        returned, waits = self._returned_by(block, list(block.members.values()))
        if error is not None and (waits is None or isinstance(error, NotYet)):
            waits = error.task if isinstance(error, NotYet) else task
        self._rows[task.number] = self._group_row(task, self._wires(task), waits)
        self._settle_group(task, resolve(returned) if waits is None else None, waits)
        if task.done:
            task.wake()

    def _returned_by(self, block: Block, members: Sequence[Task]) -> tuple[object, Task | None]:
        """What a block gives, if all its members have their values; else the first that has not."""
        waits = self._lacks([(member, "", "value") for member in members])
        settled = [Settled(member.name, "succeeded", member) for member in members]
        return settled if block.values else members[-1] if members else None, waits

    def _items(self, task: Task, given: Given) -> tuple[object, Task | None, int | None]:
        """Plan the items of a map; gives its value, or the first item that has none yet."""
        component, common = task.component, given.common
        if isinstance(given.items, Iterator):
            said = "its items come from an iterator, which is read only when it runs"
            self._reasons.named[task.number] = Cause("waits", said)
            return None, task, None
        items = given.items if is_sized(given.items) else list(resolve(given.items))  # type: ignore[call-overload]
        count = len(items)  # type: ignore[arg-type]
        first, shared = component.inputs[0].name, needs_of(common)
        children = [
            self.new_task(
                component,
                {first: item, **common},
                [*needs_of({first: item}), *shared],
                name=f"{component.name}[{index}]",
                group=task.number,
                index=index,
                above=(*task.above, task.number),
            )
            for index, item in enumerate(items[:LISTED])  # type: ignore[index]
        ]
        missing = next((child for child in children if child.error is not None), None)
        if count > LISTED and missing is None:
            said = (
                f"the first {LISTED:,} of {count:,} items are kept, the others were not looked at"
            )
            self._reasons.named[task.number] = Cause("waits", said)
            missing = task
        if missing is not None or not given.collect:
            return count, missing, count
        found = [child.peek() for child in children]
        if given.flow is not None:
            for index, one in enumerate(found):
                given.flow.put(index, load(self._look, one))
        value = RemoteParts(found) if any(isinstance(v, RemoteValue) for v in found) else found
        return value, None, count

    def _group_row(
        self, task: Task, wires: tuple[tuple[int, str, str], ...], waits: Task | None
    ) -> Row:
        rows = [self._rows[number] for number in self._inside.get(task.number, ())]
        name = task.component.name if task.component is not None else ""
        run = [row for row in rows if row.action == "run"]
        seconds = sum(row.seconds or 0.0 for row in run) if run else None
        action: Action
        if run:
            action = "run"
            cause = Cause(run[0].reason, running(len(run), len(rows), task.form))
        elif waits is not None:
            cause = self._reasons.named.get(waits.number, Cause("waits", ""))
            if cause.reason != "waits" or not cause.text:
                cause = Cause("waits", f"known when {waits.name} has run")
            action = "blocked"
        else:
            action, cause = "reuse", Cause("kept", numbered(len(rows), task.form))
        self._reasons.named[task.number] = cause
        return Row(
            task.number, task.name, name, action, cause.reason, cause.text, seconds,
            task.form, task.group, wires,
        )  # fmt: skip

    # -- values ------------------------------------------------------------------------------

    def _lacks(self, needs: Iterable[Need]) -> Task | None:
        """Fetch the values of reused tasks; gives the first task that has none."""
        for other, _, port in needs:
            if port and (not other.done or other.error is not None):
                return other
        for other, _, port in needs:
            value = other.peek()
            if not port or not isinstance(value, RemoteValue):
                continue
            if other.link is not self:  # it stays where it is: a plan moves nothing
                return other
            try:
                other.arrived(load(self._look, value))
            except StoreError as exc:
                self._damaged(other, exc)
                return other
        return None

    def _damaged(self, task: Task, error: StoreError) -> None:
        cause = Cause("value not kept", str(error))
        self._reasons.named[task.number] = cause
        row = self._rows[task.number]
        self._rows[task.number] = replace(
            row, action="run", reason=cause.reason, text=cause.text, run="",
            seconds=self._history.seconds(row.component),
        )  # fmt: skip
        task.settle(None, NotYet(task))

    # -- Link: what a handle asks ------------------------------------------------------------

    def fetch(self, task: Task) -> Future[object]:
        found: Future[object] = Future()
        try:
            value = load(self._look, task.peek())
        except StoreError as exc:
            self._damaged(task, exc)
            found.set_exception(NotYet(task))
        else:
            task.arrived(value)
            found.set_result(value)
        return found

    def state_of(self, task: Task) -> TaskStateName:
        row = self._rows.get(task.number)
        return _STATES[row.action] if row is not None else "running"

    def wait(self, lock: threading.Lock, timeout: float | None, what: str) -> bool:
        return lock.acquire(timeout=-1 if timeout is None else timeout)

    def looks(self, task: Task, group: int | None) -> None: ...
    def cancel_task(self, task: Task, why: str = "") -> None: ...
    def asked(self, task: Task) -> None: ...
    def interrupted(self, task: Task) -> None: ...

    def log_of(self, task: Task) -> str:
        return ""

    # -- the rest of the plan ----------------------------------------------------------------

    def rows(self) -> tuple[Row, ...]:
        """Give the rows in the order of the calls."""
        return tuple(self._rows[number] for number in sorted(self._rows))

    def check(self) -> None:
        """See that what was selected is called; here nothing was."""

    def expect(self, stopped: Task | None) -> None:
        """Add what the last run had that this plan could not come to."""
        for row in expected(self._history, self._keys, self._rows, stopped, self._numbers):
            self._rows[row.number] = row
            platform = self._history.platform(row.component)
            if platform:
                self.platforms.setdefault(row.component, platform)
