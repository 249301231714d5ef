"""A run whose process was killed goes on where it stopped, in another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from twingraph_nb.errors import RunError
from twingraph_nb.scheduler.state import RunState
from twingraph_nb.session import get_session
from twingraph_nb.store import Store, identity

WORKLOAD = Path(__file__).with_name("workload.py")


class Place:
    """Processes that share a home and a trace of what has run."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.trace, self.home = folder / "trace", home
        self.script = folder / "workload.py"
        self.script.write_text(WORKLOAD.read_text())

    def start(self, *words: str, die_at: int = 0, **more: str) -> subprocess.Popen[str]:
        environ = {
            **os.environ,
            "TRACE": str(self.trace),
            "DIE_AT": str(die_at),
            "TWINGRAPH_KEEP_AFTER": "0",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **more,
        }
        command = [sys.executable, str(self.script), *words]
        return subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def killed(self, *words: str, die_at: int) -> None:
        process = self.start(*words, die_at=die_at)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL

    def done(self, *words: str, **more: str) -> Any:
        process = self.start(*words, **more)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return json.loads(out.splitlines()[-1])

    def ran(self) -> Counter[str]:
        return Counter(self.trace.read_text().splitlines())

    def finished(self) -> set[str]:
        """The hashes of tasks that are done, as the log or the kept results tell."""
        store = Store.open(self.home, readonly=True)
        try:
            batches = store.events(store.resolve("last"))
        finally:
            store.close()
        numbers = {e.task for b in batches for e in b.events if type(e).__name__ == "TaskDone"}
        return {str(number) for number in numbers}


def recorded(home: Path) -> bool:
    """Whether a process lived long enough to say that it has a run."""
    if not Store.exists(home):
        return False
    store = Store.open(home, readonly=True)
    try:
        return bool(store.runs())
    finally:
        store.close()


@pytest.fixture
def place(tmp_path: Path, home: Path) -> Place:
    return Place(tmp_path, home)


@pytest.mark.parametrize("shape", ["fan", "mapped", "windowed"])
def test_what_was_finished_is_not_done_again(place: Place, shape: str) -> None:
    place.killed(shape, die_at=5)  # load, some squares, and one in the middle
    before = place.ran()
    finished = len(place.finished())
    found = place.done(shape, "last")
    assert found["result"].endswith("0,1,4,9,16,25")
    again = place.ran() - before
    # At most what ran while it was killed ran twice: 8 tasks in all, `finished` were known.
    assert sum(again.values()) <= 8 - finished
    assert again["load 6"] == 0
    assert found["states"].count("reused") >= finished


@pytest.mark.parametrize("die_at", [2, 4, 6])
def test_attempts_and_groups_go_on_where_they_were(place: Place, die_at: int) -> None:
    place.killed("tried", die_at=die_at)
    found = place.done("tried", "last" if recorded(place.home) else "-")["result"]
    assert found[0] == 16
    values = [value for _, state, value, _ in found[1] if state == "succeeded"]
    assert len(values) >= 2
    assert set(values) <= {9, 16, 25}
    ran = place.ran()
    assert ran["refuse 4"] >= 1
    assert 1 <= ran["quick 90"] <= 2  # the clean-up, again if its end was not on disk


def test_a_run_that_is_done_takes_everything_over_and_its_values(place: Place) -> None:
    first = place.done("fan")
    second = place.done("fan", first["run"])
    assert second["result"] == first["result"]
    assert set(second["states"]) == {"reused"}
    third = place.done("fan", second["run"])  # a chain: values come from the first run
    assert third["result"] == first["result"]
    assert set(place.ran().values()) == {1}


def test_equal_calls_get_back_their_own_values_in_order(place: Place) -> None:
    first = place.done("draws")
    assert len(set(first["result"])) == 4
    assert place.done("draws", "last")["result"] == first["result"]
    assert place.ran()["draw"] == 4


