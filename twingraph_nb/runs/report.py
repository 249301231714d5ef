"""``report.html``: one file that shows a notebook's run: graphs, timelines, tasks, logs, errors."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from twingraph_nb.picture.model import Screen
from twingraph_nb.picture.progress import seconds_text
from twingraph_nb.picture.screen import screen_of
from twingraph_nb.runs.ending import Ending, told
from twingraph_nb.runs.page import Html, chip, code_lines, details, page, pill, when
from twingraph_nb.runs.record import NotebookRecord
from twingraph_nb.runs.sections import run_section
from twingraph_nb.runs.terminal import source_lines, title_of

__all__ = ["CellFact", "Facts", "facts_of", "report_html", "write_report"]

MOST_PICTURES = 12
MOST_PICTURE_BYTES = 8_000_000
MOST_RUNS = 40
"""Runs that get a section of their own; the others are only counted."""


@dataclass(frozen=True, slots=True)
class CellFact:
    """One code cell that ran: seconds, and state (completed, failed, running, pending)."""

    number: int
    title: str
    seconds: float
    state: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a report shows. pictures: (mime type, base64 text) of the notebook's outputs."""

    notebook: str
    run: str
    ending: Ending
    started: float
    finished: float
    params: Mapping[str, str] = field(default_factory=dict)
    cells: Sequence[CellFact] = ()
    screens: Sequence[Screen] = ()
    pictures: Sequence[tuple[str, str]] = ()
    trouble: str = ""
    more_runs: int = 0


def write_report(path: Path, nb: Any, record: NotebookRecord, ending: Ending) -> None:
    """Write the report of a notebook's run."""
    path.write_text(report_html(facts_of(nb, record, ending)), encoding="utf-8")


def facts_of(nb: Any, record: NotebookRecord, ending: Ending) -> Facts:
    """Give what the executed notebook and the store tell about the run."""
    rows = record.children()
    screens = [screen_of(record.events(row.id)) for row in rows[:MOST_RUNS]]
    for screen, row in zip(screens, rows, strict=False):
        if screen.state == "running":  # its process is gone, and nobody could say so
            screen.state = row.state
    return Facts(
        record.notebook,
        record.id,
        ending,
        record.started,
        record.finished,
        record.params,
        _cells(nb),
        [screen for screen in screens if screen.tasks],
        _pictures(nb),
        record.trouble,
        max(0, len(rows) - MOST_RUNS),
    )


def report_html(facts: Facts) -> Html:
    """Give the report as one HTML document that loads nothing."""
    name = Path(facts.notebook).name
    body = [_head(facts, name), *_trouble(facts), _tiles(facts)]
    body += _pictures_section(facts)
    several = len(facts.screens) > 1
    body += [
        run_section(screen, number, facts.finished, opened=not several or number < 6)
        for number, screen in enumerate(facts.screens)
    ]
    if facts.more_runs:
        body.append(f'<p class="soft">{facts.more_runs} more runs are not shown here.</p>')
    body += [_cells_section(facts), _foot(facts)]
    return page(f"{name}: {facts.ending.state}", body)


def _head(facts: Facts, name: str) -> Html:
    took = seconds_text(max(0.0, facts.finished - facts.started))
    chips = "".join(chip(f"{key} = {value}") for key, value in facts.params.items())
    given = f'<div class="row" style="margin-top:12px">{chips}</div>' if chips else ""
    return (
        f'<header><div class="row"><h1>{escape(name)}</h1>{pill(facts.ending.state)}</div>'
        f'<div class="row soft" style="margin-top:6px"><span>{when(facts.started)}</span>'
        f"<span>took {took}</span><span>run {escape(facts.run)}</span></div>{given}</header>"
    )


def _trouble(facts: Facts) -> Iterable[Html]:
    """What went wrong, first of all."""
    ending = facts.ending
    if ending.error is not None:
        parts = [f'<p class="msg">{escape(told(ending.error))}</p>']
        if ending.cell is not None:
            where = f"in code cell {ending.cell.number}"
            line = ending.cell.error.line
            where += f", line {line}" if line else ""
            parts.append(f'<p class="soft small" style="margin:10px 0 0">{where}</p>')
            parts.append(code_lines(source_lines(ending.cell.source, line)))
            if ending.cell.error.traceback:
                trace = f"<pre>{escape(ending.cell.error.traceback)}</pre>"
                parts.append(details("Traceback", trace))
        head = f"The notebook {ending.state}" if ending.state != "cancelled" else "Stopped"
        yield f'<section class="card bad"><h2>{head}</h2>{"".join(parts)}</section>'
    if facts.trouble:
        yield f'<p class="soft">Recording: {escape(facts.trouble)}</p>'


