"""A breaker as the policy of components."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from twingraph_nb import component, pipeline
from twingraph_nb.breaker import Breaker
from twingraph_nb.errors import BreakerOpen, DefinitionError
from twingraph_nb.graph.task import Task


def error_of(task: object) -> BaseException | None:
    assert isinstance(task, Task)
    try:
        task.result(30)
    except Exception as exc:
        return exc
    return None


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now


def test_after_enough_failures_tasks_fail_at_once_and_say_why() -> None:
    calls: list[int] = []

    @component(breaker={"failures": 2, "reset": 60})
    def fetch(x: int) -> int:
        calls.append(x)
        raise ConnectionError("no route")

    errors = [error_of(fetch(x)) for x in range(4)]
    assert [type(e).__name__ for e in errors] == [
        "ConnectionError", "ConnectionError", "BreakerOpen", "BreakerOpen",
    ]  # fmt: skip
    assert calls == [0, 1]
    assert isinstance(errors[3], BreakerOpen)
    assert (errors[3].breaker, errors[3].cause) == ("component fetch", "ConnectionError: no route")
    assert 0 < errors[3].again <= 60


def test_components_that_name_the_same_breaker_share_it_across_runs() -> None:
    @component(breaker={"name": "api", "failures": 1, "reset": 60})
    def put(x: int) -> int:
        raise ConnectionError("no route")

    @component(breaker={"name": "api", "failures": 1, "reset": 60})
    def get(x: int) -> int:
        return x

    @pipeline()
    def flow() -> object:
        return get(1)

    assert isinstance(error_of(put(1)), ConnectionError)
    with pytest.raises(BreakerOpen, match="'api'"):
        flow().result(30)  # type: ignore[attr-defined]


def test_a_breaker_of_ones_own_guards_components_and_other_code_together() -> None:
    clock = Clock()
    breaker = Breaker("api", failures=1, reset=60, clock=clock)

    @component(breaker=breaker)
    async def fetch(x: int) -> int:
        return x

    def failing() -> None:
        raise ConnectionError("no route")

    with pytest.raises(ConnectionError):
        breaker.call(failing)
    assert isinstance(error_of(fetch(1)), BreakerOpen)
    clock.now += 60
    assert fetch(2).result(30) == 2  # type: ignore[attr-defined]
    assert breaker.state == "closed"


def test_a_component_is_not_taken_for_a_function_that_has_done_its_work_when_it_returns() -> None:
    api = Breaker("api")

    @component()
    def fetch(x: int) -> int:
        return x

    for use in (api, api.call):
        with pytest.raises(TypeError, match=r"fetch is a component.* fetch\.on\(breaker="):
            use(fetch)  # type: ignore[operator, arg-type]
    assert fetch.on(breaker=api)(3).result(30) == 3  # type: ignore[attr-defined]


def test_a_task_with_retries_waits_for_the_breaker() -> None:
    up = threading.Event()

    @component(breaker={"failures": 1, "reset": 0.2}, retries=2, delay=0.01, jitter=0)
    def fetch(x: int) -> int:
        if not up.is_set():
            up.set()
            raise ConnectionError("no route")
        return x

    first, second = fetch(1), fetch(2)
    assert (first.result(30), second.result(30)) == (1, 2)  # type: ignore[attr-defined]


def test_a_cancelled_try_gives_its_place_back() -> None:
    clock = Clock()
    breaker = Breaker("api", failures=1, reset=60, clock=clock)
    begun = threading.Event()

    @component(breaker=breaker)
    async def fetch(kind: str) -> str:
        if kind == "bad":
            raise ConnectionError("no route")
        if kind == "hangs":
            begun.set()
            await asyncio.Event().wait()
        return kind

    assert isinstance(error_of(fetch("bad")), ConnectionError)
    clock.now += 60
    hanging = fetch("hangs")
    assert begun.wait(30)
    assert isinstance(error_of(fetch("good")), BreakerOpen)
    hanging.cancel()  # type: ignore[attr-defined]
    error_of(hanging)
    assert fetch("good").result(30) == "good"  # type: ignore[attr-defined]


def test_of_a_platform_only_its_own_errors_count() -> None:
    @component(platform="process", breaker="name=platform,failures=1,reset=60")
    def work(kind: str) -> str:
        if kind == "wrong":
            raise ValueError("mine")
        if kind == "dies":
            os._exit(3)
        return kind

    assert isinstance(error_of(work("wrong")), ValueError)
    assert work("good").result(60) == "good"  # type: ignore[attr-defined]
    assert type(error_of(work("dies"))).__name__ == "WorkerDied"
    error = error_of(work("good"))
    assert isinstance(error, BreakerOpen)
    assert error.breaker == "platform process"


def test_a_platform_that_cannot_be_reached_opens_its_breaker() -> None:
    @component(
        platform="docker",
        host="tcp://127.0.0.1:9",
        image="none",
        breaker={"name": "platform", "failures": 2, "reset": 60},
    )
    def work(x: int) -> int:
        return x

    kinds = [type(error_of(work(x))).__name__ for x in range(3)]
    assert kinds == ["Unreachable", "Unreachable", "BreakerOpen"]


def test_what_is_in_the_store_needs_no_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    @component(cache=True, breaker={"failures": 1, "reset": 60})
    def fetch(x: int) -> int:
        if "SERVICE_IS_DOWN" in os.environ:
            raise ConnectionError("no route")
        return x

    assert fetch(1).result(30) == 1  # type: ignore[attr-defined]
    monkeypatch.setenv("SERVICE_IS_DOWN", "1")
    assert isinstance(error_of(fetch(2)), ConnectionError)
    assert isinstance(error_of(fetch(3)), BreakerOpen)
    assert fetch(1).result(30) == 1  # type: ignore[attr-defined]


def test_a_fallback_stands_in_while_it_is_open() -> None:
    @component(breaker={"failures": 1, "reset": 60}, fallback=0)
    def fetch(x: int) -> int:
        raise ConnectionError("no route")

    assert [fetch(x).result(30) for x in range(3)] == [0, 0, 0]  # type: ignore[attr-defined]


def test_one_name_with_two_meanings_is_an_error_that_names_both() -> None:
    @component(breaker={"name": "api", "failures": 3})
    def put(x: int) -> int:
        return x

    @component(breaker={"name": "api", "failures": 5})
    def get(x: int) -> int:
        return x

    assert put(1).result(30) == 1  # type: ignore[attr-defined]
    with pytest.raises(DefinitionError) as caught:
        get(1).result(30)  # type: ignore[attr-defined]
    assert str(caught.value) == (
        "the breaker 'api' is 5 failures, reset 30 s in component get, but 3 failures, "
        "reset 30 s in component put: say the same in both, or take another name"
    )


def test_a_cell_that_is_run_again_may_change_what_its_breaker_means() -> None:
    for failures in (3, 1):

        @component(breaker={"name": "api", "failures": failures, "reset": 60})
        def put(x: int) -> int:
            if x < 0:
                raise ConnectionError("no route")
            return x

        assert put(1).result(30) == 1  # type: ignore[attr-defined]
    assert isinstance(error_of(put(-1)), ConnectionError)
    assert isinstance(error_of(put(1)), BreakerOpen)


def test_many_tasks_get_through_once_a_service_is_back() -> None:
    calls: list[int] = []

    @component(
        breaker={"failures": 3, "reset": 0.02, "probes": 2}, retries=200, delay=0.01, max_delay=0.05
    )
    async def fetch(x: int) -> int:
        calls.append(x)
        if len(calls) <= 12:
            raise ConnectionError("no route")
        return x

    assert fetch.map(range(200)).result(60) == list(range(200))  # type: ignore[attr-defined]
    assert len(calls) == 212  # it was spared all the others
