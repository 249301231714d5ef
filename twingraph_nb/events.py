"""The facts of a run: immutable, in the past tense, the only truth.

Everything else (live state, views, reports, resume) is a fold over these. Times are seconds
since the epoch, sizes are bytes, `task` is the number of a task within its run (from 0).
Encoded as JSON objects whose ``kind`` is the class name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

__all__ = [
    "Answered",
    "AnyEvent",
    "Asked",
    "Batch",
    "BodyDone",
    "BodyErred",
    "CancelAsked",
    "ComponentUsed",
    "ErrorInfo",
    "Event",
    "FarWire",
    "LimitChanged",
    "MapExpanded",
    "RetryAsked",
    "RunContinued",
    "RunFinished",
    "RunForm",
    "RunPaused",
    "RunStarted",
    "RunStateName",
    "RunTimedOut",
    "Sink",
    "TaskAdded",
    "TaskCancelled",
    "TaskCheckpointed",
    "TaskDone",
    "TaskErred",
    "TaskForm",
    "TaskHeld",
    "TaskLogged",
    "TaskProgressed",
    "TaskReused",
    "TaskSkipped",
    "TaskStarted",
    "TaskStateName",
    "TaskStreamed",
    "TaskTicketed",
    "TaskUnobserved",
    "TaskWoken",
    "Wire",
    "decode",
    "encode",
]

RunForm = Literal["session", "pipeline", "notebook"]
TaskForm = Literal["call", "map", "pipeline"]
RunStateName = Literal["running", "succeeded", "failed", "cancelled", "interrupted"]
TaskStateName = Literal[
    "waiting",  # for its inputs
    "ready",  # inputs are there; waits for a free place
    "running",
    "retrying",  # failed, waits for its next attempt
    "succeeded",
    "reused",  # an equal task had been done before
    "failed",
    "skipped",  # something it needs did not succeed
    "cancelled",
]

Wire = tuple[int, str, str]
"""(task it comes from, output port there, input port here); both ports "" for order only."""
FarWire = tuple[str, str, str]
"""The same from another run: the task by its hash; a run as a whole is RUN-run."""


class Event(msgspec.Struct, frozen=True, tag_field="kind", tag=True, omit_defaults=True, gc=False):
    """Something that happened at a time."""

    at: float


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception as data: what it said, and where in the user's cell."""

    type: str
    message: str
    traceback: str = ""
    cell: str = ""
    line: int = 0
    notes: tuple[str, ...] = ()


class RunStarted(Event, frozen=True, gc=False):
    """`form` "session" is the run of loose calls in a notebook or script."""

    run: str
    name: str
    form: RunForm = "pipeline"
    parent: str | None = None
    params: Mapping[str, str] = {}
    origin: Mapping[str, str] = {}
    """Where from: notebook, cell, host, pid, user, python, version, packages, commit, ..."""
    on_error: Literal["fail_fast", "continue"] = "fail_fast"
    timeout: float | None = None
    resumes: str = ""
    """The earlier run whose finished tasks it takes over."""
    arguments: str = ""
    """Blob of the pipeline's (args, kwargs), so that another process can resume the run."""
    selected: str = ""
    """What somebody chose to run, such as "to=report"; "" for all of it."""


class ComponentUsed(Event, frozen=True, gc=False):
    """Said once per run and component digest, before the first task of it."""

    digest: str
    name: str
    language: str = "python"
    platform: str = "local"
    source: str = ""
    cell: str = ""
    version: int = 1
    inputs: tuple[tuple[str, str], ...] = ()
    """(name, type as text) of each port."""
    outputs: tuple[tuple[str, str], ...] = ()
    policy: Mapping[str, object] = {}
    image: str = ""
    """The container image that the component names."""
    attributes: Mapping[str, str] = {}
    """What the graph of executions is to say of each of its tasks."""
    uses: Mapping[str, tuple[str, str]] = {}
    """What it uses of its notebook, by name: (digest, text); see `source/used.py`."""


class TaskAdded(Event, frozen=True, gc=False):
    """A call was made. `component` is a digest said before by ComponentUsed."""

    task: int
    hash: str
    name: str
    component: str
    wires: tuple[Wire, ...] = ()
    form: TaskForm = "call"
    group: int | None = None
    """The map or nested pipeline it belongs to."""
    index: int | None = None
    """Its place among the items of a map."""
    inputs: Mapping[str, str] | None = None
    """Short texts of the plain arguments; secrets are masked."""
    others: tuple[FarWire, ...] = ()
    """What it takes from other runs of its session, or waits for there."""
    last: bool = False
    """It tidies up: it runs although its run is stopping."""


class TaskStarted(Event, frozen=True, gc=False):
    """An attempt began (1 = first)."""

    task: int
    attempt: int = 1
    worker: str = ""


class TaskTicketed(Event, frozen=True, gc=False):
    """A remote platform named the job; stored before the wait begins."""

    task: int
    ticket: str
    digest: str = ""
    """By which a resumed run knows that it needs this very job."""


class TaskProgressed(Event, frozen=True, gc=False):
    """`fraction` is in [0, 1]."""

    task: int
    fraction: float
    message: str = ""


class TaskLogged(Event, frozen=True, gc=False):
    """What a task printed, in order; may hold several lines or a part of one."""

    task: int
    stream: Literal["stdout", "stderr", "system"]
    text: str


class TaskCheckpointed(Event, frozen=True, gc=False):
    """The task saved how far it is; `blob` is in the store."""

    task: int
    blob: str
    digest: str = ""
    """By which a resumed run knows that it is about this very work."""


class TaskStreamed(Event, frozen=True, gc=False):
    """`chunks` have come so far."""

    task: int
    chunks: int


