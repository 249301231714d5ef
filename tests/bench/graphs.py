"""The workloads as pipelines."""

from __future__ import annotations

import asyncio
import time

from twingraph_nb import async_component, component, pipeline

__all__ = [
    "NAP",
    "array_chain",
    "chain",
    "fan",
    "fan_with_helper",
    "lattice",
    "naps",
    "sync_fan",
    "sync_naps",
    "waiting",
]

NAP = 0.05
SMALLEST = 0


def checked(x):
    return x if x >= SMALLEST else SMALLEST


@async_component()
async def start(x):
    return x


@async_component()
async def step(x):
    return x


@async_component()
async def checked_step(x):
    return checked(x)


@async_component()
async def two(a, b):
    return a


@async_component()
async def total(xs):
    return sum(xs)


@async_component()
async def nap(x):
    await asyncio.sleep(NAP)
    return x


@async_component()
async def patient(x):
    await asyncio.sleep(3600)
    return x


@component()
def sync_step(x):
    return x


@component()
def sync_nap(x):
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
def fan_with_helper(n):
    return total([checked_step(i) for i in range(n)])


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


@pipeline()
def waiting(n):
    return [patient(i) for i in range(n)]
