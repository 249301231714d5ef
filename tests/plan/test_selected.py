"""`only=`, `to=`, `skip=`, `force=` and `from_=`: what a run does, and that its plan says so."""

from __future__ import annotations

import asyncio
import random
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.plan.test_plan import assert_came_true
from tests.plan.workload import item, listed, plain, ran, traced, wild
from twingraph_nb import async_component, at_least, attempt, component, group, pipeline
from twingraph_nb.errors import (
    ArgumentError,
    LeftOut,
    NotKept,
    RunError,
    SelectorsClash,
    UnknownSelector,
    WiringError,
)
from twingraph_nb.graph.run import Run
from twingraph_nb.picture.progress import progress_line
from twingraph_nb.picture.screen import screen_of
from twingraph_nb.session import get_session


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))


NAMES = (
    "plain", "cached", "add", "listed", "item", "inner", "item[1]", "c*", "both", "summed", "tried",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(36))
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
    refused: Any = None
    try:
        plan: Any = wild.plan(seed, resume=resume, **chosen)  # type: ignore[arg-type]
    except (SelectorsClash, UnknownSelector) as exc:
        refused = exc
    if refused is not None:
        with pytest.raises((type(refused), NotKept)) as caught:  # that comes first, if it does
            wild.run(seed, resume=resume, **chosen).result(30)  # type: ignore[attr-defined, arg-type]
        if caught.type is not NotKept:
            assert vars(caught.value)["selector"] == refused.selector
        return
    run: Any = wild.run(seed, resume=resume, **chosen)  # type: ignore[arg-type]
    try:
        found = run.result(30)
    except NotKept:
        assert plan.note or plan.counts["blocked"], (chosen, plan)
        return
    except WiringError:
        assert plan.note, (chosen, plan)
        return
    assert found in (value, None) or "skip" in chosen
    assert_came_true(plan, run)
    assert_tidied_up(run)


def assert_tidied_up(run: Run) -> None:
    """Where something of a block ran, its clean-up was called as well."""
    tasks = {task.number: task for task in run.tasks}
    last = {n for n, task in tasks.items() if task.name == "finally"}
    for tidies in last:
        inside = [task for task in tasks.values() if tasks[tidies].group in task.above]
        began = [t for t in inside if t.form == "call" and last.isdisjoint(t.above) and t.number
                 not in last and t.state == "succeeded"]  # fmt: skip
        called = [task for task in inside if tidies in task.above]
        assert bool(began) <= bool(called), (run, tidies)


@component(cache=True)
def load(n: int) -> int:
    ran(f"load {n}")
    return n


@component(cache=True)
def clean(x: int) -> int:
    ran(f"clean {x}")
    return x + 1


@component()
def report(x: Any) -> int:
    ran(f"report {x}")
    return 10 * int(x)


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


def test_with_from_a_plan_knows_that_what_has_no_cache_may_be_reused_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @pipeline()
    def mapped():
        return plain(item.map(listed(1, 1), number=2), 3)

    monkeypatch.setenv("TWINGRAPH_KEEP_AFTER", "0")
    mapped().result(30)  # type: ignore[attr-defined]
    plan: Any = mapped.plan(from_="listed")
    assert (plan["plain"].action, plan["plain"].text) == ("blocked", "known when item has run")
    run: Any = mapped.run(from_="listed")
    run.result(30)
    assert (states(run)["listed"], states(run)["plain"]) == ("succeeded", "reused")


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


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"only": "clean", "skip": "clean"}, "only: 'clean' fits clean, and skip=clean leaves it"),
        ({"to": "c*", "skip": "load,clean"}, r"to: 'c\*' fits clean, and skip=load,clean leaves"),
        ({"force": "load", "skip": "l*"}, r"force: 'load' fits load, and skip=l\* leaves it out"),
        ({"to": "load", "from_": "report"}, "from_: 'report' fits report, and to=load leaves it"),
        ({"only": "report", "force": "clean"}, "force: 'clean' fits clean, and only=report leaves"),
        ({"to": "cleen"}, "to: no component is called 'cleen' .did you mean 'clean'"),
        ({"only": []}, "only: names nothing: leave it out, or say what is meant"),
        ({"only": ()}, "only: names nothing"),
        ({"skip": " , "}, "skip: names nothing"),
    ],
)
def test_selectors_that_cannot_be_meant_are_an_error_of_the_plan_and_of_the_run(
    chosen: dict[str, Any], said: str
) -> None:
    first = four_steps(1)
    first.result(30)
    with pytest.raises(WiringError, match=said):
        four_steps.plan(1, **chosen)
    with pytest.raises(WiringError, match=said):
        four_steps.run(1, **chosen).result(30)
    with pytest.raises(WiringError, match=said):
        first.resume(**chosen).result(30)


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


