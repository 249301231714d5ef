"""The timeline has a bar for each task that ran, and a curve where there are many."""

from __future__ import annotations

import re

from tests.runs.samples import START, census
from twingraph_nb.events import (
    Batch,
    ComponentUsed,
    ErrorInfo,
    Event,
    RunStarted,
    TaskAdded,
    TaskDone,
    TaskErred,
    TaskStarted,
)
from twingraph_nb.picture.screen import screen_of
from twingraph_nb.runs.timeline import BAND, MOST_BARS, MOST_ROWS, timeline

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


def wide(count: int, *, failed: int = -1) -> str:
    """The picture of one map whose items all run at once."""
    events: list[Event] = [RunStarted(START, "r", "r")]
    events.append(ComponentUsed(START, "d", "work", platform="docker"))
    events.append(TaskAdded(START, 0, "h", "work", "d", form="map"))
    for task in range(1, count + 1):
        events.append(TaskAdded(START, task, f"h{task}", f"work[{task}]", "d", group=0, index=task))
    events += [TaskStarted(START + 1, task) for task in range(1, count + 1)]
    for task in range(1, count + 1):
        error = TaskErred(START + 9, task, 1, ErrorInfo("ValueError", "no"))
        events.append(error if task == failed else TaskDone(START + 9, task))
    svg, missing = timeline(screen_of([Batch("r", 0, events)]), NOW)
    assert missing == 0
    return svg


def height(svg: str) -> int:
    found = re.search(r'height="(\d+)"', svg)
    assert found is not None
    return int(found[1])


def test_a_wide_map_is_one_curve_as_tall_as_any_other() -> None:
    assert height(wide(30)) == height(wide(3_000)) < 100
    assert len(wide(3_000)) < 5_000
    assert "work \u00d73,000" in wide(3_000)
    assert "on docker, 3,000 at once" in wide(3_000)


def test_a_curve_is_as_high_as_there_were_tasks_at_once() -> None:
    svg, _ = timeline(census(MOST_BARS + 100), NOW)  # one after the other: always one
    levels = {float(y) for y in re.findall(r"[ML]\d+ ([\d.]+)", svg)}
    ground = max(levels)
    assert min(levels) == ground - (BAND - 6)


def test_what_failed_stands_out_of_a_curve() -> None:
    svg = wide(500, failed=77)
    assert "work[77]: failed" in svg
    assert "work: 499 succeeded, 8.0 s to 8.0 s" in svg
    assert "failed" not in wide(500)


def test_hundreds_of_components_are_cut_to_those_that_took_longest() -> None:
    events: list[Event] = [RunStarted(START, "r", "r")]
    for task in range(MOST_ROWS + 5):
        events.append(TaskAdded(START, task, f"h{task}", f"step{task}", f"d{task}"))
        events.append(TaskStarted(START + task, task))
        events.append(TaskDone(START + task + (0.1 if task < 5 else 1.0), task))
    svg, missing = timeline(screen_of([Batch("r", 0, events)]), NOW)
    assert missing == 5
    assert "step4:" not in svg
    assert "step5:" in svg


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
