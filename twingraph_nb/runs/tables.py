"""Runs and tasks as text for a terminal, and as plain data for programs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from twingraph_nb.events import Batch, TaskAdded, TaskLogged
from twingraph_nb.picture.model import Screen, Shown
from twingraph_nb.picture.palette import look_of
from twingraph_nb.picture.progress import seconds_text
from twingraph_nb.store import Freed, RunRow
from twingraph_nb.store.cache import Unused

if TYPE_CHECKING:  # its room needs docker-py
    from twingraph_nb.executors.docker_unused import UnusedImage

__all__ = [
    "Called",
    "cleared_text",
    "freed_text",
    "images_text",
    "log_lines",
    "print_run",
    "print_runs",
    "row_facts",
    "task_facts",
    "task_numbers",
]

MOST_TASKS = 100  # rows of tasks before the table is cut; `--all` shows each
PIPE_WIDTH = 200  # columns when the output is no terminal, so that nothing is cut for grep
STYLES = {
    "running": "bold cyan",
    "retrying": "yellow",
    "succeeded": "green",
    "reused": "magenta",
    "failed": "bold red",
    "interrupted": "bold red",
    "cancelled": "yellow",
    "skipped": "dim",
}
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Called(NamedTuple):
    """How a task may be called on the command line."""

    name: str
    hash: str
    answers_to: frozenset[str]


# -- plain data -----------------------------------------------------------------------------------


def row_facts(row: RunRow) -> dict[str, object]:
    """Give a run as JSON can hold it; times are seconds since the epoch."""
    return {**dataclasses.asdict(row), "seconds": row.seconds}


def task_facts(screen: Screen, task: Shown) -> dict[str, object]:
    """Give a task as JSON can hold it."""
    used = screen.facts_of(task)
    return {
        "number": task.number,
        "name": task.name,
        "hash": task.hash,
        "component": used.name if used is not None else "",
        "digest": task.component,
        "form": task.form,
        "group": task.group,
        "state": task.state,
        "attempts": task.attempt,
        "started": task.started,
        "finished": task.finished,
        "seconds": task.seconds,
        "worker": task.worker,
        "why": task.why,
        "error": msgspec.to_builtins(task.error),
        "inputs": dict(task.inputs or {}),
        "outputs": dict(task.outputs or {}),
    }


# -- tables ---------------------------------------------------------------------------------------


def print_runs(rows: Sequence[RunRow], file: IO[str], now: float) -> None:
    """Write a table of runs; `now` in seconds since the epoch."""
    table = _table("run", "name", "form", "state", "tasks", "started", "took", "notebook")
    for row in rows:
        table.add_row(
            row.id,
            row.name,
            row.form,
            _state(row.state),
            _counted(row),
            _moment(row.started, now),
            seconds_text(now - row.started if row.state == "running" else row.seconds),
            row.notebook,
        )
    _console(file).print(table)


def print_run(
    row: RunRow, screen: Screen, children: Sequence[RunRow], file: IO[str], *, every: bool
) -> None:
    """Write the facts of a run and a table of its tasks; each one, or only so many."""
    console, now = _console(file), time.time()
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _facts(row, screen, now):
        facts.add_row(Text(name, style="dim"), value)
    for one in children:
        facts.add_row(Text("child", style="dim"), Text(f"{one.id}  {one.name}  {one.state}"))
    console.print(facts)
    if not screen.tasks:
        return
    tasks = list(screen.tasks.values())
    shown = tasks if every else _most_telling(tasks)
    table = _table("task", "name", "state", "attempts", "took", "why")
    end = now if row.state == "running" else row.finished or row.seen
    for task in shown:
        table.add_row(*_task_cells(task, row, end))
    console.print()
    console.print(table)
    if len(shown) < len(tasks):
        console.print(f"... and {len(tasks) - len(shown)} more; `--all` shows them", style="dim")


def freed_text(freed: Freed, *, dry_run: bool) -> str:
    """Give a sentence about what was removed, or would be."""
    said = "would remove" if dry_run else "removed"
    return (
        f"{said} {_several(freed.runs, 'run')} ({_several(freed.events, 'event')}), "
        f"{_several(freed.results, 'result')} and {_several(freed.blobs, 'value')}: "
        f"{_size(freed.bytes)}"
    )


def cleared_text(found: Sequence[Unused], *, dry_run: bool) -> str:
    """Give a sentence about unused builds that were removed, or would be."""
    said = "would remove" if dry_run else "removed"
    size = _size(sum(one.bytes for one in found))
    return f"{said} {_several(len(found), 'unused build')} (programs, environments): {size}"


def images_text(images: Sequence[UnusedImage], *, dry_run: bool) -> str:
    """Give a line for each image that was removed, or would be, and a sentence about them all."""
    said = "would remove" if dry_run else "removed"
    lines = [
        f"{said} {one.name}: {_size(one.bytes)}, last used {datetime.fromtimestamp(one.used):%F %R}"
        for one in images
    ]
    return "\n".join([*lines, f"{said} {_several(len(images), 'unused Docker image')}"])


# -- logs -----------------------------------------------------------------------------------------


def task_numbers(batches: Sequence[Batch]) -> dict[int, Called]:
    """Give how each task is called, by number; an item of a map also answers to the map's name."""
    return {
        event.task: Called(
            event.name,
            event.hash,
            frozenset({event.name, event.name.partition("[")[0], str(event.task)}),
        )
        for batch in batches
        for event in batch.events
        if isinstance(event, TaskAdded)
    }


