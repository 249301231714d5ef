"""What the graph of executions costs a run, and how fast it is rebuilt and asked."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from gremlin_python.driver.client import Client
from gremlin_python.driver.serializer import GraphBinarySerializersV1
from gremlin_python.process.graph_traversal import __

from tests.bench.harness import RUNS, Row, seconds, spawned
from twingraph_nb.events import (
    Batch,
    ComponentUsed,
    Event,
    RunFinished,
    RunStarted,
    TaskAdded,
    TaskDone,
    TaskStarted,
)
from twingraph_nb.lineage.facts import Folder
from twingraph_nb.lineage.live import LiveGraph
from twingraph_nb.lineage.machine import source
from twingraph_nb.lineage.projection import Projection
from twingraph_nb.lineage.remote_rows import rows_writer
from twingraph_nb.lineage.remote_upsert import requests
from twingraph_nb.store import Store

__all__ = ["asking", "projecting", "rebuilding", "serving"]

WATCHED = """
import os, sys, time
os.environ.update(TWINGRAPH_HOME=sys.argv[1])
import twingraph_nb
from tests.bench import graphs
watched = sys.argv[2] == "watched"
g = twingraph_nb.lineage() if watched else None
graphs.fan(1000).result()
took = []
for _ in range(10):
    start = time.perf_counter()
    graphs.fan(1000).result()
    took.append(time.perf_counter() - start)
    if g is not None:
        assert g.V().has_label("Task").count().next() >= 1000
print(sorted(took)[5])
"""
SERVED = """
import sys
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.serve import Server
with Server(Graph(), writable=True) as server:
    print(server.url, server.token, flush=True)
    sys.stdin.read()
"""
RUN_COUNT, TASKS, DEPTH = 10, 10_000, 101
AT_ONCE = 500
EACH = 100


def projecting() -> Iterator[Row]:
    """The same run with and without a graph that follows it; the two take turns."""

    def there(how: str) -> float:
        with tempfile.TemporaryDirectory() as home:
            return float(spawned(sys.executable, "-c", WATCHED, home, how).split()[-1])

    pairs = [(there("watched"), there("alone")) for _ in range(RUNS)]
    ours, base = (statistics.median(each) for each in zip(*pairs, strict=True))
    name = "fan-out of 1,000 async no-ops, in the graph"
    yield Row(name, ours, base, 1000, at_most=1.1, note="not in it")


def rebuilding() -> Iterator[Row]:
    """A store of 100,000 tasks that wait for each other in chains, read from the start."""
    with tempfile.TemporaryDirectory() as home:
        store = Store.open(Path(home))
        for number in range(RUN_COUNT):
            for batch in run_of(number):
                store.emit([batch])
                assert store.flush(60)
        took = seconds(lambda: LiveGraph(store).refresh())
        store.close()
    yield Row("the graph of 100,000 tasks, from the store", took, unit="s", below=10)


def asking() -> Iterator[Row]:
    """Traversals at 100,000 tasks."""
    projection = Projection()
    for number in range(RUN_COUNT):
        projection.apply(list(run_of(number)))
    g = source(projection.graph)
    last = f"{5:016x}{DEPTH * 20 - 1:08x}"

    def each(name: str, ask: Callable[[], object], below: float) -> Row:
        ask()
        took = statistics.median(
            computed(lambda: [ask() for _ in range(EACH)]) for _ in range(RUNS)
        )
        return Row(f"{name}, at 100,000 tasks", took, each=EACH, unit="us", below=below)

    yield each("g.V(id)", lambda: g.V(f"task:{last}").to_list(), 100)
    yield each("has(key, value)", lambda: g.V().has("Hash", last).to_list(), 100)
    yield each("two hops", lambda: g.V(f"task:{last}").in_("feeds").in_("feeds").to_list(), 100)
    yield each(
        "ancestors of a task 100 deep",
        lambda: g.V(f"task:{last}").repeat(__.in_("feeds").dedup()).emit().to_list(),
        5000,
    )


def computed(work: Callable[[], object]) -> float:
    """Seconds that a piece of work of this thread takes, whatever else the machine does."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def serving() -> Iterator[Row]:
    """The facts of a run of 10,000 tasks, written into a served graph in another process."""
    facts = Folder().fold(list(run_of(0)))
    written = list(requests(facts))
    words = [sys.executable, "-c", SERVED]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url, token = process.stdout.readline().split()
        form = GraphBinarySerializersV1(writer=rows_writer())  # as the kit's own writer sends
        client = Client(url, "g", username="any", password=token, message_serializer=form)
        with closing(client):
            client.submit("g.V().count()").all().result()

            def write() -> None:
                for one in written:
                    client.submit(one.bytecode()).all().result()

            took = seconds(write)
            kept = client.submit("g.V().count()").all().result()[0]
            assert kept == len(facts.vertices)
        process.stdin.close()
    count = len(facts.vertices) + len(facts.edges)
    yield Row("an element written into a served graph", took, each=count, below=200)


def run_of(number: int) -> Iterator[Batch]:
    """The events of a run of 10,000 tasks in chains, each 101 long."""
    run, at = f"{number:016x}", 1e9 + number
    events: list[Event] = [RunStarted(at, run, f"pipeline {number % 3}", origin={"host": "here"})]
    events += [
        ComponentUsed(at, f"{one:064x}", f"component {one}", source="def f(a, b):\n    return a\n")
        for one in range(10)
    ]
    for task in range(TASKS):
        wires = ((task - 1, "", "a"),) if task % DEPTH else ()
        component = f"{task % 10:064x}"
        hash, name = f"{run}{task:08x}", f"component {task % 10}"
        events.append(TaskAdded(at, task, hash, name, component, wires, inputs={"b": "3"}))
    for task in range(TASKS):
        events.append(TaskStarted(at + 1, task))
        kept = None if task % 5 else {"value": f"{task:064x}"}
        events.append(TaskDone(at + 2, task, {"value": "8"}, kept=kept))
    events.append(RunFinished(at + 3, "succeeded"))
    for start in range(0, len(events), AT_ONCE):
        yield Batch(run, start, tuple(events[start : start + AT_ONCE]))
