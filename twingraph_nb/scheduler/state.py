"""What a run is and what must happen next: events in, commands out. No clock, thread or I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from twingraph_nb.events import (
    BodyDone,
    BodyErred,
    CancelAsked,
    ComponentUsed,
    ErrorInfo,
    Event,
    RetryAsked,
    RunContinued,
    RunFinished,
    RunPaused,
    RunStarted,
    RunStateName,
    RunTimedOut,
    TaskAdded,
    TaskCancelled,
    TaskDone,
    TaskErred,
    TaskHeld,
    TaskReused,
    TaskSkipped,
    TaskStarted,
    TaskStateName,
    TaskWoken,
)
from twingraph_nb.policy import Policy

__all__ = [
    "BODY",
    "HANDLERS",
    "Cancel",
    "Command",
    "Finish",
    "Launch",
    "Record",
    "RunState",
    "WakeAt",
]

BODY = -1
"""Stands for the pipeline's own function in `Cancel`."""
_FINAL = frozenset({"succeeded", "reused", "failed", "skipped", "cancelled"})
_GOOD = frozenset({"succeeded", "reused"})
_DEFAULT = Policy()


class Launch(msgspec.Struct, frozen=True, gc=False):
    """Start this attempt as soon as there is a place."""

    task: int
    attempt: int = 1


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Stop what runs: a task, or the pipeline's function (BODY)."""

    task: int
    why: str = ""


class WakeAt(msgspec.Struct, frozen=True, gc=False):
    """Say TaskWoken at this time (seconds since the epoch)."""

    task: int
    at: float


class Record(msgspec.Struct, frozen=True):
    """A fact decided here: write it down. The state has taken it in already."""

    event: Event


class Finish(msgspec.Struct, frozen=True):
    """The run is over."""

    state: RunStateName
    error: ErrorInfo | None = None


Command = Launch | Cancel | WakeAt | Record | Finish
Commands = Iterable[Command]
_NONE: tuple[Command, ...] = ()


class _Node:
    """What the state keeps of one task."""

    __slots__ = ("attempt", "dependents", "group", "left", "members", "policy", "state")

    def __init__(self, policy: Policy, group: int | None) -> None:
        self.state: TaskStateName = "waiting"
        self.attempt = 0
        self.left = 0
        self.dependents: list[int] | None = None
        self.members: list[int] | None = None
        self.policy, self.group = policy, group


