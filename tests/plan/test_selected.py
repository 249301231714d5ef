"""`only=`, `to=`, `skip=`, `force=` and `from_=`: what a run does, and that its plan says so."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.plan.test_plan import assert_came_true
from tests.plan.workload import ran, traced, wild
from twingraph_nb import component, pipeline
from twingraph_nb.errors import ArgumentError, LeftOut, NotKept, WiringError
from twingraph_nb.graph.run import Run
from twingraph_nb.picture.progress import progress_line
from twingraph_nb.picture.screen import screen_of
from twingraph_nb.session import get_session


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))


NAMES = ("plain", "cached", "add", "listed", "item", "inner", "item[1]", "c*")


@pytest.mark.parametrize("seed", range(24))
def test_a_selected_run_does_what_its_plan_said(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(seed)
    monkeypatch.setenv("TWINGRAPH_KEEP_AFTER", draw.choice(["0", "1"]))
    first = wild(seed)
    value = first.result(30)  # type: ignore[attr-defined]
    called = {t.component.name if t.component else t.name for t in first.tasks}  # type: ignore[attr-defined]
    called |= {t.name for t in first.tasks if t.index == 1}  # type: ignore[attr-defined]
    names = [name for name in NAMES if name in called]
    kinds = draw.sample(["only", "to", "skip", "force", "from_"], draw.choice([1, 1, 2]))
    chosen = {kind: draw.choice(names) for kind in kinds}
    resume = draw.choice(["", first.id])  # type: ignore[attr-defined]
    plan = wild.plan(seed, resume=resume, **chosen)  # type: ignore[arg-type]
    run = wild.run(seed, resume=resume, **chosen)  # type: ignore[arg-type]
    try:
        found = run.result(10)  # type: ignore[attr-defined]
    except NotKept:
        assert plan.note or plan.counts["blocked"], (chosen, plan)  # type: ignore[attr-defined]
        return
    assert found in (value, None)
    assert_came_true(plan, run)  # type: ignore[arg-type]


@component(cache=True)
def load(n: int) -> int:
    ran(f"load {n}")
    return n


@component(cache=True)
def clean(x: int) -> int:
    ran(f"clean {x}")
    return x + 1


@component()
def report(x: int) -> int:
    ran(f"report {x}")
    return 10 * x


@component()
def tell() -> None:
    ran("tell")


@pipeline()
def four_steps(n: int):
    found = report(clean(load(n)))
    tell(parent_hash=found)
    return found


def states(run: Run) -> dict[str, str]:
    return {task.name: task.state for task in run.tasks}


def test_to_runs_what_is_needed_and_the_rest_is_left_out_with_its_reason() -> None:
    run = four_steps.run(1, to="clean")
    assert run.result(30) is None
    assert states(run) == {
        "load": "succeeded",
        "clean": "succeeded",
        "report": "skipped",
        "tell": "skipped",
    }
    assert (run.state, traced()) == ("succeeded", ["load 1", "clean 1"])
    with pytest.raises(LeftOut, match="report is left out of this run: not selected by to=clean"):
        run.tasks["report"].result()
    screen = screen_of(get_session().history(run.id))
    assert screen.tasks[2].why == "not selected by to=clean"
    assert "2 skipped" in (line := progress_line(screen, 0.0))
    assert line.endswith("to=clean")


def test_only_takes_its_inputs_from_the_store_or_says_what_is_missing_and_the_cure() -> None:
    with pytest.raises(NotKept, match=r"report wants the value of clean.*to='report'.*cache=True"):
        four_steps.run(1, only="report").result(30)
    assert traced() == []
    plan = four_steps.plan(1, only="report")
    assert plan["report"].action == "blocked"
    assert plan["report"].text == "it wants the value of clean, which is not kept"
    four_steps.run(1, to="clean").result(30)
    run = four_steps.run(1, only=report)
    assert run.result(30) == 20
    assert states(run) == {
        "load": "skipped",
        "clean": "reused",
        "report": "succeeded",
        "tell": "skipped",
    }
    assert traced() == ["load 1", "clean 1", "report 2"]


def test_skip_takes_a_kept_value_or_skips_what_gets_it_but_not_what_only_comes_after() -> None:
    run = four_steps.run(1, skip="clean")
    assert run.result(30) is None
    assert states(run) == {
        "load": "succeeded",
        "clean": "skipped",
        "report": "skipped",
        "tell": "skipped",
    }
    assert run.tasks["report"].exception().because == "clean"
    run = four_steps.run(1, skip="report")
    assert run.result(30) is None
    assert states(run) | {"clean": ""} == {
        "load": "reused",
        "clean": "",
        "report": "skipped",
        "tell": "succeeded",
    }
    assert four_steps.run(1, skip="clean").result(30) == 20
    assert traced().count("clean 1") == 1


def test_from_runs_anew_what_follows_and_reuses_what_has_no_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TWINGRAPH_KEEP_AFTER", "0")
    four_steps(1).result(30)
    run = four_steps.run(1, from_="report")
    assert run.result(30) == 20
    assert states(run)["clean"] == "reused"
    run = four_steps.run(1, from_="tell")
    run.result(30)
    assert (states(run)["report"], states(run)["tell"]) == ("reused", "succeeded")


def test_a_resumed_run_takes_selectors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINGRAPH_KEEP_AFTER", "0")
    first = four_steps(1)
    first.result(30)
    again = first.resume(force="clean", to="report")
    assert again.result(30) == 20
    assert states(again) == {
        "load": "reused",
        "clean": "succeeded",
        "report": "succeeded",
        "tell": "skipped",
    }
    third = four_steps.run(1, resume=again.id, only="tell")
    assert third.result(30) is None
    assert states(third)["tell"] == "reused"  # the first run has done it


def test_an_unknown_name_is_told_before_anything_runs_or_at_the_end_of_the_function() -> None:
    with pytest.raises(WiringError, match=r"only: no component is called 'reprot'.*'report'"):
        four_steps.run(1, only="reprot")
    with pytest.raises(WiringError, match="skip: no task is called 'wild'"):
        four_steps.run(1, skip="wild").result(30)
    with pytest.raises(WiringError, match="skip: no task is called 'wild'"):
        four_steps.plan(1, skip="wild")


def test_an_input_that_is_called_like_an_option_is_never_taken_for_it() -> None:
    @pipeline()
    def picky(only: str, n: int = 1):
        return load(n)

    with pytest.raises(ArgumentError, match="'only' is an input of it and an option here"):
        picky.run(only="load")
    assert picky.run("text", only="load").result(30) == 1
    assert picky("load").result(30) == 1


def test_the_function_ends_where_it_looks_at_what_is_left_out() -> None:
    @pipeline()
    def looking(n: int):
        first = load(n)
        if report(clean(first)).result() > 0:
            tell()
        return first

    plan = looking.plan(1, to="load")
    assert plan.note == "looking ends where it looks at the value of report, which is left out"
    run = looking.run(1, to="load")
    assert run.result(30) is None
    assert states(run) == {"load": "succeeded", "clean": "skipped", "report": "skipped"}
    run = looking.run(1, to="tell")  # what leads there runs
    run.result(30)
    assert set(states(run).values()) == {"succeeded", "reused"}


def test_an_item_of_a_map_runs_alone() -> None:
    @pipeline()
    def mapped():
        return clean.map([1, 2, 3])

    run = mapped.run(to="clean[1]")
    assert run.result(30) is None
    assert traced() == ["clean 2"]
    assert states(run) == {
        "clean": "skipped",
        "clean[0]": "skipped",
        "clean[1]": "succeeded",
        "clean[2]": "skipped",
    }
