"""What worker processes cost, against the standard library's pool of as many, and pickle."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from tests.bench.harness import Row, compared
from twingraph_nb import async_component, component, pipeline
from twingraph_nb.session import get_session

__all__ = ["process_arrays", "process_fans"]

COUNT = 1000
ARRAY = 50_000_000  # bytes


def nothing(x):
    return x


@component(platform="process")
def step(x):
    return x


@async_component()
async def total(xs):
    return sum(xs)


@pipeline()
def fan(n):
    return total([step(i) for i in range(n)])


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(get_session().settings.processes)


def process_fans() -> Iterator[Row]:
    with _pool() as pool:
        ours, base = compared(
            lambda: fan(COUNT).result(),
            lambda: sum(pool.map(nothing, range(COUNT), chunksize=1)),
            runs=9,
        )
    yield Row("1,000 no-ops in processes", ours, base, COUNT, at_most=1, note="pool.map")


def process_arrays() -> Iterator[Row]:
    array = np.random.default_rng(0).random(ARRAY // 8)
    with _pool() as pool:
        ours, base = compared(
            lambda: step(array).result(), lambda: pool.submit(nothing, array).result(), runs=9
        )
    note = "pool with pickle"
    yield Row("50 MB array to a process and back", ours, base, unit="ms", at_most=0.2, note=note)
