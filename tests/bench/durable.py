"""What it costs that nothing is lost: recording, resuming, obeying, waiting."""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Iterator

from tests.bench.clusters import celery_workers, dask_workers
from tests.bench.harness import RUNS, Row, spawned

__all__ = ["controls", "idling", "recording", "resumes"]

FAN = """
import os, sys, time
os.environ.update(TWINGRAPH_HOME=sys.argv[1], TWINGRAPH_STORE=sys.argv[2])
from tests.bench import graphs
graphs.fan(1000).result()
took = []
for _ in range(10):
    start = time.perf_counter()
    graphs.fan(1000).result()
    took.append(time.perf_counter() - start)
print(sorted(took)[5])
"""
RESUME = """
import os, sys, time
os.environ.update(TWINGRAPH_HOME=sys.argv[1], TWINGRAPH_KEEP_AFTER="0")
from twingraph_nb import component, pipeline
from twingraph_nb.session import get_session

@component()
def step(x):
    return x + 1

@pipeline()
def wide(n):
    tasks = [step(i) for i in range(n)]
    return tasks if sys.argv[2] == "values" else n

def main():
    how, many, first = sys.argv[2], int(sys.argv[3]), sys.argv[4:]
    if how == "first":
        run = wide(many)
        run.result()
        get_session().close()
        print(run.id)
        return
    session = get_session()
    start, used = time.perf_counter(), time.process_time()
    if how == "plan":
        plan = wide.plan(many, resume=first[0])
    else:
        run = session.resume(first[0])
        run.result()
    print(time.perf_counter() - start, time.process_time() - used)
    states = [plan.counts["reuse"]] if how == "plan" else [task.state for task in run.tasks]
    assert states == [many] or set(states) == {"reused"}

main()
"""
CONTROL = """
import os, sys, time
os.environ.update(TWINGRAPH_HOME=sys.argv[1])
from twingraph_nb.session import get_session
from tests.bench import graphs
run = graphs.waiting(1)
store = get_session().store
took = []
for number in range(100):
    start = time.perf_counter()
    asked = store.ask(run.id, ("pause", "continue")[number % 2], {}, "bench")
    while store.answer_to(asked) is None:
        time.sleep(0.001)
    took.append(time.perf_counter() - start)
run.cancel()
print(sorted(took)[98])
"""
IDLE = """
import os, sys, time
os.environ.update(TWINGRAPH_HOME=sys.argv[1])
from twingraph_nb import pipeline
from tests.bench import graphs

patient = graphs.patient.on(sys.argv[2])

@pipeline()
def waiting(n):
    return [patient(i) for i in range(n)]

run = waiting(1000)
while run.tasks.total < 1000:
    time.sleep(0.1)
time.sleep(15)  # until all that can be is handed over
before, start = time.process_time(), time.perf_counter()
time.sleep(20)
used = (time.process_time() - before) / (time.perf_counter() - start)
assert not run.done
run.cancel()
print(used)
"""
IDLE_ON = {
    "local": contextlib.nullcontext,
    "process": contextlib.nullcontext,
    "celery": celery_workers,
    "dask": dask_workers,
}


def recording() -> Iterator[Row]:
    """The same run with and without a store; the two take turns."""
    with tempfile.TemporaryDirectory() as home:
        pairs = [(_there(FAN, home, "on"), _there(FAN, home, "off")) for _ in range(RUNS)]
    ours, base = (statistics.median(each) for each in zip(*pairs, strict=True))
    yield Row("fan-out of 1,000 async no-ops, recorded", ours, base, 1000, at_most=1.5, note="not")


def resumes() -> Iterator[Row]:
    """All tasks of a finished run are found, and it has ended; and so many are planned."""
    for many, below in ((10_000, 1), (100_000, 5)):
        with tempfile.TemporaryDirectory() as home:
            first = spawned(sys.executable, "-c", RESUME, home, "first", str(many)).split()[-1]
            for how, name, aim in (
                ("plan", "plan", 0.5 if many == 10_000 else None),
                ("again", "resume", below),
                ("values", "resume, and its values read,", None),
            ):
                tries = [_measured(RESUME, home, how, str(many), first) for _ in range(3)]
                took, used = (statistics.median(each) for each in zip(*tries, strict=True))
                name, note = f"{name} of a finished run of {many:,} tasks", f"CPU {used:.2f} s"
                yield Row(name, took, unit="s", below=aim, note=note)


def controls() -> Iterator[Row]:
    """From a command in the store to its answer there; the 99th of 100."""
    with tempfile.TemporaryDirectory() as home:
        yield Row("a command is obeyed (p99)", _there(CONTROL, home), unit="ms", below=300)


def idling() -> Iterator[Row]:
    """The share of a core that a run takes which only waits, for tasks that wait elsewhere."""
    for platform, there in IDLE_ON.items():
        with tempfile.TemporaryDirectory() as home, there():
            used = _there(IDLE, home, platform) * 100
        yield Row(f"1,000 tasks that wait, {platform}", used, unit="% of a core", below=2)


def _there(code: str, *words: str) -> float:
    """What a process of its own measured."""
    return _measured(code, *words)[-1]


def _measured(code: str, *words: str) -> list[float]:
    return [float(word) for word in spawned(sys.executable, "-c", code, *words).split()]
