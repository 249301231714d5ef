"""Exports that other tools read: PROV-JSON and OpenLineage, from the run of `runs.story`."""

from __future__ import annotations

import json
import uuid
from datetime import datetime

import pytest

from tests.lineage.runs import RUN, batches, story
from twingraph_nb.lineage import openlineage, prov
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.projection import Projection

SECOND = "aaaa000000000002"


@pytest.fixture(scope="module")
def graph() -> Graph:
    made = Projection()
    made.apply([*batches(story()), *batches(story(SECOND, at=500.0), SECOND)])
    return made.graph


def related(document: dict[str, dict[str, object]], relation: str) -> set[tuple[object, ...]]:
    """The relations of a kind, as the qualified names in them."""
    return {
        tuple(value for value in row.values() if isinstance(value, str) and value.startswith("tg:"))
        for row in document[relation].values()
        if isinstance(row, dict)
    }


def test_prov_has_activities_entities_agents_and_their_relations(graph: Graph) -> None:
    made = json.loads(prov.dumps(graph, RUN))
    load, clean, fit, report = (f"tg:task.{RUN}{number:08x}" for number in range(4))
    assert set(made["activity"]) == {load, clean, fit, report, f"tg:run.{RUN}", "tg:task.old0"}
    assert {"tg:value.blob7", "tg:value.blob8", "tg:component.d-fit"} <= set(made["entity"])
    assert set(made["agent"]) == {"tg:person.ann%40lab", "tg:platform.local", "tg:platform.docker"}
    assert ("tg:value.blob8", clean) in related(made, "wasGeneratedBy")
    assert related(made, "used") == {(clean, "tg:value.blob7"), (fit, "tg:value.blob8")}
    assert (clean, f"tg:run.{RUN}") in related(made, "wasStartedBy")
    assert (fit, "tg:platform.docker", "tg:component.d-fit") in related(made, "wasAssociatedWith")
    assert (f"tg:run.{RUN}", "tg:person.ann%40lab") in related(made, "wasAssociatedWith")
    assert {(load, "tg:task.old0"), (clean, load), (fit, load)} <= related(made, "wasInformedBy")
    assert made["activity"][clean]["prov:startTime"] == "1970-01-01T00:01:42+00:00"
    assert made["prefix"] == {"tg": "urn:twingraph:"}


def test_prov_names_only_what_it_declares(graph: Graph) -> None:
    for run in (None, RUN):
        made = prov.document(graph, run)
        declared = {name for kind in ("entity", "activity", "agent") for name in made[kind]}
        relations = set(made) - {"prefix", "entity", "activity", "agent"}
        named = {name for relation in relations for row in related(made, relation) for name in row}
        assert named <= declared


def test_openlineage_tells_start_and_end_of_every_run_and_task(graph: Graph) -> None:
    found = openlineage.events(graph, RUN)
    told = [(e["eventType"], e["job"]["name"]) for e in found]  # type: ignore[index]
    assert sorted(told) == sorted(
        [
            ("START", "train"),
            ("FAIL", "train"),
            ("START", "train.load"),
            ("COMPLETE", "train.load"),
            ("START", "train.clean"),
            ("COMPLETE", "train.clean"),
            ("START", "train.fit"),
            ("FAIL", "train.fit"),
            ("START", "train.report"),
            ("ABORT", "train.report"),
        ]
    )
    times = [datetime.fromisoformat(str(event["eventTime"])) for event in found]
    assert times == sorted(times)


def test_openlineage_events_have_all_that_the_specification_asks_for(graph: Graph) -> None:
    lines = openlineage.dumps(graph).splitlines()
    assert len(lines) == 20
    runs = set()
    for event in map(json.loads, lines):
        assert {"eventTime", "producer", "schemaURL", "run", "job"} <= set(event)
        runs.add(str(uuid.UUID(event["run"]["runId"])))
        facets = [*event["run"].get("facets", {}).values()]
        facets += [*event["job"].get("facets", {}).values()]
        for facet in facets:
            assert {"_producer", "_schemaURL"} <= set(facet)
    assert len(runs) == 10


def test_openlineage_datasets_and_parents_link_the_tasks(graph: Graph) -> None:
    ends = {
        event["job"]["name"]: event  # type: ignore[index]
        for event in openlineage.events(graph, RUN)
        if event["eventType"] != "START"
    }
    assert ends["train.clean"]["inputs"] == [{"namespace": "twingraph", "name": "blob7"}]
    assert ends["train.clean"]["outputs"] == [{"namespace": "twingraph", "name": "blob8"}]
    fit = ends["train.fit"]["run"]
    assert isinstance(fit, dict)
    assert fit["facets"]["errorMessage"]["message"] == "OSError: gone"
    parent = fit["facets"]["parent"]
    assert parent["job"] == {"namespace": "twingraph", "name": "train"}
    assert parent["run"] == {"runId": ends["train"]["run"]["runId"]}  # type: ignore[index]
