"""``twingraph plan RUN`` and ``twingraph diff RUN RUN``: from the record alone."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.plan.workload import cached, item, listed, plain, traced
from twingraph_nb import attempt, pipeline
from twingraph_nb.component import make_component
from twingraph_nb.errors import RunError
from twingraph_nb.plan.diff import diff_of, packages_of
from twingraph_nb.plan.stored import functions_of
from twingraph_nb.runs.cli import main
from twingraph_nb.session import close_session, get_session
from twingraph_nb.source.text import source_of
from twingraph_nb.store import RunRow


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a run that kept one task, did not keep another, and failed in the third."""

    @pipeline()
    def three():
        return plain([cached([1], 1), plain([1], 2)], 3)

    monkeypatch.setenv("BREAKS", "plain 3")
    run = three()
    with pytest.raises(ValueError, match="plain 3 breaks"):
        run.result(30)  # type: ignore[attr-defined]
    close_session()
    return str(run.id)  # type: ignore[attr-defined]


def function(text: str, name: str) -> object:
    names: dict[str, object] = {}
    exec(compile(text, f"<{name}>", "exec"), names)
    return names[name]


def test_plan_of_a_run_tells_what_resuming_it_would_do(
    broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = traced()
    assert main(["plan", broken, "--json"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)
    assert plan["resumes"] == broken
    assert [(t["name"], t["action"], t["reason"]) for t in plan["tasks"]] == [
        ("cached", "reuse", "kept"),
        ("plain", "run", "value not kept"),
        ("plain", "run", "did not finish"),
    ]
    assert main(["plan", "last"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"three: 2 run · 1 reuse · resumes {broken} · about ")
    assert "it failed: ValueError: plain 3 breaks" in lines[4]
    assert traced() == before


def test_plan_of_a_run_takes_selectors(broken: str, capsys: pytest.CaptureFixture[str]) -> None:
    def planned(*words: str) -> list[tuple[str, str, str]]:
        assert main(["plan", broken, "--json", *words]) == 0
        (plan,) = json.loads(capsys.readouterr().out)
        return [(t["name"], t["action"], t["reason"]) for t in plan["tasks"]]

    assert planned("--to", "cached") == [
        ("cached", "reuse", "kept"),
        ("plain", "skip", "not selected"),
        ("plain", "skip", "not selected"),
    ]
    assert planned("--force", "cached", "--skip", "pl*") == [
        ("cached", "run", "forced"),
        ("plain", "skip", "not selected"),
        ("plain", "skip", "not selected"),
    ]
    assert planned("--from", "cached")[2] == ("plain", "run", "forced")
    assert main(["plan", broken, "--only", "cachd"]) == 1
    assert "--only: no task was called 'cachd' (did you mean 'cached'?)" in capsys.readouterr().err
    for words, said in (
        (
            ["--only", "c*", "--skip", "cached"],
            "--only: 'c*' fits cached, and --skip=cached",
        ),
        (
            ["--from", "plain", "--to", "cached"],
            "--from: 'plain' fits plain, and --to=cached",
        ),
        (["--only", ","], "--only: names nothing"),
    ):
        assert main(["plan", broken, *words]) == 1
        assert said in capsys.readouterr().err


def test_plan_of_a_run_knows_that_a_clean_up_belongs_to_its_block(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @pipeline()
    def tidied():
        with attempt(finally_=partial(cached, [2], 2)) as tried:
            plain([1], 1)
        return listed(tried, 3)

    tidied().result(30)  # type: ignore[attr-defined]
    close_session()
    for to in ("plain", "attempt", "listed"):
        assert main(["plan", "last", "--json", "--to", to]) == 0
        tasks = {t["name"]: t for t in json.loads(capsys.readouterr().out)[0]["tasks"]}
        assert (tasks["plain"]["action"], tasks["cached"]["action"]) == ("run", "reuse")
    assert main(["plan", "last", "--json", "--only", "listed"]) == 0
    tasks = {t["name"]: t for t in json.loads(capsys.readouterr().out)[0]["tasks"]}
    assert (tasks["finally"]["action"], tasks["finally"]["text"]) == (
        "skip",
        "nothing in its block runs",
    )


def test_plan_of_what_the_store_does_not_know_is_refused(
    broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "nothing"]) == 1
    assert "no run is called 'nothing'" in capsys.readouterr().err


def test_functions_of_a_notebook_are_found_beside_magics_and_other_languages(
    tmp_path: Path,
) -> None:
    cells = [
        "%%component double --cache\nimport re\n\ndef double(x: int) -> int:\n    return 2 * x\n",
        "%%component --lang bash\necho {",
        "%%component half(x) -> y\ny = x / 2",
    ]
    notebook = {"cells": [{"cell_type": "code", "source": text} for text in cells]}
    path = tmp_path / "in.ipynb"
    path.write_text(json.dumps(notebook))
    assert functions_of(path) == {"double": "def double(x: int) -> int:\n    return 2 * x"}
    assert functions_of(tmp_path / "none.ipynb") == {}


def test_plan_of_a_run_sees_that_a_cell_of_its_notebook_was_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "def double(x: int) -> int:\n    return 2 * x\n"
    notebook = tmp_path / "in.ipynb"
    cell = {"cell_type": "code", "source": "%%component double --cache\n" + text.replace("2", "3")}
    notebook.write_text(json.dumps({"cells": [cell]}))
    monkeypatch.setenv("TWINGRAPH_NOTEBOOK", str(notebook))
    made = function(text, "double")
    source = source_of(made, text=text)  # type: ignore[arg-type]
    double = make_component(made, options={"cache": True}, source=source)  # type: ignore[arg-type]

    @pipeline()
    def two():
        return item(double(1), 2), listed(1, 1)

    two().result(30)  # type: ignore[attr-defined]
    close_session()
    assert main(["plan", "last"]) == 0
    out = capsys.readouterr().out
    assert "two: 2 run · 1 reuse" in out
    assert "input 'x': double runs (source changed)" in out
    assert "-    return 2 * x\n+    return 3 * x" in out


def test_plan_of_a_run_sees_that_a_helper_was_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    helper = "def ran(what: str) -> None:\n    return None\n"
    notebook = tmp_path / "in.ipynb"
    notebook.write_text(json.dumps({"cells": [{"cell_type": "code", "source": helper}]}))
    monkeypatch.setenv("TWINGRAPH_NOTEBOOK", str(notebook))

    @pipeline()
    def two():
        return cached([1], 2)

    two().result(30)  # type: ignore[attr-defined]
    close_session()
    assert main(["plan", "last"]) == 0
    out = capsys.readouterr().out
    assert "what it uses has changed: ran" in out
    assert "+    return None" in out
    assert main(["plan", str(notebook)]) == 0
    assert capsys.readouterr().out == out
    assert main(["plan", str(tmp_path / "other.ipynb")]) == 1
    assert "other.ipynb is recorded" in capsys.readouterr().err


def test_diff_tells_code_parameters_inputs_outputs_and_what_only_one_has(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    texts = [f"def scaled(x: int) -> int:\n    return {n} * x\n" for n in (2, 3)]
    ids = []
    for text in texts:
        made = function(text, "scaled")
        scaled = make_component(made, source=source_of(made, text=text))  # type: ignore[arg-type]

        @pipeline()
        def some(n, scaled=scaled):
            values = [scaled(x) for x in range(1, n)]
            return cached(values, n), listed(1, 1)

        run = some(3 + len(ids))
        run.result(30)  # type: ignore[attr-defined]
        ids.append(run.id)  # type: ignore[attr-defined]
    session = get_session()
    session.driver.flush_to_disk()
    assert session.store is not None
    found = diff_of(session.store, *ids)
    assert found.params == {"n": ("3", "4")}
    assert [change.name for change in found.code] == ["scaled"]
    assert "-    return 2 * x\n+    return 3 * x" in found.code[0].diff
    assert (found.only_first, found.only_second) == ((), ("scaled",))
    assert (found.surroundings, found.packages) == ({}, {})
    assert found.times.keys() == {"scaled", "cached"}
    assert [task.name for task in found.tasks] == ["scaled", "scaled", "cached"]
    scaled_task, _, cached_task = found.tasks
    assert (scaled_task.inputs, scaled_task.outputs) == ({}, {"value": ("2", "3")})
    assert scaled_task.reason.startswith("code, output value")
    marks = {(box.name, box.mark) for box in found.graph.nodes}
    assert marks == {
        ("scaled", "changed"),
        ("scaled", "added"),
        ("cached", "changed"),
        ("listed", "same"),
    }
    shown = found._repr_html_()
    assert "<img" in shown
    assert "code, output value" in shown
    assert cached_task.inputs["number"] == ("3", "4")
    assert (cached_task.same, found.equal) == (False, 1)
    assert json.loads(found.json())["first"] == ids[0]
    assert "param   n: 3 -> 4" in repr(found)
    assert main(["diff", *ids]) == 0
    out = capsys.readouterr().out
    assert f"only    scaled is only in {ids[1]}" in out
    assert f"+++ scaled ({ids[1]})" in out
    assert main(["diff", ids[0], "none"]) == 1
    assert main(["diff", *ids, "--html", str(tmp_path / "diff.html")]) == 0
    shown = (tmp_path / "diff.html").read_text()
    assert shown.startswith("<!DOCTYPE html>")
    assert 'alt="graph of both runs"' in shown
    assert main(["diff", *ids, "--html", str(tmp_path / "none" / "diff.html")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_diff_tells_the_first_items_of_a_map_and_how_many_more_differ() -> None:
    @pipeline()
    def mapped(first):
        return item.map(list(range(first, first + 9)), number=1)

    ids = []
    for first in (1, 20):
        run = mapped(first)
        run.result(30)  # type: ignore[attr-defined]
        ids.append(run.id)  # type: ignore[attr-defined]
    session = get_session()
    session.driver.flush_to_disk()
    assert session.store is not None
    told = diff_of(session.store, *ids).lines()
    assert [line for line in told if line.startswith("input   item[")] == [
        f"input   item[{n}].x: {n + 1} -> {n + 20}" for n in range(4)
    ]
    assert "items   item: 5 more of its items differ" in told


def test_diff_tells_sizes_times_and_versions_of_packages() -> None:
    @pipeline()
    def some(n):
        return listed(n, n)

    ids = []
    for n in (1, 10**15):
        run = some(n)
        run.result(30)  # type: ignore[attr-defined]
        ids.append(run.id)  # type: ignore[attr-defined]
    session = get_session()
    session.driver.flush_to_disk()
    assert session.store is not None
    (task,) = diff_of(session.store, *ids).tasks
    before, after = task.bytes
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert after > before
    assert f"{before} -> {after} bytes" in task.reason
    told = replace(
        diff_of(session.store, *ids),
        packages={"numpy": ("1.26.4", "2.0.0")},
        times={"listed": (0.2, 1.5), "steady": (1.0, 1.05)},
    ).lines()
    assert "package numpy: 1.26.4 -> 2.0.0" in told
    assert "time    listed: 0.2 s -> 1.5 s" in told
    assert not any("steady" in line for line in told)


def test_versions_of_packages_are_compared_where_both_have_loaded_them() -> None:
    one, two = (RunRow.__new__(RunRow) for _ in range(2))
    for row, packages in ((one, "numpy 1.26.4, rich 13.0"), (two, "numpy 2.0.0, torch 2.1")):
        object.__setattr__(row, "origin", {"packages": packages})
    assert packages_of(one, two) == {"numpy": ("1.26.4", "2.0.0")}


def test_equal_runs_do_not_differ() -> None:
    @pipeline()
    def some():
        return cached([plain([1], 1), plain([2], 2)], 3)

    ids = []
    for _ in range(2):
        run = some()
        run.result(30)  # type: ignore[attr-defined]
        ids.append(run.id)  # type: ignore[attr-defined]
    session = get_session()
    session.driver.flush_to_disk()
    assert session.store is not None
    found = diff_of(session.store, *ids)
    assert (found.code, found.tasks, found.equal) == ((), (), 3)
    with pytest.raises(RunError):
        diff_of(session.store, ids[0], "none")
