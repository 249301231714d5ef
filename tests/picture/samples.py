"""Hand-made event lists."""

from __future__ import annotations

from twingraph_nb.events import (
    Batch,
    ComponentUsed,
    ErrorInfo,
    Event,
    RunStarted,
    TaskAdded,
    TaskDone,
    TaskErred,
    TaskStarted,
    Wire,
)
from twingraph_nb.picture.model import Screen
from twingraph_nb.picture.screen import screen_of

BOOM = ErrorInfo("ValueError", "boom")

__all__ = ["BOOM", "added", "done", "erred", "mapped", "run", "screen", "started"]


def run(
    *components: str, retries: int = 0, on_error: str = "fail_fast", **platforms: str
) -> list[Event]:
    """The start of a run that uses these components, and those named on their platforms."""
    policy = {"retries": retries} if retries else {}
    everywhere = {**dict.fromkeys(components, "local"), **platforms}
    used = [
        ComponentUsed(0.0, digest=name, name=name, policy=policy, platform=platform)
        for name, platform in everywhere.items()
    ]
    return [RunStarted(0.0, run="r1", name="etl", on_error=on_error), *used]  # type: ignore[arg-type]


def added(task: int, name: str, *needs: int | Wire, **more: object) -> Event:
    wires = tuple((n, "value", "x") if isinstance(n, int) else n for n in needs)
    component = name.split("[")[0]
    return TaskAdded(0.0, task, f"h{task}", name, component, wires, **more)  # type: ignore[arg-type]


def started(task: int, at: float = 1.0, attempt: int = 1) -> Event:
    return TaskStarted(at, task, attempt)


def done(task: int, at: float = 2.0) -> list[Event]:
    return [TaskStarted(at - 1.0, task), TaskDone(at, task, {"value": "1"})]


def erred(task: int, at: float = 2.0, attempt: int = 1, **more: object) -> Event:
    return TaskErred(at, task, attempt, BOOM, **more)  # type: ignore[arg-type]


def mapped(task: int, count: int, *needs: int) -> list[Event]:
    """A map of `parse` with its items right behind it."""
    items = [added(task + 1 + i, f"parse[{i}]", group=task, index=i) for i in range(count)]
    return [added(task, "parse", *needs, form="map"), *items]


def screen(*events: Event | list[Event]) -> Screen:
    flat: list[Event] = []
    for event in events:
        flat.extend(event if isinstance(event, list) else [event])
    return screen_of([Batch("r1", 0, flat)])
