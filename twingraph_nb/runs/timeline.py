"""When each task of a run ran, as a picture: a row for each component.

A few tasks are bars, side by side when they overlap. Many are one curve of how many ran at once,
so that a wide map is no taller than a narrow one.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import median
from typing import Final

from twingraph_nb.picture.measure import cut, text_width
from twingraph_nb.picture.model import Screen, Shown
from twingraph_nb.picture.palette import LOOKS, look_of
from twingraph_nb.picture.progress import seconds_text

__all__ = ["BAND", "MOST_BARS", "MOST_LANES", "MOST_ROWS", "timeline"]

MOST_BARS: Final = 200
MOST_LANES: Final = 4
"""Bars and lanes of one component from which it is drawn as a curve."""
MOST_ROWS: Final = 80
"""Components; those whose tasks took longest in all are drawn."""
WIDTH: Final = 1_090.0
LABELS: Final = 190.0
TOP: Final = 22.0
LABEL: Final = 18.0
"""Pixels of a line of text, the least a row gets."""
BAND: Final = 36.0
"""Pixels of a row with a curve."""
_BIN: Final = 2.0
"""Pixels for which a curve has one height."""
_STEPS: Final = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)
_SIZES: Final = ((24, 18.0), (60, 11.0), (10**9, 7.0))
"""(up to so many lanes in all, height of a lane in pixels)"""


@dataclass(frozen=True, slots=True)
class _Bar:
    row: str
    task: Shown
    begin: float
    end: float


@dataclass(slots=True)
class _Row:
    """The tasks of one component. lanes: their bars, those that do not overlap together."""

    name: str
    platform: str
    lanes: list[list[_Bar]] = field(default_factory=list)
    y: float = 0.0

    @property
    def bars(self) -> list[_Bar]:
        return [bar for lane in self.lanes for bar in lane]

    @property
    def curve(self) -> bool:
        return len(self.lanes) > MOST_LANES or sum(map(len, self.lanes)) > MOST_BARS

    @property
    def work(self) -> float:
        return sum(bar.end - bar.begin for bar in self.bars)

    def tall(self, high: float) -> float:
        """Pixels, if a lane has `high`; no less than its words need."""
        words = LABEL if not self.about else 2 * LABEL - 4
        return max(words, BAND if self.curve else high * len(self.lanes))

    @property
    def about(self) -> str:
        """The second line of its label."""
        where = f"on {self.platform}" if self.platform not in ("", "local") else ""
        crowd = f"{len(self.lanes):,} at once" if self.curve and len(self.lanes) > 1 else ""
        return ", ".join(filter(None, (where, crowd)))


@dataclass(frozen=True, slots=True)
class _Scale:
    start: float
    pixels: float
    """Of one second."""

    def x(self, at: float) -> float:
        return LABELS + (at - self.start) * self.pixels


def timeline(screen: Screen, now: float) -> tuple[str, int]:
    """Give an SVG of the run's tasks over time, and how many tasks are not in it.

    Args:
        now: the end of what never said that it ended, seconds since the epoch.
    Returns:
        "" for the picture when no task has run.
    """
    bars = [bar for task in screen.tasks.values() if (bar := _bar(task, screen, now)) is not None]
    if not bars:
        return "", 0
    bars.sort(key=lambda bar: (bar.begin, bar.task.number))
    rows = _rows(bars, screen)
    longest = {row.name for row in heapq.nlargest(MOST_ROWS, rows, key=lambda row: row.work)}
    drawn = [row for row in rows if row.name in longest]
    lanes = sum(len(row.lanes) for row in drawn if not row.curve)
    high = next(size for most, size in _SIZES if lanes <= most)
    height = TOP
    for row in drawn:
        row.y = height
        height += row.tall(high) + 2
    start, end = bars[0].begin, max(b.end for b in bars)
    span = max(end - start, 1e-3)
    scale = _Scale(start, (WIDTH - LABELS - 8) / span)
    parts = [
        f'<svg class="tl" xmlns="http://www.w3.org/2000/svg" width="{WIDTH:.0f}" '
        f'height="{height + 4:.0f}" viewBox="0 0 {WIDTH:.0f} {height + 4:.0f}" role="img" '
        'aria-label="timeline of the tasks">',
        *_axis(span, scale.pixels, height),
    ]
    for row in drawn:
        parts += _label(row)
        parts += _curve(row, scale) if row.curve else _lanes(row, scale, high)
    parts.append("</svg>")
    return "".join(parts), len(bars) - sum(len(row.bars) for row in drawn)


def _bar(task: Shown, screen: Screen, now: float) -> _Bar | None:
    if task.form != "call":
        return None
    begin = task.started if task.started is not None else task.finished
    if begin is None or (task.started is None and task.state != "reused"):
        return None
    end = task.finished if task.finished is not None else (screen.finished or now)
    facts = screen.facts_of(task)
    return _Bar(facts.name if facts else task.name, task, begin, max(begin, end))


def _rows(bars: Iterable[_Bar], screen: Screen) -> list[_Row]:
    """A row for each component, in the order they began; bars that do not overlap share a lane."""
    rows: dict[str, _Row] = {}
    free: dict[str, list[tuple[float, int]]] = {}
    for bar in bars:
        row = rows.get(bar.row)
        if row is None:
            facts = screen.facts_of(bar.task)
            row = rows[bar.row] = _Row(bar.row, facts.platform if facts else "")
        ends = free.setdefault(bar.row, [])
        if ends and ends[0][0] <= bar.begin:
            _, place = heapq.heappop(ends)
        else:
            place = len(row.lanes)
            row.lanes.append([])
        row.lanes[place].append(bar)
        heapq.heappush(ends, (bar.end, place))
    return list(rows.values())


def _label(row: _Row) -> Iterable[str]:
    tasks = sum(map(len, row.lanes))
    said = f"{row.name} \u00d7{tasks:,}" if tasks > 1 else row.name
    yield f'<line x1="0" x2="{WIDTH:.0f}" y1="{row.y - 1:.1f}" y2="{row.y - 1:.1f}"/>'
    for line, (text, kind) in enumerate(((said, ""), (row.about, ' class="ax"'))):
        if text:
            yield (
                f'<text{kind} x="2" y="{row.y + 12.5 + line * 14:.1f}"><title>{escape(text)}'
                f"</title>{escape(cut(text, 11.0, LABELS - 10))}</text>"
            )


def _lanes(row: _Row, scale: _Scale, high: float) -> Iterable[str]:
    for place, lane in enumerate(row.lanes):
        for bar in lane:
            wide = (bar.end - bar.begin) * scale.pixels
            yield _drawn(bar, scale.x(bar.begin), wide, row.y + place * high, high)


# -- many tasks as one curve ----------------------------------------------------------------------


def _curve(row: _Row, scale: _Scale) -> Iterable[str]:
    """How many ran at once, by how they ended, on top of each other; and marks."""
    ran: dict[str, list[_Bar]] = {}
    for bar in row.bars:
        ran.setdefault(bar.task.state, []).append(bar)
    reused = ran.pop("reused", [])
    ground, unit = [0.0] * _bins(), (BAND - 6) / len(row.lanes)
    for state in (state for state in LOOKS if state in ran):
        crowd = _crowd(ran[state], scale)
        roof = [low + max(n * unit, 1.2 * (n > 0)) for low, n in zip(ground, crowd, strict=True)]
        title = f"<title>{escape(_summary(row.name, state, ran[state]))}</title>"
        path = _area(ground, roof, row.y + BAND - 2)
        yield f'<path d="{path}" fill="{look_of(state).fill}">{title}</path>'
        ground = roof
    yield from _marks(reused, "reused", scale, row.y + BAND - 6)
    yield from _marks(ran.get("failed", []), "failed", scale, row.y + 5)


def _bins() -> int:
    return math.ceil((WIDTH - LABELS) / _BIN)


def _crowd(bars: Sequence[_Bar], scale: _Scale) -> list[float]:
    """How many of them ran in each bin, on average over its time."""
    share, steps = [0.0] * (_bins() + 1), [0] * (_bins() + 1)
    for bar in bars:
        begin, end = ((scale.x(at) - LABELS) / _BIN for at in (bar.begin, bar.end))
        first, last = int(begin), int(end)
        if first == last:
            share[first] += max(end - begin, 1e-6)
            continue
        share[first] += first + 1 - begin
        share[last] += end - last
        steps[first + 1] += 1
        steps[last] -= 1
    whole, found = 0, []
    for part, step in zip(share, steps, strict=True):
        whole += step
        found.append(whole + part)
    return found[:-1]


def _area(ground: Sequence[float], roof: Sequence[float], y: float) -> str:
    """The outline between two curves above `y`; where they meet there is nothing."""
    parts, first = [], 0
    while first < len(roof):
        last = first + 1
        if roof[first] > ground[first]:
            while last < len(roof) and roof[last] > ground[last]:
                last += 1
            there = [*_stairs(roof, first, last, y)]
            back = [*_stairs(ground, first, last, y)][::-1]
            parts.append("M" + "L".join(there + back) + "z")
        first = last
    return "".join(parts)


def _stairs(heights: Sequence[float], first: int, last: int, y: float) -> Iterable[str]:
    for place in range(first, last):
        level = f"{y - heights[place]:.1f}"
        left, right = LABELS + place * _BIN, LABELS + (place + 1) * _BIN
        if place == first or heights[place - 1] != heights[place]:
            yield f"{left:.0f} {level}"
        if place + 1 == last or heights[place + 1] != heights[place]:
            yield f"{right:.0f} {level}"


def _summary(name: str, state: str, bars: Sequence[_Bar]) -> str:
    took = [bar.end - bar.begin for bar in bars]
    times = f"{seconds_text(min(took))} to {seconds_text(max(took))}"
    told = f"{name}: {len(bars):,} {look_of(state).word}, {times}"
    return f"{told}, half of them within {seconds_text(median(took))}"


def _marks(bars: Sequence[_Bar], state: str, scale: _Scale, y: float) -> Iterable[str]:
    """Diamonds where tasks ended, one for those that would lie on each other."""
    there: dict[int, list[_Bar]] = {}
    for bar in bars:
        there.setdefault(round(scale.x(bar.end) / 6), []).append(bar)
    for place, some in there.items():
        said = f"{some[0].task.name}: {look_of(state).word}"
        said += f", and {len(some) - 1:,} more" if len(some) > 1 else ""
        yield _diamond(place * 6.0, y, 4.0, state, said)


def _diamond(x: float, y: float, r: float, state: str, about: str) -> str:
    look = look_of(state)
    return (
        f'<path d="M{x - r:.1f} {y:.1f}l{r} {-r}l{r} {r}l{-r} {r}z" fill="{look.fill}" '
        f'stroke="{look.text}" stroke-width="0.8"><title>{escape(about)}</title></path>'
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
        return _diamond(x, mid, min(5.0, high / 2 - 0.5), "reused", about)
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
