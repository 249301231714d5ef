"""Every error of the package: one tree, each class writes its own sentence.

TwingraphError
|-- DefinitionError            a component or pipeline cannot be made from this cell or function
|   |-- UnknownOption          option or config key that nobody knows
|   |-- UnknownPlatform        no such platform, or one that is not built yet
|   |-- AmbiguousCell          the signature of a cell cannot be inferred
|   |-- CellSyntaxError        the cell is not valid Python
|   `-- CompileError           the compiler of another language refuses the cell
|-- WiringError                a call does not fit the component
|   |-- ArgumentError          missing, surplus or unknown arguments
|   |-- PortTypeError          the types of two connected ports do not fit
|   |-- CycleError             tasks wait on each other
|   |-- UnknownSelector        `only=`, `skip=` ... name something that is not there
|   |-- SelectorsClash         what one of them names another one leaves out
|   `-- LazyValueError         an output that is not there yet was used as a plain value
|-- PortabilityError           the component cannot travel to its platform
|-- TaskError                  what happened to a task, other than the user's own exception
|   |-- TaskCancelled
|   |-- TaskSkipped            something it needs failed
|   |   `-- LeftOut            somebody chose not to run it
|   |-- NotKept                a value was to come from the store and is not there
|   |-- GroupFailed            too few of its members succeeded
|   |-- TaskTimeout            (also a TimeoutError)
|   |-- WorkerDied             the process that ran it ended: signal, exit code, out of memory
|   `-- ResultError            the result cannot be sent back or does not fit the output ports
|-- RunError                   a run failed, was cancelled or is not known
|   `-- RunTimeout             (also a TimeoutError)
|-- ExecutorError              a platform failed before the user's code did: a retry is safe
|   |-- NotStarted             a job that a kernel which died had named was never started
|   `-- ToolchainMissing       no compiler or interpreter of the component's language is here
|-- BreakerOpen                a circuit breaker lets nothing through now: nothing was started
|-- StoreError                 the event log cannot be read or written
|-- LineageError               a question to the graph cannot be asked or answered
`-- NotebookError              a batch run of a notebook cannot start or did not end well
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Protocol

__all__ = [
    "AmbiguousCell",
    "ArgumentError",
    "BreakerOpen",
    "CellSyntaxError",
    "CompileError",
    "CycleError",
    "DefinitionError",
    "ExecutorError",
    "GroupFailed",
    "LazyValueError",
    "LeftOut",
    "LineageError",
    "NotKept",
    "NotStarted",
    "NotebookError",
    "PortTypeError",
    "PortabilityError",
    "ResultError",
    "RunError",
    "RunTimeout",
    "SelectorsClash",
    "StoreError",
    "TaskCancelled",
    "TaskError",
    "TaskSkipped",
    "TaskTimeout",
    "ToolchainMissing",
    "TwingraphError",
    "UnknownOption",
    "UnknownPlatform",
    "UnknownSelector",
    "WiringError",
    "WorkerDied",
    "suggestion",
]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Give ``" (did you mean 'x'?)"`` for the nearest known name, or the empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


_LISTED = 12
"""Names that an error lists although it knows which one was meant."""


class _Settled(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def error(self) -> str: ...
    @property
    def ok(self) -> bool: ...


class TwingraphError(Exception):
    """Anything this package raises on its own account."""


class DefinitionError(TwingraphError):
    """A component or pipeline cannot be made from this cell or function."""


class UnknownOption(DefinitionError):
    """An option or config key that nobody knows."""

    def __init__(self, name: str, known: Iterable[str], *, where: str) -> None:
        self.name, self.known, self.where = name, tuple(sorted(set(known))), where
        near = suggestion(name, self.known)
        # All of a component's options would hide the one that was meant.
        rest = "" if near and len(self.known) > _LISTED else f"; known are {', '.join(self.known)}"
        super().__init__(f"{where}: unknown option {name!r}{near}{rest}")


class UnknownPlatform(DefinitionError):
    """A platform that does not exist."""

    def __init__(self, name: str, known: Iterable[str], *, where: str) -> None:
        self.name, self.known = name, tuple(sorted(known))
        super().__init__(
            f"{where}: no platform is called {name!r}{suggestion(name, self.known)}; "
            f"use one of {', '.join(self.known)}"
        )


class AmbiguousCell(DefinitionError):
    """The signature of a cell cannot be inferred; carries the line to write."""

    def __init__(self, why: str, *, write: str, where: str) -> None:
        self.why, self.write = why, write
        super().__init__(f"{where}: {why}. Write the signature yourself, for example:\n    {write}")


class CellSyntaxError(DefinitionError):
    """The cell is not valid Python."""

    def __init__(self, message: str, *, where: str, line: int, text: str = "") -> None:
        self.line, self.text = line, text
        shown = f"\n    {text.strip()}" if text.strip() else ""
        super().__init__(f"{where}, line {line}: {message}{shown}")


class CompileError(DefinitionError):
    """The compiler of another language refuses the cell.

    errors: for each its line in the cell (0 if not known), its message and the line's text.
    output: all that the compiler printed.
    """

    def __init__(
        self,
        component: str,
        language: str,
        cell: str,
        errors: Iterable[tuple[int, str, str]],
        more: int = 0,
        output: str = "",
    ) -> None:
        self.component, self.language, self.cell = component, language, cell
        self.errors, self.output = tuple(errors), output
        told = []
        for line, message, text in self.errors:
            where = f"{cell}, line {line}" if line else cell
            told.append(f"{where}: {message}" + (f"\n    {text}" if text else ""))
        if more > 0:
            told.append(f"and {more} more")
        said = "\n".join(told) or output.strip() or "it did not say why"
        super().__init__(f"{component} is not valid {language}:\n{said}")


class WiringError(TwingraphError):
    """A call does not fit the component."""


class ArgumentError(WiringError):
    """Missing, surplus or unknown arguments."""

    def __init__(self, component: str, problem: str, signature: str) -> None:
        self.component, self.problem = component, problem
        super().__init__(f"{component}: {problem}; the component is {component}{signature}")


class PortTypeError(WiringError):
    """The types of two connected ports do not fit."""

    def __init__(self, component: str, port: str, wanted: str, given: str, source: str) -> None:
        self.component, self.port = component, port
        super().__init__(
            f"{component}: input {port!r} wants {wanted}, but {source} gives {given}; "
            f"convert it in between, or change one of the annotations"
        )


class CycleError(WiringError):
    """Tasks wait on each other."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        super().__init__(
            f"these tasks wait on each other: {' -> '.join(self.names)}; remove one of the edges"
        )


