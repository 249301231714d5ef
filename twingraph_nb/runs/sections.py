"""The part of the report about one run: its graph, timeline, tasks, errors, logs, components."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

from twingraph_nb.events import ErrorInfo
from twingraph_nb.picture.collapse import drawing
from twingraph_nb.picture.model import Screen, Shown
from twingraph_nb.picture.palette import look_of
from twingraph_nb.picture.progress import progress_line, seconds_text
from twingraph_nb.picture.svg import render
from twingraph_nb.runs.page import Html, chip, code_lines, details, dot, pill, table
from twingraph_nb.runs.terminal import source_lines
from twingraph_nb.runs.timeline import timeline

__all__ = ["MOST_LOGS", "MOST_ROWS", "run_section"]

MOST_ROWS: Final = 500
"""Rows of the table of tasks: all that did not succeed first, then those that took longest."""
MOST_LOGS: Final = 100
MOST_ERRORS: Final = 20
MOST_BOXES: Final = 60
"""Boxes and arrows of the graph; above that maps and equal calls become one box."""
CUT: Final = 140
"""Characters of an input or output in the table."""


def run_section(screen: Screen, number: int, now: float, *, opened: bool = True) -> Html:
    """Give the section of one run.

    Args:
        number: its place in the report; makes the ids of its parts unique.
        now: the end of what never said that it ended, seconds since the epoch.
        opened: show its parts without a click.
    """
    name = "Calls made in cells" if screen.form == "session" else screen.name
    given = "".join(chip(f"{key} = {value}") for key, value in screen.params.items())
    parts = [
        f'<p class="soft small" style="margin:4px 0 10px">{escape(progress_line(screen, now))}'
        f" · run {escape(screen.run)}</p>",
        f'<div class="row">{given}</div>' if given else "",
        *_errors(screen),
        f"<h3>Graph</h3>{_fitted(render(drawing(screen, MOST_BOXES)))}",
        *_timeline(screen, now),
        *_tasks(screen, number, now),
        *_logs(screen),
        *_components(screen),
    ]
    return (
        f'<section class="card" id="run-{escape(screen.run)}"><div class="row">'
        f"<h2>{escape(name)}</h2>{pill(screen.state)}</div>"
        f"{''.join(parts) if opened else details('Show', ''.join(parts))}</section>"
    )


def _timeline(screen: Screen, now: float) -> Iterable[Html]:
    picture, missing = timeline(screen, now)
    if picture:
        yield f'<h3>Timeline</h3><div class="scroll">{picture}</div>'
    if missing:
        told = f"{missing:,} tasks of components that took less time are not drawn."
        yield f'<p class="soft small">{told}</p>'


def _tasks(screen: Screen, number: int, now: float) -> Iterable[Html]:
    calls = [task for task in screen.tasks.values() if task.form == "call"]
    if not calls:
        return
    shown = calls
    if len(calls) > MOST_ROWS:
        shown = heapq.nlargest(MOST_ROWS, calls, key=lambda task: _weight(task, now))
        shown.sort(key=lambda task: task.number)
    name = f"tasks-{number}"
    note = (
        f'<span class="soft small">{len(shown):,} of {len(calls):,}: all that did not succeed, '
        "and those that took longest</span>"
        if len(shown) < len(calls)
        else ""
    )
    yield (
        f'<h3>Tasks</h3><div class="row" style="margin-bottom:8px"><input class="find" hidden '
        f'placeholder="find a task" aria-label="find a task" data-table="{name}">{note}</div>'
    )
    heads = [("#", "n"), ("task", ""), ("state", ""), ("platform", ""), ("tries", "n")]
    heads += [("time", "n"), ("inputs", ""), ("outputs", ""), ("why", "")]
    yield table(heads, (_row(screen, task, now) for task in shown), name=name)


def _weight(task: Shown, now: float) -> tuple[bool, float]:
    return task.state not in ("succeeded", "reused"), task.elapsed(now) or 0.0


def _row(screen: Screen, task: Shown, now: float) -> Html:
    look = look_of(task.state)
    facts = screen.facts_of(task)
    took = task.elapsed(now)
    why = task.why or (f"{task.error.type}: {task.error.message}" if task.error else "")
    return (
        f'<tr><td class="n">{task.number}</td>'
        f'<td title="hash {escape(task.hash)}">{escape(task.name)}</td>'
        f'<td style="white-space:nowrap">{dot(task.state)}{look.word}</td>'
        f"<td>{escape(facts.platform) if facts else ''}</td>"
        f'<td class="n">{task.attempt or ""}</td>'
        f'<td class="n" data-sort="{took or 0:.6f}">{seconds_text(took) if took else ""}</td>'
        f'<td class="t">{_values(task.inputs)}</td><td class="t">{_values(task.outputs)}</td>'
        f'<td class="t">{escape(_short(why))}</td></tr>'
    )


def _values(values: Mapping[str, str] | None) -> Html:
    return "<br>".join(
        escape(f"{_short(text)}" if port == "value" else f"{port} = {_short(text)}")
        for port, text in (values or {}).items()
    )


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= CUT else text[: CUT - 1] + "…"


def _fitted(svg: str) -> str:
    """The graph as wide as the page, but not so small that its words cannot be read."""
    found = re.search(r' width="(\d+)"', svg)
    width = found[1] if found else "0"
    return f'<div class="scroll fitted" style="--wide:{width}px">{svg}</div>'


def _errors(screen: Screen) -> Iterable[Html]:
    failed = [task for task in screen.tasks.values() if task.error and task.state == "failed"]
    failed = [task for task in failed if task.form == "call"] or failed
    for task in failed[:MOST_ERRORS]:
        if task.error is not None:
            yield _error(task.name, task.error, screen, task)
    if len(failed) > MOST_ERRORS:
        yield f'<p class="soft small">{len(failed) - MOST_ERRORS:,} more failed.</p>'
    if not failed and screen.error is not None:
        yield _error(screen.name, screen.error, screen, None)


def _error(label: str, error: ErrorInfo, screen: Screen, task: Shown | None) -> Html:
    where = ", ".join(filter(None, [error.cell, f"line {error.line}" if error.line else ""]))
    facts = screen.facts_of(task) if task is not None else None
    parts = [
        f'<div class="row"><b>{escape(label)}</b><span class="soft small">{escape(where)}</span>'
        f'</div><p class="msg">{escape(error.type)}: {escape(error.message)}</p>'
    ]
    notes = [note for note in error.notes if not note.startswith("in component ")]
    parts += [f'<p class="soft">{escape(note)}</p>' for note in notes]
    if facts is not None and facts.source and error.line:
        parts.append(code_lines(source_lines(facts.source, _line_in(facts.source, error))))
    if error.traceback:
        parts.append(details("Traceback", f"<pre>{escape(error.traceback)}</pre>"))
    return f'<div class="card bad" style="margin:12px 0 0;padding:12px 16px">{"".join(parts)}</div>'


def _line_in(source: str, error: ErrorInfo) -> int:
    """Which line of the component's source it is; `error.line` counts from the cell's start."""
    lines = [line.strip() for line in source.splitlines()]
    told = re.findall(rf", line {error.line}\b.*\n\s*(\S.*)", error.traceback)
    places = [number for number, line in enumerate(lines, 1) if told and line == told[-1].strip()]
    return places[0] if len(places) == 1 else 0


def _logs(screen: Screen) -> Iterable[Html]:
    told = [task for task in screen.tasks.values() if screen.log_of(task.number)]
    if not told:
        return
    yield "<h3>Logs</h3>"
    for task in told[:MOST_LOGS]:
        text = screen.log_of(task.number)
        lines = text.count("\n") + (not text.endswith("\n"))
        summary = f'{escape(task.name)} <span class="soft small">{lines} lines</span>'
        yield details(summary, f"<pre>{escape(text)}</pre>")
    if len(told) > MOST_LOGS:
        yield f'<p class="soft small">{len(told) - MOST_LOGS:,} more tasks printed something.</p>'


def _components(screen: Screen) -> Iterable[Html]:
    parts = [part.facts for part in screen.parts.values() if part.facts is not None]
    if not parts:
        return
    yield "<h3>Components</h3>"
    for facts in parts:
        inputs = ", ".join(_port(port) for port in facts.inputs)
        outputs = ", ".join(_port(port) for port in facts.outputs)
        summary = (
            f"<b>{escape(facts.name)}</b>({escape(inputs)}) → {escape(outputs)} "
            f'<span class="soft small">{escape(facts.platform)}, version {facts.version}, '
            f"digest {escape(facts.digest[:12])}</span>"
        )
        yield details(summary, f"<pre>{escape(facts.source)}</pre>")


def _port(port: tuple[str, str]) -> str:
    name, kind = port
    kind = kind.removeprefix(f"{name}: ")
    return f"{name}: {kind}" if kind not in ("", name, "Any", "object") else name
