"""Platform `local` keeps the promises that the kernel's own process can keep."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.conformance import steps
from tests.conformance.suite import PATIENCE, Conformance, Place, until
from twingraph_nb.errors import TaskCancelled, TaskTimeout

NOT_HERE = {
    # os._exit, kill -9 and running out of memory end the kernel: that is what `process` is for,
    # and tests/faults and tests/runs tell what a run does when its kernel dies.
    "test_a_far_side_that_ends_is_an_error_with_its_exit_code",
    "test_a_far_side_that_is_killed_fails_its_task_alone",
    "test_a_task_out_of_memory_says_so",
    # Nothing travels: a value may be anything, a package is there or the cell itself fails.
    "test_a_result_that_cannot_travel_is_named",
    "test_a_package_that_is_not_there_is_named_with_its_line_and_its_cure",
    "test_bytecode_of_another_python_is_refused",
    # It has the kernel's environment; `env` and `secrets` are options of places elsewhere.
    "test_environment_and_secrets_are_there_and_nowhere_else",
}


class TestLocal(Conformance):
    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        return Place("local", trusted=True, one={"max_parallel": 1})

    def test_log_lines_come_in_order(self) -> None:
        # What other programs write to the kernel's own streams belongs to the kernel.
        task = self.start(steps.lives, 0.1)
        task.result(PATIENCE)
        assert task.logs.splitlines() == ["begun", "over"]

    def test_a_timeout_ends_the_far_side(self, tmp_path: Path) -> None:
        task = self.start(beats, str(tmp_path / "beats"), timeout=0.5)
        with pytest.raises(TaskTimeout):
            task.result(PATIENCE)
        assert is_still(tmp_path / "beats")

    def test_cancelling_a_running_task_ends_the_far_side(self, tmp_path: Path) -> None:
        task = self.start(beats, str(tmp_path / "beats"))
        until((tmp_path / "beats").exists)
        task.cancel()
        with pytest.raises(TaskCancelled):
            task.result(PATIENCE)
        assert is_still(tmp_path / "beats")
        assert self.call(steps.square, 4) == 16

    def test_cancelling_a_queued_task_keeps_it_from_running(self, tmp_path: Path) -> None:
        component = self.on(beats, max_parallel=1)
        running = component(str(tmp_path / "one"))
        until((tmp_path / "one").exists)
        queued = component(str(tmp_path / "two"))
        queued.cancel()
        with pytest.raises(TaskCancelled):
            queued.result(PATIENCE)
        running.cancel()
        with pytest.raises(TaskCancelled):
            running.result(PATIENCE)
        assert not (tmp_path / "two").exists()


for name in NOT_HERE:
    assert hasattr(Conformance, name), name
    setattr(TestLocal, name, None)


def beats(path: str) -> None:
    """Grow a file for ever."""
    while True:
        with open(path, "a") as file:
            file.write(".")
        time.sleep(0.01)


def is_still(path: Path) -> bool:
    """Whether a file has stopped growing; the thread may be at its last beat."""
    until(lambda: path.stat().st_size == (time.sleep(0.2), path.stat().st_size)[1])
    return True
