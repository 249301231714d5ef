"""What it costs that nothing is lost: recording, resuming, obeying, waiting."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator

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
    return [step(i) for i in range(n)]

def main():
    many = int(sys.argv[3])
    if sys.argv[2] == "first":
        wide(many).result()
        get_session().close()
        print(0)
        return
    get_session()
    start = time.perf_counter()
    if sys.argv[2] == "plan":
        plan = wide.plan(many, resume="last")
        print(time.perf_counter() - start)
        assert plan.counts["reuse"] == many
        return
    run = get_session().resume("last")
    while not run.done:  # its own end: what the pipeline returns would bring all values here
        if run.link.state.unfinished == 0 and len(run.tasks) == many:
            break
        time.sleep(0.02)
    took = time.perf_counter() - start
    assert all(task.state == "reused" for task in run.tasks)
    run.result()
    print(took)

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
from tests.bench import graphs
run = graphs.waiting(1000)
time.sleep(1)
before, start = time.process_time(), time.perf_counter()
time.sleep(5)
used = (time.process_time() - before) / (time.perf_counter() - start)
run.cancel()
print(used)
"""


def recording() -> Iterator[Row]:
    """The same run with and without a store; the two take turns."""
    with tempfile.TemporaryDirectory() as home:
        pairs = [(_there(FAN, home, "on"), _there(FAN, home, "off")) for _ in range(RUNS)]
    ours, base = (statistics.median(each) for each in zip(*pairs, strict=True))
    yield Row("fan-out of 1,000 async no-ops, recorded", ours, base, 1000, at_most=1.5, note="not")


def resumes() -> Iterator[Row]:
    """All tasks of a finished run are found, no value is loaded; and so many are planned."""
    with tempfile.TemporaryDirectory() as home:
        _there(RESUME, home, "first", "10000")
        took = statistics.median(_there(RESUME, home, "plan", "10000") for _ in range(3))
        yield Row("plan of a finished run of 10,000 tasks", took, unit="s", below=0.5)
        took = statistics.median(_there(RESUME, home, "again", "10000") for _ in range(3))
        yield Row("resume of a finished run of 10,000 tasks", took, unit="s", below=1)
    with tempfile.TemporaryDirectory() as home:
        _there(RESUME, home, "first", "100000")
        took = _there(RESUME, home, "again", "100000")
        yield Row("resume of a finished run of 100,000 tasks", took, unit="s", below=5)


def controls() -> Iterator[Row]:
    """From a command in the store to its answer there; the 99th of 100."""
    with tempfile.TemporaryDirectory() as home:
        yield Row("a command is obeyed (p99)", _there(CONTROL, home), unit="ms", below=300)


def idling() -> Iterator[Row]:
    """The share of a core that a run takes which only waits."""
    with tempfile.TemporaryDirectory() as home:
        used = _there(IDLE, home) * 100 / 1e6
    yield Row("1,000 tasks that wait, % of a core", used, below=2)


def _there(code: str, *words: str) -> float:
    """What a process of its own measured."""
    return float(spawned(sys.executable, "-c", code, *words).split()[-1])
