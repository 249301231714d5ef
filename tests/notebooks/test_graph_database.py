"""The notebook of places for the graph: embedded, served, in a database, and one's own."""

from __future__ import annotations

import json
import re

import pytest

from tests.notebooks.executed import Executed, execute, kept_short

NAME = "09_graph_database"
STEPS = "{'arrivals': 1, 'sort': 24, 'vans': 1}"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    return execute(NAME, tmp_path_factory.mktemp("places"))


def test_the_same_question_has_the_same_answer_here_and_served(places: Executed) -> None:
    assert places.printed("ask").startswith(f"({STEPS}, 24)")
    assert re.search(r"served at ws://127\.0\.0\.1:\d+/gremlin", places.printed("serve"))
    assert places.printed("client").strip() == STEPS  # gremlinpython alone, in another process
    assert places.printed("remote").startswith("the same answer: True")


def test_a_database_that_goes_away_delays_no_run_and_misses_nothing(places: Executed) -> None:
    before, _, after = places.printed("away").partition("the vans of day 3")
    assert "written: True" in before
    assert re.search(r"False · ws://127\.0\.0\.1:\d+/gremlin: away, behind by \d+ events?", after)
    assert "written: True" in places.printed("back")
    rows = re.findall(r"(\d+) tasks, (\d+) edges, equal: (\w+)", places.printed("compare"))
    assert rows == [("26", "24", "True")] * 2


def test_addresses_are_shown_without_credentials_and_neptune_is_signed(places: Executed) -> None:
    told = places.printed("settings")
    assert re.search(r"neptune\.amazonaws\.com:8182/gremlin +signed for eu-central-1", told)
    shown = json.dumps([cell.get("outputs", []) for cell in places.nb.cells])
    assert "team:secret" not in shown
    assert "me:" not in shown


def test_a_graph_of_ones_own_answers_and_is_saved(places: Executed) -> None:
    told = places.printed("own").splitlines()
    assert told[:2] == ["Ulm 390 Bonn 480 Kiel · 870 km", "Ulm 420 Jena 460 Kiel · 880 km"]
    assert int(told[2].split()[0]) > 1000


def test_it_is_short_and_kept_without_outputs() -> None:
    kept_short(NAME)
