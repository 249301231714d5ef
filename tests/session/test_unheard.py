"""Errors that came before anybody asked for them, and those that nobody asks for."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable

import pytest

from twingraph_nb import Task, attempt, component, get_session, pipeline
from twingraph_nb.errors import TaskSkipped
from twingraph_nb.events import CancelAsked, TaskErred, TaskUnobserved
from twingraph_nb.runs.ending import finish
from twingraph_nb.scheduler.state import RunState


@component()
def fail() -> int:
    raise ValueError("no good")


@component()
def double(x: int) -> int:
    return 2 * x


def failed() -> Task:
    """A task that has failed, and time for the scheduler to make the most of that."""
    task = fail()
    while not task.done:
        time.sleep(0.001)
    get_session().driver.flush()
    return task


def caught() -> int:
    task = failed()
    try:
        return int(task.result())  # type: ignore[call-overload]
    except ValueError:
        return int(double(21).result())  # type: ignore[call-overload]


def ended() -> int:
    failed()
    return 1


def waited_for_another() -> int:
    other = double(2)
    failed()
    return int(other.result())  # type: ignore[call-overload]


def called_another() -> Task:
    failed()
    return double(2)


def raised() -> int:
    failed()
    raise KeyError("of its own")


def called_another_and_asked_late() -> int:
    task = failed()
    double(2).result()
    return int(task.result())  # type: ignore[call-overload]


FORGETS = (ended, waited_for_another, called_another, raised, called_another_and_asked_late)
careful = component(name="careful")(caught)
careless = component(name="careless")(ended)


def test_pipeline_catches_what_had_failed_before_it_asked() -> None:
    run = pipeline()(caught)()
    assert run.result() == 42
    assert run.state == "succeeded"
    assert run.tasks["fail"].state == "failed"


def test_pipeline_catches_the_error_of_a_call_at_once() -> None:
    @pipeline()
    def often() -> list[object]:
        values = []
        for number in range(200):
            try:
                fail().result()
            except ValueError:
                values.append(number)
        return values

    assert often().result() == list(range(200))


@pytest.mark.parametrize("body", FORGETS)
def test_error_is_the_runs_once_the_pipeline_goes_on_without_it(
    body: Callable[[], object],
) -> None:
    run = pipeline()(body)()
    with pytest.raises(ValueError, match="no good"):
        run.result()
    assert run.state == "failed"


def test_run_stops_before_the_pipeline_ends_when_it_has_called_something_else() -> None:
    gate = threading.Event()

    @pipeline()
    def goes_on() -> None:
        failed()
        double(1)
        gate.wait(60)

    run = goes_on()
    try:
        with pytest.raises(ValueError, match="no good"):
            run.result(30)
        assert not gate.is_set()
    finally:
        gate.set()


@pytest.mark.parametrize("body", [caught, ended])
def test_on_error_continue_counts_only_what_nobody_asks_for(body: Callable[[], object]) -> None:
    run = pipeline(on_error="continue")(body)()
    if body is caught:
        assert run.result() == 42
    else:
        with pytest.raises(ValueError, match="no good"):
            run.result()


def test_nested_pipeline_and_component_catch_it_too() -> None:
    inner = pipeline(name="inner")(caught)

    @component()
    def item(number: int) -> int:
        return number * caught()

    @pipeline()
    def outer() -> object:
        return [inner(), careful(), item.map([1, 2])]

    assert outer().result() == [42, 42, [42, 84]]


@pytest.mark.parametrize("call", [careless, pipeline(name="inner")(ended)])
def test_what_a_callee_forgets_fails_the_run(call: Callable[[], object]) -> None:
    @pipeline()
    def outer() -> object:
        return call()

    with pytest.raises(ValueError, match="no good"):
        outer().result()


@pytest.mark.parametrize(("call", "value"), [(careful, 42), (careless, -1)])
def test_what_a_member_of_an_attempt_forgets_is_the_members(
    call: Callable[[], object], value: int
) -> None:
    @pipeline()
    def outer() -> object:
        with attempt(catch=lambda error: -1) as tried:
            call()
        return tried

    run = outer()
    assert run.result() == value
    assert run.state == "succeeded"


def test_run_that_is_cancelled_meanwhile_ends() -> None:
    gate = threading.Event()

    @pipeline()
    def stuck() -> None:
        failed()
        gate.set()
        while True:
            time.sleep(0.001)

    run = stuck()
    gate.wait()
    run.cancel()
    with pytest.raises(Exception, match="cancelled"):
        run.result()
    assert run.state == "cancelled"


@pytest.mark.parametrize("body", [caught, ended])
def test_events_tell_whose_the_error_was(body: Callable[[], object]) -> None:
    run = pipeline()(body)()
    if body is caught:
        run.result()
    else:
        with pytest.raises(ValueError, match="no good"):
            run.result()
    events = [event for batch in get_session().driver.history(run.id) for event in batch.events]
    assert [e.observed for e in events if isinstance(e, TaskErred)] == [True]
    unobserved = [e for e in events if isinstance(e, TaskUnobserved)]
    assert [e.error.message for e in unobserved] == ["no good"] * (body is ended)
    state = RunState()
    for event in events:
        state.handle(event)
    assert (state.state, state.error) == (run.state, unobserved[0].error if unobserved else None)
    assert not [e for e in events if isinstance(e, CancelAsked)]


# -- loose calls, and runs --------------------------------------------------------------------


def unseen() -> list[tuple[str, str]]:
    """What a notebook's end tells of: names, and how they ended."""
    return [(one["name"], one["state"]) for one in json.loads(finish())]


@pipeline()
def failing() -> Task:
    return fail()


@pytest.mark.parametrize(("call", "name"), [(fail, "fail"), (failing, "failing")])
def test_what_failed_is_told_in_the_end_although_nobody_holds_it(
    call: Callable[[], Task], name: str
) -> None:
    made = call()
    while not made.done:
        time.sleep(0.001)
    double(1).result()
    del made
    gc.collect()
    assert unseen() == [(name, "failed")]


def test_what_is_still_to_fail_is_told_with_what_it_takes_along() -> None:
    gate = threading.Event()

    @component()
    def fail_later() -> int:
        gate.wait()
        raise ValueError("no good")

    double(fail_later())
    threading.Timer(0.1, gate.set).start()
    assert unseen() == [("fail_later", "failed"), ("double", "skipped")]


def asks_for_the_result() -> None:
    with pytest.raises(ValueError, match="no good"):
        fail().result()


def asks_for_the_error() -> None:
    assert isinstance(failed().exception(), ValueError)


def awaits() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="no good"):
            await fail()

    asyncio.run(main())


def asks_for_what_was_skipped() -> None:
    with pytest.raises(TaskSkipped):
        double(double(fail())).result()


def asks_for_a_run() -> None:
    with pytest.raises(ValueError, match="no good"):
        failing().result()


@pytest.mark.parametrize(
    "ask",
    [asks_for_the_result, asks_for_the_error, awaits, asks_for_what_was_skipped, asks_for_a_run],
)
def test_what_somebody_asked_for_is_not_told_in_the_end(ask: Callable[[], None]) -> None:
    ask()
    assert unseen() == []


def test_few_of_many_failures_are_kept() -> None:
    for _ in range(50):
        failed()
    assert unseen() == [("fail", "failed")] * 20
