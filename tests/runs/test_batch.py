"""`twingraph run` and the papermill engine, with real kernels in processes of their own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.faults.test_control import twingraph as command
from twingraph_nb.events import CancelAsked
from twingraph_nb.picture.screen import screen_of
from twingraph_nb.store import RunRow, Store

BIN = Path(sys.executable).parent

FLOW = """
from twingraph_nb import component, pipeline

@component()
def numbers(n: int) -> list[int]:
    print("counting to", n)
    return list(range(n))

@component()
def square(x: int) -> int:
    return x * x

@component()
def total(xs: list[int]) -> int:
    return sum(xs)

@pipeline()
def squares(n: int) -> int:
    return total(square.map(numbers(n)))
"""

SLOW = """
import time, pathlib
from twingraph_nb import component, pipeline

@component()
def late(n: int) -> int:
    time.sleep(0.5)
    pathlib.Path("late.txt").write_text(str(n))
    if n < 0:
        raise ValueError(f"{n} is below zero")
    return n

@pipeline()
def slowly(n: int) -> int:
    return late(n)
"""

RECORDED = """
from twingraph_nb import get_session
run = slowly(1)
store = get_session().store
while not any(row.form == "pipeline" for row in store.runs()):
    store.flush()
"""


@dataclass
class Done:
    """How a command ended, and what it left."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def nb(self) -> Any:
        return nbformat.read(self.folder / "in.ipynb", 4)

    @property
    def report(self) -> str:
        return (self.folder / "report.html").read_text()


def write(path: Path, *cells: str, params: str | None = None, kernel: str = "python3") -> Path:
    spec = {"name": kernel, "display_name": kernel, "language": "python"}
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": spec})
    if params is not None:
        tagged = nbformat.v4.new_code_cell(params, metadata={"tags": ["parameters"]})
        nb.cells.append(tagged)
    nb.cells += [nbformat.v4.new_code_cell(source) for source in cells]
    nbformat.write(nb, path)
    return path


def twingraph(folder: Path, *args: str, env: dict[str, str] | None = None) -> Done:
    """Run the command on `in.ipynb` of the folder."""
    out = folder / "done"
    words = [str(BIN / "twingraph"), "run", str(folder / "in.ipynb"), "-o", str(out), *args]
    told = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, env={**os.environ, **(env or {})}
    )
    return Done(told.returncode, told.stdout, told.stderr, out)


def rows(home: Path) -> list[RunRow]:
    store = Store.open(home, readonly=True)
    try:
        return store.runs(limit=None)
    finally:
        store.close()


def outputs(nb: Any) -> str:
    found = [out for cell in nb.cells for out in cell.get("outputs", ())]
    return "".join(out.get("text", "") for out in found)


def test_a_notebook_is_run_and_linked_to_its_runs(tmp_path: Path, home: Path) -> None:
    write(tmp_path / "in.ipynb", FLOW, "print('got', squares(n).result())", params="n = 3")
    done = twingraph(tmp_path, "-p", "n", "5")
    assert (done.code, done.err.splitlines()[-1][:9]) == (0, "succeeded"), done.err
    assert "got 30\n" in outputs(done.nb)
    assert f"report    {done.folder / 'report.html'}" in done.out
    assert "1 run, 7 of 7 tasks done" in done.err

    by_form = {row.form: row for row in rows(home)}
    notebook, run = by_form["notebook"], by_form["pipeline"]
    assert (notebook.state, notebook.params, notebook.parent) == ("succeeded", {"n": "5"}, None)
    assert (run.name, run.state, run.parent) == ("squares", "succeeded", notebook.id)
    link = done.nb.metadata["twingraph"]
    assert (link["run"], link["runs"]) == (notebook.id, [run.id])

    for said in ("squares", "counting to 5", "n = 5", "<svg", f"run {notebook.id}"):
        assert said in done.report