def log_lines(
    batches: Sequence[Batch],
    names: Mapping[int, Called],
    wanted: Collection[int] | None,
    *,
    timestamps: bool = False,
) -> Iterator[str]:
    """Give what the wanted tasks (None = all) printed, line by line; several with their names.

    Args:
        timestamps: each line begins with when its start was printed, as RFC 3339 in UTC.
    """
    told = [
        event
        for batch in batches
        for event in batch.events
        if isinstance(event, TaskLogged) and (wanted is None or event.task in wanted)
    ]
    several = len({event.task for event in told}) > 1

    def line(at: float, task: int, text: str) -> str:
        when = f"{datetime.fromtimestamp(at, UTC).isoformat(timespec='milliseconds')} "
        name = names[task].name if task in names else f"task {task}"
        return f"{when if timestamps else ''}{f'{name} | ' if several else ''}{text}\n"

    started: dict[int, tuple[float, str]] = {}
    for event in told:
        at, start = started.pop(event.task, (event.at, ""))
        *whole, rest = (start + event.text).split("\n")
        for text in whole:
            yield line(at, event.task, text)
            at = event.at
        if rest:
            started[event.task] = at, rest
    for task, (at, text) in started.items():
        yield line(at, task, text)


# -- parts ----------------------------------------------------------------------------------------


def _console(file: IO[str]) -> Console:
    width = None if file.isatty() else PIPE_WIDTH
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        right = name in ("tasks", "took", "attempts")
        table.add_column(
            name,
            justify="right" if right else "left",
            no_wrap=name != "why",
            overflow="fold" if name in ("run", "why") else "ellipsis",
        )
    return table


def _state(state: str) -> Text:
    return Text(state, style=STYLES.get(state, ""))


def _counted(row: RunRow) -> Text:
    text = Text(f"{row.done + row.reused}/{row.tasks}")
    if row.failed:
        text.append(f" {row.failed} failed", style=STYLES["failed"])
    return text


def _facts(row: RunRow, screen: Screen, now: float) -> Iterator[tuple[str, Text]]:
    yield "run", Text.assemble((row.id, "bold"), f"  {row.name} ({row.form})")
    state = _state(row.state)
    if row.state == "interrupted":
        state.append(" (its process ended before the run did)", style="not bold")
    yield "state", state
    counts = {name: getattr(row, name) for name in ("reused", "failed", "skipped", "cancelled")}
    more = "".join(f", {count} {name}" for name, count in counts.items() if count)
    yield "tasks", Text(f"{row.done + row.reused} of {row.tasks} done{more}")
    took = seconds_text(now - row.started if row.state == "running" else row.seconds)
    yield "time", Text(f"{_moment(row.started, now)}, took {took}")
    if row.error:
        yield "error", Text(row.error, style="red")
    if screen.note:
        yield "note", Text(screen.note)
    if row.incomplete:
        yield "record", Text(f"incomplete: {row.incomplete}", style="yellow")
    if row.params:
        yield "params", Text(", ".join(f"{k} = {v}" for k, v in row.params.items()))
    if row.parent:
        yield "parent", Text(row.parent)
    if row.resumes:
        yield "resumes", Text(f"run {row.resumes}")
    if row.notebook:
        yield "notebook", Text(row.notebook)
    if row.pid:
        yield "process", Text(f"{row.pid} on {row.host}")


def _task_cells(task: Shown, row: RunRow, end: float) -> tuple[Text, ...]:
    why = task.why
    if task.error is not None and not why:  # else it tells why another one stood in
        where = f" ({task.error.cell}, line {task.error.line})" if task.error.line else ""
        why = f"{task.error.type}: {task.error.message}{where}"
    elif not task.final and row.state == "interrupted":
        why = "its process ended"
    mark = look_of(task.state).mark
    took = task.elapsed(end)
    return (
        Text(str(task.number), style="dim"),
        Text(f"  {task.name}" if task.group is not None else task.name),
        Text(f"{mark} {task.state}", style=STYLES.get(task.state, "")),
        Text(str(task.attempt) if task.attempt > 1 else ""),
        Text("" if took is None else seconds_text(took)),
        Text(why),
    )


def _most_telling(tasks: Sequence[Shown]) -> Sequence[Shown]:
    """The first of them in order, but never without those that failed."""
    if len(tasks) <= MOST_TASKS:
        return tasks
    failed = {task.number for task in tasks if task.state in ("failed", "retrying")}
    room = MOST_TASKS - len(failed)
    for task in tasks:
        if room <= 0:
            break
        room -= task.number not in failed
        failed.add(task.number)
    return [task for task in tasks if task.number in failed][:MOST_TASKS]


def _moment(at: float, now: float) -> str:
    """The local time; with the date unless it was today."""
    then, today = time.localtime(at), time.localtime(now)
    same = then[:3] == today[:3]
    return time.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M", then)


def _several(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _size(count: float) -> str:
    for unit in _UNITS:
        if count < 1024 or unit == _UNITS[-1]:
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
