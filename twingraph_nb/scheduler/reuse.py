"""Finding what was done before, and keeping what costs more to redo."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from twingraph_nb.component import Component
from twingraph_nb.errors import ResultError, StoreError
from twingraph_nb.events import Batch
from twingraph_nb.executors.base import Executor
from twingraph_nb.executors.threads import Threads
from twingraph_nb.graph.outputs import by_port, whole
from twingraph_nb.graph.remote_value import RemoteValue
from twingraph_nb.graph.task import Task
from twingraph_nb.scheduler.digests import LIGHT, Digests
from twingraph_nb.scheduler.earlier import Earlier, Finished, KeptValue
from twingraph_nb.scheduler.inputs import arguments_of, bring, is_named
from twingraph_nb.scheduler.questions import is_question
from twingraph_nb.store.commands import Answer, Command

if TYPE_CHECKING:
    from twingraph_nb.scheduler.live import LiveRun

__all__ = ["Keeper", "KeptResult", "Reuse", "any_kept", "taken", "valid"]

_THREADS = 4
"""Values read or written at once. They wait in no line with tasks: what is done must be kept before
the next long task ends."""


class KeptResult(Protocol):
    """Where the outputs of a task are kept."""

    @property
    def run(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def at(self) -> float: ...
    @property
    def outputs(self) -> Mapping[str, str]: ...


class Finder(Protocol):
    """Knows what is kept."""

    def find(self, digest: str, max_age: float | None = None) -> KeptResult | None: ...
    def has(self, blobs: Collection[str]) -> bool: ...


class Keeper(Finder, Protocol):
    """The part of the store that the scheduler needs."""

    def keep(
        self, digest: str, component: str, run: str, hash: str, outputs: Mapping[str, object]
    ) -> Mapping[str, str]: ...
    def load(self, blob: str) -> object: ...
    def commands(self, run_id: str, kind: str) -> list[Command]: ...
    def answer(self, command: int, answer: Answer) -> None: ...
    def put(self, value: object, name: str, of: str) -> str: ...
    def flush(self, timeout: float = 5.0) -> object: ...
    def events(self, run_id: str, start: int = 0) -> list[Batch]: ...
    @property
    def behind(self) -> int: ...


Taken = tuple[object, KeptResult]
"""What an equal task gave before, and which task that was."""


def valid(keeper: Finder, component: Component, digest: bytes) -> KeptResult | None:
    """Give what an equal task gave before, as far as the component's policy lets it count."""
    cache = component.policy.cache
    if cache is None:
        return None
    return keeper.find(digest.hex(), None if cache is True else float(cache))


def taken(keeper: Finder, earlier: Earlier, digest: bytes) -> Finished | None:
    """Take what an earlier run has done of just this work, if its values are still there."""
    finished = earlier.take(digest)
    while finished is not None and not keeper.has(finished.outputs.values()):
        finished = earlier.take(digest)
    if finished is None and earlier.partial:
        found = keeper.find(digest.hex())
        if found is not None and earlier.lacks(found.run, found.hash):
            return Finished(found.run, found.hash, found.at, found.outputs)
    return finished


def any_kept(keeper: Finder, earlier: Earlier, digest: bytes) -> Finished | None:
    """Give what an equal task gave, in the run that is resumed or in any other."""
    finished = taken(keeper, earlier, digest)
    if finished is None and (found := keeper.find(digest.hex())) is not None:
        return Finished(found.run, found.hash, found.at, found.outputs)
    return finished


