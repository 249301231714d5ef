"""The workloads as pipelines."""

from __future__ import annotations

import threading
import time

from twingraph_nb import async_component, component, pipeline

__all__ = ["NAP", "array_chain", "chain", "fan", "lattice", "naps", "peak", "sync_fan", "sync_naps"]

NAP = 0.05


class Peak:
    """How many tasks ran at the same time, at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self.now -= 1


peak = Peak()


@async_component()
async def start(x):
    return x


@async_component()
async def step(x):
    return x


@async_component()
async def two(a, b):
    return a


@async_component()
async def total(xs):
    return sum(xs)


@async_component()
async def nap(x):
    import asyncio

    with peak:
        await asyncio.sleep(NAP)
    return x


@component()
def sync_step(x):
    return x


@component()
def sync_nap(x):
    with peak:
        time.sleep(NAP)
    return x


@component()
def touch(array):
    return array


@pipeline()
def chain(n):
    x = start(0)
    for _ in range(n - 1):
        x = step(x)
    return x


@pipeline()
def fan(n):
    return total([start(i) for i in range(n)])


@pipeline()
def sync_fan(n):
    return total([sync_step(i) for i in range(n)])


@pipeline()
def lattice(rows, columns):
    row = [start(0) for _ in range(columns)]
    for _ in range(rows - 1):
        row = [two(row[i], row[(i + 1) % columns]) for i in range(columns)]
    return total(row)


@pipeline()
def naps(n):
    return total([nap(i) for i in range(n)])


@pipeline()
def sync_naps(n):
    return total([sync_nap(i) for i in range(n)])


@pipeline()
def array_chain(array):
    x = touch(array)
    for _ in range(4):
        x = touch(x)
    return x