class UnknownSelector(WiringError):
    """A selector names nothing that there is.

    option: as it was written, such as "only" or "--only". where: "no task is called", or the like.
    known: the names that there are.
    """

    def __init__(self, option: str, selector: str, known: Iterable[str], *, where: str) -> None:
        self.option, self.selector, self.known = option, selector, tuple(sorted(set(known)))
        bare = selector.partition("[")[0]
        close = difflib.get_close_matches(bare, self.known, n=3, cutoff=0.5)
        near = " or ".join(map(repr, close))
        # A list of more hides what was meant; of a notebook, they are all words of its code.
        rest = f"; there is {_listed(self.known)}" if 0 < len(self.known) <= _LISTED else ""
        super().__init__(
            f"{option}: {where} {selector!r}{f' (did you mean {near}?)' if near else rest}"
        )


class SelectorsClash(WiringError):
    """What a selector names is all left out by another one.

    option: as it was written, such as "only" or "--only". matched: the names it fits. against:
    the other one, as it was written with its names.
    """

    def __init__(self, option: str, selector: str, matched: Iterable[str], *, against: str) -> None:
        self.option, self.selector, self.against = option, selector, against
        self.matched = tuple(sorted(set(matched)))
        all_ = "it" if len(self.matched) == 1 else "all of them"
        super().__init__(
            f"{option}: {selector!r} fits {_listed(self.matched)}, and {against} leaves {all_} "
            f"out: take the name out of one of the two"
        )


def _listed(names: Sequence[str]) -> str:
    """Names as a sentence has them; of many only the first."""
    shown = [*names[:_LISTED], *[f"{len(names) - _LISTED:,} more"] * (len(names) > _LISTED)]
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if shown[1:] else "".join(shown)


class LazyValueError(WiringError):
    """An output that is not there yet was used as a plain value."""

    def __init__(self, what: str, use: str) -> None:
        super().__init__(
            f"{what} is not there yet, so it cannot be used {use}: "
            f"write `{what}.result()`, or `await {what}` in an async function"
        )


class PortabilityError(TwingraphError):
    """A component cannot travel to its platform; names what stays behind and the cure."""

    def __init__(self, component: str, platform: str, problems: Iterable[str]) -> None:
        self.component, self.platform, self.problems = component, platform, tuple(problems)
        told = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{component} cannot travel to platform {platform!r}:{told}")


class TaskError(TwingraphError):
    """What happened to a task, other than the user's own exception."""


class TaskCancelled(TaskError):
    """The task was cancelled before it finished."""

    def __init__(self, task: str, why: str = "") -> None:
        self.task, self.why = task, why
        super().__init__(f"{task} was cancelled" + (f": {why}" if why else ""))


class TaskSkipped(TaskError):
    """The task never ran because something it needs did not succeed."""

    def __init__(self, task: str, because: str) -> None:
        self.task, self.because = task, because
        super().__init__(f"{task} was skipped because {because} did not succeed")


