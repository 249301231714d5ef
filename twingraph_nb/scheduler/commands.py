"""What a run's state asks of its driver."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from twingraph_nb.events import ErrorInfo, Event, RunStateName

__all__ = ["BODY", "Cancel", "Command", "Commands", "Finish", "Launch", "Record", "WakeAt"]

BODY = -1
"""Stands for the pipeline's own function in `Cancel`."""


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
