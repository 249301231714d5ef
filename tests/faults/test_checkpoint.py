"""A long task goes on from what it had saved: after an error, a killed worker, a killed kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from twingraph_nb import component
from twingraph_nb.context import ctx
from twingraph_nb.session import get_session

SCRIPT = """
import os, signal, sys, time
from twingraph_nb import component, ctx, pipeline
from twingraph_nb.session import get_session

@component(platform=sys.argv[1])
def count(to: int, trace: str) -> int:
    at = ctx.restore(0)
    while at < to:
        with open(trace, "a") as file:
            file.write(f"{at}\\n")
        at += 1
        time.sleep(0.01)
        ctx.checkpoint(at)
    return at

@pipeline()
def work(to: int, trace: str):
    return count(to, trace)

if __name__ == "__main__":
    run = get_session().resume(sys.argv[2]) if len(sys.argv) > 2 else work(100, os.environ["TRACE"])
    while not run.done and "KILL" in os.environ:
        if os.path.exists(os.environ["TRACE"]) and len(open(os.environ["TRACE"]).readlines()) > 20:
            os.kill(os.getpid(), signal.SIGKILL)
    print(run.result())
"""


@pytest.mark.parametrize("platform", ["local", "process"])
def test_a_retried_task_goes_on_from_its_checkpoint(platform: str, tmp_path: Path) -> None:
    @component(platform=platform, retries=2, delay=0.01)
    def count(trace: str) -> int:
        done = ctx.restore(0)
        while done < 5:
            with open(trace, "a") as file:
                file.write(f"{done}\n")
            done += 1
            ctx.checkpoint(done)
            if done in (2, 4):
                raise RuntimeError("again")
        return done

    trace = tmp_path / "trace"
    assert count(str(trace)).result() == 5
    assert trace.read_text().split() == ["0", "1", "2", "3", "4"]


def test_a_checkpoint_outlives_a_worker_that_is_killed(tmp_path: Path) -> None:
    @component(platform="process", retries=1, delay=0.01)
    def count(trace: str) -> list:
        seen = ctx.restore([])
        while len(seen) < 4:
            seen.append(len(seen))
            ctx.checkpoint(seen)
            with open(trace, "a") as file:
                file.write(f"{len(seen)}\n")
            if len(seen) == 2:
                ctx.progress(0.5)  # behind the checkpoint, so that it has arrived
                while os.path.exists(trace + ".wait"):
                    pass
                os.kill(os.getpid(), signal.SIGKILL)
        return seen

    trace = tmp_path / "trace"
    gate = tmp_path / "trace.wait"
    gate.touch()
    task = count(str(trace))
    session = get_session()

    def saved() -> int:
        return sum(
            type(event).__name__ == "TaskCheckpointed"
            for batch in session.history(task.link.id)
            for event in batch.events
        )

    while saved() < 2:
        assert not task.done
    gate.unlink()
    assert task.result() == [0, 1, 2, 3]
    assert trace.read_text().split() == ["1", "2", "3", "4"]


@pytest.mark.parametrize("platform", ["local", "process"])
def test_a_resumed_run_goes_on_inside_a_task(platform: str, tmp_path: Path) -> None:
    script, trace = tmp_path / "counting.py", tmp_path / "trace"
    script.write_text(SCRIPT)
    environ = {**os.environ, "TRACE": str(trace), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), platform]
    first = subprocess.run(command, env={**environ, "KILL": "1"}, check=False, timeout=60)
    assert first.returncode == -signal.SIGKILL
    again = subprocess.run(
        [*command, "last"], env=environ, check=True, timeout=60, capture_output=True, text=True
    )
    assert json.loads(again.stdout) == 100
    lines = [int(line) for line in trace.read_text().split()]
    assert set(lines) == set(range(100))
    assert len(lines) < 115  # not from the beginning: 20 and more were done before
    assert lines.count(0) == 1


def test_a_state_is_saved_no_more_often_than_asked(tmp_path: Path) -> None:
    @component()
    def busy() -> None:
        for number in range(100):
            ctx.checkpoint(number, every=1e12)  # longer than any machine has been up

    task = busy()
    task.result()
    kinds = [
        type(event).__name__ for b in get_session().history(task.link.id) for event in b.events
    ]
    assert kinds.count("TaskCheckpointed") == 1


def test_outside_of_a_task_nothing_is_saved_and_the_default_is_given() -> None:
    ctx.checkpoint({"at": 1})
    assert ctx.restore("from the beginning") == "from the beginning"
