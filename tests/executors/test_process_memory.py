"""Platform `process`: large values go through shared memory, and none of it is left behind."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.executors.running import Memory, executor, is_alive, job_of, run, same, shared, until
from twingraph_nb.errors import WorkerDied

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("one_pool")]

SIZE = 1_000_000  # floats


def descriptors(pid: object = "self") -> list[str]:
    """The shared frames that a process holds by a descriptor."""
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(each))
        except OSError:
            continue
    return [name for name in found if "twingraph-frame" in name]


def mappings(pid: object = "self") -> int:
    """How many shared frames a process has mapped."""
    return Path(f"/proc/{pid}/maps").read_text().count("twingraph-frame")


async def test_large_and_small_arguments_go_to_the_right_tasks() -> None:
    def total(name: str, array: np.ndarray, more: list[np.ndarray]) -> tuple[str, float, int]:
        return name, float(array.sum()), sum(len(one) for one in more)

    async with shared() as pool:
        found = await asyncio.gather(
            *[
                run(pool, total, f"t{at}", np.full(SIZE if at % 3 else 10, at), [np.ones(SIZE)] * 2)
                for at in range(12)
            ]
        )
    assert found == [(f"t{at}", float(at * (SIZE if at % 3 else 10)), 2 * SIZE) for at in range(12)]


async def test_a_large_result_comes_as_shared_memory_that_ends_with_it() -> None:
    def ones(size: int) -> np.ndarray:
        return np.ones(size)

    async with shared() as pool:
        back = await run(pool, ones, SIZE)
        assert isinstance(back, np.ndarray)
        assert mappings() == 1
        back[0] = 5
        assert back.sum() == SIZE + 4
        del back
        await until(lambda: not mappings())
    assert descriptors() == []


async def test_a_worker_keeps_nothing_of_a_large_argument() -> None:
    async with executor(1) as pool:
        assert np.array_equal(await run(pool, same, np.arange(SIZE)), np.arange(SIZE))  # type: ignore[arg-type]
        await run(pool, same, 1)
        (pid,) = pool.pids
        assert mappings(pid) == 0
        assert descriptors(pid) == []


async def test_a_killed_worker_leaves_no_shared_memory() -> None:
    def hold(array: np.ndarray) -> None:
        print("holding")
        signal.pause()

    async with executor(1) as pool:
        report = Memory()
        running = asyncio.create_task(pool.run(job_of(hold, np.ones(SIZE)), report))
        waiting = asyncio.create_task(run(pool, same, np.arange(SIZE)))
        await report.told.wait()
        (pid,) = pool.pids
        os.kill(pid, signal.SIGKILL)
        assert isinstance((await running).error, WorkerDied)
        assert np.array_equal(await waiting, np.arange(SIZE))  # type: ignore[arg-type]
        assert not is_alive(pid)
        del waiting
        await until(lambda: not descriptors() and not mappings())


async def test_a_task_cancelled_at_once_leaves_no_shared_memory() -> None:
    async with executor(1) as pool:
        for _ in range(3):
            running = asyncio.create_task(pool.run(job_of(same, np.ones(SIZE)), Memory()))
            await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        assert await run(pool, same, 1) == 1
    await until(lambda: not descriptors() and not mappings())


def no_more_files() -> int:
    """See to it that this process may open no more files; gives how many it might before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(1)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    return soft


async def test_without_a_descriptor_there_large_results_still_arrive() -> None:
    def more(array: np.ndarray) -> np.ndarray:
        no_more_files()
        return array + 1

    async with executor(1) as pool:
        found = await run(pool, more, np.zeros(SIZE))
        assert mappings() == 0  # it came through the socket
        assert np.array_equal(found, np.ones(SIZE))  # type: ignore[arg-type]


async def test_without_a_descriptor_here_large_arguments_still_arrive() -> None:
    def size(array: np.ndarray) -> int:
        return len(array)

    async with shared() as pool:
        assert await run(pool, size, np.zeros(SIZE)) == SIZE
        soft = no_more_files()
        try:
            outcome = await pool.run(job_of(size, np.zeros(SIZE)), Memory())
        finally:
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            )
        assert outcome.value == SIZE
