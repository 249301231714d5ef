"""A thousand tasks on each platform, cancelled in the middle: soon nothing of them is left.

Few run at once, so that a laptop bears it. `TWINGRAPH_TESTS_SOON` is how many seconds count as
soon: 10 is what is promised, on a machine that does nothing else, to a storm that is alone there.
Without it some platforms have theirs at once, which takes the time of the slowest.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import (
    steps,
    test_batch,
    test_celery,
    test_dask,
    test_docker,
    test_kubernetes,
    test_lambda,
    test_local,
    test_process,
)
from tests.conformance.suite import Place, mark, pids_of, until
from twingraph_nb import pipeline
from twingraph_nb.component import make_component
from twingraph_nb.errors import RunError, TaskCancelled
from twingraph_nb.graph.run import Run
from twingraph_nb.session import close_session, get_session

MANY = 1000
FEW = 20
"""Coroutines that a platform keeps while its session is open."""
QUICK = 3
"""So many of them are through before the storm."""
ALONE = "TWINGRAPH_TESTS_SOON" in os.environ
SOON = float(os.environ.get("TWINGRAPH_TESTS_SOON", "60"))

PLACES: dict[str, tuple[Any, dict[str, Any]]] = {
    "local": (test_local.TestLocal, {}),
    "process": (test_process.TestProcess, {}),
    "docker": (test_docker.TestDocker, {"workers": 3}),
    "warm pods": (test_kubernetes.TestWarmPods, {"workers": 3}),
    "jobs": (test_kubernetes.TestJobs, {"workers": 3}),
    # Lambda cannot end a call: its functions are through after a few seconds by themselves.
    "lambda": (test_lambda.TestLambda, {"workers": 3}),
    # Only Batch knows how many jobs run at once, and the emulator runs all that it gets.
    "batch": (test_batch.TestBatch, {"max_parallel": 3}),
    "celery": (test_celery.TestCelery, {}),
    "dask": (test_dask.TestDask, {}),
}
LONG = {"lambda": 4.0}
FEWER = {} if ALONE else {"lambda": 300, "batch": 300}
"""The emulator of AWS takes its time for each."""
TOGETHER = [
    ["local", "process", "celery", "dask"],
    ["docker", "warm pods", "jobs"],
    ["lambda", "batch"],
]
STORMS = [[name] for name in PLACES] if ALONE else TOGETHER
assert {name for names in STORMS for name in names} == set(PLACES)


def holds(number: int, name: str, quick: int, seconds: float) -> int:
    """The first are quick; the others can be found by name until they are ended."""
    if number < quick:
        return number
    steps.known_as(name)
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.02)
    finally:
        steps.known_as("through")
    return number


@dataclass
class Storm:
    """A platform, what it had before, and the name its tasks go by."""

    platform: str
    place: Place
    work: Any
    name: str
    before: set[str]

    def start(self) -> Run:
        work, name = self.work, self.name
        many, seconds = FEWER.get(self.platform, MANY), LONG.get(self.platform, 300.0)

        @pipeline()
        def storm() -> object:
            return work.map(range(many), name=name, quick=QUICK, seconds=seconds)

        run = storm()
        assert isinstance(run, Run)
        return run

    def rages(self, run: Run) -> bool:
        """True once some of it is through and some is not."""
        if run.done:
            run.result()  # says why
        return done(run) >= QUICK and bool(pids_of(self.name))


@pytest.fixture
def storms(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Storm]]:
    monkeypatch.setenv("SUITE_SECRET", "of the suite")
    made = []
    for platform in request.param:
        suite, few = PLACES[platform]
        place = suite.make_place(request, monkeypatch)
        options = {**place.options, **few}
        work = make_component(holds, platform=place.platform, options=options, keep=False)
        made.append(Storm(platform, place, work, mark(), set(place.left())))
    yield made
    close_session()


@pytest.mark.parametrize("storms", STORMS, indirect=True, ids=" ".join)
def test_of_a_thousand_tasks_that_are_cancelled_nothing_is_left(storms: list[Storm]) -> None:
    before = Ours()
    runs = {each.platform: each.start() for each in storms}
    until(lambda: all(each.rages(runs[each.platform]) for each in storms))
    assert not any(run.done for run in runs.values())
    cancelled = time.monotonic()
    for run in runs.values():
        run.cancel()
    for run in runs.values():
        with pytest.raises((RunError, TaskCancelled)):
            run.result(SOON)
    session = get_session()
    assert session.unfinished() == []
    for each in storms:
        soon(lambda each=each: [(each.platform, pid) for pid in pids_of(each.name)], cancelled)
    soon(session.driver.running, cancelled)
    soon(lambda: coroutines(session)[FEW * len(storms) :], cancelled)
    for run in runs.values():
        states = {task.state for task in run.tasks if task.form == "call"}
        assert states == {"succeeded", "cancelled"}
    # Its places are free again.
    again = [each.work(0, name=each.name, quick=QUICK, seconds=0.0) for each in storms]
    assert [task.result(SOON) for task in again] == [0 for _ in storms]
    closing = time.monotonic()
    close_session()
    for each in storms:
        soon(lambda each=each: set(each.place.left()) - each.before, closing)
    soon(lambda: Ours() - before, closing)


def done(run: Run) -> int:
    return sum(task.state == "succeeded" for task in run.tasks if task.form == "call")


def coroutines(session: Any) -> list[str]:
    """Those of the scheduler's loop."""
    return sorted(repr(one.get_coro()) for one in asyncio.all_tasks(session._loop))


def soon(left: Callable[[], object], since: float) -> None:
    """Wait until nothing is left, which must be so `SOON`, counted from the order to end it."""
    pause = threading.Event()
    while found := left():
        assert time.monotonic() - since < SOON, f"still there after {SOON:g} s: {found}"
        pause.wait(0.05)


class Ours:
    """What this process holds: threads of ours, children, and open files by kind."""

    def __init__(self) -> None:
        self.threads = [one.name for one in threading.enumerate() if "twingraph" in one.name]
        self.children = sorted(children())
        self.files = open_files()

    def __sub__(self, before: Ours) -> list[str]:
        """What there is now and was not before."""
        new = [name for name in self.threads if name not in before.threads]
        new += [f"process {pid}" for pid in self.children if pid not in before.children]
        more = len(self.files) - len(before.files)
        # A client library may keep a file or two for the next time, but not one for each task.
        return new + ([f"{more} files: {self.files}"] if more > SPARE else [])


SPARE = 4 if ALONE else 12
"""Files that client libraries keep for themselves."""


def children() -> Iterator[int]:
    for entry in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            yield from map(int, entry.read_text().split())


def open_files() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except FileNotFoundError:
            continue
    return sorted(found)
