"""Async components of platform `local`, which share asyncio tasks as long as they do not wait."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from contextvars import ContextVar

import pytest

from twingraph_nb import async_component, component, pipeline
from twingraph_nb.errors import TaskCancelled
from twingraph_nb.session import get_session

LONG = 30.0
"""Seconds; more than anything here takes."""
colour: ContextVar[str] = ContextVar("colour", default="none")


@async_component()
async def opened() -> int:
    """Has the platform opened, so that the next calls go the short way."""
    return 1


@pytest.fixture(autouse=True)
def platform() -> None:
    assert opened().result(LONG) == 1


def test_what_waits_holds_up_nobody() -> None:
    """The first call waits for the last."""
    count = 200
    begun: list[int] = []
    all_begun = asyncio.Event()

    @async_component()
    async def meets(i: int) -> int:
        begun.append(i)
        if len(begun) == count:
            all_begun.set()
        await all_begun.wait()
        return i

    @async_component()
    async def passes(i: int) -> int:
        return i

    @pipeline()
    def both() -> object:
        return [meets(i) if i % 2 else passes(i) for i in range(2 * count)]

    assert both().result(LONG) == list(range(2 * count))
    assert begun == list(range(1, 2 * count, 2))  # in the order of the calls


def test_many_that_are_ready_at_once_let_others_have_their_turn() -> None:
    all_called, turned = threading.Event(), []

    @component()
    def gate() -> None:
        all_called.wait(LONG)

    @async_component()
    async def looks(first: None) -> bool:
        asyncio.get_running_loop().call_soon(turned.append, True)
        return bool(turned)

    @pipeline()
    def wide() -> object:
        first = gate()
        looked = [looks(first) for _ in range(5000)]
        all_called.set()
        return looked

    looked = wide().result(LONG)
    assert looked[0] is False
    assert looked[-1] is True


def test_a_chain_of_slow_links_lets_others_have_their_turn() -> None:
    turned: list[int] = []

    @async_component()
    async def link(i: int, before: object) -> int:
        asyncio.get_running_loop().call_soon(turned.append, i)
        time.sleep(0.01)  # code that blocks the loop, as it should not
        return len(turned)

    @pipeline()
    def chain() -> object:
        last: object = None
        for i in range(10):
            last = link(i, last)
        return last

    assert chain().result(LONG) == 9


def test_context_variables_are_those_of_one_call_alone() -> None:
    @async_component()
    async def paints(name: str, waits: bool) -> tuple[str, str]:
        before = colour.get()
        colour.set(name)
        if waits:
            await asyncio.sleep(0)
        return before, colour.get()

    @pipeline()
    def several() -> object:
        return [paints(str(i), i in (3, 4, 9)) for i in range(12)]

    assert several().result(LONG) == [("none", str(i)) for i in range(12)]


def test_a_time_limit_in_its_code_ends_what_it_is_about_and_nothing_else() -> None:
    @async_component()
    async def hurries(i: int) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return f"late {i}"
        return "never"

    @pipeline()
    def several() -> object:
        return [hurries(i) for i in range(5)]

    assert several().result(LONG) == [f"late {i}" for i in range(5)]


def test_one_that_cancels_the_asyncio_task_it_runs_in_harms_nobody() -> None:
    @async_component()
    async def odd(i: int) -> int:
        if i == 2:
            current = asyncio.current_task()
            assert current is not None
            current.cancel()
        return i

    @pipeline()
    def several() -> object:
        return [odd(i) for i in range(6)]

    assert several().result(LONG) == list(range(6))


def test_one_that_ends_well_although_it_was_cancelled_has_ended_well() -> None:
    waits = threading.Event()

    @async_component()
    async def stubborn() -> str:
        try:
            waits.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "all the same"
        return "never"

    task = stubborn()
    assert waits.wait(LONG)
    task.cancel()
    assert task.result(LONG) == "all the same"
    assert task.state == "succeeded"


def test_a_clean_up_that_hangs_is_ended_by_asking_again() -> None:
    waits, cleans = threading.Event(), threading.Event()

    @async_component()
    async def slow_to_go() -> None:
        try:
            waits.set()
            await asyncio.Event().wait()
        finally:
            cleans.set()
            await asyncio.Event().wait()

    task = slow_to_go()
    assert waits.wait(LONG)
    task.cancel()
    assert cleans.wait(LONG)
    assert not task.done
    task.cancel()
    with pytest.raises(TaskCancelled):
        task.result(LONG)


def test_an_error_in_a_clean_up_is_heard() -> None:
    waits = threading.Event()

    @async_component()
    async def breaks() -> None:
        try:
            waits.set()
            await asyncio.Event().wait()
        finally:
            raise ValueError("in the clean-up")

    task = breaks()
    assert waits.wait(LONG)
    task.cancel()
    with pytest.raises(ValueError, match="in the clean-up"):
        task.result(LONG)


def test_small_tasks_are_over_before_many_more_come_in() -> None:
    """However quickly they are called, from a thread of its own."""
    alive: list[int] = []
    counted = itertools.count()

    @async_component()
    async def small(x: int) -> int:
        if not next(counted) % 100:
            alive.append(get_session().driver.running()["local"])
        return x

    @pipeline()
    def many(n: int) -> object:
        return [small(i) for i in range(n)][-1]

    assert many(20_000).result(100) == 19_999
    assert len(alive) == 200
    assert max(alive) <= 1000