def test_a_failing_cell_stops_the_notebook_and_is_shown(tmp_path: Path, home: Path) -> None:
    bad = "a = 1\nfor n in (-1, -2):\n    slowly(n).result()"
    write(tmp_path / "in.ipynb", SLOW, bad, "print('never')")
    done = twingraph(tmp_path)
    assert done.code == 1
    assert "failed: ValueError: -1 is below zero" in done.err
    assert "  >   3 |     slowly(n).result()" in done.err
    assert outputs(done.nb) == ""
    assert done.nb.cells[1].outputs[0].ename == "ValueError"
    assert "ValueError: -1 is below zero" in done.report
    assert {row.form: row.state for row in rows(home)} == {
        "notebook": "failed",
        "pipeline": "failed",
    }


def test_an_error_that_a_cell_is_tagged_to_raise_is_no_failure(tmp_path: Path) -> None:
    path = write(tmp_path / "in.ipynb", "1 / 0", "print('went on')")
    nb = nbformat.read(path, 4)
    nb.cells[0].metadata["tags"] = ["raises-exception"]
    nbformat.write(nb, path)
    done = twingraph(tmp_path, "--no-report")
    assert (done.code, outputs(done.nb)) == (0, "went on\n")
    assert not (done.folder / "report.html").exists()


def test_runs_that_no_cell_waited_for_are_waited_for(tmp_path: Path, home: Path) -> None:
    write(tmp_path / "in.ipynb", SLOW, "run = slowly(7)")
    done = twingraph(tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "late.txt").read_text() == "7"
    assert {row.form: row.state for row in rows(home)}["pipeline"] == "succeeded"


def test_one_of_them_that_fails_makes_the_notebook_fail(tmp_path: Path, home: Path) -> None:
    write(tmp_path / "in.ipynb", SLOW, "run = slowly(-7)")
    done = twingraph(tmp_path)
    assert done.code == 1
    run = next(row for row in rows(home) if row.form == "pipeline")
    said = f"slowly in run {run.id}, which no cell waited for, failed: ValueError: -7 is below zero"
    assert f"failed: {said}" in done.err
    assert said in done.report


@pytest.mark.parametrize("call", ["slowly(-2)", "late(-2)"])
def test_a_failure_that_no_cell_has_looked_at_makes_the_notebook_fail(
    tmp_path: Path, call: str
) -> None:
    wait = "while not call.done:\n    pass\n"
    seen = f"try:\n    slowly(-1).result()\nexcept ValueError:\n    call = late(-1)\n{wait}"
    seen += "assert call.exception() is not None"
    unseen = f"call = {call}\n{wait}del call"
    write(tmp_path / "in.ipynb", SLOW, seen, unseen, "print('went on')")
    done = twingraph(tmp_path, "--no-report")
    assert (done.code, outputs(done.nb)) == (1, "went on\n")
    assert "which no cell waited for, failed: ValueError: -2 is below zero" in done.err
    assert [done.err.count(f"{n} is below zero") for n in (-1, -2)] == [0, 1]


@pytest.mark.parametrize(
    ("last_words", "cause"),
    [
        ("os._exit(3)", r"the kernel ended with exit code 3 after using up to \d+ MB of memory"),
        ("os.kill(os.getpid(), 9)", r"the kernel was killed by SIGKILL.*out-of-memory killer"),
    ],
    ids=["exit", "sigkill"],
)
def test_a_dead_kernel_is_told_with_its_cause(
    tmp_path: Path, home: Path, last_words: str, cause: str
) -> None:
    dying = f"import os\nx = bytearray(200_000_000)\n{RECORDED}\n{last_words}"
    write(tmp_path / "in.ipynb", SLOW + "print('alive')", dying, "print('never')")
    done = twingraph(tmp_path)
    assert done.code == 1
    assert re.search(cause, done.err), done.err
    assert "in code cell 2:" in done.err
    assert outputs(done.nb) == "alive\n"
    assert re.search(cause, done.nb.cells[1].outputs[-1].evalue)
    assert re.search(cause, done.report)
    assert {row.form: row.state for row in rows(home)} == {
        "notebook": "failed",
        "pipeline": "interrupted",
    }
    assert "slowly" in done.report
    assert "interrupted" in done.report