class RunState:
    """The state of one run as a fold over its events.

    states: of each task by number. unfinished: how many tasks are not in a final state.
    state: of the run. error: what made it fail.
    """

    __slots__ = (
        "_body_open",
        "_nodes",
        "_on_error",
        "_policies",
        "_stopping",
        "error",
        "failed",
        "paused",
        "state",
        "unfinished",
    )

    def __init__(self) -> None:
        self.state: RunStateName = "running"
        self.error: ErrorInfo | None = None
        self.unfinished = 0
        self.failed = 0
        self._nodes: dict[int, _Node] = {}
        self._policies: dict[str, Policy] = {}
        self._on_error = "fail_fast"
        self._body_open = True
        self.paused = False  # the driver then holds what is ready
        self._stopping: RunStateName | None = None  # what it will be once all has stopped

    @property
    def states(self) -> dict[int, TaskStateName]:
        """The state of each task by its number."""
        return {n: node.state for n, node in self._nodes.items()}

    @property
    def stopping(self) -> bool:
        """True when no further task will be launched."""
        return self._stopping is not None or self.state != "running"

    def state_of(self, task: int) -> TaskStateName:
        """Give the state of one task; "waiting" if it is not known (yet)."""
        node = self._nodes.get(task)
        return "waiting" if node is None else node.state

    def attempt_of(self, task: int) -> int:
        """Give the number of the last attempt of a task, 0 before the first."""
        return self._nodes[task].attempt

    def handle(self, event: Event) -> Commands:
        """Take in one event and give what must happen next, in order."""
        handler = HANDLERS.get(type(event))
        return handler(self, event) if handler is not None else _NONE

    # -- the run -----------------------------------------------------------------------------

    def _run_started(self, event: RunStarted) -> Commands:
        self._on_error = event.on_error
        return _NONE

    def _component_used(self, event: ComponentUsed) -> Commands:
        self._policies[event.digest] = Policy.recorded(event.policy)
        return _NONE

    def _body_done(self, event: BodyDone) -> Commands:
        self._body_open = False
        return self._maybe_finish()

    def _body_erred(self, event: BodyErred) -> Commands:
        self._body_open = False
        if self.error is None:
            self.error = event.error
        if self._stopping is None and self._on_error == "continue":
            self.failed += 1  # the rest may finish, but the run has failed
            return self._maybe_finish()
        return self._stop("failed", event.at, "the pipeline's function failed")

    def _run_timed_out(self, event: RunTimedOut) -> Commands:
        if self.stopping:
            return _NONE
        message = f"the run did not finish within {event.seconds:g} s"
        self.error = ErrorInfo("RunTimeout", message)
        return self._stop("failed", event.at, message)

    def _cancel_asked(self, event: CancelAsked) -> Commands:
        if event.task is None:
            if self.stopping:
                return _NONE
            self.error = ErrorInfo("RunError", event.why or "the run was cancelled")
            return self._stop("cancelled", event.at, event.why or "the run was cancelled")
        out: list[Command] = []
        self._cancel(event.task, event.at, event.why, out)
        out.extend(self._maybe_finish())
        return out

    def _run_paused(self, event: RunPaused) -> Commands:
        self.paused = True
        return _NONE

    def _run_continued(self, event: RunContinued) -> Commands:
        self.paused = False
        return _NONE

    def _retry_asked(self, event: RetryAsked) -> Commands:
        node = self._nodes.get(event.task)
        if node is None or node.state != "retrying":
            return _NONE
        node.state = "ready"
        return (Launch(event.task, node.attempt + 1),)

    def _task_held(self, event: TaskHeld) -> Commands:
        node = self._nodes[event.task]
        if node.state not in _FINAL:
            node.state = "ready"
        return _NONE

    def _run_finished(self, event: RunFinished) -> Commands:
        self.state = event.state
        return _NONE

    def _stop(self, state: RunStateName, at: float, why: str) -> Commands:
        """Drop what waits, cancel what runs."""
        out: list[Command] = []
        if self._stopping is None:
            self._stopping = state
            left = [n for n, node in self._nodes.items() if node.state not in _FINAL]
            # What waits goes first: else it begins in the places of what is stopped.
            left.sort(key=lambda n: self._nodes[n].state == "running")
            for number in left:
                self._cancel(number, at, why, out, members=False)
            if self._body_open:
                out.append(Cancel(BODY, why))
        out.extend(self._maybe_finish())
        return out

    def _maybe_finish(self) -> Commands:
        if self.state != "running" or self.unfinished:
            return _NONE
        if self._body_open and self._stopping is None:
            return _NONE
        self.state = self._stopping or ("failed" if self.failed else "succeeded")
        return (Finish(self.state, self.error),)

    # -- tasks -------------------------------------------------------------------------------

    def _task_added(self, event: TaskAdded) -> Commands:
        node = _Node(self._policies.get(event.component, _DEFAULT), event.group)
        number = event.task
        self._nodes[number] = node
        self.unfinished += 1
        if event.group is not None and (parent := self._nodes.get(event.group)) is not None:
            if parent.members is None:
                parent.members = []
            parent.members.append(number)
        if self.stopping:
            return self._cancelled_at_birth(number, event.at)
        wires = event.wires
        if wires:
            for need in (wires[0][0],) if len(wires) == 1 else {w[0] for w in wires}:
                other = self._nodes[need]
                if other.state in _GOOD:
                    continue
                if other.state in _FINAL:
                    out: list[Command] = []
                    self._skip(number, need, event.at, out)
                    return out
                node.left += 1
                if other.dependents is None:
                    other.dependents = []
                other.dependents.append(number)
            if node.left:
                return _NONE
        node.state = "ready"
        return (Launch(number),)

    def _cancelled_at_birth(self, number: int, at: float) -> Commands:
        out: list[Command] = []
        self._cancel(number, at, "the run is stopping", out)
        out.extend(self._maybe_finish())
        return out

    def _task_started(self, event: TaskStarted) -> Commands:
        node = self._nodes[event.task]
        if node.state not in _FINAL:
            node.state, node.attempt = "running", event.attempt
        return _NONE

    def _task_done(self, event: TaskDone) -> Commands:
        return self._good(event.task, "succeeded")

    def _task_reused(self, event: TaskReused) -> Commands:
        return self._good(event.task, "reused")

    def _good(self, number: int, state: TaskStateName) -> Commands:
        node = self._nodes[number]
        if node.state in _FINAL:
            return _NONE
        node.state = state
        self.unfinished -= 1
        waiting, node.dependents = node.dependents, None
        if not waiting:
            return _NONE if self.unfinished else self._maybe_finish()
        out: list[Command] = []
        for other in waiting:
            later = self._nodes[other]
            later.left -= 1
            if not later.left and later.state == "waiting":
                later.state = "ready"
                out.append(Launch(other))
        if not self.unfinished:
            out.extend(self._maybe_finish())
        return out

    def _task_erred(self, event: TaskErred) -> Commands:
        node = self._nodes[event.task]
        if node.state in _FINAL:
            return _NONE
        node.attempt = event.attempt
        if event.retryable and event.attempt <= node.policy.retries and not self.stopping:
            node.state = "retrying"
            wait = event.wait + node.policy.wait(event.attempt, event.jitter)
            return (WakeAt(event.task, event.at + wait),)
        if event.fallback and not self.stopping:
            node.state = "running"
            return _NONE
        out: list[Command] = []
        self._end(event.task, "failed", event.at, out)
        if not event.observed:
            self.failed += 1
            if self.error is None:
                self.error = event.error
            if self._on_error == "fail_fast" and self._stopping is None:
                out.extend(self._stop("failed", event.at, "another task of the run failed"))
                return out
        out.extend(self._maybe_finish())
        return out

    def _task_woken(self, event: TaskWoken) -> Commands:
        node = self._nodes[event.task]
        if node.state != "retrying":
            return _NONE
        node.state = "ready"
        return (Launch(event.task, node.attempt + 1),)

    def _task_cancelled(self, event: TaskCancelled) -> Commands:
        if self._nodes[event.task].state in _FINAL:
            return _NONE
        out: list[Command] = []
        self._end(event.task, "cancelled", event.at, out)
        out.extend(self._maybe_finish())
        return out

    def _task_skipped(self, event: TaskSkipped) -> Commands:
        return _NONE  # was decided here

    def _cancel(
        self, number: int, at: float, why: str, out: list[Command], *, members: bool = True
    ) -> None:
        node = self._nodes.get(number)
        if node is None or node.state in _FINAL:
            return
        if node.state == "running":
            out.append(Cancel(number, why))
            for member in (node.members or ()) if members else ():
                self._cancel(member, at, why, out)
            return
        out.append(Record(TaskCancelled(at, number, why)))
        self._end(number, "cancelled", at, out)

    def _skip(self, number: int, because: int, at: float, out: list[Command]) -> None:
        out.append(Record(TaskSkipped(at, number, because)))
        self._end(number, "skipped", at, out)

    def _end(self, number: int, state: TaskStateName, at: float, out: list[Command]) -> None:
        """Set a final state that is not a success; all that needs it is skipped."""
        stack = [(number, state)]
        while stack:
            current, final = stack.pop()
            node = self._nodes[current]
            node.state = final
            self.unfinished -= 1
            waiting, node.dependents = node.dependents, None
            for other in waiting or ():
                later = self._nodes[other]
                if later.state == "waiting":
                    later.state = "skipped"
                    out.append(Record(TaskSkipped(at, other, current)))
                    stack.append((other, "skipped"))


HANDLERS: dict[type[Event], Callable[[RunState, Any], Commands]] = {
    RunStarted: RunState._run_started,
    ComponentUsed: RunState._component_used,
    BodyDone: RunState._body_done,
    BodyErred: RunState._body_erred,
    RunTimedOut: RunState._run_timed_out,
    CancelAsked: RunState._cancel_asked,
    RunPaused: RunState._run_paused,
    RunContinued: RunState._run_continued,
    RetryAsked: RunState._retry_asked,
    TaskHeld: RunState._task_held,
    RunFinished: RunState._run_finished,
    TaskAdded: RunState._task_added,
    TaskStarted: RunState._task_started,
    TaskDone: RunState._task_done,
    TaskReused: RunState._task_reused,
    TaskErred: RunState._task_erred,
    TaskWoken: RunState._task_woken,
    TaskCancelled: RunState._task_cancelled,
    TaskSkipped: RunState._task_skipped,
}
"""What takes in each kind of event; kinds that change no state are not here."""
