"""Runs made of events alone, as the store would give them."""

from __future__ import annotations

from collections.abc import Sequence

from twingraph_nb.events import (
    Batch,
    ComponentUsed,
    ErrorInfo,
    Event,
    MapExpanded,
    RunFinished,
    RunStarted,
    TaskAdded,
    TaskDone,
    TaskErred,
    TaskLogged,
    TaskReused,
    TaskSkipped,
    TaskStarted,
)
from twingraph_nb.picture.model import Screen
from twingraph_nb.picture.screen import screen_of

START = 1_790_000_000.0
EVIL = "<script>alert(1)</script>"
SOURCE = "def parse(x):\n    y = x + 1\n    return y / 0\n"


def census(items: int = 4, *, failed: int | None = None, reused: Sequence[int] = ()) -> Screen:
    """Tasks 0 list -> 1 map of `parse` over items -> join, one second for each item."""
    events: list[Event] = [RunStarted(START, "run0", "census", params={"top": "15"})]
    events += [
        ComponentUsed(START, f"digest-{name}", name, platform=platform, source=SOURCE, cell="In 3")
        for name, platform in (("list", "local"), ("parse", "process"), (EVIL, "local"))
    ]
    events += [
        TaskAdded(START, 0, "h0", "list", "digest-list", inputs={"root": EVIL}),
        TaskAdded(START, 1, "h1", "parse", "digest-parse", wires=((0, "value", "x"),), form="map"),
        TaskStarted(START, 0),
        TaskLogged(START, 0, "stdout", f"found {items}\n</pre>{EVIL}\n"),
        TaskDone(START + 1, 0, outputs={"value": "['json', 'ast']"}),
        MapExpanded(START + 1, 1, items),
    ]
    for item in range(items):
        events += _item(2 + item, item, START + 1 + item, failed == item, item in reused)
    join, end = 2 + items, START + 1 + items
    events.append(TaskAdded(START, join, "hj", EVIL, f"digest-{EVIL}", wires=((1, "value", "x"),)))
    if failed is None:
        events += [TaskDone(end, 1), TaskStarted(end, join), TaskDone(end + 1, join)]
        events.append(RunFinished(end + 1, "succeeded"))
    else:
        events += [TaskSkipped(end, join, 1), RunFinished(end, "failed", ERROR)]
    return screen_of([Batch("run0", 0, events)])


ERROR = ErrorInfo(
    "ZeroDivisionError",
    f"by zero {EVIL}",
    'Traceback\n  File "cell", line 4, in parse\n    return y / 0\nZeroDivisionError',
    "In [3]",
    4,
)


def _item(task: int, item: int, at: float, fails: bool, reused: bool) -> list[Event]:
    added = TaskAdded(
        START,
        task,
        f"h{task}",
        f"parse[{item}]",
        "digest-parse",
        group=1,
        index=item,
        inputs={"x": "1"},
    )
    if reused:
        return [added, TaskReused(at, task, "d", outputs={"value": "9"}, run="old", age=60.0)]
    if fails:
        return [added, TaskStarted(at, task), TaskErred(at + 1, task, 1, ERROR, False)]
    return [added, TaskStarted(at, task), TaskDone(at + 1, task, outputs={"value": str(item)})]
