"""Graphs of runs that are as large as wanted, for tests that look at them."""

from __future__ import annotations

from twingraph_nb.events import (
    Batch,
    ComponentUsed,
    ErrorInfo,
    Event,
    RunFinished,
    RunStarted,
    TaskAdded,
    TaskDone,
    TaskErred,
    TaskSkipped,
    TaskStarted,
)
from twingraph_nb.lineage.excerpt import of_run
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.projection import Projection

__all__ = ["HOSTILE", "RUN", "run_graph"]

RUN = "bbbb000000000002"
HOSTILE = "<img src=x onerror=\"window.hit='name'\">&\"'`${1}</script>"
"""A text that a page must show as it is."""

_STAGES = ("load", "clean", "train", "score")
_PLATFORMS = {"load": "local", "clean": "process", "train": "docker", "score": "kubernetes"}


def run_graph(tasks: int, *, wide: int = 6, odd: str = "report") -> Graph:
    """A run of `tasks` tasks in lanes: load -> clean -> train -> score, and a report at the end.

    The third lane fails in train, so its score is skipped. A task takes one second, and a lane
    begins when there is room among `wide`.

    Args:
        odd: the name of the last component, and what it is given.
    """
    events: list[Event] = [RunStarted(100.0, RUN, "study", origin={"host": "lab", "user": "ann"})]
    for name in (*_STAGES, odd):
        used = ComponentUsed(100.0, f"d-{name}", name, platform=_PLATFORMS.get(name, "local"))
        events.append(used)
    lanes = (tasks - 1 + 3) // 4
    free = [101.0] * wide
    last: list[tuple[int, str, str]] = []
    end = 101.0
    for number in range(tasks - 1):
        lane, stage = divmod(number, 4)
        wires = ((number - 1, "", "table"),) if stage else ()
        name = _STAGES[stage]
        inputs = {"lane": str(lane), "note": f"lane {lane} of {lanes}"}
        events.append(_added(number, name, wires, inputs))
        began = free[lane % wide]
        if lane == 2 and stage == 3:
            events.append(TaskSkipped(began, number, because=number - 1))
            continue
        events.append(TaskStarted(began, number))
        if lane == 2 and stage == 2:
            error = ErrorInfo("ValueError", "no convergence")
            events.append(TaskErred(began + 0.5, number, 1, error, retryable=False))
        else:
            events.append(TaskDone(began + 1, number, {"value": str(number)}, f"dg{number}"))
            if stage == 3 or number == tasks - 2:
                last.append((number, "", f"part{lane}"))
        free[lane % wide] = began + 1
        end = max(end, began + 1)
    events.append(_added(tasks - 1, odd, tuple(last), {"title": odd}))
    events += [
        TaskStarted(end, tasks - 1),
        TaskDone(end + 1, tasks - 1, {"value": "'done'"}, "dgr"),
    ]
    events.append(RunFinished(end + 2, "failed", ErrorInfo("ValueError", "no convergence")))
    projection = Projection()
    projection.apply([Batch(RUN, 0, tuple(events))])
    return of_run(projection.graph, RUN)


def _added(
    number: int, name: str, wires: tuple[tuple[int, str, str], ...], inputs: dict[str, str]
) -> TaskAdded:
    hash = f"{number:08x}cafe"
    return TaskAdded(100.5, number, hash, name, f"d-{name}", wires=wires, inputs=inputs)
