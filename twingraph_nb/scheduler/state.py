"""What a run is and what must happen next: events in, commands out. No clock, thread or I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    TaskUnobserved,
    TaskWoken,
)
from twingraph_nb.policy import Policy
from twingraph_nb.scheduler.commands import (
    BODY,
    Cancel,
    Command,
    Commands,
    Finish,
    Launch,
    Record,
    WakeAt,
)

__all__ = ["HANDLERS", "RunState"]

_DEFAULT = Policy()
_OPEN = 1
_CODES: dict[TaskStateName, int] = {
    "succeeded": 2,
    "reused": 3,
    "failed": 4,
    "skipped": 5,
    "cancelled": 6,
}
"""One byte is all that is kept of a task that has ended: a run may have millions."""
_NAMES: dict[int, TaskStateName] = {code: name for name, code in _CODES.items()}
_GOOD = (_CODES["succeeded"], _CODES["reused"])
_NONE: tuple[Command, ...] = ()


class _Node:
    """What the state keeps of a task that has not ended."""

    __slots__ = (
        "attempt",
        "dependents",
        "ending",
        "group",
        "last",
        "left",
        "members",
        "policy",
        "state",
    )

    def __init__(self, policy: Policy, group: int | None, last: bool) -> None:
        self.state: TaskStateName = "waiting"
        self.attempt = 0
        self.left = 0
        self.dependents: list[int] | None = None
        self.members: dict[int, None] | None = None  # in order
        self.ending = False  # it was cancelled, and so is all that it still calls
        self.policy, self.group, self.last = policy, group, last


class RunState:
    """The state of one run as a fold over its events.

    states: of each task by number. unfinished: how many tasks are not in a final state.
    state: of the run. error: what made it fail. stopping: no further task will be launched.
    """

    __slots__ = (
        "_body_open",
        "_codes",
        "_nodes",
        "_on_error",
        "_policies",
        "_stopping",
        "error",
        "failed",
        "paused",
        "state",
        "stopping",
        "unfinished",
    )

    def __init__(self) -> None:
        self.state: RunStateName = "running"
        self.error: ErrorInfo | None = None
        self.unfinished = 0
        self.failed = 0
        self._nodes: dict[int, _Node] = {}  # of the tasks that have not ended
        self._codes = bytearray()  # of each task: not known, open, or how it ended
        self._policies: dict[str, Policy] = {}
        self._on_error = "fail_fast"
        self._body_open = True
        self.paused = False  # the driver then holds what is ready
        self._stopping: RunStateName | None = None  # what it will be once all has stopped
        self.stopping = False

    @property
    def states(self) -> dict[int, TaskStateName]:
        """The state of each task by its number."""
        return {n: self.state_of(n) for n, code in enumerate(self._codes) if code}

    def state_of(self, task: int) -> TaskStateName:
        """Give the state of one task; "waiting" if it is not known (yet)."""
        node = self._nodes.get(task)
        if node is not None:
            return node.state
        return _NAMES.get(self._code(task), "waiting")

    def attempt_of(self, task: int) -> int:
        """Give the number of the last attempt of a task that has not ended, 0 before the first."""
        node = self._nodes.get(task)
        return 0 if node is None else node.attempt

    def is_ending(self, task: int) -> bool:
        """Tell whether an open task was cancelled, and has not ended yet."""
        node = self._nodes.get(task)
        return node is not None and node.ending

    def _code(self, task: int) -> int:
        return self._codes[task] if 0 <= task < len(self._codes) else 0

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
        node = self._nodes.get(event.task)
        if node is not None:
            node.state = "ready"
        return _NONE

    def _run_finished(self, event: RunFinished) -> Commands:
        self.state, self.stopping = event.state, True
        return _NONE

    def _stop(self, state: RunStateName, at: float, why: str) -> Commands:
        """Drop what waits, cancel what runs."""
        out: list[Command] = []
        if self._stopping is None:
            self._stopping, self.stopping = state, True
            left = [number for number, node in self._nodes.items() if not node.last]
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
        self.stopping = True
        return (Finish(self.state, self.error),)

    # -- tasks -------------------------------------------------------------------------------

    def _task_added(self, event: TaskAdded) -> Commands:
        node = _Node(self._policies.get(event.component, _DEFAULT), event.group, event.last)
        number, codes = event.task, self._codes
        self._nodes[number] = node
        if number >= len(codes):
            codes.extend(bytes(number + 1 - len(codes)))
        codes[number] = _OPEN
        self.unfinished += 1
        if event.group is not None and (parent := self._nodes.get(event.group)) is not None:
            if parent.members is None:
                parent.members = {}
            parent.members[number] = None
            if parent.ending and not (self.stopping or event.last):
                return self._cancelled_at_birth(number, event.at, "what called it was cancelled")
        if self.stopping and not event.last:
            return self._cancelled_at_birth(number, event.at, "the run is stopping")
        if event.wires and (out := self._wired(number, node, event)) is not None:
            return out
        node.state = "ready"
        return (Launch(number),)

    def _wired(self, number: int, node: _Node, event: TaskAdded) -> Commands | None:
        """See what it has to wait for; None if all of that is there."""
        for need, _, _ in event.wires:
            other = self._nodes.get(need)
            if other is None:
                if self._code(need) in _GOOD:
                    continue
                out: list[Command] = []
                self._skip(number, need, event.at, out)
                return out
            if other.dependents is None:
                other.dependents = [number]
            elif other.dependents[-1] != number:
                other.dependents.append(number)
            else:
                continue  # it needs another output of the same task
            node.left += 1
        return _NONE if node.left else None

    def _cancelled_at_birth(self, number: int, at: float, why: str) -> Commands:
        out: list[Command] = []
        self._cancel(number, at, why, out)
        out.extend(self._maybe_finish())
        return out

    def _task_started(self, event: TaskStarted) -> Commands:
        node = self._nodes.get(event.task)
        if node is not None:
            node.state, node.attempt = "running", event.attempt
        return _NONE

    def _task_done(self, event: TaskDone) -> Commands:
        return self._good(event.task, "succeeded")

    def _task_reused(self, event: TaskReused) -> Commands:
        return self._good(event.task, "reused")

    def _good(self, number: int, state: TaskStateName) -> Commands:
        node = self._nodes.get(number)
        if node is None:
            return _NONE
        self._close(number, node, state)
        waiting = node.dependents
        if not waiting:
            return _NONE if self.unfinished else self._maybe_finish()
        out: list[Command] = []
        for other in waiting:
            later = self._nodes.get(other)
            if later is None:
                continue
            later.left -= 1
            if not later.left and later.state == "waiting":
                later.state = "ready"
                out.append(Launch(other))
        if not self.unfinished:
            out.extend(self._maybe_finish())
        return out

    def _close(self, number: int, node: _Node, state: TaskStateName) -> None:
        """The task has ended."""
        del self._nodes[number]
        self._codes[number] = _CODES[state]
        self.unfinished -= 1
        if node.group is not None:
            parent = self._nodes.get(node.group)
            if parent is not None and parent.members is not None:
                parent.members.pop(number, None)

    def _task_erred(self, event: TaskErred) -> Commands:
        node = self._nodes.get(event.task)
        if node is None:
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
        out.extend(self._maybe_finish() if event.observed else self._task_unobserved(event))
        return out

    def _task_unobserved(self, event: TaskErred | TaskUnobserved) -> Commands:
        self.failed += 1
        if self.error is None:
            self.error = event.error
        if self._on_error == "fail_fast" and self._stopping is None:
            return self._stop("failed", event.at, "another task of the run failed")
        return self._maybe_finish()

    def _task_woken(self, event: TaskWoken) -> Commands:
        node = self._nodes.get(event.task)
        if node is None or node.state != "retrying":
            return _NONE
        node.state = "ready"
        return (Launch(event.task, node.attempt + 1),)

    def _task_cancelled(self, event: TaskCancelled) -> Commands:
        return self._over(event, "cancelled")

    def _task_skipped(self, event: TaskSkipped) -> Commands:
        return self._over(event, "skipped")

    def _over(self, event: TaskCancelled | TaskSkipped, state: TaskStateName) -> Commands:
        if event.task not in self._nodes:
            return _NONE  # it was decided here
        out: list[Command] = []
        self._end(event.task, state, event.at, out)
        out.extend(self._maybe_finish())
        return out

    def _cancel(
        self, number: int, at: float, why: str, out: list[Command], *, members: bool = True
    ) -> None:
        node = self._nodes.get(number)
        if node is None:
            return
        node.ending, running = True, node.state == "running"
        if running:
            out.append(Cancel(number, why))
        for member in list(node.members or ()) if members else ():
            if node.last or not self._nodes[member].last:
                self._cancel(member, at, why, out)
        if running:
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
            self._close(current, node, final)
            for other in node.dependents or ():
                later = self._nodes.get(other)
                if later is not None and later.state == "waiting":
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
    TaskUnobserved: RunState._task_unobserved,
    TaskWoken: RunState._task_woken,
    TaskCancelled: RunState._task_cancelled,
    TaskSkipped: RunState._task_skipped,
}
"""What takes in each kind of event; kinds that change no state are not here."""
