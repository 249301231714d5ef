"""Runs as events, for tests of the graph: small, with everything that can happen in one."""

from __future__ import annotations

from collections.abc import Sequence

from twingraph_nb.events import (
    Batch,
    CancelAsked,
    ComponentUsed,
    ErrorInfo,
    Event,
    RunFinished,
    RunStarted,
    TaskAdded,
    TaskDone,
    TaskErred,
    TaskReused,
    TaskSkipped,
    TaskStarted,
)
from twingraph_nb.store.rows import RunRow

__all__ = ["RUN", "FakeStore", "batches", "component", "started", "story", "task"]

RUN = "aaaa000000000001"


def started(run: str = RUN, name: str = "train", at: float = 100.0, **more: object) -> RunStarted:
    """The first event of a run."""
    origin = {"host": "lab", "python": "3.11.7", "version": "0.1", "user": "ann"}
    origin["notebook"] = "work/a.ipynb"
    return RunStarted(at, run, name, origin=origin, **more)  # type: ignore[arg-type]


def component(name: str, digest: str = "", at: float = 100.0, **more: object) -> ComponentUsed:
    """A component that gives a number."""
    given = {
        "source": f"def {name}(x):\n    return x\n",
        "cell": "cell [3]",
        "inputs": (("x", "int"),),
        "outputs": (("value", "int"),),
    } | more
    return ComponentUsed(at, digest or f"d-{name}", name, **given)  # type: ignore[arg-type]


def task(number: int, name: str, *, run: str = RUN, at: float = 101.0, **more: object) -> TaskAdded:
    """A call of that component."""
    hash = f"{run}{number:08x}"
    return TaskAdded(at, number, hash, name, f"d-{name}", **more)  # type: ignore[arg-type]


def story(run: str = RUN, at: float = 100.0) -> list[Event]:
    """load -> clean -> fit (fails) -> report (skipped); clean is kept, load was reused."""
    return [
        started(run, at=at, params={"n": "3", "api_key": "hunter2"}),
        component("load", at=at),
        component("clean", at=at),
        component("fit", at=at, platform="docker"),
        component("report", at=at),
        task(0, "load", run=run, at=at + 1, inputs={"path": "'a.csv'", "password": "x"}),
        task(1, "clean", run=run, at=at + 1, wires=((0, "", "x"),)),
        task(2, "fit", run=run, at=at + 1, wires=((1, "", "x"), (0, "", ""))),
        task(3, "report", run=run, at=at + 1, wires=((2, "", "x"),)),
        TaskReused(at + 2, 0, "dg0", {"value": "7"}, "old", "old0", kept={"value": "blob7"}),
        TaskStarted(at + 2, 1, worker="thread 1"),
        TaskDone(at + 5, 1, {"value": "8"}, "dg1", {"value": "blob8"}),
        TaskStarted(at + 5, 2),
        TaskErred(at + 6, 2, 1, ErrorInfo("OSError", "busy"), retryable=True),
        TaskStarted(at + 7, 2, attempt=2),
        TaskErred(at + 8, 2, 2, ErrorInfo("OSError", "gone"), retryable=False),
        TaskSkipped(at + 8, 3, because=2),
        CancelAsked(at + 8.5, None, "user", "too slow"),
        RunFinished(at + 9, "failed", ErrorInfo("OSError", "gone")),
    ]


def batches(events: Sequence[Event], run: str = RUN, size: int = 4) -> list[Batch]:
    """The events in batches, as a session gives them."""
    return [
        Batch(run, start, tuple(events[start : start + size]))
        for start in range(0, len(events), size)
    ]


class FakeStore:
    """A store that holds these runs, newest last. reads: how often events were asked for."""

    def __init__(self, **runs: Sequence[Event]) -> None:
        self.held = dict(runs)
        self.states: dict[str, str] = {}
        self.reads = 0

    def runs(self, limit: int | None = 50, parent: str | None = None) -> list[RunRow]:
        return [
            RunRow(
                id=run,
                name=run,
                form="pipeline",
                state=self.states.get(run, "succeeded"),  # type: ignore[arg-type]
                parent=None,
                started=0.0,
                finished=None,
                seen=0.0,
                events=len(events),
            )
            for run, events in reversed(self.held.items())
        ]

    def lengths(self) -> list[RunRow]:
        return self.runs()[::-1]

    def events(self, run_id: str, start: int = 0) -> list[Batch]:
        self.reads += 1
        return [Batch(run_id, start, tuple(self.held[run_id][start:]))]