class Reuse:
    """Names tasks by content, and looks their outputs up in the store.

    keep_after: seconds; outputs of tasks that took longer are kept even if nobody asked.
    """

    def __init__(self, keeper: Keeper | None, keep_after: float) -> None:
        self._keeper, self._keep_after = keeper, keep_after
        self._threads = Threads(_THREADS, "twingraph-keep")
        self._digests = Digests()

    def close(self) -> None:
        """Let its threads end when they are through."""
        self._threads.close()

    def name(self, task: Task, arguments: Mapping[str, object]) -> None:
        """Set the task's digest, unless its plain arguments take long to read."""
        if self._keeper is not None:
            task.digest = self._digests.of(task, arguments, LIGHT)

    async def named(
        self, task: Task, arguments: Mapping[str, object], *, fully: bool = False
    ) -> None:
        """Set the task's digest; `fully`, however large its arguments are."""
        if task.digest is None:
            self.name(task, arguments)
        if fully and task.digest is None and self._keeper is not None:
            task.digest = await self._full_digest(task, arguments)

    def recalled(self, run: LiveRun, task: Task) -> Taken | None:
        """Set the digest of a task that `is_named`; give what an earlier run has done of just
        this work. None too if that takes long to tell: then it has no digest, and `known` looks.
        """
        if self._keeper is None or run.earlier is None or _forced(task):
            return None
        self.name(task, task.bound or {})
        return self._taken(run.earlier, task)

    async def known(self, run: LiveRun, task: Task, executor: Executor) -> Taken | None:
        """Give what an earlier run or an equal task has done; if nothing, the inputs are here."""
        if run.earlier is not None and task.digest is None:  # else it was looked for
            found = await self._recall(run.earlier, task, executor)
            if found is not None:
                return found
        if task.needs:
            await bring(task, executor)
        if task.component.policy.cache is None:
            return None
        return await self._find(task, arguments_of(task))

    async def _recall(self, earlier: Earlier, task: Task, executor: Executor) -> Taken | None:
        """Give what an earlier run has done, with values looked at where the name needs them."""
        arguments: Mapping[str, object] = task.bound or {}
        if not is_named(task):
            await bring(task, executor)
            arguments = arguments_of(task)
        if self._keeper is None or _forced(task):
            return None
        self.name(task, arguments)
        if task.digest is None:  # large plain arguments
            task.digest = await self._full_digest(task, arguments)
        return self._taken(earlier, task)

    def _taken(self, earlier: Earlier, task: Task) -> Taken | None:
        if self._keeper is None or task.digest is None:
            return None
        finished = taken(self._keeper, earlier, task.digest)
        return None if finished is None else (self._value(task, finished), finished)

    def _value(self, task: Task, finished: Finished) -> KeptValue:
        return KeptValue(task.component, finished, self._load)

    async def _find(self, task: Task, arguments: Mapping[str, object]) -> Taken | None:
        """Set the task's digest; give what an equal task gave before, if it is still valid."""
        keeper = self._keeper
        self.name(task, arguments)
        if keeper is None:
            return None
        if task.digest is None:
            task.digest = await self._full_digest(task, arguments)
            if task.digest is None:
                return None
        if _forced(task):
            return None
        try:
            kept = valid(keeper, task.component, task.digest)
            if kept is None:
                return None
            (values,) = await self._load([kept.outputs])
        except StoreError:
            return None  # it was damaged, and is forgotten: do the work again
        return whole(task.component, values), kept

    def kept(self, earlier: Earlier, task: Task, digest: bytes) -> Taken | None:
        """Give what an equal task gave, whatever the component's policy says of that."""
        finished = None if self._keeper is None else any_kept(self._keeper, earlier, digest)
        return None if finished is None else (self._value(task, finished), finished)

    async def restored(
        self, earlier: Earlier | None, task: Task, saved: str | None
    ) -> Sequence[object]:
        """Give what an earlier attempt of a task had saved, as the only item; empty if nothing.

        Args:
            saved: the blob that an attempt of this very run has saved.
        """
        blob = saved
        if not blob and earlier is not None and task.digest is not None and not _forced(task):
            blob = earlier.checkpoint(task.digest)
        keeper = self._keeper
        if not blob or keeper is None:
            return ()
        try:
            return (await self._threads.run(lambda: keeper.load(blob), whole=True),)
        except StoreError:
            return ()  # it was damaged: from the beginning, then

    async def _load(self, several: Sequence[Mapping[str, str]]) -> Sequence[Mapping[str, object]]:
        """Read the outputs of several tasks, all in one thread: each read takes microseconds."""
        keeper = self._keeper
        assert keeper is not None
        return await self._threads.run(  # type: ignore[return-value]
            lambda: [{port: keeper.load(blob) for port, blob in each.items()} for each in several],
            whole=True,
        )

    async def _full_digest(self, task: Task, arguments: Mapping[str, object]) -> bytes | None:
        """The digest, however large the arguments are."""
        return await self._threads.run(  # type: ignore[return-value]
            lambda: self._digests.of(task, arguments), whole=True
        )

    def wants(self, task: Task, seconds: float, value: object) -> bool:
        """Tell whether the outputs of a task that took so long are worth keeping.

        A value that is elsewhere is brought here and kept only if the component asks for it.
        """
        if self._keeper is None:
            return False
        if task.component.policy.cache is not None or is_question(task):
            return True
        return seconds > self._keep_after and not isinstance(value, RemoteValue)

    async def keep(
        self, task: Task, arguments: Mapping[str, object], value: object
    ) -> tuple[Mapping[str, str] | None, str]:
        """Keep the outputs; gives the blob of each port, or None and why not."""
        keeper, component = self._keeper, task.component
        if keeper is None:
            return None, ""
        if task.digest is None:
            # Large plain arguments are read only now that the task took long enough to be worth
            # it. If the body has changed one in place, an equal call will not find this result.
            task.digest = await self._full_digest(task, arguments)
        if task.digest is None:
            return None, "an input, or something its code uses, has no stable content to name it by"
        digest = task.digest.hex()
        try:
            outputs = by_port(component, value)
            blobs = await self._threads.run(
                lambda: keeper.keep(digest, component.name, task.link.id, task.hash, outputs),
                whole=True,
            )
        except (StoreError, ResultError) as exc:
            return None, str(exc)
        return blobs, ""  # type: ignore[return-value]


def _forced(task: Task) -> bool:
    run: LiveRun = task.link  # type: ignore[assignment]
    return bool(run.forced.why(task))
