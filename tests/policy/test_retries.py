"""Retries by the kind of error, and the budget of a run."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from twingraph_nb import component, pipeline
from twingraph_nb.component import Component
from twingraph_nb.errors import BreakerOpen, DefinitionError, ExecutorError
from twingraph_nb.events import (
    ComponentUsed,
    ErrorInfo,
    TaskAdded,
    TaskErred,
    TaskStarted,
    decode,
)
from twingraph_nb.policy import Policy, read_options
from twingraph_nb.scheduler.commands import WakeAt
from twingraph_nb.scheduler.failures import retry_wanted
from twingraph_nb.scheduler.state import RunState


def policy_of(**options: object) -> Policy:
    return read_options(options, where="here")[0]


def attempts_after(error: BaseException, **options: object) -> int:
    """How often a task runs that always fails with this error."""
    policy = policy_of(**options)
    attempt = 1
    while retry_wanted(error, attempt, policy):
        attempt += 1
    return attempt


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (TimeoutError(), 6),
        (ConnectionError(), 3),
        (ConnectionResetError(), 3),  # the nearest class that is named
        (BrokenPipeError(), 1),
        (ValueError(), 2),
        (ExecutorError("no route"), 2),
    ],
)
def test_each_kind_of_error_has_its_own_count(error: BaseException, attempts: int) -> None:
    counts = {TimeoutError: 5, "ConnectionError": 2, "BrokenPipeError": 0, "default": 1}
    assert attempts_after(error, retries=counts) == attempts


def test_a_kind_that_is_not_named_is_not_tried_again_without_a_default() -> None:
    assert attempts_after(ValueError(), retries={"TimeoutError": 5}) == 1
    assert attempts_after(ValueError(), retries="TimeoutError=5, default=2") == 3


def test_an_open_breaker_is_worth_a_retry_whatever_retry_on_says() -> None:
    refused = BreakerOpen("api", 1.0, 2.0, "ConnectionError: no route")
    assert attempts_after(refused, retries=3, retry_on="KeyError") == 4


def test_one_number_still_means_all_errors() -> None:
    assert policy_of(retries=3) == Policy(retries=3)
    assert read_options({"retries": 1}, where="x", start=policy_of(retries={"KeyError": 4}))[0] == (
        Policy(retries=1)
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"TimeoutError": "often"}, "'retries' for TimeoutError wants a whole number, 0 or more"),
        ({3: 1}, "'retries' wants exception classes or their names"),
        ("often", "'retries' wants a whole number, 0 or more"),
    ],
)
def test_what_cannot_be_read_is_named(given: object, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        policy_of(retries=given)


def test_the_counts_hold_in_a_run() -> None:
    tries: list[str] = []

    @component(retries={"KeyError": 2, "default": 0}, delay=0)
    def work(kind: str) -> None:
        tries.append(kind)
        raise {"key": KeyError, "value": ValueError}[kind](kind)

    for kind, error in (("key", KeyError), ("value", ValueError)):
        with pytest.raises(error):
            work(kind).result(30)  # type: ignore[attr-defined]
    assert tries == ["key", "key", "key", "value"]


def test_retries_do_not_nest() -> None:
    tries: list[str] = []

    @component(retries=2, delay=0)
    def inner(error: Exception) -> None:
        tries.append("inner")
        raise error

    @component(retries=1, delay=0)
    def outer(error: Exception, step: Component) -> object:
        tries.append("outer")
        return step(error).result()  # type: ignore[attr-defined]

    with pytest.raises(KeyError) as caught:
        outer(KeyError(1), inner).result(30)  # type: ignore[attr-defined]
    assert tries == ["outer", "inner", "inner", "inner"]
    assert "outer is not tried again: inner in it was tried 3 times" in caught.value.__notes__
    tries.clear()
    with pytest.raises(KeyError):
        outer(KeyError(1), inner.on(retries=0)).result(30)  # type: ignore[attr-defined]
    assert tries == ["outer", "inner", "outer", "inner"]  # here it is the outer one that retries


def test_a_run_stops_retrying_when_its_budget_is_used_up() -> None:
    tries: list[int] = []

    @component(retries=10, delay=0)
    def work(x: int) -> None:
        tries.append(x)
        raise KeyError(x)

    @pipeline(max_retries=3, on_error="continue")
    def flow() -> None:
        work(1)

    run = flow()
    with pytest.raises(KeyError) as caught:
        run.result(30)  # type: ignore[attr-defined]
    assert tries == [1] * 4
    assert "no other attempt: the run's 3 retries are used up" in caught.value.__notes__


def test_a_run_may_make_no_retries_at_all() -> None:
    tries: list[int] = []

    @component(retries=10, delay=0)
    def work(x: int) -> None:
        tries.append(x)
        raise KeyError(x)

    @pipeline(max_retries=0)
    def flow() -> None:
        work(1)

    with pytest.raises(KeyError):
        flow().result(30)  # type: ignore[attr-defined]
    assert tries == [1]


def state_with(policy: Mapping[str, object]) -> RunState:
    state = RunState()
    state.handle(ComponentUsed(0.0, "c", "c", policy=policy))
    state.handle(TaskAdded(0.0, 0, "h", "t", "c"))
    state.handle(TaskStarted(0.0, 0))
    return state


BOOM = ErrorInfo("ValueError", "boom")


def test_what_must_not_be_tried_earlier_is_waited_for_before_the_backoff() -> None:
    state = state_with({"retries": 1, "delay": 2.0})
    said = TaskErred(10.0, 0, 1, BOOM, wait=30.0)
    assert tuple(state.handle(said)) == (WakeAt(0, 42.0),)


def test_a_task_with_a_fallback_goes_on_after_its_last_attempt() -> None:
    state = state_with({"fallback": "value 0"})
    state.handle(TaskAdded(0.0, 1, "h1", "t1", "c", ((0, "", "x"),)))
    said = TaskErred(10.0, 0, 1, BOOM, retryable=False, fallback="value 0")
    assert tuple(state.handle(said)) == ()
    assert state.states == {0: "running", 1: "waiting"}


def test_a_record_with_policies_of_a_later_version_is_still_read() -> None:
    recorded = policy_of(
        retries={"KeyError": 2}, retry_on=["KeyError"], limit="gpu:1", breaker="api", fallback=0
    ).changed()
    assert recorded == {
        "retries": 2,
        "retry_on": ("KeyError",),
        "retry_counts": ("KeyError=2",),
        "limit": ("gpu:1",),
        "breaker": "api: 5 failures, reset 30 s",
        "fallback": "value 0",
    }
    later = {**recorded, "patience": 3}
    assert Policy.recorded(later) == Policy(retries=2, retry_on=("KeyError",))
    assert state_with(later).handle(TaskErred(1.0, 0, 1, BOOM)) != ()


def test_a_log_of_an_earlier_version_is_still_read() -> None:
    body = (
        b'[{"kind": "TaskErred", "at": 1.0, "task": 0, "attempt": 1, '
        b'"error": {"type": "ValueError", "message": "boom"}}]'
    )
    assert decode(body) == [TaskErred(1.0, 0, 1, BOOM)]
