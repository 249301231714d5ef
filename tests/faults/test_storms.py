"""A thousand tasks on each platform, cancelled in the middle: soon nothing of them is left.

Few run at once, so that a laptop bears it. `TWINGRAPH_TESTS_SOON` is how many seconds count as
soon: 10 is what is promised, on a machine that does nothing else.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
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
"""Coroutines that platforms keep while their session is open."""
QUICK = 3
"""So many of them are through before the storm."""
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


@pytest.fixture
def place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Place, dict[str, Any]]]:
    name = request.param
    suite, few = PLACES[name]
    monkeypatch.setenv("SUITE_SECRET", "of the suite")
    yield name, suite.make_place(request, monkeypatch), few
    close_session()


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_of_a_thousand_tasks_that_are_cancelled_nothing_is_left(
    place: tuple[str, Place, dict[str, Any]], tmp_path: Path
) -> None:
    which, there, few = place
    before, there_before = Ours(), set(there.left())
    name = mark()
    options = {**there.options, **few}
    work = make_component(holds, platform=there.platform, options=options, keep=False)

    @pipeline()
    def storm() -> object:
        seconds = LONG.get(which, 300.0)
        return work.map(range(MANY), name=name, quick=QUICK, seconds=seconds)

    run = storm()
    assert isinstance(run, Run)
    until(lambda: run.done or (pids_of(name) and done(run) >= QUICK))
    if run.done:
        run.result()  # says why
    assert not run.done
    cancelled = time.monotonic()
    run.cancel()
    with pytest.raises((RunError, TaskCancelled)):
        run.result(SOON)
    session = get_session()
    assert session.unfinished() == []
    soon(lambda: pids_of(name), cancelled)
    soon(session.driver.running, cancelled)
    soon(lambda: coroutines(session)[FEW:], cancelled)
    states = {task.state for task in run.tasks if task.form == "call"}
    assert states == {"succeeded", "cancelled"}
    again = work(0, name=name, quick=QUICK, seconds=0.0)  # its places are free again
    assert again.result(SOON) == 0  # type: ignore[attr-defined]
    closing = time.monotonic()
    close_session()
    soon(lambda: set(there.left()) - there_before, closing)
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


SPARE = 4
"""Files that client libraries keep for themselves."""


def children() -> Iterator[int]:
    for entry in Path("/proc/self/task").glob("*/children"):
        yield from map(int, entry.read_text().split())


def open_files() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except FileNotFoundError:
            continue
    return sorted(found)
