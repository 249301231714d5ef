"""Folding events into the screen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.picture.samples import BOOM, added, done, erred, mapped, run, screen, started
from twingraph_nb.events import (
    CancelAsked,
    RunFinished,
    TaskCancelled,
    TaskLogged,
    TaskProgressed,
    TaskReused,
    TaskSkipped,
    TaskWoken,
)
from twingraph_nb.picture.model import LOG_BUDGET, LOG_TAIL, Screen, needed
from twingraph_nb.picture.progress import estimate, progress_line, seconds_text
from twingraph_nb.picture.screen import fold


def states(shown: Screen) -> dict[int, str]:
    return {number: task.state for number, task in shown.tasks.items()}


def test_a_task_waits_until_all_it_needs_has_succeeded() -> None:
    calls = [added(0, "a"), added(1, "b"), added(2, "c", 0, 1, 1)]
    assert states(screen(run("a", "b", "c"), calls)) == {0: "ready", 1: "ready", 2: "waiting"}
    half = screen(run("a", "b", "c"), calls, done(0))
    assert states(half) == {0: "succeeded", 1: "ready", 2: "waiting"}
    assert states(screen(run("a", "b", "c"), calls, done(0), done(1)))[2] == "ready"


def test_a_task_that_needs_only_finished_ones_is_ready_at_once() -> None:
    assert states(screen(run("a", "b"), added(0, "a"), done(0), added(1, "b", 0)))[1] == "ready"


def test_an_error_with_attempts_left_is_a_retry_and_the_last_one_a_failure() -> None:
    start = [*run("a", retries=1), added(0, "a"), started(0)]
    retrying = screen(start, erred(0))
    assert states(retrying) == {0: "retrying"}
    woken = screen(start, erred(0), TaskWoken(3.0, 0))
    assert states(woken) == {0: "ready"}
    failed = screen(start, erred(0), TaskWoken(3.0, 0), started(0, 3.0, 2), erred(0, 4.0, 2))
    assert states(failed) == {0: "failed"}
    assert failed.tasks[0].error == BOOM
    assert failed.tasks[0].attempt == 2
    assert failed.tasks[0].seconds == 2.0


def test_an_error_that_may_not_be_retried_is_a_failure() -> None:
    events = [*run("a", retries=5), added(0, "a"), started(0)]
    assert states(screen(events, erred(0, retryable=False))) == {0: "failed"}


def test_nothing_is_retried_once_the_run_is_stopping() -> None:
    events = [*run("a", retries=5), added(0, "a"), started(0), CancelAsked(1.5)]
    assert states(screen(events, erred(0))) == {0: "failed"}


def test_skipped_cancelled_and_reused_tasks_say_why() -> None:
    shown = screen(
        run("a", "b", "c", "d"),
        [added(0, "a"), added(1, "b", 0), added(2, "c"), added(3, "d")],
        [started(0), erred(0), TaskSkipped(2.0, 1, 0), TaskCancelled(2.0, 2, "run was stopped")],
        [TaskReused(2.0, 3, "digest", {"value": "7"}, run="old", age=7200.0)],
    )
    assert states(shown) == {0: "failed", 1: "skipped", 2: "cancelled", 3: "reused"}
    assert shown.tasks[1].why == "a did not succeed"
    assert shown.tasks[2].why == "run was stopped"
    assert shown.tasks[3].why == "an equal task was done 2 hours ago in run old"


def test_a_map_runs_with_its_first_item_and_does_not_count_itself() -> None:
    shown = screen(run("parse"), mapped(0, 3), started(1))
    assert states(shown) == {0: "running", 1: "running", 2: "ready", 3: "ready"}
    assert shown.total == 3
    assert shown.tasks[0].items == [1, 2, 3]


def test_progress_is_kept_between_nought_and_one() -> None:
    events = [*run("a"), added(0, "a"), started(0), TaskProgressed(1.5, 0, 1.7, "parsing")]
    shown = screen(events)
    assert (shown.tasks[0].fraction, shown.tasks[0].message) == (1.0, "parsing")


def test_tasks_left_open_by_a_crash_are_closed_with_the_run() -> None:
    shown = screen(run("a"), added(0, "a"), started(0), RunFinished(9.0, "interrupted"))
    assert states(shown) == {0: "cancelled"}
    assert shown.over


def test_logs_keep_their_tail_and_a_budget_for_all_together() -> None:
    shown = screen(run("a"), added(0, "a"), TaskLogged(1.0, 0, "stdout", "x" * 99_999 + "end\n"))
    assert shown.log_of(0).endswith("end\n")
    assert len(shown.log_of(0)) == LOG_TAIL
    for task in range(1, 2 * LOG_BUDGET // LOG_TAIL):
        shown.log(task, "y" * LOG_TAIL)
    assert shown.log_of(0) == ""
    assert shown.log_of(2 * LOG_BUDGET // LOG_TAIL - 1) != ""


def test_needed_is_the_task_with_its_ancestors_and_the_items_of_maps() -> None:
    shown = screen(
        run("a", "parse", "b", "c"),
        [added(0, "a"), *mapped(1, 2, 0), added(4, "b", 1), added(5, "c", 0)],
    )
    assert needed(shown, 4) == {0, 1, 2, 3, 4}


def test_the_line_says_what_is_done_what_runs_and_what_failed() -> None:
    shown = screen(
        run("a", on_error="continue"),
        [added(0, "a"), added(1, "a"), added(2, "a")],
        [*done(0), started(1), started(2), erred(2)],
    )
    told = "1/3 done · 1 running · 1 failed · 3.0 s · about 1.0 s left"
    assert progress_line(shown, 3.0) == told
    assert progress_line(screen(run()), 0.5) == "no tasks yet · 0.5 s"


def test_the_estimate_comes_from_equal_tasks_and_how_many_ran_at_once() -> None:
    calls = [added(i, "a") for i in range(10)]
    shown = screen(run("a"), calls, done(0, 2.0), done(1, 2.0))
    assert estimate(shown, 2.0) == 4.0  # 8 tasks of 1 s, two at a time
    assert "about 4.0 s left" in progress_line(shown, 2.0)


def test_nothing_is_said_about_components_that_never_finished() -> None:
    shown = screen(run("a", "b"), added(0, "a"), added(1, "b"), done(0))
    assert estimate(shown, 2.0) is None
    assert "left" not in progress_line(shown, 2.0)


def test_times_are_written_as_people_do() -> None:
    given_ = [0.034, 0.34, 1.24, 59.4, 59.6, 125.0, 7260.0]
    assert [seconds_text(s) for s in given_] == [
        "34 ms",
        "0.3 s",
        "1.2 s",
        "59 s",
        "1 min 00 s",
        "2 min 05 s",
        "2 h 01 min",
    ]


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("sdewrck")), max_size=60))
def test_counters_always_match_the_tasks(steps: list[tuple[int, str]]) -> None:
    shown = screen(run("a", retries=1), [added(i, "a", *range(i)) for i in range(10)])
    made = {
        "s": lambda n: started(n),
        "d": lambda n: done(n)[1],
        "e": lambda n: erred(n),
        "w": lambda n: TaskWoken(1.0, n),
        "r": lambda n: TaskReused(1.0, n, "d"),
        "c": lambda n: TaskCancelled(1.0, n),
        "k": lambda n: TaskSkipped(1.0, n, 0),
    }
    for number, kind in steps:
        fold(shown, made[kind](number))
        there = [task.state for task in shown.tasks.values()]
        assert {s: n for s, n in shown.counts.items() if n} == {s: there.count(s) for s in there}
    assert shown.parts["a"].open == sum(not task.final for task in shown.tasks.values())
