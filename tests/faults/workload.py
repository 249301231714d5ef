"""A pipeline whose tasks leave a line in a file for each time they run; a process to be killed.

``python workload.py SHAPE [RUN]``: starts a run, or resumes one; prints its id and its result.
Environment: TRACE = the file; DIE_AT = so many lines later the process kills itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import sys
import time
from functools import partial

from twingraph_nb import at_least, attempt, component, group, pipeline
from twingraph_nb.session import get_session


def ran(what: str) -> None:
    time.sleep(0.03)
    with open(os.environ["TRACE"], "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(what + "\n")
        file.flush()
        file.seek(0)
        if len(file.readlines()) == int(os.environ.get("DIE_AT", "0")):
            os.kill(os.getpid(), signal.SIGKILL)


@component()
def load(n: int) -> list:
    ran(f"load {n}")
    return list(range(n))


@component()
def square(x: int) -> int:
    ran(f"square {x}")
    return x * x


@component()
def draw(label: str) -> float:
    ran("draw")
    return random.random()


@component()
def joined(values: list, where: str) -> str:
    ran(f"joined {where}")
    return f"{where}:{','.join(map(str, values))}"


@component()
async def quick(values: list, where: int) -> int:
    ran(f"quick {where}")
    return sum(values) + where


@pipeline()
def fan(n: int = 6):
    items = load(n).result()
    return joined([square(item) for item in items], "fan")


@pipeline()
def mapped(n: int = 6):
    return joined(square.map(load(n)), "map")


@pipeline()
def windowed(n: int = 6):
    return joined(square.map(iter(load(n).result()), window=2), "window")


@pipeline()
def tried():
    """An attempt that is caught, with a clean-up, beside a group that is content with two."""

    def recover(error):
        return square(len(str(error)))

    with attempt("try", catch=recover, finally_=partial(quick, [0], 90)) as value:
        refuse(square(2))
    with group("two", policy=at_least(2)) as two:
        square(3), square(4), refuse(square(5))
    return [value, two]


@component()
def refuse(x: int) -> int:
    ran(f"refuse {x}")
    raise ValueError("four")


@pipeline()
def draws():
    return [draw("same") for _ in range(4)]


@pipeline()
def wild(seed: int):
    """A random graph whose shape depends on the values of its tasks."""
    random_ = random.Random(seed)
    values = [quick(load(3), -1).result()]
    for number in range(random_.randint(3, 10)):
        chosen = random_.sample(values, min(len(values), random_.randint(1, 3)))
        task = quick(chosen, number) if random_.random() < 0.5 else square(chosen[0])
        values.append(task.result() if random_.random() < 0.5 else task)
    return values


def main() -> None:
    shape, *rest = sys.argv[1:]
    if rest and rest[0] != "-":
        run = get_session().resume(rest[0])
    else:
        made = {
            "fan": fan,
            "mapped": mapped,
            "windowed": windowed,
            "tried": tried,
            "draws": draws,
            "wild": wild,
        }[shape]
        run = made(int(rest[1])) if len(rest) > 1 else made()
    result = run.result()
    states = [task.state for task in run.tasks]
    print(json.dumps({"run": run.id, "result": result, "states": states}))


if __name__ == "__main__":
    main()
