"""What is on screen: one pure function folds the events of a run into a model of it.

No clock and no I/O here: the same events give the same screen, live or years later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from twingraph_nb.events import (
    Answered,
    Asked,
    Batch,
    BodyErred,
    CancelAsked,
    ComponentUsed,
    Event,
    MapExpanded,
    RunFinished,
    RunStarted,
    RunTimedOut,
    TaskAdded,
    TaskCancelled,
    TaskDone,
    TaskErred,
    TaskLogged,
    TaskProgressed,
    TaskReused,
    TaskSkipped,
    TaskStarted,
    TaskStateName,
    TaskStreamed,
    TaskUnobserved,
    TaskWoken,
    Wire,
)
from twingraph_nb.picture.model import GOOD, KEPT, Part, Screen, Shown
from twingraph_nb.question import Pending

__all__ = ["Screen", "fold", "screen_of"]


def screen_of(batches: Iterable[Batch]) -> Screen:
    """Give the screen after all events of the batches (of one run, in order)."""
    screen = Screen()
    for batch in batches:
        for event in batch.events:
            fold(screen, event)
    return screen


def fold(screen: Screen, event: Event) -> None:
    """Change the screen by one event; an event it does not know changes nothing."""
    handler = _HANDLERS.get(type(event))
    if handler is not None:
        screen.version += 1
        handler(screen, event)


# -- one small function for each kind of event ----------------------------------------------------


def _move(screen: Screen, task: Shown, state: TaskStateName) -> None:
    if task.form == "call":
        screen.counts[task.state] -= 1
        screen.counts[state] += 1
    task.state = state


def _end(screen: Screen, task: Shown, state: TaskStateName, at: float) -> None:
    screen.parts[task.component].open -= task.form == "call"
    _stop_clock(screen, task, at)
    task.finished = at
    _move(screen, task, state)
    if task.index is not None and task.index >= KEPT:
        _fold_item(screen, task)


def _fold_item(screen: Screen, task: Shown) -> None:
    """Keep of a late item of a large map, and what it called, how it ended; of the first that
    fail, all."""
    group = screen.tasks.get(task.group if task.group is not None else -1)
    if group is None or group.items is None:
        return
    if task.state == "failed" and len(group.items) < 2 * KEPT:
        group.items.append(task.number)
        return
    gone = [task]
    for one in gone:
        gone.extend([screen.tasks[number] for number in one.items or ()])
    if any(one.finished is None for one in gone):
        return
    group.folded = folded = group.folded or {}
    for one in gone:
        if one.form == "call":
            folded[one.state] = folded.get(one.state, 0) + 1
        screen.tasks.pop(one.number, None)


def _stop_clock(screen: Screen, task: Shown, at: float) -> None:
    """Book the time of the attempt that has just ended."""
    if task.began is not None:
        took = max(0.0, at - task.began)
        task.seconds += took
        task.began = None
        if task.form == "call":
            screen.busy += took


def _release(screen: Screen, task: Shown) -> None:
    """Tell the tasks that need this one that it has succeeded."""
    for number in task.after or ():
        other = screen.tasks[number]
        other.pending -= 1
        if not other.pending and other.state == "waiting":
            _move(screen, other, "ready")


def _run_started(screen: Screen, event: RunStarted) -> None:
    screen.run, screen.name, screen.form = event.run, event.name, event.form
    screen.parent, screen.params, screen.origin = event.parent, event.params, event.origin
    screen.started, screen.fail_fast = event.at, event.on_error == "fail_fast"
    screen.selected = event.selected


def _component_used(screen: Screen, event: ComponentUsed) -> None:
    screen.parts.setdefault(event.digest, Part(event))


def _task_added(screen: Screen, event: TaskAdded) -> None:
    task = Shown(event)
    tasks = screen.tasks
    tasks[event.task] = task
    screen.structure += 1
    part = screen.parts.get(event.component)
    if part is None:
        part = screen.parts[event.component] = Part(None)
    if event.form == "call":
        screen.counts["ready"] += 1
        part.total += 1
        part.open += 1
    if event.wires:
        _wire(screen, task, event.wires)
    if event.group is not None and event.group in tasks:
        group = tasks[event.group]
        if group.items is None:
            group.items = []
        if event.index is None or event.index < KEPT:
            group.items.append(event.task)


def _wire(screen: Screen, task: Shown, wires: tuple[Wire, ...]) -> None:
    several = len(wires) > 1
    for source in {wire[0] for wire in wires} if several else (wires[0][0],):
        other = screen.tasks.get(source)
        if other is None or other.state in GOOD:
            continue
        task.pending += 1
        if other.after is None:
            other.after = []
        other.after.append(task.number)
    if task.pending:
        _move(screen, task, "waiting")


def _task_started(screen: Screen, event: TaskStarted) -> None:
    task = screen.tasks[event.task]
    if task.finished is not None:
        return
    task.attempt, task.worker, task.began = event.attempt, event.worker, event.at
    if task.attempt > 1:
        task.fraction, task.message = None, ""
    if task.started is None:
        task.started = event.at
        if screen.first_start is None:
            screen.first_start = event.at
    _move(screen, task, "running")
    if task.group is not None:
        _start_groups(screen, task, event.at)


def _start_groups(screen: Screen, task: Shown, at: float) -> None:
    """A group runs as soon as one of its items does."""
    while task.group is not None and task.group in screen.tasks:
        task = screen.tasks[task.group]
        if task.state not in ("waiting", "ready"):
            return
        task.started = task.began = at
        _move(screen, task, "running")


def _task_progressed(screen: Screen, event: TaskProgressed) -> None:
    task = screen.tasks[event.task]
    task.fraction, task.message = min(1.0, max(0.0, event.fraction)), event.message


def _task_logged(screen: Screen, event: TaskLogged) -> None:
    screen.log(event.task, event.text)


def _task_streamed(screen: Screen, event: TaskStreamed) -> None:
    screen.tasks[event.task].chunks = event.chunks


def _map_expanded(screen: Screen, event: MapExpanded) -> None:
    screen.tasks[event.task].count = event.count


def _task_done(screen: Screen, event: TaskDone) -> None:
    task = screen.tasks[event.task]
    if task.finished is not None:
        return
    task.outputs = event.outputs
    if not task.why:  # else the error says why another one stood in
        task.error = None
    if task.began is not None and task.form == "call":
        part = screen.parts[task.component]
        part.timed += 1
        part.seconds += event.at - task.began
    _end(screen, task, "succeeded", event.at)
    if task.after:
        _release(screen, task)


def _task_reused(screen: Screen, event: TaskReused) -> None:
    task = screen.tasks[event.task]
    if task.finished is not None:
        return
    task.outputs = event.outputs
    said = f"an equal task was done {_age(event.age)} ago"
    task.why = f"{said} in run {event.run}" if event.run else said
    _end(screen, task, "reused", event.at)
    if task.after:
        _release(screen, task)


def _task_erred(screen: Screen, event: TaskErred) -> None:
    task = screen.tasks[event.task]
    if task.finished is not None:
        return
    task.error = event.error
    task.attempt = max(task.attempt, event.attempt)
    left = event.attempt <= screen.parts[task.component].retries
    if event.retryable and left and not screen.stopping:
        _stop_clock(screen, task, event.at)
        _move(screen, task, "retrying")
        return
    if event.fallback and not screen.stopping:
        said = f"{event.error.type}: {event.error.message}" if event.error.message else "it failed"
        task.why = f"{event.fallback} stood in, because of {said}"
        if task.state != "running":
            _move(screen, task, "running")
        return
    task.why = ""
    _end(screen, task, "failed", event.at)
    if screen.fail_fast and not event.observed:
        screen.stopping = True


def _task_unobserved(screen: Screen, event: TaskUnobserved) -> None:
    screen.stopping = screen.stopping or screen.fail_fast


def _task_woken(screen: Screen, event: TaskWoken) -> None:
    task = screen.tasks[event.task]
    if task.state == "retrying":
        _move(screen, task, "ready")


def _task_cancelled(screen: Screen, event: TaskCancelled) -> None:
    task = screen.tasks[event.task]
    if task.finished is not None:
        return
    task.why = event.why
    _end(screen, task, "cancelled", event.at)


def _task_skipped(screen: Screen, event: TaskSkipped) -> None:
    task = screen.tasks[event.task]
    if task.finished is not None:
        return
    because = screen.tasks.get(event.because)
    name = because.name if because is not None else f"task {event.because}"
    task.why = event.why or f"{name} did not succeed"
    _end(screen, task, "skipped", event.at)


def _cancel_asked(screen: Screen, event: CancelAsked) -> None:
    if event.task is None:
        screen.stopping = True
        screen.note = f"cancel asked: {event.why}" if event.why else "cancel asked"


def _run_timed_out(screen: Screen, event: RunTimedOut) -> None:
    screen.stopping = True
    screen.note = f"took longer than {event.seconds:g} s"


def _body_erred(screen: Screen, event: BodyErred) -> None:
    screen.error = event.error
    screen.stopping = screen.stopping or screen.fail_fast


def _run_finished(screen: Screen, event: RunFinished) -> None:
    screen.state, screen.finished = event.state, event.at
    screen.error = event.error or screen.error
    for task in list(screen.tasks.values()):  # a crash leaves tasks without a last word
        if task.finished is None:
            _end(screen, task, "failed" if task.error is not None else "cancelled", event.at)


def _age(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _asked(screen: Screen, event: Asked) -> None:
    screen.questions[event.task] = Pending(screen.tasks[event.task].name, event)


def _answered(screen: Screen, event: Answered) -> None:
    if event.task in screen.questions:
        screen.questions[event.task].first = event


_HANDLERS: Final[dict[type, Callable[..., None]]] = {
    Asked: _asked,
    Answered: _answered,
    RunStarted: _run_started,
    ComponentUsed: _component_used,
    TaskAdded: _task_added,
    TaskStarted: _task_started,
    TaskProgressed: _task_progressed,
    TaskLogged: _task_logged,
    TaskStreamed: _task_streamed,
    MapExpanded: _map_expanded,
    TaskDone: _task_done,
    TaskReused: _task_reused,
    TaskErred: _task_erred,
    TaskUnobserved: _task_unobserved,
    TaskWoken: _task_woken,
    TaskCancelled: _task_cancelled,
    TaskSkipped: _task_skipped,
    CancelAsked: _cancel_asked,
    RunTimedOut: _run_timed_out,
    BodyErred: _body_erred,
    RunFinished: _run_finished,
}
