"""What an executor is: the contract every platform keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from twingraph_nb.component import Component
from twingraph_nb.context import Reporter
from twingraph_nb.graph.remote_value import RemoteParts, RemoteValue

__all__ = [
    "Capabilities",
    "Condition",
    "Executor",
    "FindsSome",
    "HandsOver",
    "Job",
    "NamesLate",
    "Outcome",
    "Probes",
    "RemoteParts",
    "RemoteValue",
    "Report",
    "Stop",
    "TakesRemote",
    "is_found_again",
]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a platform can do.

    isolated: the task runs outside the kernel's process, so its inputs and result travel.
    stops: a cancelled or timed-out task is really ended.
    attaches: a job started before a crash can be found again by its ticket; of some components
    only, if the executor is a `FindsSome`.
    """

    isolated: bool = False
    stops: bool = False
    attaches: bool = False


class Condition(NamedTuple):
    """How a platform is. state: "ready", "missing" or "unreachable". detail: versions, or why."""

    state: str
    detail: str = ""


@runtime_checkable
class Probes(Protocol):
    """An executor that can say whether the service behind it answers."""

    async def probe(self) -> str:
        """Give the versions of client and service; needs no `open`.

        Raises:
            ExecutorError: it cannot be reached; says what was tried and how to start one.
        """
        ...


@runtime_checkable
class FindsSome(Protocol):
    """An executor that writes tickets for the jobs of some components, not of all."""

    def finds(self, component: Component) -> bool:
        """True if the component's jobs can be found again."""
        ...


def is_found_again(executor: Executor, component: Component) -> bool:
    """True if the executor writes tickets for the component's jobs, which need their digests."""
    if not executor.capabilities.attaches:
        return False
    return not isinstance(executor, FindsSome) or executor.finds(component)


class Job:
    """One attempt of one task, ready to run.

    arguments: by input name, references resolved. name: for messages and logs. restored: what an
    earlier attempt had saved, as the only item, or empty. ticket: of an earlier run, under which
    nothing was found; it is started under that name, lest it is started twice.
    """

    __slots__ = ("arguments", "attempt", "component", "hash", "name", "restored", "ticket")

    def __init__(
        self,
        hash: str,
        name: str,
        component: Component,
        arguments: Mapping[str, object],
        attempt: int = 1,
        restored: Sequence[object] = (),
    ) -> None:
        self.hash, self.name, self.component = hash, name, component
        self.arguments, self.attempt = arguments, attempt
        self.restored, self.ticket = restored, ""

    def call(self) -> object:
        """Call the function here, by reference, no copy.

        Returns:
            Its result; a coroutine or generator for those styles.
        """
        component = self.component
        if component.plain:
            return component.function(**self.arguments)
        args, kwargs = component.spread(self.arguments)
        return component.function(*args, **kwargs)


class Outcome:
    """How an attempt ended: a value, or the user's own exception."""

    __slots__ = ("error", "value")

    def __init__(self, value: object = None, error: BaseException | None = None) -> None:
        self.value, self.error = value, error


class Report(Reporter, Protocol):
    """Where a running job tells what happens. Safe to call from any thread."""

    def started(self, worker: str = "") -> None:
        """The job does not wait for a place any more; said once or more, the first counts."""
        ...

    def chunk(self, value: object) -> None: ...
    def checkpoint(self, state: object) -> None: ...
    def ticket(self, ticket: str) -> object:
        """Name the remote job; it is stored before this returns.

        Returns:
            True if a run that resumes this one can find it by that.
        """
        ...


@runtime_checkable
class NamesLate(Protocol):
    """A report that can name its task when its job turns out to last."""

    async def named(self) -> bool:
        """See that the task has a digest, by which a ticket is found; False if it has none, or is
        over."""
        ...


@runtime_checkable
class TakesRemote(Protocol):
    """An executor that can work on values which are still elsewhere."""

    def takes(self, value: RemoteValue, component: Component) -> bool:
        """True if a task of the component may get the value as it is."""
        ...


class Stop(Protocol):
    """Ends a job that was handed over."""

    def cancel(self, why: str = "") -> object:
        """End it. A future that this gives is done when the job really has ended; until then it
        may be asked again."""
        ...


@runtime_checkable
class HandsOver(Protocol):
    """An executor that needs no coroutine for each job, which makes small tasks cheap."""

    handed_styles: ClassVar[frozenset[str]]
    """The styles of component it takes that way."""

    def hand_over(self, job: Job, report: Report, done: Callable[[Outcome], None]) -> Stop:
        """Run the job and call `done` once, later, on the loop's thread.

        After a `cancel` of what is returned, `done` is called only if the job ends in its own
        way all the same.
        """
        ...


class Executor(Protocol):
    """A platform. Raises only ExecutorError, which means that a retry is safe."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]

    async def open(self) -> None: ...
    async def run(self, job: Job, report: Report) -> Outcome:
        """Run the job to its end. Cancelling this coroutine frees what it holds."""
        ...

    async def attach(self, ticket: str, job: Job, report: Report) -> Outcome:
        """Go on hearing a job that a kernel which died had started, to its end.

        Args:
            job: the same work in this run.
        Raises:
            NotStarted: that kernel had not come to start it.
            ExecutorError: it cannot be asked any more, and does not run.
        """
        ...

    async def close(self) -> None: ...
