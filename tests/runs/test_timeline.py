"""The timeline has a bar for each task that ran, side by side when they overlap."""

from __future__ import annotations

import re

from tests.runs.samples import START, census
from twingraph_nb.events import Batch, RunStarted, TaskAdded, TaskDone, TaskStarted
from twingraph_nb.picture.screen import screen_of
from twingraph_nb.runs.timeline import MOST_BARS, timeline

NOW = START + 100


def bars(svg: str) -> list[tuple[float, float, float]]:
    """(x, y, width) of each bar."""
    found = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', svg)
    return [(float(x), float(y), float(w)) for x, y, w in found]


def test_tasks_one_after_the_other_share_a_lane() -> None:
    svg, missing = timeline(census(3), NOW)
    assert missing == 0
    assert len(bars(svg)) == 5
    assert len({y for _, y, _ in bars(svg)}) == 3  # list, parse, join
    assert "parse \u00d73" in svg


def test_tasks_at_the_same_time_get_lanes_of_their_own() -> None:
    events = [RunStarted(START, "r", "r")]
    for task in range(4):
        events.append(TaskAdded(START, task, f"h{task}", "work", "d"))
    events += [TaskStarted(START + task, task) for task in range(4)]
    events += [TaskDone(START + 10, task) for task in range(4)]
    svg, _ = timeline(screen_of([Batch("r", 0, events)]), NOW)
    places = bars(svg)
    assert len({y for _, y, _ in places}) == 4
    widths = sorted((w for *_, w in places), reverse=True)
    assert [round(w / widths[0], 1) for w in widths] == [1.0, 0.9, 0.8, 0.7]


def test_a_reused_task_is_a_mark_and_not_a_bar() -> None:
    svg, _ = timeline(census(3, reused=[0, 2]), NOW)
    assert len(bars(svg)) == 3
    assert len(re.findall(r"parse\[.\]: reused", svg)) == 2


def test_the_longest_are_drawn_when_there_are_too_many() -> None:
    svg, missing = timeline(census(MOST_BARS + 500), NOW)
    assert len(bars(svg)) == MOST_BARS
    assert missing == 502


def test_a_run_without_tasks_has_no_timeline() -> None:
    nothing = screen_of([Batch("r", 0, [RunStarted(START, "r", "r")])])
    assert timeline(nothing, NOW) == ("", 0)


def test_a_task_that_never_ended_goes_on_to_the_end() -> None:
    events = [RunStarted(START, "r", "r"), TaskAdded(START, 0, "h0", "work", "d")]
    events += [TaskAdded(START, 1, "h1", "work", "d"), TaskStarted(START, 0), TaskStarted(START, 1)]
    events.append(TaskDone(START + 50, 0))
    svg, _ = timeline(screen_of([Batch("r", 0, events)]), NOW)
    short, long = sorted(w for *_, w in bars(svg))
    assert round(long / short) == 2
