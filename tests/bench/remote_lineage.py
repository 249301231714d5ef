"""What it costs a run to be written to a graph database, and how fast one is filled."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.bench.harness import RUNS, Row, seconds, spawned
from tests.bench.lineage import run_of
from tests.lineage.remote_running import Database
from twingraph_nb.lineage.remote import write_to
from twingraph_nb.store import Store

__all__ = ["filling", "sending"]

WRITTEN = """
import os, sys, time
os.environ.update(TWINGRAPH_HOME=sys.argv[1], TWINGRAPH_LINEAGE=sys.argv[2])
import twingraph_nb
from tests.bench import graphs
graphs.fan(1000).result()
took = []
for _ in range(10):
    start = time.perf_counter()
    graphs.fan(1000).result()
    took.append(time.perf_counter() - start)
print(sorted(took)[5], flush=True)
os._exit(0)  # what is not written yet is not waited for
"""
ALL_THERE = 600.0
"""Seconds that a database may take for all of it."""


def sending() -> Iterator[Row]:
    """The same run with and without a database that it is written to; the two take turns."""

    def there(url: str) -> float:
        with tempfile.TemporaryDirectory() as home:
            return float(spawned(sys.executable, "-c", WRITTEN, home, url).split()[-1])

    with Database() as database:
        pairs = [(there(database.url), there("")) for _ in range(RUNS)]
    ours, base = (statistics.median(each) for each in zip(*pairs, strict=True))
    name = "fan-out of 1,000 async no-ops, written to a database"
    yield Row(name, ours, base, 1000, at_most=1.1, note="not written")


def filling() -> Iterator[Row]:
    """A run of 10,000 tasks in chains, from the store into the served engine."""
    with (
        Database() as database,
        tempfile.TemporaryDirectory() as home,
        closing(Store.open(Path(home))) as store,
    ):
        for batch in run_of(1):
            store.emit([batch])
        assert store.flush(60)
        writer = write_to(database.url, Path(home), store, everything=True)
        took = seconds(lambda: writer.settle(ALL_THERE))
        elements = writer.status.written
        writer.close()
    aim = 1e6 / 5_000
    yield Row("a vertex or an edge into the served engine", took, each=elements, below=aim)
