"""The machine's clock is set by a day while tasks run: they, and their record, do not notice.

libfaketime (Debian package of that name) stands between the process and the clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from twingraph_nb.clock import Clock
from twingraph_nb.events import TaskDone, TaskErred, TaskStarted
from twingraph_nb.store import Store

ROOT = Path(__file__).parents[2]
DAY = 86_400


def library() -> str:
    (found, *_) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return str(found)


@pytest.mark.parametrize("platform", ["local", "process"])
def test_a_clock_that_is_set_disturbs_neither_runs_nor_their_record(
    platform: str, tmp_path: Path, home: Path
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environ = {
        **os.environ,
        "LD_PRELOAD": library(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(ROOT),
    }
    words = [sys.executable, str(ROOT / "tests/faults/jumping.py"), platform]
    done = subprocess.run(
        words, env=environ, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    first, second, again, forth, back, third = told["found"]
    assert (first, second, third) == ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11])
    assert (again, told["ended"]) == ("mended", "timed out")
    assert forth > DAY - 60  # the jumps were there
    assert back < -2 * DAY + 60
    with contextlib.closing(Store.open(home, readonly=True)) as store:
        row = store.run(told["run"])
        events = [event for batch in store.events(row.id) for event in batch.events]
    assert row.finished is not None
    assert 0 < row.finished - row.started < 90
    assert [event.at for event in events] == sorted(event.at for event in events)
    begun = {event.task: event.at for event in events if isinstance(event, TaskStarted)}
    took = [
        event.at - begun[event.task]
        for event in events
        if isinstance(event, TaskDone) and event.task in begun
    ]
    assert len(took) > 12
    assert all(0 <= seconds < 60 for seconds in took)
    assert len([event for event in events if isinstance(event, TaskErred)]) == 1  # the flaky one


def test_the_clock_follows_the_machines_only_when_it_is_told_to() -> None:
    machine, counted = [1000.0], [5.0]
    clock = Clock(lambda: machine[0], lambda: counted[0])
    assert clock() == 1000.0
    machine[0], counted[0] = 1000.0 - DAY, 7.5
    assert clock() == 1002.5
    clock.set()
    assert clock() == 1000.0 - DAY
