"""Platform `process`: values go there and come back with their types."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import numpy as np
import pytest

from tests.executors.running import (
    Memory,
    executor,
    job_of,
    pid_of,
    run,
    same,
    shared,
)
from twingraph_nb.component import make_component
from twingraph_nb.errors import PortabilityError
from twingraph_nb.executors.base import Job


class Row(NamedTuple):
    a: int
    b: str


def row(x: int) -> Row:
    return Row(x, str(x))


pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("one_pool")]


async def test_values_go_there_and_back_with_their_types() -> None:
    async with shared() as pool:
        for value in (
            None,
            1,
            "x" * 1_000_000,
            {"a": [1, {2}]},
            b"\0",
            Row(1, "b"),
            ValueError("v"),
        ):
            back = await run(pool, same, value)
            assert type(back) is type(value)
            assert repr(back) == repr(value)


async def test_a_large_array_goes_there_and_back_and_stays_as_it_was_here() -> None:
    def doubled(array: np.ndarray) -> np.ndarray:
        array[0] = -1  # its own memory: to write is allowed there, and not seen here
        return array * 2

    array = np.arange(2_500_000.0)
    async with shared() as pool:
        back = await run(pool, doubled, array)
    assert isinstance(back, np.ndarray)
    assert back[0] == -2
    assert np.array_equal(back[1:], array[1:] * 2)
    assert array[0] == 0


async def test_a_namedtuple_keeps_its_class() -> None:
    async with shared() as pool:
        back = await run(pool, row, 3)
    assert type(back) is Row
    assert back == Row(3, "3")


async def test_a_workers_work_is_done_in_another_process_that_is_kept() -> None:
    async with executor(1) as pool:
        pids = {await run(pool, pid_of) for _ in range(3)}
    assert len(pids) == 1
    assert os.getpid() not in pids


async def test_variadic_inputs_are_spread() -> None:
    def total(first: int, *rest: int, **named: int) -> list[int]:
        return [first, *rest, *named.values()]

    async with shared() as pool:
        assert await run(pool, total, 1, 2, 3, x=4) == [1, 2, 3, 4]


async def test_async_components_and_streams() -> None:
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    def count(n: int) -> Iterator[int]:
        yield from range(n)

    async def drip(n: int) -> AsyncIterator[int]:
        for at in range(n):
            await asyncio.sleep(0)
            yield at

    async with shared() as pool:
        assert await run(pool, later, 1) == 2
        assert await run(pool, later, 2) == 3
        for stream in (count, drip):
            report = Memory()
            outcome = await pool.run(job_of(stream, 3), report)
            assert outcome.error is None
            assert outcome.value == report.chunks == [0, 1, 2]


async def test_a_task_left_behind_by_an_async_component_is_cancelled() -> None:
    async def leave() -> int:
        async def forever() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                print("cancelled")

        asyncio.get_running_loop().create_task(forever())
        await asyncio.sleep(0)
        return 1

    report = Memory()
    async with executor(1) as pool:
        assert (await pool.run(job_of(leave), report)).value == 1
        assert await run(pool, same, 2) == 2
    assert report.text() == "cancelled\n"


async def test_a_function_without_source_travels_by_pickle_if_asked() -> None:
    space: dict[str, object] = {"offset": 5}
    exec("def shifted(x):\n    return x + offset", space)
    function = space["shifted"]
    with pytest.raises(PortabilityError, match="say ship='pickle'"):
        make_component(function, platform="process", keep=False)  # type: ignore[arg-type]
    asked = make_component(
        function,  # type: ignore[arg-type]
        platform="process",
        options={"ship": "pickle"},
        keep=False,
    )
    async with executor(1) as pool:
        assert (await pool.run(Job("h1", "shifted", asked, {"x": 1}), Memory())).value == 6
        space["offset"] = 7
        assert (await pool.run(Job("h1", "shifted", asked, {"x": 1}), Memory())).value == 8
