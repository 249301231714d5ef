"""When each task of a run ran, as a picture: one lane for each task at a time, by component."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from twingraph_nb.picture.measure import cut, text_width
from twingraph_nb.picture.model import Screen, Shown
from twingraph_nb.picture.palette import look_of
from twingraph_nb.picture.progress import seconds_text

__all__ = ["MOST_BARS", "timeline"]

MOST_BARS: Final = 2_000
"""A page with more rectangles than this scrolls badly; the longest are drawn."""
MOST_LANES: Final = 120
WIDTH: Final = 1_090.0
LABELS: Final = 170.0
TOP: Final = 22.0
LABEL: Final = 18.0
"""Pixels of a line of text, the least a group of lanes gets."""
_STEPS: Final = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)
_SIZES: Final = ((24, 18.0), (60, 9.0), (MOST_LANES, 5.0))
"""(up to so many lanes, height of a lane in pixels)"""


@dataclass(frozen=True, slots=True)
class _Bar:
    name: str
    task: Shown
    begin: float
    end: float


@dataclass(slots=True)
class _Lane:
    name: str
    bars: list[_Bar]
    y: float = 0.0


def timeline(screen: Screen, now: float) -> tuple[str, int]:
    """Give an SVG of the run's tasks over time, and how many tasks are not in it.

    Args:
        now: the end of what never said that it ended, seconds since the epoch.
    Returns:
        "" for the picture when no task has run.
    """
    all_bars = [
        bar for task in screen.tasks.values() if (bar := _bar(task, screen, now)) is not None
    ]
    if not all_bars:
        return "", 0
    bars = heapq.nlargest(MOST_BARS, all_bars, key=lambda bar: bar.end - bar.begin)
    bars.sort(key=lambda bar: (bar.begin, bar.task.number))
    lanes = _lanes(bars)
    start, end = min(b.begin for b in bars), max(b.end for b in bars)
    span = max(end - start, 1e-3)
    high = next((size for most, size in _SIZES if len(lanes) <= most), _SIZES[-1][1])
    drawn = _placed(lanes[:MOST_LANES], high)
    height = max(lane.y for lane in drawn) + max(high, LABEL) + 6
    scale = (WIDTH - LABELS - 8) / span
    parts = [
        f'<svg class="tl" xmlns="http://www.w3.org/2000/svg" width="{WIDTH:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" '
        'aria-label="timeline of the tasks">',
        *_axis(span, scale, height),
        *_labels(drawn),
    ]
    for lane in drawn:
        for bar in lane.bars:
            x = LABELS + (bar.begin - start) * scale
            parts.append(_drawn(bar, x, (bar.end - bar.begin) * scale, lane.y, high))
    parts.append("</svg>")
    return "".join(parts), len(all_bars) - sum(len(lane.bars) for lane in drawn)


def _bar(task: Shown, screen: Screen, now: float) -> _Bar | None:
    if task.form != "call":
        return None
    begin = task.started if task.started is not None else task.finished
    if begin is None or (task.started is None and task.state != "reused"):
        return None
    end = task.finished if task.finished is not None else (screen.finished or now)
    facts = screen.facts_of(task)
    return _Bar(facts.name if facts else task.name, task, begin, max(begin, end))


def _lanes(bars: Iterable[_Bar]) -> list[_Lane]:
    """Bars that do not overlap share a lane; lanes of one name are neighbours."""
    groups: dict[str, list[_Lane]] = {}
    free: dict[str, list[tuple[float, int]]] = {}
    for bar in bars:
        lanes = groups.setdefault(bar.name, [])
        ends = free.setdefault(bar.name, [])
        if ends and ends[0][0] <= bar.begin:
            _, place = heapq.heappop(ends)
        else:
            place = len(lanes)
            lanes.append(_Lane(bar.name, []))
        lanes[place].bars.append(bar)
        heapq.heappush(ends, (bar.end, place))
    return [lane for lanes in groups.values() for lane in lanes]


def _placed(lanes: list[_Lane], high: float) -> list[_Lane]:
    """The lanes below each other, with room for a label beside each group of one name."""
    y, first = TOP, TOP
    for before, lane in zip([None, *lanes], lanes, strict=False):
        if before is not None and before.name != lane.name:
            y = max(y, first + LABEL)
            first = y
        lane.y = y
        y += high
    return lanes


def _labels(lanes: Sequence[_Lane]) -> Iterable[str]:
    groups: dict[str, list[_Lane]] = {}
    for lane in lanes:
        groups.setdefault(lane.name, []).append(lane)
    for name, group in groups.items():
        y, tasks = group[0].y, sum(len(lane.bars) for lane in group)
        said = f"{name} \u00d7{tasks}" if tasks > 1 else name
        yield f'<line x1="0" x2="{WIDTH:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield (
            f'<text x="2" y="{y + 12.5:.1f}"><title>{escape(said)}</title>'
            f"{escape(cut(said, 11.0, LABELS - 10))}</text>"
        )


def _axis(span: float, scale: float, height: float) -> Iterable[str]:
    step = _step(span / 8)
    for tick in range(int(span / step + 1e-9) + 1):
        x = LABELS + tick * step * scale
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 5}" y2="{height:.1f}"/>'
        said = _tick(tick * step, step)
        yield f'<text class="ax" x="{x:.1f}" y="12" text-anchor="middle">{said}</text>'


def _step(rough: float) -> float:
    """The next larger step that people count time in, seconds."""
    if rough >= 1.0:
        return next((n for n in _STEPS if n >= rough), math.ceil(rough / 3600) * 3600.0)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= rough * 0.999)


def _tick(seconds: float, step: float) -> str:
    if step >= 3600:
        return f"{seconds / 3600:g} h"
    if step >= 60:
        return f"{seconds / 60:g} min"
    if step >= 0.1:
        return f"{round(seconds, 1):g} s"
    return f"{round(seconds * 1e3, 3):g} ms"


def _drawn(bar: _Bar, x: float, wide: float, y: float, high: float) -> str:
    task, look = bar.task, look_of(bar.task.state)
    took = seconds_text(bar.end - bar.begin)
    tries = f", attempt {task.attempt}" if task.attempt > 1 else ""
    about = f"{task.name}: {look.word}, {took}{tries}" + (f", {task.why}" if task.why else "")
    title = f"<title>{escape(about)}</title>"
    mid = y + high / 2
    if task.state == "reused":
        r = min(5.0, high / 2 - 0.5)
        return (
            f'<path d="M{x:.1f} {mid - r:.1f}l{r} {r}l-{r} {r}l-{r} -{r}z" fill="{look.fill}">'
            f"{title}</path>"
        )
    wide = max(wide - 0.8, 1.2)  # a little gap, so that neighbours can be told apart
    rect = (
        f'<rect x="{x:.1f}" y="{y + 1:.1f}" width="{wide:.1f}" height="{high - 2:.1f}" '
        f'rx="{min(3.0, high / 4, wide / 3):.1f}" fill="{look.fill}">{title}</rect>'
    )
    label = task.name if task.index is None else f"[{task.index}]"
    if high < 14 or wide < 30 or text_width(label, 11.0) > wide - 8:
        return rect
    return (
        f'{rect}<text x="{x + 5:.1f}" y="{mid + 4:.1f}" pointer-events="none" '
        f'style="fill:{look.text}">{escape(label)}</text>'
    )
