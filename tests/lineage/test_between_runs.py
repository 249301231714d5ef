"""Values that go from one run to another, and through nested pipelines, in the graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from gremlin_python.process.graph_traversal import GraphTraversalSource

import twingraph_nb
from twingraph_nb import Run, Task, component, pipeline
from twingraph_nb.lineage import openlineage, prov
from twingraph_nb.lineage.questions import blast, made_by, stale, used_by
from twingraph_nb.lineage_door import live_graph
from twingraph_nb.session import close_session, get_session


class Work(SimpleNamespace):
    """Runs that take from each other: `trained` and `loose` what `prepared` gives."""

    prepared: Run
    trained: Run
    reported: Run
    loose: Task
    said: Task


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    close_session()
    monkeypatch.setenv("TWINGRAPH_HOME", str(tmp_path / "home"))

    @component
    def load(n: int) -> list[int]:
        return list(range(n))

    @component
    def clean(rows: list[int]) -> list[int]:
        return [row + 1 for row in rows]

    @component
    def fit(rows: list[int]) -> float:
        return sum(rows) / len(rows)

    @component
    def say(text: str = "done") -> str:
        return text

    @pipeline
    def prepare(n: int) -> object:
        return clean(load(n))

    @pipeline
    def train(run: Run) -> object:
        return fit(run)

    @pipeline
    def nested(n: int) -> object:
        return fit(prepare(n))

    made = Work()
    made.prepared = prepare(3)
    made.prepared.result(30)
    made.trained = train(made.prepared)
    made.trained.result(30)
    made.reported = nested(4)
    made.reported.result(30)
    made.loose = fit(made.prepared.tasks["clean"])
    made.loose.result(30)
    made.said = say(parent_hash=[made.prepared.tasks["load"], made.loose.hash])
    made.said.result(30)
    get_session().driver.flush()
    yield made
    close_session()


def told(rows: list[dict[str, object]]) -> set[tuple[object, object]]:
    return {(row["name"], row["run"]) for row in rows}


def hashes(g: GraphTraversalSource, task: Task, *labels: str) -> list[object]:
    return g.V(f"task:{task.hash}").in_(*labels).values("Hash").to_list()


def test_what_a_task_takes_from_another_run_is_an_edge(work: Work) -> None:
    g = twingraph_nb.lineage()
    load, clean = work.prepared.tasks["load"], work.prepared.tasks["clean"]
    assert hashes(g, work.loose, "feeds") == [clean.hash]
    assert sorted(hashes(g, work.said, "precedes")) == sorted([load.hash, work.loose.hash])
    found = g.V(f"task:{work.loose.hash}").values("Parent Hash", "Input Values").to_list()
    assert found == [clean.hash, f'{{"rows":"← {clean.hash}"}}']
    fit = work.trained.tasks["fit"]
    assert g.V(f"task:{fit.hash}").in_("gives").values("run").to_list() == [work.prepared.id]


def test_questions_follow_values_through_runs_and_nested_pipelines(work: Work) -> None:
    g = twingraph_nb.lineage()
    first = {("load", work.prepared.id), ("clean", work.prepared.id)}
    assert told(made_by(g, work.trained.tasks["fit"])) == first | {("fit", work.trained.id)}
    assert told(made_by(g, work.loose)) >= first
    fit = work.reported.tasks["fit"]
    names = {"load", "clean", "prepare", "fit"}
    assert told(made_by(g, fit)) == {(name, work.reported.id) for name in names}
    used = told(used_by(g, work.prepared.tasks["load"]))
    assert used >= {("fit", work.trained.id), ("fit", get_session().loose.id)}
    assert {row["name"]: row["tasks"] for row in blast(g, "load")} == {
        "clean": 2, "prepare": 1, "fit": 3, "say": 1,
    }  # fmt: skip


def test_a_stale_value_makes_the_latest_run_of_another_pipeline_stale(work: Work) -> None:
    g = twingraph_nb.lineage()
    assert stale(g) == []

    @component
    def clean(rows: list[int]) -> list[int]:
        return [row + 2 for row in rows]

    clean([1]).result(30)
    get_session().driver.flush()
    found = {(row["name"], row["run"], row["why"]) for row in stale(g)}
    changed, made = "its component has changed", "made from a stale result"
    assert found >= {
        ("clean", work.prepared.id, changed),
        ("fit", work.trained.id, made),
        ("clean", work.reported.id, changed),
        ("prepare", work.reported.id, made),
        ("fit", work.reported.id, made),
    }
    assert not any(name == "load" for name, _, _ in found)


def test_exports_of_a_run_name_what_it_took_from_others(work: Work) -> None:
    graph = live_graph().refresh()
    loose = get_session().loose.id
    told = prov.document(graph, loose)
    clean = f"tg:task.{work.prepared.tasks['clean'].hash}"
    assert clean in told["activity"]
    assert any(row["prov:informant"] == clean for row in told["wasInformedBy"].values())
    assert openlineage.events(graph, loose)
