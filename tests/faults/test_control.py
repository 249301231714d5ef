"""Runs obey the command line while their own process is busy."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from twingraph_nb.events import Event, LimitChanged
from twingraph_nb.scheduler.state import RunState
from twingraph_nb.store import Store

ROOT = Path(__file__).parents[2]


class Busy:
    """A process with one run; `gates` lets its tasks go."""

    def __init__(self, folder: Path, home: Path, *what: object) -> None:
        self.gates, self.trace, self.home = folder / "gates", folder / "trace", home
        self.gates.mkdir()
        self.trace.touch()
        environ = {
            **os.environ,
            "GATES": str(self.gates),
            "TRACE": str(self.trace),
            "TWINGRAPH_THREADS": "2",
            "TWINGRAPH_PROCESSES": "2",
            "PYTHONPATH": str(ROOT),
        }
        words = [sys.executable, str(ROOT / "tests/faults/busy.py"), *map(str, what)]
        self.process = subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, text=True)

    def began(self, *numbers: object) -> None:
        """Wait until these and no others have begun."""
        wanted = sorted(map(str, numbers))
        until(lambda: len(self.lines()) >= len(wanted) and self.events())
        assert sorted(self.lines()) == wanted

    def lines(self) -> list[str]:
        return self.trace.read_text().split()

    def open(self, *gates: object) -> None:
        for gate in gates:
            (self.gates / str(gate)).touch()

    def ended(self) -> str:
        out, _ = self.process.communicate(timeout=60)
        return out.strip()

    def events(self) -> list[Event]:
        if not Store.exists(self.home):
            return []
        store = Store.open(self.home, readonly=True)
        try:
            runs = store.runs()
            return [e for b in store.events(runs[0].id) for e in b.events] if runs else []
        finally:
            store.close()

    def folded(self) -> RunState:
        state = RunState()
        for event in self.events():
            state.handle(event)
        return state


def until(condition: object, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def twingraph(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "twingraph_nb.runs.cli", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def busy(tmp_path: Path, home: Path) -> Iterator[object]:
    started: list[Busy] = []

    def start(*what: object) -> Busy:
        started.append(Busy(tmp_path, home, *what))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("platform", ["local", "process"])
def test_a_paused_run_begins_nothing_until_it_goes_on(busy, platform: str) -> None:
    run = busy(platform, 6)
    run.began(0, 1)
    said = twingraph("pause", "last")
    assert said.returncode == 0, said.stderr
    assert "paused; 2 running tasks are let finish" in said.stdout
    run.open(0, 1)
    until(lambda: run.folded().states[1] == "succeeded")
    assert "it is paused already" in twingraph("pause", "last").stdout
    run.began(0, 1)
    assert "goes on, with 4 tasks that were ready" in twingraph("resume", "last").stdout
    run.open("all")
    assert run.ended() == "succeeded"
    run.began(*range(6))  # each of them once
    kinds = [type(event).__name__ for event in run.events()]
    assert kinds.count("RunPaused") == kinds.count("RunContinued") == 1
    paused = next(e for e in run.events() if type(e).__name__ == "RunPaused")
    assert "@" in paused.who  # type: ignore[attr-defined]
    assert run.folded().state == "succeeded"


@pytest.mark.parametrize("platform", ["local", "process"])
def test_a_task_and_then_its_run_are_cancelled(busy, platform: str) -> None:
    run = busy(platform, 4)
    run.began(0, 1)
    assert "cancelling" in twingraph("cancel", "last", "3").stdout
    until(lambda: run.folded().states[3] == "cancelled")
    assert run.folded().states[0] == "running"
    assert "cancelling" in twingraph("cancel", "last").stdout
    assert run.ended() == "cancelled"
    run.began(0, 1)
    again = twingraph("cancel", "last")
    assert again.returncode == 1
    assert "is not running (it has ended: cancelled)" in again.stderr


def test_a_limit_holds_for_what_begins_from_now_on(busy) -> None:
    run = busy("process", 4)
    run.began(0, 1)
    assert "at most 1 at once" in twingraph("limit", "last", 1).stdout
    run.open(0, 1)
    run.began(0, 1, 2)
    until(lambda: list(run.folded().states.values()).count("succeeded") == 2)
    run.began(0, 1, 2)
    assert "no limit" in twingraph("limit", "last", 0).stdout
    until(lambda: len(run.lines()) == 4)
    run.open("all")
    assert run.ended() == "succeeded"


def test_a_limit_by_name_is_changed_for_what_waits_and_what_comes(busy) -> None:
    run = busy("local", 3, "gpu:1")
    run.began(0)
    for words, said in (
        (("gqu:2",), "no component has a limit 'gqu' at once (did you mean 'gpu'?)"),
        (("two",), "wants a number, or a limit by name"),
        ((2, "--platform", "procces"), "no platform 'procces' (did you mean 'process'?)"),
    ):
        refused = twingraph("limit", "last", *words)
        assert refused.returncode == 1, words
        assert said in refused.stderr
    told = twingraph("limit", "last", "gpu:2").stdout
    assert "gpu:2 from now on, for all runs of its session" in told
    run.began(0, 1)
    run.open(0)
    run.began(0, 1, 2)
    run.open("all")
    assert run.ended() == "succeeded"
    (changed,) = [e for e in run.events() if isinstance(e, LimitChanged)]
    assert (changed.limit, changed.name) == (2, "gpu:2")
    assert "@" in changed.who


def test_a_task_that_waits_for_its_next_attempt_gets_it_now(busy) -> None:
    run = busy("local", 0)
    until(lambda: run.events() and run.folded().states.get(0) == "retrying")
    run.open("mended")
    assert "its next attempt begins" in twingraph("retry", "last", "flaky").stdout
    assert run.ended() == "succeeded"
    assert run.lines() == ["flaky", "flaky"]


def test_a_running_task_is_begun_anew(busy) -> None:
    run = busy("process", 1)
    run.began(0)
    assert "its attempt is ended, and begins anew" in twingraph("retry", "last", "0").stdout
    run.began(0, 0)
    run.open("all")
    assert run.ended() == "succeeded"
    assert run.folded().state == "succeeded"
    over = twingraph("retry", "last", "0")
    assert over.returncode == 1
    assert "twingraph resume" in over.stderr


def test_a_task_that_is_not_there_is_named_with_the_nearest(busy) -> None:
    run = busy("local", 1)
    run.began(0)
    said = twingraph("cancel", "last", "stap")
    assert said.returncode == 1
    assert "has no task 'stap' (did you mean 'step'?)" in said.stderr
