"""Runs to record in tests."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from twingraph_nb.events import (
    Batch,
    ComponentUsed,
    Event,
    RunFinished,
    RunStarted,
    TaskAdded,
    TaskDone,
    TaskStarted,
)
from twingraph_nb.store import Store, identity

__all__ = ["batches", "database", "ended", "gone_origin", "numbers", "record", "story"]


def story(
    run: str,
    tasks: int = 2,
    *,
    at: float = 1000.0,
    parent: str | None = None,
    state: str = "running",
) -> list[Event]:
    """A run of this process; with an end if `state` is one."""
    told: list[Event] = [
        RunStarted(at=at, run=run, name=f"name of {run}", parent=parent, origin=identity()),
        ComponentUsed(at=at, digest="d1", name="clean", source="def clean(): ..."),
    ]
    for n in range(tasks):
        told += [
            TaskAdded(at=at + n, task=n, hash=f"hash{n}", name="clean", component="d1"),
            TaskStarted(at=at + n, task=n),
            TaskDone(at=at + n + 1, task=n, outputs={"value": str(n)}),
        ]
    if state != "running":
        told.append(RunFinished(at=at + tasks + 1, state=state))  # type: ignore[arg-type]
    return told


def gone_origin() -> dict[str, str]:
    """The origin of a run whose process has ended: this pid, but begun at another time."""
    return {**identity(), "host": socket.gethostname(), "pid_started": "long ago"}


def batches(run: str, events: Sequence[Event], size: int = 7, start: int = 0) -> list[Batch]:
    """The events as batches of at most `size`."""
    return [
        Batch(run, start + at, tuple(events[at : at + size])) for at in range(0, len(events), size)
    ]


def record(store: Store, run: str, events: Sequence[Event]) -> None:
    """Emit the events and see them written."""
    store.emit(batches(run, events))
    assert store.flush()


def ended(store: Store, run: str, at: float, parent: str | None = None) -> None:
    """Record a run that succeeded."""
    record(store, run, story(run, at=at, parent=parent, state="succeeded"))


def numbers(store: Store, run: str) -> list[int]:
    """The number of each recorded event."""
    return [batch.seq + place for batch in store.events(run) for place in range(len(batch.events))]


def database(home: Path) -> Path:
    """Where the file is."""
    return home / "twingraph.db"