def _tiles(facts: Facts) -> Html:
    def count(*states: str) -> int:
        return sum(screen.counts[state] for screen in facts.screens for state in states)

    total = sum(screen.total for screen in facts.screens)
    tiles = [
        _counted(len(facts.cells), "code cell"),
        _counted(len(facts.screens) + facts.more_runs, "run"),
        _counted(total, "task"),
        (f"{count('succeeded'):,}", "done now"),
        (f"{count('reused'):,}", "reused"),
        (f"{count('failed'):,}", "failed"),
    ]
    left_out = count("skipped", "cancelled")
    if left_out:
        tiles.append((f"{left_out:,}", "skipped or cancelled"))
    tiles.append((seconds_text(sum(screen.busy for screen in facts.screens)), "work in all"))
    shown = "".join(f'<div class="tile"><b>{b}</b><span>{text}</span></div>' for b, text in tiles)
    return f'<div class="tiles">{shown}</div>'


def _counted(number: int, word: str) -> tuple[str, str]:
    return f"{number:,}", word + "s" * (number != 1)


def _pictures_section(facts: Facts) -> Iterable[Html]:
    if facts.pictures:
        images = "".join(
            f'<img alt="output of a cell" src="data:{escape(mime)};base64,{escape(body)}">'
            for mime, body in facts.pictures
        )
        yield (
            '<section class="card"><h2>Pictures</h2><p class="soft small">What the notebook '
            f'drew.</p><div class="pics">{images}</div></section>'
        )


def _cells_section(facts: Facts) -> Html:
    longest = max((cell.seconds for cell in facts.cells), default=0.0) or 1.0
    rows = "".join(
        f'<tr><td class="n">{cell.number}</td><td class="t">{escape(cell.title)}</td>'
        f'<td class="n">{seconds_text(cell.seconds)}</td><td class="b"><div class="bar'
        f'{" bad" * (cell.state == "failed")}" style="width:{cell.seconds / longest:.1%}"></div>'
        f"</td><td>{_CELL_WORDS.get(cell.state, escape(cell.state))}</td></tr>"
        for cell in facts.cells
    )
    return (
        '<section class="card"><h2>Cells</h2><div class="scroll tab" style="margin-top:12px">'
        '<table><thead><tr><th class="n">cell</th><th>begins with</th><th class="n">time</th>'
        f"<th></th><th></th></tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


_CELL_WORDS = {"completed": "✓", "failed": "✗ failed", "pending": "not run"}


def _foot(facts: Facts) -> Html:
    lines = [f"Notebook: {facts.notebook}"]
    origins = {
        f"Python {screen.origin['python']}" for screen in facts.screens if "python" in screen.origin
    }
    lines += sorted(origins)
    return f"<footer>{escape(' · '.join(lines))}</footer>"


def _cells(nb: Any) -> list[CellFact]:
    found: list[CellFact] = []
    for cell in nb.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        told = cell.metadata.get("papermill") or {}
        state = str(told.get("status") or "pending")
        if told.get("start_time") is None:  # papermill marks what never began as completed
            state = "pending"
        seconds = float(told.get("duration") or 0.0)
        found.append(CellFact(len(found) + 1, title_of(cell.source), seconds, state))
    return found


def _pictures(nb: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    room = MOST_PICTURE_BYTES
    outputs = (out for cell in nb.cells for out in cell.get("outputs", ()) if "data" in out)
    for out in outputs:
        mime = next((m for m in ("image/png", "image/jpeg", "image/svg+xml") if m in out.data), "")
        if not mime:
            continue
        body = out.data[mime]
        text = "".join(body) if isinstance(body, list) else str(body)
        if mime == "image/svg+xml":  # as an image, so that no script in it can run
            text = base64.b64encode(text.encode()).decode()
        room -= len(text)
        if len(found) < MOST_PICTURES and room > 0:
            found.append((mime, "".join(text.split())))
    return found
