"""`pipeline.plan`: what a run would do, and why."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from pathlib import Path

import pytest

from tests.plan import workload
from tests.plan.workload import cached, item, listed, plain, traced, waiting, wild
from twingraph_nb import component, pipeline
from twingraph_nb.component import Component, make_component
from twingraph_nb.errors import ArgumentError, RunError, WiringError
from twingraph_nb.graph.run import Run
from twingraph_nb.plan import Plan
from twingraph_nb.plan.drawn import screen_of_plan
from twingraph_nb.plan.history import TOP, Names, recorded
from twingraph_nb.session import close_session, get_session
from twingraph_nb.source.text import source_of


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))


@pytest.fixture
def keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value is kept, however little time it took."""
    monkeypatch.setenv("TWINGRAPH_KEEP_AFTER", "0")


def edited(made: Component, old: str, new: str) -> Component:
    """The component as if its cell had been run again with other text."""
    names: dict[str, object] = dict(vars(workload))
    text = made.source.text[made.source.text.index("def ") :].replace(old, new)
    exec(compile(text, "<edited>", "exec"), names)
    function = names[made.name]
    options = made.policy.changed()
    source = source_of(function, cell="cell [9]", text=text)  # type: ignore[arg-type]
    return make_component(function, options=options, source=source)  # type: ignore[arg-type]


def keyed(names: Names, tasks: list[tuple[int, int | None, str, str]]) -> dict[object, str]:
    """What becomes of each task, under a key that is the same in a plan and in a run."""
    places: dict[int | None, int] = {None: TOP}
    found: dict[object, str] = {}
    for number, group, name, what in tasks:
        key = names.key(places[group], name)
        places[number] = names.place(key)
        found[key] = what
    names.again()
    return found


def assert_came_true(plan: Plan, run: Run) -> None:
    """Each task of the run did what the plan said; the plan left out what it could not know."""
    history = get_session().history(run.id)
    record = recorded(run.id, history)
    names = Names()
    did = keyed(
        names,
        [
            (number, task.added.group, task.added.name, task.state)
            for number, task in record.tasks.items()
        ],
    )
    said = keyed(names, [(r.number, r.group, r.name, r.action) for r in plan if not r.expected])
    calls = keyed(names, [(r.number, r.group, r.name, r.form) for r in plan if not r.expected])
    assert said.keys() <= did.keys()
    wrong = {
        key: (action, did[key])
        for key, action in said.items()
        if calls[key] == "call"
        and action != "blocked"
        and (action, did[key])
        not in (("run", "succeeded"), ("reuse", "reused"), ("skip", "skipped"))
    }
    assert wrong == {}
    if not plan.note and "blocked" not in said.values():
        assert said.keys() == did.keys()


@pytest.mark.parametrize("seed", range(12))
def test_a_fresh_run_does_what_its_plan_said(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks = f"cached {random.Random(seed).randint(1, 8)}"
    monkeypatch.setenv("BREAKS", breaks)
    first = wild(seed)
    try:
        first.result(30)  # type: ignore[attr-defined]
    except ValueError:
        pass
    monkeypatch.setenv("BREAKS", "")
    before = traced()
    plan = wild.plan(seed)
    assert traced() == before
    again = wild(seed)
    again.result(30)  # type: ignore[attr-defined]
    assert_came_true(plan, again)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(12))
