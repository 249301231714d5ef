"""What a task costs: chains, fans, lattices, naps, arrays, memory."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import statistics
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.bench import bare, graphs
from tests.bench.harness import RUNS, Row, compared, measured_there, seconds

__all__ = [
    "arrays",
    "chains",
    "fans",
    "helpers",
    "huge_fan",
    "lattices",
    "memory",
    "naps",
    "sync_fans",
]

MORE = 15
"""Runs of what takes some ten milliseconds: a machine's speed changes more quickly than that."""
THREADS = min(32, (os.cpu_count() or 1) + 4)


def chains() -> Iterator[Row]:
    with asyncio.Runner() as runner:
        ours, base = compared(
            lambda: graphs.chain(1000).result(), lambda: bare.chain(runner, 1000), MORE
        )
    yield Row("chain of 1,000 async no-ops", ours, base, 1000, at_most=4, below=40)


def fans() -> Iterator[Row]:
    with asyncio.Runner() as runner:
        for n in (1000, 10_000):
            ours, base = compared(_fan(n), lambda n=n: bare.fan(runner, n), MORE)
            yield Row(f"fan-out of {n:,} async no-ops", ours, base, n, at_most=4)


def huge_fan() -> Iterator[Row]:
    small = _median(_fan(1000))
    large = seconds(_fan(100_000))
    yield Row("task at 100,000 against 1,000", large, small * 100, 100_000, at_most=1.3)


def sync_fans() -> Iterator[Row]:
    """Against a pool whose results are awaited, as ours are, and against its futures alone."""
    with asyncio.Runner() as runner, ThreadPoolExecutor(THREADS) as pool:
        for baseline, note, at_most in (
            (lambda: bare.awaited_in_threads(runner, pool, 1000), "run_in_executor", 1),
            (lambda: bare.fan_in_threads(pool, 1000), "pool.submit", None),
        ):
            ours, base = compared(lambda: graphs.sync_fan(1000).result(), baseline, MORE)
            name = "fan-out of 1,000 sync no-ops"
            yield Row(name, ours, base, 1000, at_most=at_most, note=note)


def lattices() -> Iterator[Row]:
    with asyncio.Runner() as runner:
        ours, base = compared(
            lambda: graphs.lattice(50, 20).result(), lambda: bare.lattice(runner, 50, 20), MORE
        )
    yield Row("50 x 20 lattice", ours, base, 1000, at_most=6)


def helpers() -> Iterator[Row]:
    """A component that calls a function of its notebook, which is part of what identifies it."""
    ours, plain = compared(lambda: graphs.fan_with_helper(1000).result(), _fan(1000))
    yield Row("1,000 async tasks that call a helper", ours, plain, 1000, note="no helper")


def naps() -> Iterator[Row]:
    """The ideal is what as many tasks at once as there may be could do without any overhead."""
    from twingraph_nb.session import get_session

    for n, at_most in ((100, 1.1), (1000, 1.5)):
        ours = _median(lambda n=n: graphs.naps(n).result())
        yield Row(f"{n:,} async tasks of 50 ms", ours, graphs.NAP, unit="ms", at_most=at_most)
    for n, at_most in ((100, 1.1), (1000, 1.5)):
        threads = get_session().settings.threads
        ideal = math.ceil(n / threads) * graphs.NAP
        ours = _median(lambda n=n: graphs.sync_naps(n).result())
        name = f"{n:,} sync tasks of 50 ms in {threads} threads"
        yield Row(name, ours, ideal, unit="ms", at_most=at_most)


def arrays() -> Iterator[Row]:
    import numpy

    array = numpy.zeros(50_000_000 // 8)
    given: list[object] = []
    ours = _median(lambda: given.append(graphs.array_chain(array).result()))
    copy = _median(array.copy)
    same = all(each is array for each in given)
    note = "same object at the end" if same else "COPIED"
    yield Row("50 MB array through 5 tasks", ours, copy, unit="ms", note=note)


def memory() -> Iterator[Row]:
    """In a process of its own, so that nothing else is counted."""
    kept = measured_there("import tests.bench.tasks as t; print(t.measure_memory(20_000))")
    yield Row("memory a finished task keeps", kept, unit="B", below=2048)


def measure_memory(n: int) -> float:
    """Bytes for each of n finished tasks of a run that the session still knows."""
    from twingraph_nb.session import get_session

    graphs.fan(100).result()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    run = graphs.fan(n)
    run.result()
    store = get_session().store
    if store is not None:
        store.flush()
    gc.collect()
    return (tracemalloc.get_traced_memory()[0] - before) / n


def _fan(n: int) -> Callable[[], object]:
    return lambda: graphs.fan(n).result()


def _median(work: Callable[[], object]) -> float:
    return statistics.median(seconds(work) for _ in range(RUNS))
