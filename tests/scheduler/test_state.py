"""RunState: events in, commands out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from twingraph_nb.events import (
    BodyDone,
    BodyErred,
    CancelAsked,
    ComponentUsed,
    ErrorInfo,
    RunStarted,
    RunTimedOut,
    TaskAdded,
    TaskCancelled,
    TaskDone,
    TaskErred,
    TaskSkipped,
    TaskStarted,
    TaskWoken,
)
from twingraph_nb.scheduler.commands import BODY, Cancel, Finish, Launch, Record, WakeAt
from twingraph_nb.scheduler.state import RunState

BOOM = ErrorInfo("ValueError", "boom")


def added(task: int, *needs: int, group: int | None = None) -> TaskAdded:
    wires = tuple((need, "", "x") for need in needs)
    return TaskAdded(0.0, task, f"h{task}", f"t{task}", "c", wires, group=group)


def state_of(
    graph: Mapping[int, Sequence[int]],
    *,
    on_error: str = "fail_fast",
    policy: Mapping[str, object] | None = None,
) -> RunState:
    state = RunState()
    state.handle(RunStarted(0.0, "r", "r", on_error=on_error))  # type: ignore[arg-type]
    state.handle(ComponentUsed(0.0, "c", "c", policy=policy or {}))
    for task, needs in graph.items():
        state.handle(added(task, *needs))
    return state


def started(state: RunState, *tasks: int) -> None:
    for task in tasks:
        state.handle(TaskStarted(0.0, task, state.attempt_of(task) + 1))


def test_task_without_needs_is_launched_when_added() -> None:
    state = RunState()
    assert tuple(state.handle(added(0))) == (Launch(0, 1),)


def test_sink_of_a_diamond_is_launched_once_after_both_sides() -> None:
    state = state_of({0: (), 1: (0,), 2: (0,), 3: (1, 2)})
    started(state, 0)
    assert list(state.handle(TaskDone(1.0, 0))) == [Launch(1), Launch(2)]
    started(state, 1, 2)
    assert tuple(state.handle(TaskDone(2.0, 1))) == ()
    assert list(state.handle(TaskDone(3.0, 2))) == [Launch(3)]
    started(state, 3)
    state.handle(TaskDone(4.0, 3))
    assert tuple(state.handle(BodyDone(5.0))) == (Finish("succeeded"),)


def test_two_wires_from_one_task_count_as_one_need() -> None:
    state = state_of({0: ()})
    state.handle(TaskAdded(0.0, 1, "h1", "t1", "c", ((0, "a", "x"), (0, "b", "y"))))
    started(state, 0)
    assert list(state.handle(TaskDone(1.0, 0))) == [Launch(1)]


def test_failed_task_skips_everything_below_it_and_the_rest_goes_on() -> None:
    state = state_of({0: (), 1: (0,), 2: (1,), 3: ()}, on_error="continue")
    started(state, 0, 3)
    said = list(state.handle(TaskErred(1.0, 0, 1, BOOM)))
    assert said == [Record(TaskSkipped(1.0, 1, 0)), Record(TaskSkipped(1.0, 2, 1))]
    assert state.states == {0: "failed", 1: "skipped", 2: "skipped", 3: "running"}
    state.handle(TaskDone(2.0, 3))
    assert tuple(state.handle(BodyDone(3.0))) == (Finish("failed", BOOM),)


def test_task_added_below_a_failed_one_is_skipped_at_once() -> None:
    state = state_of({0: ()}, on_error="continue")
    started(state, 0)
    state.handle(TaskErred(1.0, 0, 1, BOOM))
    assert list(state.handle(added(1, 0))) == [Record(TaskSkipped(0.0, 1, 0))]


def test_fail_fast_cancels_what_runs_and_what_waits_and_the_body() -> None:
    state = state_of({0: (), 1: (), 2: (1,)})
    started(state, 0, 1)
    said = list(state.handle(TaskErred(1.0, 0, 1, BOOM)))
    why = "another task of the run failed"
    assert said == [
        Record(TaskCancelled(1.0, 2, why)),  # first: it must not get the place of what ends
        Cancel(1, why),
        Cancel(BODY, why),
    ]
    assert list(state.handle(TaskCancelled(2.0, 1, why))) == [Finish("failed", BOOM)]


def test_error_that_the_body_waits_for_does_not_stop_the_run() -> None:
    state = state_of({0: (), 1: ()})
    started(state, 0, 1)
    assert list(state.handle(TaskErred(1.0, 0, 1, BOOM, observed=True))) == []
    state.handle(TaskDone(2.0, 1))
    assert tuple(state.handle(BodyDone(3.0))) == (Finish("succeeded"),)


def test_retry_waits_then_launches_the_next_attempt() -> None:
    policy = {"retries": 1, "delay": 2.0, "backoff": "fixed", "jitter": 0.0}
    state = state_of({0: (), 1: (0,)}, policy=policy)
    started(state, 0)
    assert tuple(state.handle(TaskErred(10.0, 0, 1, BOOM))) == (WakeAt(0, 12.0),)
    assert state.state_of(0) == "retrying"
    assert tuple(state.handle(TaskWoken(12.0, 0))) == (Launch(0, 2),)
    started(state, 0)
    state.handle(TaskErred(13.0, 0, 2, BOOM))
    assert state.states == {0: "failed", 1: "skipped"}


def test_error_that_is_not_retryable_fails_at_once() -> None:
    state = state_of({0: ()}, policy={"retries": 5})
    started(state, 0)
    state.handle(TaskErred(1.0, 0, 1, BOOM, retryable=False))
    assert state.state_of(0) == "failed"


def test_cancel_of_a_waiting_task_skips_what_needs_it() -> None:
    state = state_of({0: (), 1: (0,), 2: (1,)}, on_error="continue")
    started(state, 0)
    said = list(state.handle(CancelAsked(1.0, 1)))
    assert said == [Record(TaskCancelled(1.0, 1)), Record(TaskSkipped(1.0, 2, 1))]
    assert state.states == {0: "running", 1: "cancelled", 2: "skipped"}


def test_cancel_of_a_group_reaches_its_members() -> None:
    state = state_of({0: ()})
    started(state, 0)
    state.handle(added(1, group=0))
    started(state, 1)
    assert list(state.handle(CancelAsked(1.0, 0))) == [Cancel(0), Cancel(1)]


def test_what_a_cancelled_task_calls_afterwards_is_cancelled_at_birth() -> None:
    state = state_of({0: ()}, on_error="continue")
    started(state, 0)
    state.handle(CancelAsked(1.0, 0))
    said = list(state.handle(added(1, group=0)))
    assert said == [Record(TaskCancelled(0.0, 1, "what called it was cancelled"))]


def test_what_tidies_up_runs_while_the_run_stops_and_ends_before_it() -> None:
    state = state_of({0: ()})
    started(state, 0)
    state.handle(CancelAsked(1.0, None, why="enough"))
    tidy = TaskAdded(2.0, 1, "h1", "t1", "c", group=0, last=True)
    assert list(state.handle(tidy)) == [Launch(1)]
    started(state, 1)
    assert list(state.handle(CancelAsked(3.0, None))) == []
    assert list(state.handle(TaskCancelled(4.0, 0))) == []  # the group itself; not the run yet
    last = list(state.handle(TaskDone(5.0, 1)))
    assert last == [Finish("cancelled", ErrorInfo("RunError", "enough"))]


def test_of_a_task_that_has_ended_only_its_state_is_kept() -> None:
    state = state_of({0: (), 1: (0,), 2: ()}, on_error="continue")
    started(state, 0, 2)
    state.handle(TaskErred(1.0, 0, 1, BOOM))
    state.handle(TaskDone(2.0, 2))
    assert state._nodes == {}
    assert state.states == {0: "failed", 1: "skipped", 2: "succeeded"}
    for late in (TaskDone(3.0, 0), TaskCancelled(3.0, 2), TaskStarted(3.0, 1), TaskWoken(3.0, 0)):
        assert list(state.handle(late)) == []
    assert state.states == {0: "failed", 1: "skipped", 2: "succeeded"}


def test_cancel_of_the_run_ends_it_as_cancelled() -> None:
    state = state_of({0: (), 1: (0,)})
    started(state, 0)
    said = list(state.handle(CancelAsked(1.0, None, why="enough")))
    assert said == [
        Record(TaskCancelled(1.0, 1, "enough")),
        Cancel(0, "enough"),
        Cancel(BODY, "enough"),
    ]
    ended = list(state.handle(TaskCancelled(2.0, 0)))
    assert ended == [Finish("cancelled", ErrorInfo("RunError", "enough"))]


def test_call_made_while_the_run_stops_is_cancelled_at_birth() -> None:
    state = state_of({0: ()})
    started(state, 0)
    state.handle(CancelAsked(1.0, None))
    said = list(state.handle(added(1)))
    assert said == [Record(TaskCancelled(0.0, 1, "the run is stopping"))]


def test_task_that_finished_while_it_was_cancelled_keeps_its_result() -> None:
    state = state_of({0: ()})
    started(state, 0)
    state.handle(CancelAsked(1.0, None))
    assert list(state.handle(TaskDone(1.1, 0)))[-1].state == "cancelled"  # type: ignore[union-attr]
    assert state.state_of(0) == "succeeded"
    assert list(state.handle(TaskCancelled(1.2, 0))) == []


def test_run_timeout_fails_the_run() -> None:
    state = state_of({0: ()})
    started(state, 0)
    said = list(state.handle(RunTimedOut(5.0, 5.0)))
    assert said[0] == Cancel(0, "the run did not finish within 5 s")
    finish = list(state.handle(TaskCancelled(5.1, 0)))[-1]
    assert isinstance(finish, Finish)
    assert (finish.state, finish.error) == (
        "failed",
        ErrorInfo("RunTimeout", "the run did not finish within 5 s"),
    )


@pytest.mark.parametrize(
    ("on_error", "left"), [("fail_fast", "cancelled"), ("continue", "waiting")]
)
def test_error_of_the_body_fails_the_run(on_error: str, left: str) -> None:
    state = state_of({0: (), 1: (0,)}, on_error=on_error)
    started(state, 0)
    state.handle(BodyErred(1.0, BOOM))
    assert state.state_of(1) == left
    for task in (0, 1):
        if state.state_of(task) != "cancelled":
            started(state, task)
            last = list(state.handle(TaskDone(2.0, task)))
    assert last == [Finish("failed", BOOM)]
