"""Pipelines to be planned. What ran is counted in a file, so that nothing is captured."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path

from twingraph_nb import attempt, component, group, pipeline


def ran(what: str) -> None:
    """Note that a task runs; it breaks if that is what was asked for."""
    with open(os.environ["TRACE"], "a") as file:
        file.write(what + "\n")
    if what in os.environ.get("BREAKS", "").split(","):
        raise ValueError(f"{what} breaks")


def traced() -> list[str]:
    path = Path(os.environ["TRACE"])
    return path.read_text().splitlines() if path.exists() else []


@component()
def plain(values: list, number: int) -> int:
    ran(f"plain {number}")
    return sum(values) + number


@component(cache=True)
def cached(values: list, number: int) -> int:
    ran(f"cached {number}")
    return sum(values) + number


@component()
def add(x: int, number: int) -> int:
    ran(f"add {number}")
    return x + number


@component(cache=True)
def listed(x: int, number: int) -> list:
    ran(f"listed {number}")
    return [x + n for n in range(3)]


@component(cache="1h")
def item(x: int, number: int) -> int:
    ran(f"item {number} {x}")
    return 2 * x


@component(cache=True)
def summed(members: list, number: int) -> int:
    ran(f"summed {number}")
    return sum(member.value for member in members if member.ok)


@pipeline()
def inner(x, number: int):
    return add(item(x, number), number + 1000)


@pipeline()
def wild(seed: int):
    """A random graph whose shape depends on the values of its tasks."""
    draw = random.Random(seed)
    values: list = [plain([seed], 0)]
    for number in range(1, draw.randint(4, 12)):
        chosen = draw.sample(values, min(len(values), draw.randint(1, 3)))
        kind = draw.choice(["plain", "cached", "add", "map", "inner", "group", "attempt"])
        if kind == "group":
            with group("both", policy=draw.choice(["strict", "best_effort"])) as both:
                cached(chosen, number)
                add(chosen[0], number + 500)
            task = summed(both, number)
        elif kind == "attempt":
            tidy = partial(cached, [draw.choice([1, *values])], number + 900)
            with attempt("tried", finally_=tidy) as task:
                if draw.random() < 0.5:
                    add(chosen[0], number + 600)
                add(cached(chosen, number), number + 700)
        elif kind == "map":
            task = cached(item.map(listed(chosen[0], number), number=number), number)
        elif kind in ("add", "inner"):
            task = {"add": add, "inner": inner}[kind](chosen[0], number)
        else:
            task = {"plain": plain, "cached": cached}[kind](chosen, number)
        if draw.random() < 0.3:
            value = task.result()
            values.append(value if value % 2 else task)
        else:
            values.append(task)
    return values


@pipeline()
async def waiting(n: int = 3):
    found = listed(n, 1)
    some = await found
    return cached([item(x, 2) for x in some], 3)
