"""Runs that ask people: they wait, die, are answered by anybody, and go on."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from tests.faults.test_control import ROOT, twingraph, until
from twingraph_nb.events import Answered, Event
from twingraph_nb.runs.answers import questions
from twingraph_nb.store import Store


class Asking:
    """A process whose run asks; `trace` has what its tasks have done."""

    def __init__(self, folder: Path, home: Path, what: str, **environ: str) -> None:
        self.trace, self.home = folder / "trace", home
        self.trace.touch()
        words = [sys.executable, str(ROOT / "tests/faults/asking.py"), what]
        self.process = subprocess.Popen(
            words,
            env={**os.environ, "TRACE": str(self.trace), "PYTHONPATH": str(ROOT), **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def asks(self, *names: str) -> str:
        """Wait until the newest run asks just these; gives its id."""

        def look() -> bool:
            assert self.process.poll() is None, self.process.communicate()[0]
            if not Store.exists(self.home):
                return False
            with contextlib.closing(Store.open(self.home, readonly=True)) as store:
                runs = [row for row in store.runs() if row.form == "pipeline"]
                self.run = runs[0].id if runs and runs[0].pid == self.process.pid else ""
                asked = questions(store, self.run) if self.run else []
            return sorted(one.told.name for one in asked if one.waits) == sorted(names)

        until(look)
        return self.run

    def ended(self) -> list[str]:
        out, _ = self.process.communicate(timeout=60)
        return out.strip().splitlines()

    def events(self, run: str) -> list[Event]:
        with contextlib.closing(Store.open(self.home, readonly=True)) as store:
            return [event for batch in store.events(run) for event in batch.events]


@pytest.fixture
def asking(tmp_path: Path, home: Path) -> Iterator[object]:
    started: list[Asking] = []

    def start(what: str, **environ: str) -> Asking:
        started.append(Asking(tmp_path, home, what, **environ))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.process.kill()
        one.process.wait()
        one.process.stdout.close()


def test_a_question_outlives_its_process_and_takes_an_answer_while_nobody_runs(asking) -> None:
    run = asking("release")
    first = run.asks("go", "opinion")
    assert "opinion is answered: fine" in twingraph("answer", first, "opinion", "fine").stdout
    run.asks("go")
    run.process.kill()
    run.process.communicate()
    said = twingraph("answer", first)
    assert (
        "yes or no; its run has ended: one that resumes it goes on with the answer" in said.stdout
    )
    said = twingraph("answer", first, "perhaps")
    assert said.returncode == 1
    assert "'perhaps' is neither yes nor no" in said.stderr
    said = twingraph("answer", first, "yes")
    assert said.returncode == 0, said.stderr
    assert f"kept: `twingraph resume {first}` goes on with it" in said.stdout
    second = twingraph("answer", first, "no")
    assert second.returncode == 1
    assert "was first, at 2" in second.stderr
    again = asking("release", TWINGRAPH_RESUME=first)
    assert again.ended() == ["('deployed 0.93', 'fine')", "succeeded"]
    assert run.trace.read_text().split() == ["trained", "deployed"]
    with contextlib.closing(Store.open(run.home, readonly=True)) as store:
        newest = store.runs()[0].id
    told = [event for event in run.events(newest) if isinstance(event, Answered)]
    assert [event.text for event in told] == ["yes"]  # the other is taken over as it is
    assert "@" in told[0].who


def test_of_two_answers_at_once_one_counts_and_the_other_is_told(asking) -> None:
    run = asking("release")
    asked = run.asks("go", "opinion")
    words = [sys.executable, "-m", "twingraph_nb.runs.cli", "answer", asked, "opinion"]
    both = [
        subprocess.Popen(
            [*words, said], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for said in ("good", "bad")
    ]
    told = [one.communicate(timeout=60) for one in both]
    assert sorted(one.returncode for one in both) == [0, 1]
    won = next(i for i, one in enumerate(both) if one.returncode == 0)
    text = ("good", "bad")[won]
    assert f"opinion is answered: {text}" in told[won][0]
    refused = told[1 - won][1]
    assert "was first, at 2" in refused
    assert refused.endswith(f"with: {text}\n")
    assert "go is answered: no" in twingraph("answer", asked, "no").stdout
    assert run.ended() == [f"('kept back', '{text}')", "succeeded"]


def test_without_an_answer_in_time_the_default_holds_or_the_task_fails(asking) -> None:
    run = asking("hurried")
    said = run.ended()
    assert said[0].startswith("TaskTimeout: the question 'Is 1 right?' was not answered by anybody")
    assert said[-1] == "failed"
    with contextlib.closing(Store.open(run.home, readonly=True)) as store:
        (row,) = store.runs()
    told = [event for event in run.events(row.id) if isinstance(event, Answered)]
    assert [(event.text, event.who) for event in told] == [("yes", "default")]


def test_in_a_terminal_the_questions_are_shown_and_one_answer_is_read(asking) -> None:
    run = asking("release")
    asked = run.asks("go", "opinion")
    keyboard, terminal = pty.openpty()
    words = [sys.executable, "-m", "twingraph_nb.runs.cli", "answer", asked]
    process = subprocess.Popen(words, cwd=ROOT, stdin=terminal, stdout=subprocess.PIPE, text=True)
    os.write(keyboard, b"og\ngo\nmaybe\nno\n")
    said, _ = process.communicate(timeout=60)
    os.close(keyboard)
    os.close(terminal)
    assert process.returncode == 0
    assert "1 go: Deploy? (yes or no)\n" in said
    assert "no task 'og'" in said
    assert "'maybe' is neither yes nor no" in said
    assert "go is answered: no" in said
    assert twingraph("answer", asked, "so so").returncode == 0
    assert run.ended() == ["('kept back', 'so so')", "succeeded"]


def test_choices_and_forms_are_held_against_what_was_asked(asking) -> None:
    run = asking("many")
    asked = run.asks("size", "tags", "form")
    until(lambda: run.trace.read_text() == "trained\n")  # a question takes no place of the run
    several = twingraph("answer", asked, "8")
    assert several.returncode == 1
    assert "several tasks" in several.stderr
    assert "size: Size? (one of 8, 16)" in several.stderr
    assert "'9' is none of 8, 16" in twingraph("answer", asked, "size", "9").stderr
    assert "size is answered: 8" in twingraph("answer", asked, "size", "8").stdout
    assert twingraph("answer", asked, "tags", "c, a").returncode == 0
    form = {"rate": 0.5, "mode": "fsat", "dry": False}
    wrong = twingraph("answer", asked, "--json", json.dumps(form))
    assert "mode: 'fsat' is none of fast, slow (did you mean 'fast'?)" in wrong.stderr
    form["mode"] = "fast"
    assert twingraph("answer", asked, "form", "--json", json.dumps(form)).returncode == 0
    assert run.ended() == [f"(8, ['a', 'c'], {form}, 0.93)", "succeeded"]


ASKS = """
from twingraph_nb import ask, pipeline

