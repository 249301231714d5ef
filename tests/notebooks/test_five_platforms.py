"""The notebook of five platforms, of TwinGraph's eighth shape: dice and results make its graph."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.notebooks.conftest import Places
from tests.notebooks.executed import Executed, execute, kept_short
from twingraph_nb.events import ComponentUsed, Event, TaskAdded, TaskStarted
from twingraph_nb.store import Store

NAME = "08_five_platforms"
WHERE = {
    "valley": "docker",
    "wind": "lambda",
    "fire": "kubernetes",
    "firebreak": "batch",
    "crew": "local",
}
pytestmark = pytest.mark.timeout(400)  # real pods and jobs, on a machine that is shared


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, clouds: Places) -> Executed:
    folder = tmp_path_factory.mktemp("elsewhere")
    return execute(NAME, folder, clouds.parameters, clouds.environ)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    return execute(NAME, tmp_path_factory.mktemp("here"))


def told(executed: Executed) -> Iterator[Event]:
    """The events of the pipeline's run."""
    store = Store.open(executed.home, readonly=True)
    run = next(row for row in store.runs() if row.form == "pipeline")
    assert (run.state, run.failed) == ("succeeded", 0)
    yield from (event for batch in store.events(run.id) for event in batch.events)
    store.close()


@pytest.fixture(scope="module")
def events(elsewhere: Executed) -> list[Event]:
    return list(told(elsewhere))


@pytest.fixture(scope="module")
def calls(events: list[Event]) -> dict[int, TaskAdded]:
    return {event.task: event for event in events if isinstance(event, TaskAdded)}


def test_each_step_is_where_it_says(events: list[Event], calls: dict[int, TaskAdded]) -> None:
    platform = {e.digest: e.platform for e in events if isinstance(e, ComponentUsed)}
    assert {call.name: platform[call.component] for call in calls.values()} == WHERE
    started = [e for e in events if isinstance(e, TaskStarted)]
    places: dict[str, set[str]] = {name: set() for name in WHERE}
    for event in started:
        places[calls[event.task].name].add(event.worker)
    assert places.pop("crew") == {""}  # in the kernel, which needs no word
    assert all(all(one) for one in places.values()), places
    assert sum(map(len, places.values())) == len(set.union(*places.values()))


def test_the_graph_has_the_shape_that_dice_and_results_gave_it(
    calls: dict[int, TaskAdded],
) -> None:
    counts = Counter(call.name for call in calls.values())
    assert (counts["valley"], counts["wind"]) == (1, 1)
    assert counts["fire"] in range(16, 33)
    assert counts["firebreak"] in range(4, 9)
    needs = {
        number: Counter(calls[one].name for one in {wire[0] for wire in call.wires})
        for number, call in calls.items()
    }
    wanted = {
        "valley": [{}],
        "wind": [{"valley": 1}],
        "fire": [{"valley": 1, "wind": 1}],
        "firebreak": [{"valley": 1, "wind": 1, "fire": 1}],
        # the first of a line, the first of each branch, and the second
        "crew": [{"firebreak": 1}, {"firebreak": 1, "crew": 1}, {"crew": 1}],
    }
    for number, call in calls.items():
        assert needs[number] in wanted[call.name], (call.name, needs[number])
    branches = Counter(
        next(wire[0] for wire in call.wires if calls[wire[0]].name == "firebreak")
        for number, call in calls.items()
        if call.name == "crew" and needs[number] == {"firebreak": 1, "crew": 1}
    )
    assert len({*branches.values()}) > 1  # as many crews as the line needs, not as one says before


def test_the_graph_tells_who_ran_where(elsewhere: Executed, calls: dict[int, TaskAdded]) -> None:
    counts = Counter(call.name for call in calls.values())
    head, row = elsewhere.table("asked")
    shown = {name: json.loads(html.unescape(cell)) for name, cell in zip(head, row, strict=True)}
    assert shown == {platform: {name: counts[name]} for name, platform in WHERE.items()}


def test_where_it_runs_does_not_change_what_comes_out(elsewhere: Executed, here: Executed) -> None:
    found = [executed.printed("result").splitlines()[2:] for executed in (elsewhere, here)]
    assert found[0] == found[1]
    assert len(found[0]) in range(4, 9)
    said = re.findall(r"^(\w+) +not given \(.+\): process$", here.printed("given"), re.MULTILINE)
    assert said == ["docker", "kubernetes", "lambda", "batch"]


def test_there_is_something_to_see(elsewhere: Executed) -> None:
    assert elsewhere.shown("picture", "image/svg+xml").count("<rect") > 1600
    assert "<img" in elsewhere.shown("run", "text/html")


def test_it_is_short_and_kept_without_outputs() -> None:
    kept_short(NAME)
