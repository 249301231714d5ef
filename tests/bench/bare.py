"""The same graphs by hand: asyncio tasks and a thread pool, nothing kept."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

__all__ = ["awaited_in_threads", "chain", "fan", "fan_in_threads", "lattice"]


async def _step(x: int) -> int:
    return x


async def _join(*before: asyncio.Task[int]) -> int:
    for each in before:
        await each
    return 0


async def _nothing() -> int:
    return 0


def _sync_nothing(x: int) -> int:
    return x


async def _chain(n: int) -> int:
    x = 0
    for _ in range(n):
        x = await asyncio.create_task(_step(x))
    return x


async def _fan(n: int) -> int:
    return sum(await asyncio.gather(*(_nothing() for _ in range(n))))


async def _lattice(rows: int, columns: int) -> int:
    row = [asyncio.create_task(_nothing()) for _ in range(columns)]
    for _ in range(rows - 1):
        row = [asyncio.create_task(_join(row[i], row[(i + 1) % columns])) for i in range(columns)]
    return sum([await task for task in row])


def chain(runner: asyncio.Runner, n: int) -> int:
    """n asyncio tasks, each of which is given the result of the one before."""
    return runner.run(_chain(n))


def fan(runner: asyncio.Runner, n: int) -> int:
    """n asyncio tasks and a join, by `asyncio.gather`."""
    return runner.run(_fan(n))


def lattice(runner: asyncio.Runner, rows: int, columns: int) -> int:
    """rows x columns asyncio tasks, each of which awaits two of the row before."""
    return runner.run(_lattice(rows, columns))


def fan_in_threads(pool: ThreadPoolExecutor, n: int) -> int:
    """n calls in a thread pool and a join."""
    return sum(future.result() for future in [pool.submit(_sync_nothing, i) for i in range(n)])


def awaited_in_threads(runner: asyncio.Runner, pool: ThreadPoolExecutor, n: int) -> int:
    """The same from an event loop, which is where a pipeline's calls are."""
    return runner.run(_awaited(pool, n))


async def _awaited(pool: ThreadPoolExecutor, n: int) -> int:
    loop = asyncio.get_running_loop()
    calls = [loop.run_in_executor(pool, _sync_nothing, i) for i in range(n)]
    return sum(await asyncio.gather(*calls))