@pipeline
def p():
    return ask("Deploy?", name="go"), ask("Where to?", kind="text")

print(p().result())
"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": spec})
    nb.cells = [nbformat.v4.new_code_cell(ASKS)]
    nbformat.write(nb, tmp_path / "in.ipynb")
    return tmp_path / "in.ipynb"


def test_a_batch_run_takes_its_answers_from_a_file(tmp_path: Path, notebook: Path) -> None:
    answers = tmp_path / "answers.yaml"
    answers.write_text("go: yes\nWhere to?: the moon\nWhere too?: Mars\n")
    out = tmp_path / "out"
    done = twingraph("run", notebook, "-o", out, "--answers", answers, "--no-report")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == (
        "twingraph run: the file of answers has what nothing asked for: "
        "'Where too?' (did you mean 'Where to?'?)"
    )
    said = nbformat.read(out / "in.ipynb", 4).cells[0].outputs
    assert "(True, 'the moon')" in "".join(one.get("text", "") for one in said)


def test_a_batch_run_without_input_names_the_question_it_would_ask(
    tmp_path: Path, notebook: Path
) -> None:
    answers = tmp_path / "answers.yaml"
    answers.write_text("{ask: here}\n")
    words = ("run", notebook, "-o", tmp_path / "out", "--no-report", "--no-input")
    done = twingraph(*words, "--answers", answers)
    assert done.returncode == 1
    assert "the question 'Deploy?' (go) needs an answer, but this run takes no input" in done.stderr


@pytest.mark.parametrize("door", ["twingraph", "papermill"])
def test_a_batch_run_waits_for_its_answers_and_says_how_to_give_them(
    tmp_path: Path, home: Path, notebook: Path, door: str
) -> None:
    (tmp_path / "out").mkdir()
    words = {
        "twingraph": ["run", notebook, "-o", tmp_path / "out", "--no-report"],
        "papermill": ["--engine", "twingraph", notebook, tmp_path / "out/in.ipynb"],
    }[door]
    command = [str(Path(sys.executable).parent / door), *map(str, words)]
    with (tmp_path / "said").open("w") as said:
        run = subprocess.Popen(command, cwd=ROOT, stderr=said)
    try:
        until(lambda: (tmp_path / "said").read_text().count(": twingraph answer ") == 2, 60)
        text = (tmp_path / "said").read_text()
        assert "? Deploy? (yes or no): twingraph answer " in text
        assert twingraph("answer", "last", "go", "no").returncode == 0
        assert twingraph("answer", "last", "Mars").returncode == 0
        assert run.wait(60) == 0
    finally:
        run.kill()
        run.wait()
    told = nbformat.read(tmp_path / "out/in.ipynb", 4).cells[0].outputs
    assert "(False, 'Mars')" in "".join(one.get("text", "") for one in told)
