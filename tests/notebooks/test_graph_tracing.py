"""The notebook of a traced night: what it asks of the graph is what really ran."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from tests.notebooks.executed import Executed, execute, kept_short
from twingraph_nb.events import TaskAdded, TaskErred, TaskSkipped
from twingraph_nb.store import Store

NAME = "01_graph_tracing"


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    return execute(NAME, tmp_path_factory.mktemp("night"))


@pytest.fixture(scope="module")
def ran(night: Executed) -> dict[type, list[TaskAdded]]:
    """The calls of the pipeline's run: all, those that failed, those that were left out."""
    store = Store.open(night.home, readonly=True)
    run = next(row for row in store.runs() if row.form == "pipeline")
    events = [event for batch in store.events(run.id) for event in batch.events]
    store.close()
    calls = {event.task: event for event in events if isinstance(event, TaskAdded)}
    ended = {kind: [e for e in events if isinstance(e, kind)] for kind in (TaskErred, TaskSkipped)}
    found = {kind: [calls[e.task] for e in told] for kind, told in ended.items()}
    return {TaskAdded: list(calls.values()), **found}


def test_five_components_fan_out_by_twenty_and_by_chance(ran: dict[type, list[TaskAdded]]) -> None:
    calls = Counter(call.name for call in ran[TaskAdded])
    assert set(calls) == {"plan", "observe", "revisit", "judge", "publish"}
    assert calls["observe"] == 20
    assert 0 < calls["judge"] < 20  # the condition: not every star is worth it
    names = {call.task: call.name for call in ran[TaskAdded]}
    judged = [call for call in ran[TaskAdded] if call.name == "judge"]
    wide = {sum(names[wire[0]] == "revisit" for wire in call.wires) for call in judged}
    assert len(wide) > 1  # thrown at run time


def test_what_waited_and_what_ran_was_seen_while_it_did(night: Executed) -> None:
    seen = night.printed("watch")
    assert int(re.findall(r"asked (\d+) times", seen)[0]) > 3
    assert "'waiting'" in seen
    assert night.shown("states", "image/svg+xml").count("<polygon") == 5


def test_failures_name_their_error_and_what_was_left_out(
    night: Executed, ran: dict[type, list[TaskAdded]]
) -> None:
    head, *rows = night.table("clouds")
    assert head == ["error", "instrument", "seconds", "left out for it"]
    assert len(rows) == len(ran[TaskErred]) > 0
    assert all(re.match(r"RuntimeError: clouds over S-\d\d in night \d", row[0]) for row in rows)
    assert {row[1] for row in rows} == {"south dome"}
    left_out = [hash for row in rows for hash in re.findall(r"[0-9a-f]{24}", row[3])]
    assert sorted(left_out) == sorted(call.hash for call in ran[TaskSkipped])


def test_tasks_have_the_names_of_twingraph(
    night: Executed, ran: dict[type, list[TaskAdded]]
) -> None:
    (told,) = json.loads(night.shown("properties"))
    assert told["Name"] == ["judge"]
    assert told["Compute Platform"] == ["process"]
    judge = next(call for call in ran[TaskAdded] if [call.hash] == told["Hash"])
    hashes = {call.task: call.hash for call in ran[TaskAdded]}
    assert told["Parent Hash"] == list(dict.fromkeys(hashes[wire[0]] for wire in judge.wires))
    for parent in told["Parent Hash"]:
        assert parent in told["Input Values"][0]


def test_every_path_is_counted(night: Executed, ran: dict[type, list[TaskAdded]]) -> None:
    ways = {row[0]: int(row[1]) for row in night.table("ways")[1:]}
    assert ways["plan, observe, publish"] == 20  # by parent_hash, without a value
    kept = [
        call for call in ran[TaskAdded] if call.name == "judge" and call not in ran[TaskSkipped]
    ]
    assert ways["plan, observe, judge, publish"] == len(kept)
    names = {call.task: call.name for call in ran[TaskAdded]}
    looks = sum(names[wire[0]] == "revisit" for call in kept for wire in call.wires)
    assert ways["plan, revisit, judge, publish"] == looks


def test_the_pictures_and_the_question_are_there(night: Executed) -> None:
    assert "<img" in night.shown("watch", "text/html")
    assert "<img" in night.shown("drawn", "text/html")
    roles = [row[0:2] for row in night.table("made")[1:]]
    assert roles[0] == ["maker", "judge"]
    assert ["ancestor", "plan"] in roles
    published = set(re.findall(r"S-\d\d", night.printed("watch").splitlines()[-1]))
    assert published
    sky = dict(re.findall(r">(S-\d\d) ([a-z ]+)</text>", night.shown("curves", "image/svg+xml")))
    assert len(sky) == 20
    assert {star for star, word in sky.items() if word == "planet"} == published
    assert set(sky.values()) == {"planet", "no planet", "clouds", "not looked at again"}


def test_it_is_short_and_kept_without_outputs() -> None:
    kept_short(NAME)
