"""The notebook of four pipelines: one graph knows what each took from the others."""

from __future__ import annotations

import re

import pytest

from tests.notebooks.executed import Executed, execute, kept_short

NAME = "10_multi_pipeline"


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    return execute(NAME, tmp_path_factory.mktemp("village"), {"days": "20"})


def test_an_equal_run_takes_the_artifact_of_the_first(village: Executed) -> None:
    told = village.printed("weather-runs")
    assert told.split() == ["480", "hours;", "station", "succeeded", "clean_weather", "reused"]


def test_an_artifact_says_who_made_it_and_in_which_pipelines_it_is_used(village: Executed) -> None:
    rows = {row[1]: row[2:] for row in village.table("artifacts")[1:]}
    assert rows["clean_weather"][0] == "weather, weather"  # one value, made once, found once
    assert set(rows["clean_weather"][1].split(", ")) == {"solar", "windmill", "needs"}
    assert set(rows["clean_weather"][2].split(", ")) == {"supply", "demand"}
    assert set(rows) == {"clean_weather", "solar", "windmill"}


def test_questions_go_from_pipeline_to_pipeline(village: Executed) -> None:
    used = {row[1] for row in village.table("used")[1:] if row[0] == "user"}
    assert used == {"solar", "windmill", "together", "needs", "battery"}
    reached = {row[0]: row[-1] for row in village.table("blast")[1:]}
    assert reached == {
        "solar": "supply", "windmill": "supply", "together": "supply", "needs": "demand",
        "battery": "trade",
    }  # fmt: skip


def test_a_change_makes_what_other_pipelines_made_of_it_stale(village: Executed) -> None:
    rows = village.table("stale")[1:]
    assert {row[1] for row in rows} == {"solar", "windmill", "together", "needs", "battery"}
    assert {row[0] for row in rows} == {"made from a stale result"}


def test_exports_can_be_read_and_hold_what_came_from_another_run(village: Executed) -> None:
    told = village.printed("read")
    kinds = {kind: int(count) for count, kind in re.findall(r"(\d+) (\w+)", told.splitlines()[0])}
    assert (kinds["Task"], kinds["Artifact"], kinds["Component"]) == (4, 2, 3)
    assert re.search(r"PROV:.* 2 used", told)
    ends = re.findall(r"OpenLineage: COMPLETE +supply\.(\w+) +(.*)", told)
    assert {name for name, _ in ends} == {"solar", "windmill", "together"}
    taken = {name: files.split() for name, files in ends}
    assert taken["solar"][0] == taken["windmill"][0]  # the weather, of another pipeline
    assert taken["together"] == [taken["solar"][1], taken["windmill"][1]]


def test_there_is_something_to_see(village: Executed) -> None:
    assert village.shown("month", "image/svg+xml").count("<polygon") == 3
    assert re.search(r"[\d,]+ kWh sold, [\d,]+ kWh bought", village.printed("run"))
    assert "<img" in village.shown("drawn", "text/html")


def test_it_is_short_and_kept_without_outputs() -> None:
    kept_short(NAME)
