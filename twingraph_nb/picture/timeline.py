"""When each task ran: bars in lanes, as data and as SVG."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from html import escape
from typing import Final

from twingraph_nb.events import TaskStateName
from twingraph_nb.picture.measure import cut, text_width
from twingraph_nb.picture.model import Screen
from twingraph_nb.picture.palette import EDGE, MUTED, look_of
from twingraph_nb.picture.progress import seconds_text
from twingraph_nb.picture.svg import FONT

__all__ = ["Bar", "bars", "render_bars"]

_LANE: Final = 22.0
_TICKS: Final = 6


@dataclass(frozen=True, slots=True)
class Bar:
    """One task's time. start and end: seconds since the run's start; lane: from 0, no two bars
    of a lane overlap."""

    task: int
    name: str
    state: TaskStateName
    start: float
    end: float
    lane: int


def bars(screen: Screen, now: float | None = None, limit: int = 2000) -> tuple[Bar, ...]:
    """Give a bar for each plain call that started, by start.

    Args:
        now: the end of what still runs, seconds since the epoch; the last start if not given.
        limit: keep only this many, the longest.
    """
    ran = [t for t in screen.tasks.values() if t.form == "call" and t.started is not None]
    if not ran:
        return ()
    zero = screen.started if screen.started is not None else min(t.started or 0.0 for t in ran)
    last = max(now or 0.0, screen.finished or 0.0, *(t.finished or t.started or 0.0 for t in ran))
    spans = [(t.started or 0.0, last if t.finished is None else t.finished, t) for t in ran]
    if len(spans) > limit:
        spans = sorted(spans, key=lambda span: span[0] - span[1])[:limit]
    spans.sort(key=lambda span: (span[0], span[2].number))
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    made = []
    for start, end, task in spans:
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (end, lane))
        made.append(Bar(task.number, task.name, task.state, start - zero, end - zero, lane))
    return tuple(made)


def render_bars(shown: tuple[Bar, ...], *, width: float = 960.0) -> str:
    """Give the bars as one SVG document with a scale of seconds; "" if there are none."""
    if not shown:
        return ""
    span = max(max(bar.end for bar in shown), 1e-6)
    scale = (width - 20) / span
    height = (max(bar.lane for bar in shown) + 1) * _LANE + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{escape(FONT)}" font-size="11">'
    ]
    for i in range(_TICKS + 1):
        at = span * i / _TICKS
        x = 10 + at * scale
        anchor = "start" if i == 0 else "end" if i == _TICKS else "middle"
        parts.append(
            f'<path d="M{x:.1f} 0V{height - 18:.0f}" stroke="{EDGE}" stroke-opacity="0.35"/>'
            f'<text x="{x:.1f}" y="{height - 5:.0f}" text-anchor="{anchor}" '
            f'fill="{MUTED}">{seconds_text(at)}</text>'
        )
    parts += [_bar(bar, scale) for bar in shown]
    return "".join(parts) + "</svg>"


def _bar(bar: Bar, scale: float) -> str:
    look = look_of(bar.state)
    x, wide = 10 + bar.start * scale, max(1.5, (bar.end - bar.start) * scale)
    y = 4 + bar.lane * _LANE
    title = f"{bar.name}: {bar.state}, {seconds_text(bar.end - bar.start)}"
    label = cut(bar.name, 11, wide - 8) if wide > 30 else ""
    inside = (
        f'<text x="{x + 4:.1f}" y="{y + 13:.1f}" fill="{look.text}">{escape(label)}</text>'
        if text_width(label, 11) <= wide
        else ""
    )
    return (
        f"<g><title>{escape(title)}</title>"
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{_LANE - 4}" rx="3" '
        f'fill="{look.fill}" stroke="{look.border}"/>{inside}</g>'
    )
