"""What a live run does about a selection: tasks are held back, taken from the store, left out."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import CodeType
from typing import TYPE_CHECKING

from twingraph_nb.component import shelf
from twingraph_nb.errors import LeftOut, NotKept, StoreError, TaskSkipped
from twingraph_nb.events import TaskSkipped as TaskSkippedEvent
from twingraph_nb.graph.remote_value import RemoteParts
from twingraph_nb.graph.task import Task
from twingraph_nb.scheduler.digests import Digests
from twingraph_nb.scheduler.earlier import Earlier, KeptValue
from twingraph_nb.scheduler.inputs import arguments_of, is_named
from twingraph_nb.selecting import Selecting
from twingraph_nb.selection import Selection

if TYPE_CHECKING:
    from twingraph_nb.scheduler.blocks import Block
    from twingraph_nb.scheduler.live import LiveRun

__all__ = ["NOBODY", "Choosing", "only_left_out", "selectable"]

NOBODY = -1
"""The task that a task is left out because of: none. It also stands for the run's own function."""
_LONGEST = 40
"""Characters of a block's name; a longer text in a pipeline's code is something else."""


def selectable() -> set[str]:
    """Give the names that tasks of this session may have.

    Those are its components, its pipelines, and what may be the name of a block: the texts in the
    code of the pipelines.
    """
    found = {*shelf.components, *shelf.pipelines, "group", "attempt"}
    codes = [inspect.unwrap(one.function).__code__ for one in shelf.pipelines.values()]
    while codes:
        for constant in codes.pop().co_consts:
            if isinstance(constant, CodeType):
                codes.append(constant)
            elif isinstance(constant, str) and len(constant) <= _LONGEST:
                found.add(constant)
    return found