@component()
def stop(x: int) -> int:
    ran(f"stop {x}")
    return x


@pipeline()
def tidied(n: int):
    first = load(n)
    with attempt("using", finally_=partial(stop, first)) as used:
        clean(first)
        report(n)
    return tell(parent_hash=used)


def test_the_clean_up_of_a_block_runs_if_anything_in_it_does_and_gets_what_is_there() -> None:
    for chosen, did in (
        ({"to": "clean"}, ["load 1", "clean 1", "stop 1"]),
        ({"only": "report"}, ["report 1"]),  # what the clean-up gets was never made
        ({"only": "tell"}, ["tell"]),
        ({"skip": "report", "force": "load"}, ["load 1", "clean 1", "stop 1"]),
        ({"skip": "using"}, ["tell"]),
        ({"to": "using", "skip": "stop"}, ["report 1"]),
        ({"to": "using", "force": "load"}, ["load 1", "clean 1", "report 1", "stop 1"]),
    ):
        before = len(traced())
        plan: Any = tidied.plan(1, **chosen)  # type: ignore[arg-type]
        run: Any = tidied.run(1, **chosen)  # type: ignore[arg-type]
        run.result(30)
        assert sorted(traced()[before:]) == sorted(did), chosen
        assert_came_true(plan, run)
        assert "cancelled" not in states(run).values()


@async_component()
async def hangs() -> None:
    ran("hangs")
    await asyncio.Event().wait()


def test_what_is_selected_in_a_block_may_fail_or_be_cancelled_and_is_caught_and_tidied_up() -> None:
    @pipeline()
    def careful(how: str):
        with attempt(catch=lambda error: clean(5), finally_=partial(stop, 1)) as tried:
            report("wrong" if how == "fail" else 1)
            hangs()
        return tried

    run: Any = careful.run("fail", to="report")
    assert run.result(30) == 6
    assert sorted(traced()) == ["clean 5", "report wrong", "stop 1"]
    run = careful.run("hang", only="hangs")
    while "hangs" not in traced():
        threading.Event().wait(0.01)
    run.cancel()
    with pytest.raises(RunError):
        run.result(30)
    assert traced().count("stop 1") == 2


def test_a_look_at_what_comes_after_a_block_does_not_wait_for_ever_for_its_clean_up() -> None:
    @pipeline()
    def looks(n: int):
        first = load(n)
        with attempt(finally_=partial(stop, first)) as used:
            report(n)
        if clean(used).result() > 0:
            tell()
        return first

    plan: Any = looks.plan(1, to="tell")
    run: Any = looks.run(1, to="tell")
    run.result(30)
    assert sorted(traced()) == ["clean 10", "load 1", "report 1", "stop 1", "tell"]
    assert_came_true(plan, run)


def test_a_block_that_needs_what_is_left_out_is_left_out_and_cancels_nothing_for_it() -> None:
    caught: list[BaseException] = []

    @pipeline()
    def votes(policy: Any):
        with group("votes", policy=policy, catch=caught.append) as found:
            load(1)
            report(2)
        return found

    run: Any = votes.run("strict", skip="report")
    assert (run.result(30), caught) == (None, [])
    assert states(run) == {"votes": "skipped", "load": "succeeded", "report": "skipped"}
    run = votes.run("best_effort", skip="report")
    assert [(one.state, one.value) for one in run.result(30)] == [
        ("succeeded", 1),
        ("skipped", None),
    ]
    assert_came_true(votes.plan("best_effort", skip="report"), run)  # type: ignore[arg-type]
    run = votes.run(at_least(1), only="load")
    run.result(30)
    assert states(run) == {"votes": "succeeded", "load": "reused", "report": "skipped"}
    assert_came_true(votes.plan(at_least(1), only="load"), run)  # type: ignore[arg-type]


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
