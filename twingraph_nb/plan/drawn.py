"""A plan as a picture and as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from twingraph_nb.events import ComponentUsed, Event, TaskAdded, TaskReused, TaskSkipped
from twingraph_nb.picture.collapse import drawing
from twingraph_nb.picture.model import Mark, Screen
from twingraph_nb.picture.screen import fold
from twingraph_nb.picture.svg import img_tag, render

if TYPE_CHECKING:
    from twingraph_nb.plan.model import Plan

__all__ = ["diff_html", "plan_html", "screen_of_plan"]

_CELL = "text-align:left;padding:2px 14px 2px 0;vertical-align:top;white-space:pre-wrap"
_COLOURS: Mapping[str, str] = {
    "run": "#b34700",
    "reuse": "#8d4f7b",
    "blocked": "#787d85",
    "skip": "#787d85",
}
_OUTDATED = frozenset({"source changed", "input changed"})
_BOXES = 120
"""Boxes and arrows of the picture, which cannot be zoomed; more are drawn as one."""


def screen_of_plan(plan: Plan) -> Screen:
    """Give the plan as the picture of a run in which nothing has begun yet.

    What would be reused is "reused", what would run is ready or waits for what it needs; what an
    edit has made stale is marked so.
    """
    screen = Screen()
    screen.name = plan.pipeline
    for event in _events(plan):
        fold(screen, event)
    for row in plan:
        if row.action == "blocked" and screen.tasks[row.number].state == "ready":
            screen.tasks[row.number].state = "waiting"  # for what is known only later
            screen.counts["ready"] -= row.form == "call"
            screen.counts["waiting"] += row.form == "call"
    screen.marks = {row.number: Mark("stale", row.text) for row in plan if row.reason in _OUTDATED}
    return screen


def _events(plan: Plan) -> list[Event]:
    told: list[Event] = []
    said: set[str] = set()
    for row in plan:
        if row.component and row.component not in said:
            said.add(row.component)
            platform = plan.platforms.get(row.component, "local")
            told.append(ComponentUsed(0.0, row.component, row.component, platform=platform))
        wires, group = row.wires, row.group
        told.append(
            TaskAdded(0.0, row.number, str(row.number), row.name, row.component, wires, row.form,
                      group)
        )  # fmt: skip
    told.extend(
        TaskReused(0.0, row.number, "", run=row.run) for row in plan if row.action == "reuse"
    )
    told.extend(TaskSkipped(0.0, row.number, -1, row.text) for row in plan if row.action == "skip")
    return told


def plan_html(plan: Plan) -> str:
    """Give what a notebook shows: the picture, the table, and what has changed in the sources."""
    picture = ""
    if plan.rows:
        made = render(drawing(screen_of_plan(plan), _BOXES))
        picture = f'<div style="overflow-x:auto">{img_tag(made, alt="graph of the plan")}</div>'
    body = "".join(
        f'<tr><td style="{_CELL}">{escape(name)}</td>'
        f'<td style="{_CELL};color:{_COLOURS[action]}">{action}</td>'
        f'<td style="{_CELL}">{escape(text)}</td><td style="{_CELL}">{time}</td></tr>'
        for name, action, text, time in plan.table()
    )
    note = f"<p>{escape(plan.note)}</p>" if plan.note else ""
    diffs = {row.component: row.diff for row in plan if row.diff}
    changed = "".join(
        f"<details><summary>{escape(name)} has changed</summary>{diff_html(diff)}</details>"
        for name, diff in diffs.items()
    )
    return (
        f"<div><p>{escape(plan.summary)}</p>{picture}"
        f'<table style="border-collapse:collapse"><tbody>{body}</tbody></table>'
        f"{note}{changed}</div>"
    )


def diff_html(diff: str) -> str:
    """Give a unified diff with its lines marked."""
    colours = {"+": "#00795a", "-": "#b34700"}
    lines = [
        f'<span style="color:{colours.get(line[:1], "inherit")}">{escape(line)}</span>'
        for line in diff.splitlines()
    ]
    return f'<pre style="margin:2px 0 8px">{chr(10).join(lines)}</pre>'
