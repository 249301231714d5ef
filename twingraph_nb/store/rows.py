"""What the store gives back: plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twingraph_nb.events import RunForm, RunStateName

__all__ = ["Freed", "Kept", "RunRow"]


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run as a listing shows it.

    state: "interrupted" if the process that ran it is gone without an end. started, finished,
    seen (its latest event): seconds since the epoch. tasks: how many were added; done, reused,
    failed, skipped, cancelled: how many of them ended so. events: how many are recorded.
    incomplete: why events are missing at the end of its record, or "". resumes: the run it
    went on with, or "". arguments: blob of its pipeline's arguments, or "".
    """

    id: str
    name: str
    form: RunForm
    state: RunStateName
    parent: str | None
    started: float
    finished: float | None
    seen: float
    tasks: int = 0
    done: int = 0
    reused: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    events: int = 0
    notebook: str = ""
    host: str = ""
    pid: int = 0
    error: str = ""
    incomplete: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)
    resumes: str = ""
    arguments: str = ""

    @property
    def seconds(self) -> float:
        """How long it took, up to its latest event if it has no end."""
        return max(0.0, (self.finished or self.seen) - self.started)


@dataclass(frozen=True, slots=True)
class Kept:
    """The outputs of a task that can be used again.

    run, hash: who made them. at: seconds since the epoch. outputs: port -> blob.
    """

    digest: str
    component: str
    run: str
    hash: str
    at: float
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Freed:
    """What a clean-up removed, or would remove: counts, and bytes of it."""

    runs: int = 0
    events: int = 0
    results: int = 0
    blobs: int = 0
    bytes: int = 0