class Choosing:
    """Follows the calls of one run. On the scheduler's thread, but for `post`.

    lenient: see `Selecting`.
    """

    def __init__(self, run: LiveRun, chosen: Selection, *, lenient: bool) -> None:
        self._run = run
        self.selecting = Selecting(chosen, lenient=lenient)
        self._digests = Digests()
        self._nothing = Earlier("")
        self._held: dict[int, int] = {}  # ready tasks, and their next attempts
        self._missing: set[int] = set()  # tasks and groups whose values are wanted and not there
        self._doomed: dict[int, list[str]] = {}  # what tasks want that is not there
        self._lame: set[int] = set()  # cannot run, since what they get is left out
        self._must: set[int] = set()  # looked at: an error if the value is not there
        self._calling = {NOBODY}  # functions and maps that may still call something
        self._over = asyncio.Event()
        self._looks: list[tuple[Task, int | None]] = []  # that wait for other functions
        self._names: set[str] = set()

    def post(self, run: LiveRun, task: Task) -> None:
        """Hand a new task to the driver, in the order of the calls. From any thread."""
        driver = run.driver
        driver.call(lambda: self._before(task))
        driver.post(run, task)
        driver.call(lambda: self._after(task))

    def holds(self, number: int, attempt: int) -> bool:
        """Tell whether a task that is ready must not begin, at least for now."""
        role, task = self.selecting.role(number), self._run.open.get(number)
        takes = role == "take" and task is not None and task.form == "call"
        if takes or role in ("held", "left") or number in self._doomed:
            self._held[number] = attempt
            return True
        return False

    def look(self, task: Task, group: int | None) -> None:
        """The function of the pipeline, or of a group in it, waits for a task."""
        if task.done or task.number < 0:
            return
        if self.selecting.role(task.number) in ("held", "open") and self._others_call(group):
            self._looks.append((task, group))  # what they call may be what is selected
            return
        changed, verdict = self.selecting.look(task.number)
        if verdict == "fail":
            self._must.add(task.number)
        self._apply(changed)

    def _others_call(self, group: int | None) -> bool:
        """Tell whether pipelines that were called before still call something."""
        above: set[int | None] = {NOBODY, group}
        if group is not None and (inside := self._run.open.get(group)) is not None:
            above.update(inside.above)
        return any(
            one not in above and (group is None or one < group) and not self.selecting.closed(one)
            for one in self._calling
            if (task := self._run.open.get(one)) is not None and task.form == "pipeline"
        )

    def close(self, number: int) -> None:
        """A function has returned, or a map has all its items: it calls nothing more."""
        self._run.driver.call(lambda: self._closed(number))

    def close_block(self, number: int, block: Block) -> None:
        """A block has been left: it calls its own functions at most."""
        more = block.catch is not None or block.finally_ is not None
        self._run.driver.call(lambda: self._left(number, more))

    def _left(self, number: int, more: bool) -> None:
        self.selecting.close(number, more=more)
        if not more or self.selecting.role(number) == "open":
            self._closed(number)  # else when it has ended: what its clean-up gets has to run

    async def follow(
        self, call: Awaitable[object], value_of: Callable[[object], Awaitable[object]]
    ) -> object:
        """Give what the pipeline's function returns; None if part of it is left out.

        Raises:
            WiringError: something was selected that was never called.
            Exception: what the function raises.
        """
        try:
            returned, early = await call, False
        except BaseException as exc:
            self.close(NOBODY)
            if not only_left_out(exc):
                raise
            returned, early = None, True
        self.close(NOBODY)
        await self._over.wait()
        if not early:
            self.selecting.check(self._names or selectable())
        try:
            return await value_of(returned)
        except TaskSkipped:
            return None

    def leave(self, task: Task, why: str = "") -> None:
        """Let a task not run."""
        run, number = self._run, task.number
        run.running.pop(number, None)
        if number not in run.open:
            return
        if number in self._must:
            self._fail(task, [task.name])
            return
        del run.open[number]
        run.fallen[number] = task.name
        why = why or self.selecting.why(number)
        task.settle(None, LeftOut(task.name, why))
        run.driver.happen(run, TaskSkippedEvent(run.driver.now(), number, NOBODY, why))
        task.wake()

    # -- calls -------------------------------------------------------------------------------

    def _before(self, task: Task) -> None:
        run, number, selecting = self._run, task.number, self.selecting
        inside = [need for need in task.needs if need[0].link is run]
        component = task.component.name if task.component is not None else ""
        self._names.update((task.name, component or task.name))
        needs = [(other.number, bool(port)) for other, _, port in inside]
        changed = selecting.added(number, task.name, component, task.form, needs, task.group)
        self._apply(changed)
        if task.form != "call":
            task.when_done(lambda: self.close(number))
            self._calls(number)
        elif is_named(task):
            task.digest = self._digests.of(task, task.bound or {})
        gone = self._gone(task, inside)
        if gone:
            task.needs = [n for n in task.needs if n[0].link is not run or n[0].number not in gone]

    def _gone(self, task: Task, inside: Sequence[tuple[Task, str, str]]) -> set[int]:
        """What a task does not wait for although it is called with it or after it."""
        number, role = task.number, self.selecting.role(task.number)
        after = {other.number for other, _, port in inside if not port}
        gone = {other for other in after if not self.selecting.orders(number, other)}
        values = [other for other, _, port in inside if port]
        lacking = [other for other in values if other.number in self._missing]
        if role == "run" and lacking:
            self._doomed[number] = [other.name for other in lacking]
            gone.update(other.number for other in lacking)
        out = {other.number for other in values if isinstance(other.error, TaskSkipped)}
        if out and task.form == "call" and role in ("held", "take"):
            self._lame.add(number)  # its value may be kept all the same
            gone |= out
        return gone

    def _calls(self, number: int) -> None:
        task = self._run.open.get(number)
        going = not self._over.is_set() and (task is None or not task.done)
        if going and self.selecting.calls(number):
            self._calling.add(number)

    def _after(self, task: Task) -> None:
        number, role = task.number, self.selecting.role(task.number)
        if number in self._doomed:
            self._fail(task, self._doomed[number])
        elif role == "take":
            self._take(task)
        elif role == "left" or (
            role == "held" and (self.selecting.over or self.selecting.behind(number))
        ):
            self.leave(task)

    def _apply(self, changed: Iterable[int]) -> None:
        """Tasks have other roles than before."""
        run = self._run
        for number in changed:
            task = run.open.get(number)
            if task is None:
                continue
            if task.form != "call":
                self._calls(number)
            if self.selecting.role(number) == "take" and task.form == "call":
                self._take(task)
            elif number in self._lame and self.selecting.role(number) == "run":
                self.leave(task, "what it gets is left out")
            elif number in self._held:
                run.driver.attempts.launch(run, number, self._held.pop(number))

    def _closed(self, number: int) -> None:
        self._calling.discard(number)
        looks, self._looks = self._looks, []
        for looked, group in looks:
            self.look(looked, group)
        if self._calling or self._over.is_set():
            return
        self._apply(self.selecting.end())
        self._over.set()
        for left in self.selecting.left():
            if (task := self._run.open.get(left)) is not None:
                self.leave(task)

    # -- values from the store -----------------------------------------------------------------

    def _take(self, task: Task) -> None:
        """Give a task the value that is kept, or let it not run."""
        if task.done or task.form != "call":
            return
        run, keeper = self._run, self._run.driver.keeper
        if (first := self._waits(task)) is not None:
            first.when_done(lambda: run.driver.call(lambda: self._take(task)))
            return
        digest = self._digest(task)
        if digest is not None and keeper is not None:
            found = run.driver.reuse.kept(run.earlier or self._nothing, task, digest)
            if found is not None:
                run.driver.attempts.reused(run, task, *found)
                return
        if not self.selecting.skipped(task.number):
            self._lack(task)
        self.leave(task)

    def _digest(self, task: Task) -> bytes | None:
        """The task's name by content, with values read in that have to be."""
        if task.digest is not None or self._run.driver.keeper is None:
            return task.digest
        if task.number in self._lame:
            return None
        if not is_named(task) and not all(self._has(n[0]) for n in task.needs if n[2]):
            return None
        try:
            arguments = arguments_of(task)
            task.digest = self._digests.of(task, arguments)
        except (StoreError, TaskSkipped):
            return None
        return task.digest

    def _waits(self, task: Task) -> Task | None:
        """Give a task whose value has to be there before this one has a name."""
        if task.digest is not None or task.number in self._lame or is_named(task):
            return None
        for other in [other for other, _, port in task.needs if port]:
            if not other.done and other.link is self._run:
                self._apply(self.selecting.take(other.number))
            if not other.done or isinstance(other.error, TaskSkipped):
                return None if other.done else other
        return None

    def _has(self, task: Task) -> bool:
        """See that the value of a task is in memory, if it is kept."""
        if task.error is not None:
            return False
        keeper = self._run.driver.keeper
        try:
            # On the scheduler's thread, which waits: it is rare, and the value is needed to name
            # what comes next.
            task.arrived(_read(task.peek(), keeper.load) if keeper is not None else task.peek())
        except StoreError:
            return False
        return True

    def _lack(self, task: Task) -> None:
        """The value is not there: what is to run with it fails."""
        gone = self._missing
        gone.update((task.number, *task.above))
        for other in list(self._run.open.values()):
            lacking = [n.name for n, _, port in other.needs if port and n.number in gone]
            role = self.selecting.role(other.number) if lacking else "held"
            if role == "run":
                self._fail(other, lacking)
            elif role == "take" and other.form != "call":
                gone.update((other.number, *other.above))

    def _fail(self, task: Task, lacking: list[str]) -> None:
        self._must.discard(task.number)
        error = NotKept(task.name, lacking)
        self._run.driver.attempts.fail(self._run, task, 1, error, final=True)


def _read(value: object, load: Callable[[str], object]) -> object:
    """Give a value with all that is kept read in."""
    if isinstance(value, RemoteParts):
        return [_read(part, load) for part in value.parts]
    return value.now(load) if isinstance(value, KeptValue) else value


def only_left_out(error: BaseException) -> str:
    """Give the name of a task if an error says no more than that tasks were left out, else ""."""
    if isinstance(error, BaseExceptionGroup):
        names = [only_left_out(one) for one in error.exceptions]
        return names[0] if all(names) else ""
    return error.task if isinstance(error, TaskSkipped) else ""