class LeftOut(TaskSkipped):
    """The task is left out of this run, because of what was selected; `because` says why."""

    def __init__(self, task: str, because: str) -> None:
        self.task, self.because = task, because
        TaskError.__init__(self, f"{task} is left out of this run: {because}")


class NotKept(TaskError):
    """Values that were to be taken from the store are not there."""

    def __init__(self, task: str, lacking: Iterable[str]) -> None:
        self.task, self.lacking = task, tuple(lacking)
        names = " and ".join(self.lacking)
        bare = self.lacking[0].partition("[")[0]
        wants = f"{task} wants" if task not in self.lacking else "the pipeline looks at"
        super().__init__(
            f"{wants} the value of {names}, which is not kept: run with to={task!r} instead of "
            f"only= to make it, or give {bare} `cache=True` and run it once"
        )


class GroupFailed(TaskError):
    """A group's policy says that too few, or the wrong ones, of its members succeeded.

    members: how each of them ended, see `Settled`.
    """

    def __init__(self, group: str, policy: str, members: Sequence[_Settled]) -> None:
        self.group, self.policy, self.members = group, policy, tuple(members)
        good = sum(one.ok for one in self.members)
        fallen = [f"{one.name} {one.state}: {one.error}" for one in self.members if not one.ok]
        more = f"; and {len(fallen) - _LISTED} more" if len(fallen) > _LISTED else ""
        told = f" ({'; '.join(fallen[:_LISTED])}{more})" if fallen else ""
        super().__init__(
            f"group {group} wants {policy}, but {good} of {len(self.members)} succeeded{told}"
        )


class TaskTimeout(TaskError, TimeoutError):
    """The task did not finish within its timeout."""

    def __init__(self, task: str, seconds: float, doing: str = "did not finish within") -> None:
        self.task, self.seconds = task, seconds
        super().__init__(f"{task} {doing} {seconds:g} s")


class WorkerDied(TaskError):
    """The process that ran the task ended: a signal, an exit code, or out of memory."""

    def __init__(self, task: str, cause: str, worker: str = "worker process") -> None:
        self.task, self.cause, self.worker = task, cause, worker
        super().__init__(f"the {worker} that ran {task} {cause}")


class ResultError(TaskError):
    """The result cannot be sent back, or does not fit the output ports."""


class RunError(TwingraphError):
    """A run failed, was cancelled, or is not known."""


class RunTimeout(RunError, TimeoutError):
    """The whole run did not finish within its timeout."""

    def __init__(self, run: str, seconds: float) -> None:
        self.run, self.seconds = run, seconds
        super().__init__(f"run {run} did not finish within {seconds:g} s")


class ExecutorError(TwingraphError):
    """A platform failed before the user's code did: a retry is safe."""


class ExecutorMissing(ExecutorError):
    """The client library of a platform is not installed."""

    def __init__(self, platform: str, extra: str) -> None:
        self.platform, self.extra = platform, extra
        super().__init__(f"platform {platform!r} needs: pip install 'twingraph-nb[{extra}]'")


class NotStarted(ExecutorError):
    """Nothing was ever started under a ticket: its kernel died first."""


class ToolchainMissing(ExecutorError):
    """The compiler or interpreter of a language is not on this machine."""

    def __init__(self, language: str, tried: Iterable[str], cure: str) -> None:
        self.language, self.tried = language, tuple(tried)
        super().__init__(
            f"{language} needs one of {', '.join(self.tried)}, and none is there: {cure}, "
            "or run the component in an image that has it (platform='docker', image=...)"
        )


class Unreachable(ExecutorError):
    """The service behind a platform does not answer; says what was tried and the cure."""

    def __init__(self, platform: str, tried: str, why: str, cure: str) -> None:
        self.platform, self.tried, self.why = platform, tried, why
        super().__init__(f"platform {platform!r} cannot be reached at {tried}: {why}. {cure}")


class LineageError(TwingraphError):
    """A question to the graph cannot be asked or answered; kinds: `lineage/problems.py`."""


class BreakerOpen(TwingraphError):
    """A circuit breaker lets nothing through now; nothing was started.

    breaker: its name. since: seconds it has been so. again: seconds until it lets a call through
    to try, at most. cause: the error that opened it, as text.
    """

    def __init__(
        self, breaker: str, since: float, again: float, cause: str, trying: bool = False
    ) -> None:
        self.breaker, self.since, self.again, self.cause = breaker, since, again, cause
        how = "is being tried again by other calls" if trying else "will be tried again"
        when = f"; next in {again:.3g} s at most" if trying else f" in {again:.3g} s"
        super().__init__(
            f"the circuit breaker {breaker!r} has been open for {since:.3g} s, because of "
            f"{cause}; it {how}{when}"
        )


class StoreError(TwingraphError):
    """The event log cannot be read or written."""


class NotebookError(TwingraphError):
    """A batch run of a notebook cannot start or did not end well."""