def test_an_edited_component_runs_again_with_what_depends_on_it(place: Place) -> None:
    first = place.done("fan")
    place.script.write_text(place.script.read_text().replace("return x * x", "return x * x * x"))
    second = place.done("fan", first["run"])
    assert second["result"] == "fan:0,1,8,27,64,125"
    assert place.ran() == {
        "load 6": 1,
        **{f"square {x}": 2 for x in range(6)},
        "joined fan": 2,
    }


def test_a_run_in_another_process_that_still_runs_is_not_resumed(
    place: Place, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    place.script.write_text(
        place.script.read_text().replace(
            'ran(f"load {n}")',
            f'ran(f"load {{n}}")\n    import time\n'
            f"    while not os.path.exists({str(gate)!r}): time.sleep(0.01)",
        )
    )
    process = place.start("fan")
    try:
        while not place.trace.exists() or not (Store.exists(place.home)):
            assert process.poll() is None
        store = Store.open(place.home)
        try:
            while not store.runs():
                assert process.poll() is None
            run = store.resolve("last")
        finally:
            store.close()
        with pytest.raises(RunError, match=rf"run {run} still runs, in process {process.pid} on"):
            get_session().resume("last")
    finally:
        gate.touch()
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_of_two_that_resume_a_run_one_wins_and_the_other_is_told_who(place: Place) -> None:
    first = place.done("fan")
    store = Store.open(place.home)
    try:
        store.claim(first["run"], "0123456789abcdef", identity())  # this process, which lives
        process = place.start("fan", first["run"])
        _, err = process.communicate(timeout=60)
        assert process.returncode != 0
        assert f"run {first['run']} is being resumed by run 0123456789abcdef in process" in err
        assert str(os.getpid()) in err
    finally:
        store.close()


def test_a_claim_of_a_process_that_is_gone_does_not_hold(place: Place) -> None:
    first = place.done("fan")
    gone = subprocess.Popen(["true"])
    gone.wait()
    store = Store.open(place.home)
    store.claim(first["run"], "0123456789abcdef", {**identity(), "pid": str(gone.pid)})
    store.close()
    assert place.done("fan", first["run"])["result"] == first["result"]


def test_what_cannot_be_resumed_is_said(place: Place) -> None:
    session = get_session()
    with pytest.raises(RunError, match="no run is recorded yet"):
        session.resume("last")
    first = place.done("fan")
    with pytest.raises(
        RunError, match="define the pipeline 'fan' first, which made run " + first["run"]
    ):
        session.resume("last")


@pytest.mark.parametrize("seed", range(int(os.environ.get("TWINGRAPH_TESTS_SEEDS", "6"))))
def test_a_random_graph_killed_again_and_again_ends_as_if_undisturbed(
    place: Place, seed: int, tmp_path: Path
) -> None:
    undisturbed = place.done("wild", "-", str(seed))
    tasks = sum(place.ran().values())
    place.trace.unlink()
    deaths = 0
    words = ["wild", "-", str(seed)]
    for die_at in (*range(2, 40, 3), 0):  # the last goes to its end, however large the graph
        process = place.start(*words, die_at=die_at, TWINGRAPH_HOME=str(tmp_path / "other"))
        out, err = process.communicate(timeout=60)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, err
        deaths += 1
        words = ["wild", "last" if recorded(tmp_path / "other") else "-", str(seed)]
    assert deaths
    assert json.loads(out.splitlines()[-1])["result"] == undisturbed["result"]
    # Each death costs at most what ran at that moment: two at once in this graph.
    assert sum(place.ran().values()) <= tasks + 2 * deaths
    store = Store.open(tmp_path / "other", readonly=True)
    try:
        for row in store.runs():
            state = RunState()
            for batch in store.events(row.id):
                for event in batch.events:
                    state.handle(event)
            assert state.state == ("running" if row.state == "interrupted" else "succeeded")
    finally:
        store.close()