def test_ctrl_c_stops_the_cell_and_its_runs_and_keeps_what_there_is(
    tmp_path: Path, home: Path
) -> None:
    wait = "print('here', flush=True)\nrun = slowly(1)\nimport time\ntime.sleep(60)"
    slow = SLOW.replace("time.sleep(0.5)", "time.sleep(60)").replace("def late", "async def late")
    slow = slow.replace("time.sleep(60)", "import asyncio; await asyncio.sleep(60)")
    write(tmp_path / "in.ipynb", slow, wait)
    out = tmp_path / "done"
    with subprocess.Popen(
        [str(BIN / "twingraph"), "run", "in.ipynb", "-o", str(out)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        head = [process.stderr.readline(), process.stderr.readline()]
        until(lambda: any(row.form == "pipeline" and row.tasks for row in rows(home)))
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130, (head, said)
    assert "cancelled: stopped by Ctrl-C" in said
    done = Done(130, "", said, out)
    assert done.nb.cells[1].outputs[-1].ename == "KeyboardInterrupt"
    assert "stopped by Ctrl-C" in done.report
    assert {row.form: row.state for row in rows(home)} == {
        "notebook": "cancelled",
        "pipeline": "cancelled",
    }


def test_a_notebook_is_cancelled_from_elsewhere_and_the_record_says_by_whom(
    tmp_path: Path, home: Path
) -> None:
    slow = SLOW.replace("def late", "async def late")
    slow = slow.replace("time.sleep(0.5)", "import asyncio; await asyncio.sleep(60)")
    write(tmp_path / "in.ipynb", slow, "slowly(1)", "import time\ntime.sleep(60)")
    out = tmp_path / "done"
    with subprocess.Popen(
        [str(BIN / "twingraph"), "run", "in.ipynb", "-o", str(out), "--no-report"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()
        until(lambda: any(row.form == "pipeline" and row.tasks for row in rows(home)))
        whole = next(row.id for row in rows(home) if row.form == "notebook")
        wrong = command("cancel", whole, "laet")
        assert "has no task 'laet' (did you mean 'late'?)" in wrong.stderr
        refused = command("pause", whole)
        assert refused.returncode == 0, refused.stderr  # its run is paused, not the notebook
        said = command("cancel", whole)
        assert (said.returncode, said.stdout) == (0, f"run {whole}: its notebook stops\n")
        told = process.stderr.read()
    assert process.returncode == 130, told
    assert re.search(r"cancelled: stopped by \S+@", told), told
    with contextlib.closing(Store.open(home, readonly=True)) as store:
        told_of = [event for batch in store.events(whole) for event in batch.events]
    (asked,) = [event for event in told_of if isinstance(event, CancelAsked)]
    assert "@" in asked.who
    assert {row.form: row.state for row in rows(home)} == {
        "notebook": "cancelled",
        "pipeline": "cancelled",
    }


def until(true: Any) -> None:
    """Wait for something that another process does."""
    import time

    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_notebook_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    write(tmp_path / "in.ipynb", "while True:\n    pass", "print('never')")
    done = twingraph(tmp_path, "--timeout", "6")
    assert done.code == 1
    assert "failed: the notebook did not finish within 6 s" in done.err
    assert done.nb.cells[0].outputs[-1].ename == "KeyboardInterrupt"


def test_a_time_limit_that_ends_before_the_kernel_is_up_counts_too(tmp_path: Path) -> None:
    write(tmp_path / "in.ipynb", "while True:\n    pass")
    done = twingraph(tmp_path, "--timeout", "0.01")
    assert done.code == 1
    assert "failed: the notebook did not finish within 0.01 s" in done.err


def test_without_a_store_the_notebook_runs_and_says_so(tmp_path: Path, home: Path) -> None:
    write(tmp_path / "in.ipynb", FLOW, "print(squares(3).result())")
    done = twingraph(tmp_path, env={"TWINGRAPH_STORE": "off"})
    assert (done.code, outputs(done.nb)) == (0, "5\n"), done.err
    assert "not recorded: TWINGRAPH_STORE is off" in done.err
    assert "not recorded" in done.report
    assert not home.exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-p", "tpo", "3"], "in.ipynb has no parameter 'tpo' (did you mean 'top'?); it has: top"),
        (["-p", "top", "x"], "parameter 'top' is int (default 15), got 'x' (str)"),
        (["-y", "{top: [1]}"], "parameter 'top' is int (default 15), got [1] (list)"),
        (["-y", "top"], "-y must name parameters, like {top: 10}; it is 'top'"),
        (["-f", "none.yaml"], "parameters file none.yaml cannot be read"),
        (["--kernel", "pyton3"], "'pyton3', which is not installed (did you mean 'python3'?)"),
        (["-o", "."], "the executed notebook would replace in.ipynb"),
    ],
    ids=["unknown", "type", "yaml-type", "yaml", "file", "kernel", "overwrite"],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    tmp_path: Path, home: Path, args: Sequence[str], said: str, monkeypatch: Any, capsys: Any
) -> None:
    write(tmp_path / "in.ipynb", "x = 1", params="top = 15")
    assert refused(tmp_path, args, monkeypatch, capsys).startswith("twingraph run: ")
    assert said in refused(tmp_path, args, monkeypatch, capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["in.ipynb"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no notebook in.ipynb"),
        ("{", "in.ipynb is not a notebook: it is not valid JSON"),
        ("[1]", "in.ipynb is not a notebook: it is JSON, but has no 'nbformat'"),
        ('{"nbformat": 4, "cells": 3}', "in.ipynb is not a valid notebook"),
    ],
    ids=["missing", "json", "other", "broken"],
)
def test_what_is_no_notebook_is_refused(
    tmp_path: Path, text: str | None, said: str, monkeypatch: Any, capsys: Any
) -> None:
    if text is not None:
        (tmp_path / "in.ipynb").write_text(text)
    assert said in refused(tmp_path, [], monkeypatch, capsys)


def refused(folder: Path, args: Sequence[str], monkeypatch: Any, capsys: Any) -> str:
    """What the command says in this process, where it must end with 2."""
    from twingraph_nb.runs.cli import main

    monkeypatch.chdir(folder)
    assert main(["run", "in.ipynb", *args]) == 2
    return str(capsys.readouterr().err)


def test_papermill_runs_it_with_the_engine_and_leaves_a_report(tmp_path: Path, home: Path) -> None:
    write(tmp_path / "in.ipynb", FLOW, "print('got', squares(n).result())", params="n = 3")
    told = papermill(tmp_path, "-p", "n", "4")
    assert told.returncode == 0, told.stderr
    nb = nbformat.read(tmp_path / "out.ipynb", 4)
    assert "got 14\n" in outputs(nb)
    assert nb.metadata["papermill"]["parameters"] == {"n": 4}
    by_form = {row.form: row for row in rows(home)}
    assert nb.metadata["twingraph"]["runs"] == [by_form["pipeline"].id]
    assert by_form["pipeline"].parent == by_form["notebook"].id
    assert "squares" in (tmp_path / "out.report.html").read_text()


def test_papermill_refuses_an_unknown_parameter_before_the_kernel_starts(
    tmp_path: Path, home: Path
) -> None:
    write(tmp_path / "in.ipynb", "open('ran', 'w')", params="n = 3")
    told = papermill(tmp_path, "-p", "nn", "4")
    assert told.returncode != 0
    assert "in.ipynb has no parameter 'nn' (did you mean 'n'?); it has: n" in told.stderr
    assert not (tmp_path / "ran").exists()


def papermill(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    words = [str(BIN / "papermill"), "--engine", "twingraph", "in.ipynb", "out.ipynb", *args]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True)


def test_a_run_rebuilt_from_the_store_is_what_the_report_shows(tmp_path: Path, home: Path) -> None:
    write(tmp_path / "in.ipynb", FLOW, "squares(4).result()", "total([1, 2]).result()")
    done = twingraph(tmp_path)
    store = Store.open(home, readonly=True)
    screens = [screen_of(store.events(id)) for id in done.nb.metadata["twingraph"]["runs"]]
    store.close()
    assert [(s.form, s.total, s.done) for s in screens] == [("pipeline", 6, 6), ("session", 1, 1)]
    assert "Calls made in cells" in done.report
    assert "8 tasks" not in done.report