def test_a_resumed_run_does_what_its_plan_said(
    seed: int, keeps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    breaks = [f"{kind} {draw.randint(1, 8)}" for kind in ("add", "plain", "cached")]
    monkeypatch.setenv("BREAKS", ",".join(breaks))
    first = wild(seed)
    try:
        first.result(30)  # type: ignore[attr-defined]
    except ValueError:
        pass
    monkeypatch.setenv("BREAKS", "")
    close_session()  # a task that was cancelled may end in its thread, and what it gave be kept
    before = traced()
    plan = wild.plan(seed, resume=first.id)  # type: ignore[attr-defined]
    assert traced() == before
    assert plan.resumes == first.id  # type: ignore[attr-defined]
    again = wild.run(seed, resume=first.id)  # type: ignore[attr-defined]
    again.result(30)  # type: ignore[attr-defined]
    assert_came_true(plan, again)  # type: ignore[arg-type]


def test_a_plan_claims_nothing_and_leaves_no_run(keeps: None) -> None:
    first = waiting()
    first.result(30)  # type: ignore[attr-defined]
    for _ in range(2):
        waiting.plan(resume="last")
    assert len(get_session().store.runs()) == 1  # type: ignore[union-attr]
    assert list(get_session().runs) == [first.id]  # type: ignore[attr-defined]
    again = first.resume()  # type: ignore[attr-defined]
    again.result(30)
    assert {task.state for task in again.tasks} == {"reused"}


def test_what_never_ran_ends_the_plan_where_its_value_is_looked_at() -> None:
    plan = waiting.plan()
    assert [(r.name, r.action, r.reason) for r in plan] == [("listed", "run", "never ran")]
    assert plan.note == (
        "waiting looks at the value of listed, which has to run first: what follows is known "
        "only then"
    )
    assert plan.summary == "waiting: 1 run · 1 of unknown length"


def test_what_follows_is_expected_from_the_last_run() -> None:
    waiting().result(30)  # type: ignore[attr-defined]
    plan = waiting.plan(4)
    assert plan["listed"].text == "input 'x' was 3, is 4"
    assert plan["listed"].reason == "input changed"
    assert [(r.name, r.action, r.expected) for r in plan][1:] == [
        ("item", "blocked", True),
        ("item", "blocked", True),
        ("item", "blocked", True),
        ("cached", "blocked", True),
    ]
    assert all(row.seconds is not None for row in plan)
    assert plan.seconds_at_most > plan.seconds > 0


def test_a_plan_tells_what_it_takes_and_what_it_would_take_to_refresh_all() -> None:
    @component(cache=True)
    def heavy(x: int) -> int:
        time.sleep(0.05 * x)
        return x

    @pipeline()
    def two(n):
        return heavy(1), heavy(n)

    two(2).result(30)  # type: ignore[attr-defined]
    plan = two.plan(3)
    typical = plan[1].seconds
    assert typical is not None
    assert 0.05 < typical < 5
    assert [row.seconds for row in plan] == [0.0, typical]
    assert [row.anew for row in plan] == [typical, typical]
    assert (plan.seconds, plan.seconds_anew) == (typical, 2 * typical)
    assert plan.summary.startswith("two: 1 run · 1 reuse · about ")
    assert plan.summary.endswith(" if nothing was reused")
    assert plan.facts()["seconds_anew"] == 2 * typical


def test_an_edited_component_is_shown_with_its_diff_and_makes_later_inputs_others() -> None:
    @component(cache=True)
    def later(x: int) -> int:
        return x + 1

    made = {"now": item}

    @pipeline()
    def chain():
        return later(made["now"](3, 7))

    chain().result(30)  # type: ignore[attr-defined]
    assert [row.action for row in chain.plan()] == ["reuse", "reuse"]
    made["now"] = edited(item, "2 * x", "3 * x")
    plan = chain.plan()
    assert (plan["item"].action, plan["item"].reason) == ("run", "source changed")
    assert "-    return 2 * x\n+    return 3 * x" in plan["item"].diff
    assert (plan["later"].action, plan["later"].reason) == ("run", "input changed")
    assert plan["later"].text == "input 'x': item runs (source changed)"
    assert "-    return 2 * x" in repr(plan)
    made["now"] = edited(item, "2 * x", "2 * x  # as before")
    assert [row.action for row in chain.plan()] == ["reuse", "reuse"]


def test_a_secret_that_a_component_uses_is_not_in_its_record() -> None:
    names: dict[str, object] = {"api_token": 1234567, "KEY": "s3cret", "limit": 7}
    exec("def asks(x: int) -> int:\n    return len(KEY) + api_token + limit\n", names)
    asks = make_component(names["asks"])  # type: ignore[arg-type]
    run = asks(1).link  # type: ignore[attr-defined]
    session = get_session()
    session.drain(30)
    record = repr(session.history(run.id))
    assert "'limit': ('" in record
    assert "s3cret" not in record
    (used,) = [e for b in session.history(run.id) for e in b.events if hasattr(e, "uses")]
    assert used.uses["api_token"] == ("", "")
    assert used.uses["limit"][1] == "= 7"


def test_a_component_without_cache_runs_every_time_and_says_so() -> None:
    @pipeline()
    def one():
        return plain([1], 2)

    one().result(30)  # type: ignore[attr-defined]
    row = one.plan()["plain"]
    assert (row.action, row.reason) == ("run", "policy")
    assert row.text == "it has no cache: it runs every time"


def test_an_expired_value_is_computed_again() -> None:
    quick = item.on(cache=0.000001)

    @pipeline()
    def one():
        return quick(1, 2)

    one().result(30)  # type: ignore[attr-defined]
    row = one.plan()["item"]
    assert (row.action, row.reason) == ("run", "expired")


def test_a_value_that_is_gone_or_was_not_kept_is_computed_again(home: Path) -> None:
    @pipeline()
    def two():
        return plain([1], 2), cached([1], 3)

    two().result(30)  # type: ignore[attr-defined]
    plan = two.plan(resume="last")
    assert (plan["plain"].action, plan["plain"].reason) == ("run", "value not kept")
    assert plan["plain"].text.startswith("it finished, but its value was not kept (it took ")
    assert plan["cached"].action == "reuse"
    for blob in (home / "blobs").glob("??/*"):
        blob.unlink()
    row = two.plan(resume="last")["cached"]
    assert (row.action, row.text) == ("run", "what it gave is no longer in the store")


def test_a_damaged_value_that_the_pipeline_looks_at_is_computed_again(home: Path) -> None:
    waiting().result(30)  # type: ignore[attr-defined]
    for blob in (home / "blobs").glob("??/*"):
        blob.write_bytes(b"?" + blob.read_bytes()[1:])
    plan = waiting.plan()
    assert (plan["listed"].action, plan["listed"].reason) == ("run", "value not kept")
    assert "damaged" in plan["listed"].text
    assert "listed, which has to run first" in plan.note


def test_what_failed_runs_again_and_says_how_it_ended(
    keeps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    @pipeline()
    def two():
        return plain([cached([1], 1)], 2)

    monkeypatch.setenv("BREAKS", "plain 2")
    with pytest.raises(ValueError, match="plain 2 breaks"):
        two().result(30)  # type: ignore[attr-defined]
    plan = two.plan(resume="last")
    assert plan["cached"].action == "reuse"
    assert (plan["plain"].action, plan["plain"].reason) == ("run", "did not finish")
    assert plan["plain"].text == "it failed: ValueError: plain 2 breaks"


def test_what_gets_a_value_in_a_list_is_blocked_until_that_is_there(keeps: None) -> None:
    @pipeline()
    def two(n):
        return cached([plain([n], 2)], 3)

    two(1).result(30)  # type: ignore[attr-defined]
    plan = two.plan(2, resume="last")
    assert plan["plain"].action == "run"
    assert (plan["cached"].action, plan["cached"].text) == ("blocked", "known when plain has run")


def test_a_map_over_values_that_are_not_there_tells_its_items_from_the_last_run() -> None:
    @pipeline()
    def mapped(n):
        return item.map(listed(n, 1), number=2)

    mapped(1).result(30)  # type: ignore[attr-defined]
    assert mapped.plan(1).counts == {"run": 0, "reuse": 4, "blocked": 0}
    plan = mapped.plan(5)
    assert (plan["item"].action, plan["item"].count) == ("blocked", 3)
    assert [r.name for r in plan if r.expected] == ["item[0]", "item[1]", "item[2]"]
    assert plan.counts == {"run": 1, "reuse": 0, "blocked": 3}
    assert screen_of_plan(plan).counts["waiting"] == 3


def test_what_is_forced_runs_with_all_that_needs_it() -> None:
    @pipeline()
    def tree():
        return listed(item(3, 1), 2), cached([5], 3)

    tree().result(30)  # type: ignore[attr-defined]
    plan = tree.plan(force="item")
    assert [(r.name, r.action, r.reason) for r in plan] == [
        ("item", "run", "forced"),
        ("listed", "run", "forced"),
        ("cached", "reuse", "kept"),
    ]
    assert plan["listed"].text == "input 'x': item is forced"
    with pytest.raises(WiringError, match="did you mean 'item'"):
        tree.plan(force=["itme"])


@pytest.mark.parametrize("seed", range(6))
def test_a_forced_run_does_what_its_plan_said(seed: int, keeps: None) -> None:
    first = wild(seed)
    first.result(30)  # type: ignore[attr-defined]
    called = [task.component.name for task in first.tasks if task.component is not None]  # type: ignore[attr-defined]
    force = random.Random(seed).choice(called)
    plan = wild.plan(seed, resume=first.id, force=force)  # type: ignore[attr-defined]
    before = len(traced())
    again = wild.run(seed, resume=first.id, force=force)  # type: ignore[attr-defined]
    assert again.result(30) == first.result()  # type: ignore[attr-defined]
    assert_came_true(plan, again)  # type: ignore[arg-type]
    assert len(traced()) - before >= called.count(force)
    with pytest.raises(WiringError, match="no component is called 'itme'"):
        wild.run(seed, force="itme")


def test_a_call_by_hash_of_another_task_is_planned() -> None:
    @pipeline()
    def two():
        first = item(1, 1)
        return item(2, 2, parent_hash=first["hash"])

    assert [row.wires for row in two.plan()] == [(), ((0, "", ""),)]


def test_errors_of_the_call_and_of_the_pipeline_reach_the_user() -> None:
    @pipeline()
    def wrong():
        raise KeyError("no such thing")

    with pytest.raises(ArgumentError):
        wild.plan()
    with pytest.raises(KeyError, match="no such thing"):
        wrong.plan()
    with pytest.raises(RunError):
        wild.plan(1, resume="abc")


def test_a_plan_waits_for_a_call_that_still_runs() -> None:
    gate = threading.Event()

    @component()
    def late() -> int:
        gate.wait()
        return 3

    call = late()

    @pipeline()
    def uses() -> object:
        return item(call.result(), 0)

    threading.Timer(0.1, gate.set).start()
    assert [row.name for row in uses.plan().rows] == ["item"]


def test_without_a_store_everything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINGRAPH_STORE", "off")
    close_session()
    assert waiting.plan().counts == {"run": 1, "reuse": 0, "blocked": 0}
    with pytest.raises(RunError, match="not recorded"):
        waiting.plan(resume="last")


def test_a_plan_is_shown_as_text_html_and_json() -> None:
    @pipeline()
    def mapped(n):
        return cached(item.map(list(range(n)), number=2), 1)

    mapped(12).result(30)  # type: ignore[attr-defined]
    plan = mapped.plan(13)
    lines = repr(plan).splitlines()
    assert lines[0].startswith("mapped: 1 run · 12 reuse · 1 blocked · about ")
    assert re.match(r"item    run      12 reuse, 1 run: never ran +\S", lines[2])
    assert lines[3].startswith("cached  blocked  known when item has run")
    facts = json.loads(plan.json())
    assert facts["counts"] == {"run": 1, "reuse": 12, "blocked": 1}
    assert len(facts["tasks"]) == len(plan) == 15
    shown = plan._repr_html_()
    assert "<img" in shown
    assert "12 reuse, 1 run: never ran" in shown
