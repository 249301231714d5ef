"""The command `twingraph`, as a process where that matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from twingraph_nb import __version__
from twingraph_nb.events import (
    Batch,
    ComponentUsed,
    ErrorInfo,
    Event,
    RunFinished,
    RunStarted,
    TaskAdded,
    TaskDone,
    TaskErred,
    TaskLogged,
    TaskReused,
    TaskSkipped,
    TaskStarted,
)
from twingraph_nb.runs.cli import main
from twingraph_nb.store import Store, identity

NOW = time.time()


def etl(run: str = "abc123", at: float = NOW) -> list[Event]:
    """A run with a reused, a done, a failed and a skipped task, and what they printed."""
    error = ErrorInfo("ValueError", "bad row 7", cell="clean", line=3)
    told: list[Event] = [
        RunStarted(
            at=at, run=run, name="etl", params={"n": "10"},
            origin={**identity(), "notebook": "census.ipynb"},
        ),
        ComponentUsed(at=at, digest="d0", name="load"),
        ComponentUsed(at=at, digest="d1", name="clean", policy={"retries": 1}),
    ]  # fmt: skip
    for n, name in enumerate(["load", "clean[0]", "clean[1]", "join"]):
        digest = "d1" if name.startswith("clean") else "d0"
        wires = ((1, "value", "x"), (2, "value", "y")) if name == "join" else ()
        told.append(
            TaskAdded(at=at, task=n, hash=f"{n}fee0", name=name, component=digest, wires=wires)
        )
    return [
        *told,
        TaskReused(at=at, task=0, digest="x", run="older", age=90.0),
        TaskStarted(at=at, task=1),
        TaskStarted(at=at, task=2),
        TaskLogged(at=at, task=1, stream="stdout", text="half a "),
        TaskLogged(at=at, task=2, stream="stderr", text="careful\nvery "),
        TaskLogged(at=at, task=1, stream="stdout", text="line\n"),
        TaskDone(at=at + 2, task=1),
        TaskErred(at=at + 1, task=2, attempt=1, error=error),
        TaskStarted(at=at + 2, task=2, attempt=2),
        TaskErred(at=at + 3, task=2, attempt=2, error=error),
        TaskSkipped(at=at + 3, task=3, because=2),
        RunFinished(at=at + 3, state="failed", error=error),
    ]


@pytest.fixture
def kept(home: Path) -> Path:
    """A home with the run abc123."""
    keep(home, "abc123", etl())
    return home


def keep(home: Path, run: str, events: list[Event]) -> None:
    store = Store.open(home)
    store.emit([Batch(run, 0, tuple(events))])
    assert store.flush()
    store.close()


def test_runs_are_listed_with_state_and_counts(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == "run name form state tasks started took notebook".split()  # noqa: SIM905
    words = line.split()
    assert words[:7] == ["abc123", "etl", "pipeline", "failed", "2/4", "1", "failed"]
    assert words[-3:] == ["3.0", "s", "census.ipynb"]


def test_runs_as_json_hold_what_the_store_knows(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "--json", "--limit", "5"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["id"], row["state"], row["tasks"], row["reused"]) == ("abc123", "failed", 4, 1)
    assert (row["started"], row["seconds"]) == (NOW, pytest.approx(3.0))
    assert row["params"] == {"n": "10"}


def test_an_empty_home_has_no_runs_and_is_not_made(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs"]) == 0
    assert capsys.readouterr().out == f"no runs are recorded in {home}\n"
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["gc", "--older-than", "1d"]) == 0
    assert not home.exists()


def test_show_tells_facts_and_tasks_with_reasons(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "last"]) == 0
    out = capsys.readouterr().out
    facts, tasks = out.split("\n\n")
    told = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in facts.splitlines()}
    assert told["run"] == "abc123  etl (pipeline)"
    assert told["state"] == "failed"
    assert told["tasks"] == "2 of 4 done, 1 reused, 1 failed, 1 skipped"
    assert told["error"] == "ValueError: bad row 7"
    assert told["params"] == "n = 10"
    lines = tasks.splitlines()
    assert len(lines) == 5
    assert "reused" in lines[1]
    assert "in run older" in lines[1]
    assert "succeeded" in lines[2]
    assert lines[3].split()[1] == "clean[1]"
    assert lines[3].rstrip().endswith("ValueError: bad row 7 (clean, line 3)")
    assert lines[4].rstrip().endswith("clean[1] did not succeed")


def test_show_as_json_has_each_task(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "abc", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["id"], told["children"]) == ("abc123", [])
    by_name = {task["name"]: task for task in told["each"]}
    failed = by_name["clean[1]"]
    assert (failed["state"], failed["attempts"], failed["error"]["line"]) == ("failed", 2, 3)
    assert (failed["component"], failed["hash"]) == ("clean", "2fee0")
    assert by_name["load"]["state"] == "reused"


def test_show_cuts_a_long_table_but_never_what_failed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks: list[Event] = [
        TaskAdded(at=NOW, task=n, hash=f"h{n}", name=f"t{n}", component="d") for n in range(500)
    ]
    error = TaskErred(at=NOW, task=499, attempt=1, error=ErrorInfo("E", "late one"))
    keep(home, "big", [RunStarted(at=NOW, run="big", name="big"), *tasks, error])
    assert main(["show", "big"]) == 0
    out = capsys.readouterr().out
    assert "late one" in out
    assert "... and 400 more; `--all` shows them" in out
    assert main(["show", "big", "--all"]) == 0
    assert len(capsys.readouterr().out.split("\n\n")[1].splitlines()) == 501


def test_run_whose_process_is_gone_is_shown_as_interrupted(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    origin = {**identity(), "pid_started": "before"}
    events = [
        RunStarted(at=NOW, run="r1", name="n", origin=origin),
        TaskAdded(at=NOW, task=0, hash="h", name="t", component="d"),
        TaskStarted(at=NOW, task=0),
    ]
    keep(home, "r1", events)
    assert main(["show", "r1"]) == 0
    out = capsys.readouterr().out
    assert "interrupted (its process ended before the run did)" in out
    assert out.rstrip().endswith("its process ended")


@pytest.mark.parametrize(
    ("task", "lines"),
    [
        (None, ["clean[1] | careful", "clean[0] | half a line", "clean[1] | very "]),
        ("clean", ["clean[1] | careful", "clean[0] | half a line", "clean[1] | very "]),
        ("clean[0]", ["half a line"]),
        ("2", ["careful", "very "]),
        ("2fee", ["careful", "very "]),
        ("load", []),
    ],
)
def test_logs_show_what_tasks_printed_line_by_line(
    kept: Path, capsys: pytest.CaptureFixture[str], task: str | None, lines: list[str]
) -> None:
    assert main(["logs", "abc123", *([task] if task else [])]) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_logs_say_when_a_line_was_begun(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = [(0.0, "one\ntw"), (1.5, "o\nthree\n"), (2.0, "end")]
    added = TaskAdded(at=NOW, task=0, hash="h", name="t", component="d")
    lines = [TaskLogged(at=at, task=0, stream="stdout", text=text) for at, text in said]
    keep(home, "r1", [RunStarted(at=0.0, run="r1", name="n"), added, *lines])
    assert main(["logs", "--timestamps", "r1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1970-01-01T00:00:00.000+00:00 one",
        "1970-01-01T00:00:00.000+00:00 two",
        "1970-01-01T00:00:01.500+00:00 three",
        "1970-01-01T00:00:02.000+00:00 end",
    ]


def test_what_is_not_known_fails_with_the_nearest_name(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", "last", "laod"]) == 1
    said = capsys.readouterr().err
    assert said == "twingraph: run abc123 has no task 'laod' (did you mean 'load'?)\n"
    assert main(["show", "abd123"]) == 1
    assert "no run is called 'abd123' (did you mean 'abc123'?)" in capsys.readouterr().err


def test_gc_says_what_it_would_remove_and_then_does(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(home, "old", etl("old", at=NOW - 40 * 86400))
    keep(home, "new", etl("new"))
    assert main(["gc", "--older-than", "30d", "--dry-run"]) == 0
    would = capsys.readouterr().out
    assert would.startswith("would remove 1 run (19 events), 0 results and 0 values: ")
    assert main(["gc", "--older-than", "30d", "--keep-last", "2"]) == 0
    assert capsys.readouterr().out.startswith("removed 0 runs")
    assert main(["gc", "--older-than", "30d"]) == 0
    assert capsys.readouterr().out == would.replace("would remove", "removed")
    assert main(["runs", "--json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == ["new"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["rusn"], "invalid choice: 'rusn'"),
        (["show"], "the following arguments are required: RUN"),
        (["runs", "--limit", "many"], "wants a whole number, 0 or more, not 'many'"),
        (["gc", "--older-than", "soon"], "wants a time above 0"),
        (["gc"], "the following arguments are required: --older-than"),
    ],
)
def test_misuse_is_told_and_exits_with_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_home_may_be_named_before_and_after_the_command(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--home", str(kept), "runs"], ["runs", "--home", str(kept)]):
        monkeypatch.setenv("TWINGRAPH_HOME", str(tmp_path / "empty"))
        assert main(words) == 0
        assert "abc123" in capsys.readouterr().out


def test_damaged_store_is_an_error_and_is_left_alone(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept / "twingraph.db").write_bytes(b"no database" * 1000)
    assert main(["runs"]) == 1
    assert "is damaged; move it away or restore it" in capsys.readouterr().err
    assert (kept / "twingraph.db").read_bytes() == b"no database" * 1000


def test_command_is_light_and_stops_quietly_when_nobody_reads(kept: Path) -> None:
    """Heavy libraries cost a second; `head` closes the pipe early."""
    noise = TaskLogged(at=NOW, task=0, stream="stdout", text="x" * 100 + "\n")
    keep(kept, "loud", [RunStarted(at=NOW, run="loud", name="loud"), *[noise] * 20_000])
    code = (
        "import sys; from twingraph_nb.runs.cli import main; ended = main();"
        "heavy = {'IPython', 'papermill', 'pandas', 'numpy', 'ipywidgets'} & set(sys.modules);"
        "sys.stderr.write(' '.join(heavy)); sys.exit(ended)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "logs", "loud"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TWINGRAPH_HOME": str(kept)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "x" * 100 + "\n"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 1


def test_installed_command_tells_its_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twingraph_nb.runs.cli", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"twingraph {__version__}\n"
