"""The panel about the clicked box, as HTML. All text is data and is escaped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from html import escape
from typing import Final

from twingraph_nb.events import ErrorInfo
from twingraph_nb.picture.collapse import Box
from twingraph_nb.picture.marks import STALE, said_of
from twingraph_nb.picture.model import Screen, Shown
from twingraph_nb.picture.palette import icon_svg, look_of
from twingraph_nb.picture.progress import seconds_text

__all__ = ["Lookup", "badge", "inspect_box", "inspect_run"]

Lookup = Callable[[int, str], str | None]
"""Gives the preview of a task's output port from the kernel's memory, or None if it has gone."""

_MOST_LISTED: Final = 12
_LOG_LINES: Final = 40
_SOURCE: Final = 4_000
_STALE: Final = (
    f'<span class="tg-badge" style="background:{STALE.fill};color:{STALE.text};'
    f'border:1px solid {STALE.border}">{STALE.mark} stale</span> '
)


def inspect_box(screen: Screen, box: Box, now: float, lookup: Lookup) -> str:
    """Give everything known about a box.

    Args:
        now: seconds since the epoch.
        lookup: where values that are still in memory come from.
    """
    if box.number is None or len(box.tasks) > 1:
        return _several(screen, box, now)
    return _one(screen, screen.tasks[box.number], now, lookup)


def inspect_run(screen: Screen) -> str:
    """Give what is to be said of the whole run: its error, or nothing."""
    if screen.error is None:
        return ""
    title = f'<div class="tg-title">{badge("failed")} {escape(screen.name)}</div>'
    return f'<div class="tg-inspector">{title}{_error(screen.error)}</div>'


def badge(state: str) -> str:
    """Give the state as icon and word in its colours."""
    look = look_of(state)
    style = f"background:{look.fill};color:{look.text};border:1px solid {look.border}"
    return f'<span class="tg-badge" style="{style}">{icon_svg(state, size=12)}{look.word}</span>'


def _one(screen: Screen, task: Shown, now: float, lookup: Lookup) -> str:
    facts = screen.facts_of(task)
    platform = f"on {facts.platform}, version {facts.version}" if facts is not None else ""
    parts = [
        f'<div class="tg-title">{badge(task.state)} {escape(task.name)} '
        f"<small>{escape(platform)} · {escape(task.hash)}</small></div>",
        f'<p class="tg-why">{escape(_why(task))}</p>' if task.why else "",
        _marked(screen, [task.number]),
        _error(task.error) if task.error is not None else "",
        _section("Times", _pairs(_times(task, screen, now))),
        _section("Inputs", _pairs(_inputs(screen, task, lookup))),
        _section("Outputs", _pairs(_outputs(task, lookup))),
        _section("Log", _log(screen.log_of(task.number))),
    ]
    if facts is not None and facts.source:
        shown = escape(facts.source[:_SOURCE])
        parts.append(
            f"<details><summary>Source{_where(facts.cell)}</summary><pre>{shown}</pre></details>"
        )
    return f'<div class="tg-inspector">{"".join(parts)}</div>'


def _marked(screen: Screen, tasks: Sequence[int]) -> str:
    """What is said of it beside its state."""
    texts = said_of(screen, tasks)
    return "".join(f'<p class="tg-why tg-stale">{_STALE}{escape(text)}</p>' for text in texts)


def _where(cell: str) -> str:
    return f", {escape(cell)}" if cell and not cell.startswith("/") else ""


def _why(task: Shown) -> str:
    start = {"reused": "Reused: ", "skipped": "Skipped: ", "cancelled": "Cancelled: "}
    return start.get(task.state, "") + task.why


def _times(task: Shown, screen: Screen, now: float) -> list[tuple[str, str]]:
    rows = []
    took = task.elapsed(now)
    if took is not None:
        rows.append(("took" if task.final else "runs for", escape(seconds_text(took))))
    if task.started is not None:
        waited = max(0.0, task.started - task.added)
        began = time.strftime("%H:%M:%S", time.localtime(task.started))
        rows.append(("started", f"{began}, after {escape(seconds_text(waited))} of waiting"))
    part = screen.parts.get(task.component)
    if task.attempt > 1 or (part is not None and part.retries and task.attempt):
        most = f" of {part.retries + 1}" if part is not None else ""
        rows.append(("attempt", f"{task.attempt}{most}"))
    if task.fraction is not None:
        rows.append(("progress", f"{task.fraction:.0%} {escape(task.message)}"))
    if task.chunks:
        rows.append(("chunks", str(task.chunks)))
    return rows


def _inputs(screen: Screen, task: Shown, lookup: Lookup) -> list[tuple[str, str]]:
    wired: dict[str, list[str]] = {}
    for source, port, into in task.wires:
        other = screen.tasks.get(source)
        if other is None:
            continue
        name = other.name + (f".{port}" if port not in ("", "value") else "")
        if not into:
            wired.setdefault("after", []).append(f'<div class="tg-note">{escape(name)}</div>')
            continue
        value = lookup(source, port) or _text((other.outputs or {}).get(port or "value"))
        note = f'<div class="tg-note">from {escape(name)}</div>'
        wired.setdefault(into, []).append(note + value)
    rows = [(name, _text(said)) for name, said in (task.inputs or {}).items() if name not in wired]
    return rows + [(name, "".join(found)) for name, found in wired.items()]


def _outputs(task: Shown, lookup: Lookup) -> list[tuple[str, str]]:
    rows = []
    for port, said in (task.outputs or {}).items():
        rows.append((port, lookup(task.number, port) or _text(said)))
    if not rows and task.state in ("succeeded", "reused"):
        value = lookup(task.number, "")
        if value:
            rows.append(("value", value))
    return rows


def _error(error: ErrorInfo) -> str:
    said = f"{error.type}: {error.message}" if error.message else error.type
    where = f"{error.cell}, line {error.line}" if error.cell and error.line else error.cell
    body = f'<div class="tg-note">{escape(where)}</div>' if where else ""
    trace = error.traceback.strip()
    if trace:  # says the rest, notes included
        body += f'<pre class="tg-error">{escape(trace)}</pre>'
        return f'<p class="tg-said">{escape(said)}</p>{body}'
    notes = "".join(f"\n{note}" for note in error.notes)
    body += f'<pre class="tg-error"><b>{escape(said)}</b>{escape(notes)}</pre>'
    return _section("Error", body)


def _log(text: str) -> str:
    lines = text.splitlines()
    if not lines:
        return ""
    shown = "\n".join(lines[-_LOG_LINES:])
    return f"<pre>{escape(shown)}</pre>"


def _several(screen: Screen, box: Box, now: float) -> str:
    where = f" <small>{escape(box.place)}</small>" if box.place else ""
    parts = [f'<div class="tg-title">{badge(box.state)} {escape(box.name)}{where}</div>']
    parts.append(_marked(screen, box.tasks))
    counts = [(state, str(n)) for state, n in (box.counts or {}).items() if n]
    parts.append(_section("Tasks", _pairs([(badge(state), n) for state, n in counts], raw=True)))
    own = screen.tasks.get(box.number) if box.number is not None else None
    if own is not None and own.error is not None:
        parts.append(_error(own.error))
    tasks = [screen.tasks[n] for n in box.tasks if n != box.number]
    parts.append(_listed("Failed", [t for t in tasks if t.state == "failed"], now))
    parts.append(_listed("Retrying", [t for t in tasks if t.state == "retrying"], now))
    parts.append(_listed("Running", [t for t in tasks if t.state == "running"], now))
    slow = sorted((t for t in tasks if t.state == "succeeded"), key=lambda t: -t.seconds)
    parts.append(_listed("Took longest", slow[:5], now))
    return f'<div class="tg-inspector">{"".join(parts)}</div>'


def _listed(title: str, tasks: Sequence[Shown], now: float) -> str:
    rows = []
    for task in tasks[:_MOST_LISTED]:
        took = task.elapsed(now)
        told = seconds_text(took) if took is not None else ""
        if task.error is not None:
            told = f"{task.error.type}: {task.error.message}"[:200]
        rows.append((task.name, escape(told)))
    if len(tasks) > _MOST_LISTED:
        rows.append(("…", f"and {len(tasks) - _MOST_LISTED} more"))
    return _section(title, _pairs(rows))


def _text(said: str | None) -> str:
    return (
        f'<pre class="tg-value">{escape(said)}</pre>'
        if said
        else '<span class="tg-note">not there</span>'
    )


def _pairs(rows: Sequence[tuple[str, str]], *, raw: bool = False) -> str:
    """A list of names with their HTML; `raw` names are HTML too."""
    if not rows:
        return ""
    body = "".join(f"<dt>{k if raw else escape(k)}</dt><dd>{v}</dd>" for k, v in rows)
    return f"<dl>{body}</dl>"


def _section(title: str, body: str) -> str:
    return f"<h4>{title}</h4>{body}" if body else ""
