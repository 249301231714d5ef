"""Blocks of calls that succeed or fail together: groups with a policy, and attempts.

A block is a task of its run, and the calls made inside are its members from birth, so that no
error of theirs is ever the run's before the block has had its say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from twingraph_nb.errors import GroupFailed, LeftOut, TaskCancelled, TaskSkipped
from twingraph_nb.events import CancelAsked
from twingraph_nb.executors.threads import Threads
from twingraph_nb.graph.task import Task
from twingraph_nb.scheduler.inputs import fetched
from twingraph_nb.selecting import PART
from twingraph_nb.settled import Settled
from twingraph_nb.verdict import GroupPolicy

if TYPE_CHECKING:
    from twingraph_nb.scheduler.drive import Driver
    from twingraph_nb.scheduler.live import LiveRun

__all__ = [
    "Block",
    "BlockWork",
    "block_of",
    "contained",
    "fell_inside",
    "joined",
    "not_selected",
]

GRACE = 10.0
"""Seconds that a clean-up has when the run is stopping, unless said."""


class Block:
    """A `with` block: what it was given, and its members. On the scheduler's thread.

    values: its value is a list of `Settled`; else that of its last member. catch: called with
    the error if it fails. finally_: called at its end, whatever that is. broken: errors of tasks
    deeper inside, by the number of the member they happened in.
    """

    def __init__(
        self,
        policy: GroupPolicy,
        *,
        values: bool = True,
        catch: Callable[[BaseException], object] | None = None,
        finally_: Callable[[], object] | None = None,
        grace: float = GRACE,
    ) -> None:
        self.policy, self.values = policy, values
        self.catch, self.finally_, self.grace = catch, finally_, grace
        self.members: dict[int, Task] = {}
        self.broken: dict[int, BaseException] = {}
        self.closed = False
        self.error: BaseException | None = None  # raised by the block's own code
        self.news: Callable[[], object] = lambda: None

    def join(self, task: Task) -> None:
        """Take in a call made inside."""
        if not self.closed:
            self.members[task.number] = task
            task.when_done(self._look)

    def close(self, error: BaseException | None = None) -> None:
        """The block has been left."""
        self.closed, self.error = True, error
        self.news()

    @property
    def interrupted(self) -> bool:
        """True when its code was stopped from outside, which is no error to be caught."""
        return self.error is not None and not isinstance(self.error, Exception)

    def _look(self) -> None:
        self.news()


def block_of(task: Task | None) -> Block | None:
    """Give the block that a task stands for."""
    found = None if task is None or task.form != "pipeline" else (task.bound or {}).get("block")
    return found if isinstance(found, Block) else None


def not_selected(member: Task) -> Settled:
    """Give how a member ended that is left out of its run."""
    return Settled(member.name, "skipped", None, "it is left out of this run")


def joined(run: LiveRun, task: Task) -> None:
    """Tell the block in which a task was called of it."""
    block = block_of(run.open.get(task.group)) if task.group is not None else None
    if block is not None:
        block.join(task)


def contained(run: LiveRun, task: Task) -> bool:
    """Tell whether somebody else than the run has a say in its errors: a map, of its items, and
    a block, of all inside, also of what fails when it has had its say already."""
    above = task.above
    if not above:
        return False
    parent = run.open.get(above[-1])
    if parent is not None and parent.form == "map":
        return True
    return not run.blocks.isdisjoint(above)


def fell_inside(run: LiveRun, task: Task, error: BaseException) -> None:
    """A task has failed whose error nobody waits for: that is its member's failure."""
    above = task.above
    parent = run.open.get(above[-1]) if above else None
    if parent is not None and parent.form == "map":
        return
    for at in range(len(above) - 1, -1, -1):
        block = block_of(run.open.get(above[at]))
        if block is None:
            continue
        if at + 1 < len(above):  # else it is a member itself
            block.broken.setdefault(above[at + 1], error)
            if run.options.on_error == "fail_fast":
                why = f"{task.name}, which it called, failed"
                run.driver.loop.call_soon(_cancel, run, above[at + 1], why)
        return


