"""A run whose main thread never lets go, like a busy kernel; `busy.py PLATFORM N [LIMIT]`.

Each task appends its number to TRACE and waits until a file of that number is in the folder GATES.
"""

from __future__ import annotations

import os
import sys
import time

from twingraph_nb import component, pipeline

GATES, TRACE = os.environ["GATES"], os.environ["TRACE"]


@component(platform=sys.argv[1], limit=sys.argv[3:] or None)
def step(number: int, gates: str, trace: str) -> int:
    with open(trace, "a") as file:
        file.write(f"{number}\n")
    while not (os.path.exists(f"{gates}/{number}") or os.path.exists(f"{gates}/all")):
        time.sleep(0.01)
    return number


@component(platform=sys.argv[1], retries=1, delay=3600, max_delay=3600, jitter=0)
def flaky(gates: str, trace: str) -> str:
    with open(trace, "a") as file:
        file.write("flaky\n")
    if not os.path.exists(f"{gates}/mended"):
        raise ValueError("not yet")
    return "mended"


@pipeline()
def steps(n: int):
    return [step(number, GATES, TRACE) for number in range(n)]


@pipeline()
def waits():
    return flaky(GATES, TRACE)


if __name__ == "__main__":
    run = steps(int(sys.argv[2])) if int(sys.argv[2]) else waits()
    while not run.done:
        sum(range(1000))
    print(run.state)
