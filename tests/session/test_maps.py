"""Maps over more items than may be tasks at once."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from twingraph_nb import async_component, component, get_session, pipeline
from twingraph_nb.errors import ArgumentError
from twingraph_nb.events import CancelAsked, MapExpanded, TaskAdded, TaskDone
from twingraph_nb.graph.run import LISTED
from twingraph_nb.scheduler.maps import WINDOW


@component()
def double(x: Any) -> Any:
    return 2 * x


@component()
def scaled(x: int, by: int) -> int:
    return x * by


@component()
def rolling(x: int, window: int) -> int:
    return x * window


@component()
def picky(x: int) -> int:
    if x in (3, 4):
        raise ValueError(f"not {x}")
    return x


def events_of(run: Any) -> list[Any]:
    return [event for batch in get_session().history(run.id) for event in batch.events]


@async_component()
async def given_back(x: int) -> int:
    return x


def most_open(run: Any) -> int:
    """The largest number of tasks that had been added and had not ended."""
    most = open_ = 0
    for event in events_of(run):
        open_ += isinstance(event, TaskAdded) - isinstance(event, TaskDone)
        most = max(most, open_)
    return most


def test_no_more_items_than_the_window_are_tasks_at_a_time() -> None:
    given = ahead = 0

    def items() -> Iterator[int]:
        nonlocal given, ahead
        assert known.wait(60)
        for number in range(11_000):
            given += 1
            ahead = max(ahead, given - run.tasks.total)
            yield number

    @pipeline()
    def many() -> object:
        return given_back.map(items(), window=200, collect=False)

    known = threading.Event()
    run: Any = many()
    known.set()
    assert run.result(120) == 11_000
    assert most_open(run) == 201  # with the map itself
    assert ahead <= 200  # nor is the iterator read further than that
    assert run.tasks.total == 11_001
    assert len(run.tasks) == LISTED + 1


@async_component()
async def when_let() -> int:
    while not LET.is_set():
        await asyncio.sleep(0.01)
    return 3


LET = threading.Event()


def test_the_standard_window_is_filled_and_not_more() -> None:
    LET.clear()

    @pipeline()
    def many() -> object:
        return scaled.map(range(WINDOW + 100), by=when_let())

    run: Any = many()
    while len(run.link.open) < WINDOW + 2:
        LET.wait(0.01)
    LET.set()
    assert run.result(60) == [3 * n for n in range(WINDOW + 100)]
    assert most_open(run) == WINDOW + 2  # and the map, and what all of them wait for


def test_an_item_that_has_ended_costs_next_to_no_memory() -> None:
    traced: list[int] = []

    @component()
    def step(x: int) -> None:
        return None

    def items() -> Iterator[int]:
        for number in range(LISTED + 6_000):
            if number in (LISTED + 500, LISTED + 5_500):
                get_session().store.flush()  # type: ignore[union-attr]
                gc.collect()
                if not tracemalloc.is_tracing():
                    tracemalloc.start()
                traced.append(tracemalloc.get_traced_memory()[0])
            yield number

    @pipeline()
    def many() -> object:
        return step.map(items(), window=100, collect=False)

    try:
        many().result(120)  # type: ignore[attr-defined]
    finally:
        tracemalloc.stop()
    assert (traced[1] - traced[0]) / 5_000 < 100  # bytes; a task that is kept has 2,000


def test_the_log_grows_by_the_same_for_each_item() -> None:
    @pipeline()
    def many(n: int) -> object:
        return double.map(iter(range(n)), window=50)

    sizes = []
    for n in (200, 2000):
        run: Any = many(n)
        run.result(60)
        found = events_of(run)
        sizes.append(len(found) / n)
        assert [e.count for e in found if isinstance(e, MapExpanded)] == [n]
        assert [e.index for e in found if isinstance(e, TaskAdded) and e.index is not None] == [
            *range(n)
        ]
    assert sizes[1] <= sizes[0] < 3.1  # added, started, done


@pytest.mark.parametrize("window", [1, 2, 7, 5000])
def test_results_are_in_order_whatever_the_window(window: int) -> None:
    assert double.map(iter(range(25)), window=window).result(60) == [2 * i for i in range(25)]  # type: ignore[attr-defined]
    assert double.map([double(1), 2], window=window).result(60) == [4, 4]  # type: ignore[attr-defined]


def test_an_input_called_window_is_an_input() -> None:
    assert rolling.map([1, 2], window=3).result(60) == [3, 6]  # type: ignore[attr-defined]
    with pytest.raises(ArgumentError, match="window wants a whole number"):
        double.map([1], window="wide")


def test_a_generator_may_call_components_itself() -> None:
    @pipeline()
    def chained() -> object:
        return double.map(double(n) for n in range(3))

    run: Any = chained()
    assert run.result(60) == [0, 4, 8]
    assert {task.link.id for task in run.tasks} == {run.id}
    assert run.tasks.total == 7


def test_an_error_of_the_iterator_fails_the_map() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the file ends here")

    with pytest.raises(OSError, match="the file ends here"):
        double.map(items()).result(60)  # type: ignore[attr-defined]


def test_no_further_items_are_read_after_a_failure() -> None:
    given: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100_000):
            given.append(number)
            yield number

    @pipeline()
    def fails() -> object:
        return picky.map(items(), window=10)

    with pytest.raises(ValueError, match="not 3"):
        fails().result(60)  # type: ignore[attr-defined]
    assert len(given) < 100

    @pipeline(on_error="continue")
    def goes_on() -> object:
        return picky.map(range(20), window=4)

    run: Any = goes_on()
    with pytest.raises(ValueError, match="not 3") as caught:
        run.result(60)
    assert "2 of 20 items of picky failed" in caught.value.__notes__
    assert [task.state for task in run.tasks].count("succeeded") == 18


def test_results_are_read_one_by_one_and_reading_drives_the_map() -> None:
    given = 0

    def items() -> Iterator[int]:
        nonlocal given
        for number in range(1000):
            given += 1
            yield number

    read = []
    for value in double.imap(items(), window=10):  # type: ignore[attr-defined]
        assert given <= len(read) + 11
        read.append(value)
    assert read == [2 * n for n in range(1000)]


def test_a_loop_that_is_left_cancels_its_map() -> None:
    results: Any = double.imap(iter(range(100_000)), window=10)
    for value in results:
        if value == 20:
            break
    del value
    with pytest.raises(Exception, match="was cancelled"):
        results.task.result(60)
    with pytest.raises(RuntimeError, match="call imap again"):
        next(iter(results))


def test_an_item_that_fails_raises_at_its_place() -> None:
    results: Any = iter(picky.imap(range(50), window=1))  # type: ignore[call-overload]
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="not 3"):
        next(results)


def test_results_are_read_in_pipelines_of_both_styles() -> None:
    @pipeline()
    def sync(n: int) -> object:
        return sum(double.imap(range(n)))  # type: ignore[call-overload]

    @pipeline()
    async def asynchronous(n: int) -> object:
        return sum([value async for value in double.imap(range(n), window=3)])  # type: ignore[attr-defined]

    @pipeline()
    async def survives() -> object:
        try:
            return [value async for value in picky.imap(range(9))]  # type: ignore[attr-defined]
        except ValueError as exc:
            return str(exc)

    assert sync(100).result(60) == asynchronous(100).result(60) == 9900  # type: ignore[attr-defined]
    assert survives().result(60) == "not 3"  # type: ignore[attr-defined]


def test_a_cancelled_map_takes_all_its_items_along() -> None:
    @async_component()
    async def hangs(x: int) -> int:
        await asyncio.Event().wait()
        return x

    @pipeline(on_error="continue")
    def many() -> object:
        mapped: Any = hangs.map(range(10_000), window=20)
        assert known.wait(60)
        while len(run.link.running) < 22:  # the function, the map, its items
            threading.Event().wait(0.01)
        mapped.cancel()
        return 1

    known = threading.Event()
    run: Any = many()
    known.set()
    assert run.result(60) == 1
    assert {task.state for task in run.tasks} == {"cancelled"}
    assert len(run.tasks) == 21
    assert len([e for e in events_of(run) if isinstance(e, CancelAsked)]) == 1


def test_a_plan_does_not_read_an_iterator() -> None:
    given: list[int] = []

    def items() -> Iterator[int]:
        for number in range(3):
            given.append(number)
            yield number

    @pipeline()
    def many() -> object:
        return double.map(items())

    plan: Any = many.plan()
    assert given == []
    row = plan.rows[0]
    assert (row.action, row.text) == (
        "blocked",
        "its items come from an iterator, which is read only when it runs",
    )
