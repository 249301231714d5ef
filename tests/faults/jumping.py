"""A process whose clock is set forth and back by a day while its tasks run; see test_clock.py.

``python jumping.py PLATFORM``, with libfaketime, which reads how far off it is from `CLOCK`.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time

from twingraph_nb import component, pipeline
from twingraph_nb.errors import TaskTimeout
from twingraph_nb.session import get_session


def pause(seconds: float) -> None:
    select.select([], [], [], seconds)  # what libfaketime makes of time.sleep may be EINVAL


CLOCK = os.environ["FAKETIME_TIMESTAMP_FILE"]


@component(platform=sys.argv[1], timeout=30, queue_timeout=30, retries=3, limit="jumps:1200/min")
def naps(number: int, seconds: float) -> int:
    pause(seconds)
    return number


@component(platform=sys.argv[1], timeout=30)
def set_clock(path: str, text: str, needs: object) -> float:
    """Set the clock; gives by how much it was seen to jump."""
    before = time.time()
    with open(path + ".draft", "w") as file:
        file.write(text)
    os.replace(path + ".draft", path)
    pause(0.3)
    return time.time() - before


@component(platform=sys.argv[1], timeout=1)
def sleeps() -> None:
    for _ in range(100):
        pause(0.1)


@component(retries=2, delay=0.3, jitter=0)
def flaky(path: str) -> str:
    if not os.path.exists(path):
        open(path, "w").close()
        raise ValueError("not yet")
    return "mended"


@pipeline(timeout=60)
def jumps():
    first = naps.map(range(4), seconds=0.5)
    forth = set_clock(CLOCK, "+1d", 0)
    second = naps.map(range(4, 8), seconds=0.6)
    again = flaky(CLOCK + ".flaky")
    back = set_clock(CLOCK, "-1d", forth)
    return first, second, again, forth, back, naps.map(range(8, 12), seconds=0.1)


def main() -> None:
    run = jumps()
    found = run.result(90)
    try:
        sleeps().result(30)
        ended = "in time"
    except TaskTimeout:
        ended = "timed out"
    print(json.dumps({"run": run.id, "found": found, "ended": ended}))
    get_session().close()


if __name__ == "__main__":
    main()
