"""A map over a million items: time, memory, and what the log takes."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator

from tests.bench.harness import Row, spawned

__all__ = ["million"]

COUNT = 1_000_000
CODE = """
import os, sys, time
from pathlib import Path
os.environ.update(TWINGRAPH_HOME=sys.argv[1])
from twingraph_nb import component, pipeline
from twingraph_nb.session import close_session

@component()
async def step(x):
    return None

@pipeline()
def many(n):
    return step.map(range(n), collect=False)

def memory():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

count = int(sys.argv[2])
many(1000).result()
before = peak = memory()
start = time.process_time()
run = many(count)
while not run.done:
    peak = max(peak, memory())
    time.sleep(0.1)
assert run.result() == count
close_session()
took = time.process_time() - start
log = sum(file.stat().st_size for file in Path(sys.argv[1]).glob("*.db*"))
print(took, peak - before, log)
"""


def million() -> Iterator[Row]:
    """CPU time of all threads, so that a busy machine counts for nothing."""
    with tempfile.TemporaryDirectory() as home:
        words = spawned(sys.executable, "-c", CODE, home, str(COUNT)).split()
    took, memory, log = map(float, words[-3:])
    yield Row("item of a map over 1,000,000, CPU", took, each=COUNT)
    yield Row("memory that the map takes at most", memory / 2**20, unit="B", below=200, note="MiB")
    yield Row("log for each of its items", log / COUNT, unit="B", below=500)
