"""Two runs as one graph: what is the same, what has changed, what only one of them has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from twingraph_nb.events import ComponentUsed, TaskAdded, TaskDone
from twingraph_nb.picture.collapse import Drawing, drawing
from twingraph_nb.picture.marks import DIFFERENCES
from twingraph_nb.picture.model import Mark, Screen
from twingraph_nb.picture.screen import fold
from twingraph_nb.picture.svg import img_tag, render
from twingraph_nb.plan.history import Key, Past, Recorded

__all__ = ["compared", "compared_html"]

Keyed = Mapping[Key, Past]
_BOXES = 120
"""Boxes and arrows of the picture, which cannot be zoomed; more are drawn as one."""
_MOST_ROWS = 200
_CELL = "text-align:left;padding:2px 14px 2px 0;vertical-align:top;white-space:pre-wrap"


def compared(
    first: tuple[Recorded, Keyed],
    second: tuple[Recorded, Keyed],
    reasons: Mapping[Key, str],
) -> Drawing:
    """Give the tasks of both runs as one graph, each with its mark.

    Args:
        first, second: the runs, with their tasks by a key that is the same in both.
        reasons: what differs, of the tasks that are in both and differ.
    """
    one, two = first[1], second[1]
    screen, marks = Screen(), dict[int, Mark]()
    numbers = {key: number for number, key in enumerate([*two, *(k for k in one if k not in two)])}
    for run, tasks in (second, first):
        for used in run.used.values():
            fold(screen, used)
        here = {task.added.task: numbers[key] for key, task in tasks.items()}
        for key, task in tasks.items():
            number = numbers[key]
            if number in screen.tasks:
                continue
            _add(screen, task.added, number, here)
            kind = "added" if key not in one else "removed" if key not in two else "changed"
            if kind == "changed" and key not in reasons:
                kind = "same"
            text = reasons.get(key, "") if kind == "changed" else DIFFERENCES[kind].word
            marks[number] = Mark(kind, text)
    screen.marks = marks
    return drawing(screen, _BOXES)


def _add(screen: Screen, added: TaskAdded, number: int, here: Mapping[int, int]) -> None:
    wires = tuple((here[n], out, port) for n, out, port in added.wires if n in here)
    group = None if added.group is None else here.get(added.group)
    if added.component and added.component not in screen.parts:
        fold(screen, ComponentUsed(0.0, added.component, added.name))
    fold(
        screen,
        TaskAdded(0.0, number, str(number), added.name, added.component, wires, added.form, group),
    )
    fold(screen, TaskDone(0.0, number))


def compared_html(made: Drawing, rows: Iterable[tuple[str, str, str]]) -> str:
    """Give the graph, and below it what differs: kind, task, what.

    Args:
        rows: of the tasks that are not the same in both.
    """
    picture = (
        f'<div style="overflow-x:auto">{img_tag(render(made), alt="graph of both runs")}</div>'
    )
    several = list(rows)
    body = "".join(
        f'<tr><td style="{_CELL};color:{DIFFERENCES[kind].border}">{DIFFERENCES[kind].mark} '
        f'{DIFFERENCES[kind].word}</td><td style="{_CELL}">{escape(name)}</td>'
        f'<td style="{_CELL}">{escape(what)}</td></tr>'
        for kind, name, what in several[:_MOST_ROWS]
    )
    left = len(several) - _MOST_ROWS
    more = f"<p>and {left:,} more tasks</p>" if left > 0 else ""
    return f'{picture}<table style="border-collapse:collapse"><tbody>{body}</tbody></table>{more}'