def _cancel(run: LiveRun, number: int, why: str) -> None:
    if number in run.open:
        run.driver.happen(run, CancelAsked(run.driver.now(), number, "scheduler", why))


class BlockWork:
    """What a block's task does: wait for the verdict, then tidy up."""

    def __init__(self, driver: Driver, threads: Threads, run: LiveRun, task: Task) -> None:
        self._driver, self._threads, self._run, self._task = driver, threads, run, task
        block = block_of(task)
        assert block is not None
        self._block = block
        self._news = asyncio.Event()
        block.news = self._news.set

    async def value(self) -> object:
        """Give the block's value.

        Raises:
            GroupFailed: its policy says no.
            Exception: what its first member, its own code, or one of its functions raised.
        """
        try:
            try:
                value = await self._judged()
            except Exception as exc:
                if self._block.catch is None or self._block.interrupted or self._is_out(exc):
                    raise
                value = await self._called("catch", partial(self._block.catch, exc))
        except asyncio.CancelledError:
            await self._tidy_up(hurry=True)
            raise
        except BaseException:  # a user's function may want to end the program
            await self._tidy_up()
            raise
        await self._tidy_up()
        return value

    # -- the verdict -------------------------------------------------------------------------

    async def _judged(self) -> object:
        block, name = self._block, self._task.name
        while True:
            while not block.closed or self._run.state.is_ending(self._task.number):
                await self._next()
            self._news.clear()
            if block.error is not None and not self._is_out(block.error):
                why = f"the code of {name} raised {type(block.error).__name__}"
                self._cancel_rest(why)
                raise TaskCancelled(name, why) if block.interrupted else block.error
            members = list(block.members.values())
            if (said := await self._said(members)) is not None:
                break
            await self._next()
        text = block.policy.text
        if said:
            self._cancel_rest(f"not needed any more: {name} has what {text} asks for")
            return await self._value()
        error = await self._error(members)
        self._cancel_rest(f"{name} ({text}) has failed")
        raise error

    async def _next(self) -> None:
        await self._news.wait()
        self._news.clear()

    def _is_out(self, error: BaseException | None) -> bool:
        """Tell whether an error says no more than that something is not selected."""
        return self._run.choosing is not None and isinstance(error, TaskSkipped)

    async def _said(self, members: Sequence[Task]) -> bool | None:
        """The verdict. What is not selected has neither succeeded nor failed: it counts for
        nothing until all others have ended, and ends none of them.

        Raises:
            LeftOut: the block cannot do without it.
        """
        ended = [m for m in members if m.done or m.number in self._block.broken]
        told = [m for m in ended if not self._is_out(m.error)]
        open_, stopped = len(members) - len(told), self._is_out(self._block.error)
        said = await self._verdict(told, open_ + stopped)
        if said is False or not (open_ or stopped):
            return said
        if len(members) > len(ended):
            return None if stopped else said
        if not stopped and (said or await self._verdict(ended, 0)):
            return True
        raise LeftOut(self._task.name, PART)

    async def _verdict(self, ended: Sequence[Task], left: int) -> bool | None:
        policy = self._block.policy
        if not policy.users:
            return policy.verdict([self._settled(member) for member in ended], left)
        known = [await self._whole(member) for member in ended]
        return await self._threads.run(lambda: policy.verdict(known, left))  # type: ignore[return-value]

    def _settled(self, member: Task) -> Settled:
        error = self._block.broken.get(member.number)
        if error is not None:
            return Settled(member.name, "failed", None, _text(error))
        error = member.error
        if self._is_out(error) or self._is_held(member):
            return not_selected(member)
        if not member.done:
            return Settled(member.name, "cancelled", None, "it was not needed any more")
        if error is None:  # reused or not: equal work must look the same to what needs it
            return Settled(member.name, "succeeded")
        return Settled(member.name, self._run.state.state_of(member.number), None, _text(error))

    async def _whole(self, member: Task) -> Settled:
        settled = self._settled(member)
        return settled._replace(value=await fetched(member)) if settled.ok else settled

    async def _value(self) -> object:
        members = list(self._block.members.values())
        if self._block.values:
            return [await self._whole(member) for member in members]
        return await fetched(members[-1]) if members else None

    async def _error(self, members: Sequence[Task]) -> BaseException:
        """The error of the one member that decided, or one that tells of all."""
        block, name = self._block, self._task.name
        settled = [self._settled(member) for member in members]
        fallen = [m for m, one in zip(members, settled, strict=True) if m.done and not one.ok]
        fallen += [m for m in members if m.number in block.broken and not m.done]
        if block.policy.text == "strict" and fallen:
            first = fallen[0]
            error = block.broken.get(first.number) or first.error
            assert error is not None
            error.add_note(f"in group {name}: {len(fallen)} of {len(members)} failed")
            return error
        return GroupFailed(name, block.policy.text, settled)

    def _cancel_rest(self, why: str) -> None:
        for member in self._rest():
            _cancel(self._run, member.number, why)

    def _rest(self) -> list[Task]:
        """The members that have not ended, but for those that are not selected so far."""
        return [
            member
            for member in self._block.members.values()
            if not (member.done or self._is_held(member))
        ]

    def _is_held(self, member: Task) -> bool:
        choosing = self._run.choosing
        return choosing is not None and choosing.selecting.role(member.number) == "held"

    # -- functions of the block --------------------------------------------------------------

    async def _called(
        self, name: str, function: Callable[[], object], *, last: bool = False
    ) -> object:
        """Call a function as a pipeline inside of the block; `last`: even in a stopping run."""
        task = self._task
        child = self._run.new_task(
            None,
            {"function": function, "args": (), "shown": {}},
            (),
            name=name,
            form="pipeline",
            group=task.number,
            above=(*task.above, task.number),
            last=last,
        )
        if last:
            await self._patiently(child)
        else:
            await _end_of(child)
        error = self._block.broken.get(child.number) or child.error
        if error is not None:
            raise error
        return await fetched(child)

    async def _tidy_up(self, *, hurry: bool = False) -> None:
        """Run the clean-up once nothing of the block runs any more."""
        block = self._block
        if block.finally_ is None:
            return
        self._cancel_rest("the group is over")
        if left := self._rest():
            await asyncio.wait(
                [asyncio.ensure_future(_end_of(member)) for member in left], timeout=block.grace
            )
        try:
            await self._called("finally", block.finally_, last=True)
        except Exception as exc:
            if not (hurry or self._is_out(exc)):
                raise  # else the reason for which the run stops is the one that counts

    async def _patiently(self, child: Task) -> None:
        """Wait for the clean-up; from the moment the run is stopping it has its grace."""
        timer: asyncio.TimerHandle | None = None
        cancelled: asyncio.CancelledError | None = None
        grace = self._block.grace
        why = f"its grace of {grace:g} s is over"
        while not child.done:
            if timer is None and (cancelled or self._run.state.is_ending(self._task.number)):
                timer = self._driver.loop.call_later(grace, _cancel, self._run, child.number, why)
            try:
                await _end_of(child)
            except asyncio.CancelledError as exc:
                cancelled = exc
        if timer is not None:
            timer.cancel()
        if cancelled is not None:
            raise cancelled


async def _end_of(task: Task) -> None:
    """Wait for a task without a say in its errors."""
    ended = asyncio.Event()
    task.when_done(ended.set)
    await ended.wait()


def _text(error: BaseException) -> str:
    if isinstance(error, TaskCancelled):
        return str(error)
    said = str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
