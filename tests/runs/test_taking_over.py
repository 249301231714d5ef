"""What a resumed run takes over at once: long chains, many values, without places of tasks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from twingraph_nb import component, get_session, pipeline
from twingraph_nb.graph.run import Run

LONG = 1000
"""As many links as Python calls functions inside functions, and each link is several."""
MANY = 1100
"""More than are read at a time."""
GATE = threading.Event()
BEGUN = threading.Event()


@pytest.fixture(autouse=True)
def gate() -> Iterator[None]:
    GATE.set()
    BEGUN.clear()
    yield
    GATE.set()


@component()
def again(x: int) -> int:
    """Too quick to be kept: it runs in each run."""
    BEGUN.set()
    GATE.wait(60)
    return x


@component(cache=True)
def kept(x: int) -> int:
    return x + 1


@pipeline()
def chain(n: int) -> Any:
    x: Any = again(0)
    for _ in range(n):
        x = kept(x)
    return x


def resumed(run: Any) -> Run:
    found = run.resume()
    assert isinstance(found, Run)
    return found


def test_a_long_chain_is_taken_over_once_what_it_begins_with_has_run_again() -> None:
    first = chain(LONG)
    assert first.result(120) == LONG  # type: ignore[attr-defined]
    GATE.clear()
    second = resumed(first)
    assert BEGUN.wait(60)
    GATE.set()
    assert second.result(60) == LONG
    assert [task.state for task in second.tasks] == ["succeeded"] + ["reused"] * LONG


def test_a_paused_run_takes_nothing_over() -> None:
    first = chain(2)
    assert first.result(60) == 2  # type: ignore[attr-defined]
    BEGUN.clear()
    GATE.clear()
    second = resumed(first)
    assert BEGUN.wait(60)
    second.pause()
    GATE.set()
    assert second.tasks[0].result(60) == 0
    get_session().driver.flush()
    assert second.tasks[1].state == "ready"
    second.unpause()
    assert second.result(60) == 2
    assert [task.state for task in second.tasks] == ["succeeded", "reused", "reused"]


def test_the_values_of_many_tasks_come_back_in_order() -> None:
    @pipeline()
    def fan(n: int) -> Any:
        tasks = [kept(i) for i in range(n)]
        return [*tasks, tasks[0]]

    first = fan(MANY)
    second = resumed(first) if first.result(120) else None  # type: ignore[attr-defined]
    assert second is not None
    assert second.result(60) == [*range(1, MANY + 1), 1]
    assert {task.state for task in second.tasks} == {"reused"}


def test_what_is_taken_over_waits_for_no_place() -> None:
    @pipeline(max_parallel=1)
    def beside() -> Any:
        return [again(0), kept(1)]

    first = beside()
    assert first.result(60) == [0, 2]  # type: ignore[attr-defined]
    BEGUN.clear()
    GATE.clear()
    second = resumed(first)
    assert BEGUN.wait(60)
    assert second.tasks["kept"].result(60) == 2
    assert second.tasks["again"].state == "running"
    GATE.set()
    assert second.result(60) == [0, 2]


def test_a_run_goes_on_with_its_own_pipeline_though_another_module_has_one_of_that_name() -> None:
    @pipeline(name="same")
    def ours() -> object:
        return kept(1)

    first = ours()
    first.result(20)

    def theirs() -> object:
        raise AssertionError("the pipeline of another module")

    theirs.__module__ = "elsewhere"
    pipeline(name="same")(theirs)
    assert first.resume().result(20) == first.result(20)
