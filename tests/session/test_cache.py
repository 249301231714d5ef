"""Reuse by digest."""

from __future__ import annotations

import math
import os
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest

from twingraph_nb import component, get_session
from twingraph_nb.errors import TaskCancelled
from twingraph_nb.session import close_session


def mark(x: object) -> None:
    """Write down that a component ran: in a file, since a captured list would count as input."""
    with open(os.environ["MARKS"], "a") as file:
        file.write(f"{x}\n")


def calls() -> list[str]:
    path = Path(os.environ["MARKS"])
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(autouse=True)
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))


@component(cache=True)
def costly(x: object) -> object:
    mark(x)
    return [x, x]


@component(cache=1.0)
def fresh(x: int) -> int:
    mark(x)
    return x


FACTOR = 2


def scaled(x: int) -> int:
    return x * FACTOR


@component(cache=True)
def uses_helper(x: int) -> int:
    mark(x)
    return scaled(x)


@component()
def plain(x: object) -> object:
    return x


def test_equal_call_is_reused_also_after_a_restart() -> None:
    first = costly({"a": 1, "b": [2, 3]})
    first.result()
    again = costly({"b": [2, 3], "a": 1})
    assert again.result() == first.result()
    assert (first.state, again.state) == ("succeeded", "reused")
    close_session()
    third = costly({"a": 1, "b": [2, 3]})
    assert third.result() == first.result()
    assert third.state == "reused"
    assert len(calls()) == 1
    assert costly({"a": 1, "b": [2, 4]}).result() != first.result()
    assert len(calls()) == 2


def test_values_that_python_calls_equal_are_told_apart() -> None:
    for value in (1, 1.0, True, "1", b"1"):
        costly(value).result()
    assert len(calls()) == 5


def test_input_from_a_task_counts_by_that_tasks_digest() -> None:
    costly(plain(5)).result()
    again = costly(plain(5))
    again.result()
    assert again.state == "reused"
    assert calls() == ["5"]


def test_result_expires_after_its_ttl() -> None:
    fresh(1).result()
    fresh(1).result()
    assert calls() == ["1"]
    time.sleep(1.05)
    fresh(1).result()
    assert calls() == ["1", "1"]


def test_change_of_a_captured_value_or_helper_runs_it_again() -> None:
    global FACTOR, scaled
    assert uses_helper(3).result() == 6
    assert uses_helper(3).result() == 6
    assert len(calls()) == 1
    FACTOR = 5
    try:
        assert uses_helper(3).result() == 15
    finally:
        FACTOR = 2
    assert len(calls()) == 2


def test_result_that_cannot_be_kept_is_given_all_the_same_and_says_so() -> None:
    @component(cache=True)
    def opens() -> object:
        return (i for i in range(3))

    task = opens()
    assert list(task.result()) == [0, 1, 2]  # type: ignore[call-overload]
    assert "not kept: " in task.logs


def test_slow_task_is_kept_for_a_resumed_run_and_a_quick_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TWINGRAPH_KEEP_AFTER", "0.05")

    @component()
    def slow(x: float) -> float:
        time.sleep(0.06)
        return math.sqrt(x)

    slow(4.0).result()
    plain(4.0).result()
    session = get_session()
    done = [
        (event.task, bool(event.kept))
        for batch in session.history(session.loose.id)
        for event in batch.events
        if type(event).__name__ == "TaskDone"
    ]
    assert done == [(0, True), (1, False)]


class Written:
    """A value that takes its time to be written, and notes what stops it."""

    begun, go, over = threading.Event(), threading.Event(), threading.Event()
    stopped: ClassVar[list[BaseException]] = []

    def __reduce__(self) -> tuple[type[Written], tuple[()]]:
        self.begun.set()
        try:
            while not self.go.wait(0.001):
                pass
        except BaseException as exc:
            self.stopped.append(exc)
            raise
        finally:
            self.over.set()
        return Written, ()


def test_cancel_lets_a_value_that_is_being_kept_be_written_to_its_end() -> None:
    @component(cache=True)
    def gives(x: int) -> Written:
        mark(x)
        return Written()

    for each in (Written.begun, Written.go, Written.over):
        each.clear()
    task = gives(1)
    assert Written.begun.wait(60)
    task.cancel()
    with pytest.raises(TaskCancelled):
        task.result()
    Written.go.set()
    assert Written.over.wait(60)
    assert Written.stopped == []
