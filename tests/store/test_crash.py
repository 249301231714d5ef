"""A process that is killed, and several that write at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.store.samples import numbers
from twingraph_nb.events import RunStarted, TaskLogged
from twingraph_nb.store import Store

WRITER = """
import itertools, sys, time
from pathlib import Path
from twingraph_nb.events import Batch, RunStarted, TaskLogged
from twingraph_nb.store import Store, identity

store = Store.open(Path(sys.argv[1]))
run, count = sys.argv[2], int(sys.argv[3])
store.emit([Batch(run, 0, (RunStarted(at=time.time(), run=run, name=run, origin=identity()),))])
print("ready", flush=True)
for n in itertools.count(1) if count < 0 else range(1, count):
    at = time.time()
    store.emit([Batch(run, n, (TaskLogged(at=at, task=0, stream="stdout", text=f"line {n}"),))])
    if n % 50 == 0:
        time.sleep(0.001)
store.close()
"""


def start_writer(home: Path, run: str, count: int = -1) -> subprocess.Popen[str]:
    """A process that records a run; for ever if `count` is not given."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(home), run, str(count)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_killed_process_leaves_a_log_without_gaps(home: Path) -> None:
    process = start_writer(home, "r1")
    reader = Store.open(home, readonly=True)
    while sum(len(batch.events) for batch in reader.events("r1")) < 2000:
        assert process.poll() is None
    process.kill()
    process.communicate()
    reader.close()
    store = Store.open(home)
    found = numbers(store, "r1")
    assert found == list(range(len(found)))
    assert len(found) >= 2000
    events = [event for batch in store.events("r1") for event in batch.events]
    assert isinstance(events[0], RunStarted)
    lines = [event.text for event in events[1:] if isinstance(event, TaskLogged)]
    assert lines == [f"line {n}" for n in found[1:]]
    row = store.run("r1")
    assert (row.state, row.events) == ("interrupted", len(found))
    assert store.notes == ()
    store.close()


def test_two_processes_write_at_once_and_nothing_is_lost(home: Path) -> None:
    processes = [start_writer(home, run, count=5000) for run in ("a", "b")]
    assert [process.wait() for process in processes] == [0, 0]
    for process in processes:
        process.communicate()
    store = Store.open(home)
    for run in ("a", "b"):
        assert numbers(store, run) == list(range(5000))
        assert store.run(run).events == 5000
    store.close()


def test_many_processes_open_a_new_home_at_once(home: Path) -> None:
    processes = [start_writer(home, f"r{n}", count=20) for n in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    for process in processes:
        process.communicate()
    store = Store.open(home, readonly=True)
    assert sorted((row.id, row.events) for row in store.runs()) == [(f"r{n}", 20) for n in range(4)]
    store.close()