class MapExpanded(Event, frozen=True, gc=False):
    """A map knows how many items it has."""

    task: int
    count: int


class TaskDone(Event, frozen=True, gc=False):
    """The task succeeded."""

    task: int
    outputs: Mapping[str, str] | None = None
    """Short text of each output port."""
    digest: str | None = None
    kept: Mapping[str, str] | None = None
    """Blob of each output port in the store, if it was kept."""


class TaskReused(Event, frozen=True, gc=False):
    """An equal task had been done before; its outputs were taken from the store."""

    task: int
    digest: str
    outputs: Mapping[str, str] | None = None
    run: str = ""
    hash: str = ""
    age: float = 0.0
    kept: Mapping[str, str] | None = None
    """Blob of each output port in the store."""


class TaskErred(Event, frozen=True, gc=False):
    """An attempt failed.

    `retryable`: there is another attempt. `observed`: the pipeline's body waits for this very
    task or may be about to (else `TaskUnobserved` follows), so the error is its to handle.
    `jitter` in [0, 1) is drawn by the driver so that the state stays pure. `wait`: seconds before
    the next attempt beside its backoff, for what must not be tried earlier. `fallback`: who
    stands in after the last attempt, such as "component backup"; the task goes on and ends with
    its value.
    """

    task: int
    attempt: int
    error: ErrorInfo
    retryable: bool = True
    observed: bool = False
    jitter: float = 0.0
    wait: float = 0.0
    fallback: str = ""


class TaskUnobserved(Event, frozen=True, gc=False):
    """Whoever called a task that has failed went on without asking: its error is the run's."""

    task: int
    error: ErrorInfo


class TaskWoken(Event, frozen=True, gc=False):
    """The wait before the next attempt is over."""

    task: int


class TaskCancelled(Event, frozen=True, gc=False):
    """It was cancelled and no longer runs."""

    task: int
    why: str = ""


class TaskSkipped(Event, frozen=True, gc=False):
    """It will not run: the task `because` did not succeed, or somebody chose so (`why`)."""

    task: int
    because: int
    why: str = ""


class CancelAsked(Event, frozen=True, gc=False):
    """Somebody asked to cancel a task, or the whole run (`task` None)."""

    task: int | None = None
    who: str = ""
    why: str = ""


class RunPaused(Event, frozen=True, gc=False):
    """Somebody asked that no further task begins; what runs goes on."""

    who: str = ""


class RunContinued(Event, frozen=True, gc=False):
    """Somebody asked a paused run to go on."""

    who: str = ""


class RetryAsked(Event, frozen=True, gc=False):
    """Somebody asked that a task begins another attempt now."""

    task: int
    who: str = ""


class TaskHeld(Event, frozen=True, gc=False):
    """Its attempt was taken back: it is ready again, and begins anew."""

    task: int


class Asked(Event, frozen=True, gc=False):
    """A task waits for what a person says. `default` is text, `deadline` a time."""

    task: int
    prompt: str
    wants: Literal["approval", "text", "choice", "multi", "form"] = "approval"
    options: tuple[str, ...] = ()
    fields: Mapping[str, str | tuple[str, ...]] | None = None
    """What each field of a form takes: text, int, float, bool, or options."""
    default: str | None = None
    deadline: float | None = None
    digest: str = ""
    """By which a resumed run knows that it asks this very question."""


class Answered(Event, frozen=True, gc=False):
    """The first answer to a question; `who` is user@machine, or "default", "answers file"."""

    task: int
    text: str
    who: str = ""


class LimitChanged(Event, frozen=True, gc=False):
    """Somebody changed how many tasks may run at once: of the run, of the platform `name`, or by a
    limit that components share, with `name` as they write it (``openai:30/min``)."""

    limit: int
    name: str = ""
    who: str = ""


class RunTimedOut(Event, frozen=True, gc=False):
    """The run took longer than its timeout (seconds)."""

    seconds: float


class BodyDone(Event, frozen=True, gc=False):
    """The pipeline's function returned, or the session closed: no more calls will come."""

    result: str = ""


class BodyErred(Event, frozen=True, gc=False):
    """The pipeline's function raised."""

    error: ErrorInfo


class RunFinished(Event, frozen=True, gc=False):
    """The last event of a run."""

    state: RunStateName
    error: ErrorInfo | None = None


AnyEvent = (
    RunStarted
    | ComponentUsed
    | TaskAdded
    | TaskStarted
    | TaskTicketed
    | TaskProgressed
    | TaskLogged
    | TaskCheckpointed
    | TaskStreamed
    | MapExpanded
    | TaskDone
    | TaskReused
    | TaskErred
    | TaskUnobserved
    | TaskWoken
    | TaskCancelled
    | TaskSkipped
    | CancelAsked
    | RunPaused
    | RunContinued
    | RetryAsked
    | TaskHeld
    | LimitChanged
    | Asked
    | Answered
    | RunTimedOut
    | BodyDone
    | BodyErred
    | RunFinished
)


class Batch(msgspec.Struct, frozen=True):
    """Events of one run in order; the first is number `seq` of that run (from 0)."""

    run: str
    seq: int
    events: Sequence[Event]


class Sink(Protocol):
    """Takes events: a store, a view, telemetry."""

    def emit(self, batches: Sequence[Batch]) -> None:
        """Take the batches. Called on the scheduler's thread: never blocks, never raises."""
        ...


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[AnyEvent])


def encode(events: Sequence[Event]) -> bytes:
    """Give a JSON array of the events."""
    return _encoder.encode(events)


def decode(body: bytes) -> list[Event]:
    """Give the events of a JSON array made by `encode`.

    Raises:
        msgspec.DecodeError: it is not such an array.
    """
    return list(_decoder.decode(body))
