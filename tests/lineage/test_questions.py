"""The questions people ask, over the embedded engine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from gremlin_python.process.graph_traversal import GraphTraversalSource
from msgspec.structs import replace

from tests.lineage.runs import RUN, batches, component, started, story, task
from twingraph_nb import wire
from twingraph_nb.events import Batch, Event, RunFinished, TaskDone, TaskStarted
from twingraph_nb.graph.summary import summary
from twingraph_nb.lineage.asking import NothingFound, NotMade
from twingraph_nb.lineage.machine import source
from twingraph_nb.lineage.projection import Projection
from twingraph_nb.lineage.questions import (
    blast,
    diff,
    failures,
    made_by,
    slowest,
    stale,
    used_by,
    who_changed,
)

SECOND = "aaaa000000000002"


def graph(*runs: list[Batch]) -> GraphTraversalSource:
    made = Projection()
    for run in runs:
        made.apply(run)
    return source(made.graph)


def second(at: float = 200.0) -> list[Event]:
    """Another run: `clean` is a new version, and everything goes well."""
    newer = component("clean", "d-clean2", at, source="def clean(x):\n    return x + 1\n")
    call = task(1, "clean", run=SECOND, at=at + 1, wires=((0, "", "x"),))
    return [
        started(SECOND, at=at, params={"n": "4"}),
        component("load", at=at),
        newer,
        component("fit", at=at),
        task(0, "load", run=SECOND, at=at + 1, inputs={"path": "'b.csv'"}),
        replace(call, component="d-clean2"),
        task(2, "fit", run=SECOND, at=at + 1, wires=((1, "", "x"),)),
        TaskStarted(at + 1, 0),
        TaskDone(at + 3, 0, {"value": "'out/b.csv'"}),
        TaskStarted(at + 3, 1),
        TaskDone(at + 4, 1, {"value": "9"}, "dg9", {"value": "blob9"}),
        TaskStarted(at + 4, 2),
        TaskDone(at + 14, 2, {"value": "0.5"}),
        RunFinished(at + 15, "succeeded"),
    ]


@pytest.fixture(scope="module")
def g() -> GraphTraversalSource:
    return graph(batches(story()), batches(second(), SECOND))


def told(rows: list[dict[str, object]], *keys: str) -> list[tuple[object, ...]]:
    return [tuple(row[key] for key in keys) for row in rows]


class Handle:
    """A task, as far as a question needs it."""

    hash = f"{SECOND}00000001"


@pytest.mark.parametrize("x", [Handle.hash, Handle(), "blob9", "dg9", "blob", "9", 9])
def test_made_by_takes_tasks_hashes_digests_and_values(g: GraphTraversalSource, x: object) -> None:
    rows = made_by(g, x)
    assert ("maker", "clean", f"{SECOND}00000001") in told(rows, "role", "name", "task")
    assert ("ancestor", "load", f"{SECOND}00000000") in told(rows, "role", "name", "task")


def test_made_by_goes_on_where_work_was_reused(g: GraphTraversalSource) -> None:
    rows = made_by(g, f"{RUN}00000002")
    assert told(rows, "role", "task")[0] == ("maker", f"{RUN}00000002")
    assert {row["task"] for row in rows} == {f"{RUN}{n:08x}" for n in range(3)} | {"old0"}


def test_made_by_finds_the_file_that_an_output_names(g: GraphTraversalSource) -> None:
    assert told(made_by(g, "out/b.csv"), "role", "name") == [("maker", "load")]


@pytest.mark.parametrize("x", ["a.csv", Path("a.csv")])
def test_used_by_finds_who_was_called_with_a_file(g: GraphTraversalSource, x: object) -> None:
    assert told(used_by(g, x), "role", "name", "run") == [
        ("user", name, RUN) for name in ("load", "clean", "fit", "report")
    ]
    with pytest.raises(NotMade, match=r"no task gave 'a\.csv'; load took it: ask used-by"):
        made_by(g, x)
    with pytest.raises(NothingFound, match="no task, value or file 'path'"):
        used_by(g, "path")  # the name of a port


def test_the_end_of_a_path_finds_the_file_also_where_a_task_was_called_with_it(
    g: GraphTraversalSource,
) -> None:
    assert told(made_by(g, "b.csv"), "role", "name") == [("maker", "load")]


def test_a_number_is_no_digest_and_a_value_may_have_a_hash_of_any_kind() -> None:
    many = component("many", outputs=(("value", "object"),))
    call = task(0, "many", run="1234", inputs={"n": "2"})
    run = [started("1234"), many, call, TaskDone(1.0, 0, {"value": "{'hash': 1}"})]
    made = graph(batches(run, "1234"))
    assert told(made_by(made, "12340"), "name") == [("many",)]
    with pytest.raises(NothingFound, match="12340"):
        made_by(made, 12340)
    assert told(used_by(made, 2), "role", "name") == [("user", "many")]

    class Odd:
        hash = 5

        def __repr__(self) -> str:
            return "{'hash': 1}"

    assert told(made_by(made, Odd()), "role", "name") == [("maker", "many")]


def test_a_large_value_is_told_by_its_content_or_only_looks_like_another() -> None:
    first, second = (list(range(start, 6)) + [start] * 20 for start in (0, 0))
    first[20] = 9
    kept = hashlib.sha256(b"".join(wire.pack(first))).hexdigest()
    text = summary(first)
    assert text == summary(second)
    run = [started(), component("many"), *(task(number, "many") for number in range(2))]
    run += [TaskDone(1.0, 0, {"value": text}, "dg0", {"value": kept})]
    run += [TaskDone(1.0, 1, {"value": text})]
    made = graph(batches(run))
    assert told(made_by(made, first), "role", "task") == [("maker", f"{RUN}00000000")]
    rows = told(made_by(made, second), "role", "task")
    assert rows == [("look-alike", f"{RUN}0000000{number}") for number in range(2)]
    rows = told(made_by(made, second, giver=f"{RUN}00000001"), "role", "task")
    assert rows == [("maker", f"{RUN}00000001")]


def test_used_by_gives_all_that_came_of_it(g: GraphTraversalSource) -> None:
    rows = used_by(g, f"{RUN}00000001")
    assert told(rows, "role", "name", "state") == [
        ("maker", "clean", "succeeded"),
        ("user", "fit", "failed"),
        ("user", "report", "skipped"),
    ]


def test_what_nobody_made_is_said(g: GraphTraversalSource) -> None:
    with pytest.raises(NothingFound, match=r"no task, value or file 'nowhere\.csv'"):
        made_by(g, "nowhere.csv")


def test_diff_tells_what_differs_between_runs(g: GraphTraversalSource) -> None:
    rows = told(diff(g, RUN, "last"), "what", "name", "one", "other")
    assert ("parameters", "", '{"n":"3","api_key":"•••"}', '{"n":"4"}') in rows
    assert ("component", "clean", "d-clean", "d-clean2") in rows
    assert ("state", "fit", "failed", "succeeded") in rows
    assert ("task", "report", "called", "not called") in rows
    assert ("output", "clean", "8", "9") in rows
    assert not any(what == "inputs" and name == "clean" for what, name, *_ in rows)
    assert diff(g, RUN, RUN) == []
    with pytest.raises(NothingFound, match="no run 'zzz'"):
        diff(g, RUN, "zzz")
    with pytest.raises(NothingFound, match="single run"):
        diff(g, RUN, "aaaa")


def test_of_packages_only_those_that_differ_are_told() -> None:
    runs = [
        batches([replace(started(run), origin={"packages": packages})], run)
        for run, packages in (
            ("aaaa", "numpy 2.1, pandas 2.2"),
            ("bbbb", "dask 1, numpy 2.2, pandas 2.2"),
        )
    ]
    rows = told(diff(graph(*runs), "aaaa", "bbbb"), "what", "one", "other")
    assert rows == [("packages", "numpy 2.1", "dask 1, numpy 2.2")]


def test_who_changed_lists_the_versions_of_a_component(g: GraphTraversalSource) -> None:
    rows = who_changed(g, "clean")
    assert told(rows, "digest", "who", "where", "run", "changed") == [
        ("d-clean", "ann@lab", "work/a.ipynb", RUN, "first version"),
        ("d-clean2", "ann@lab", "work/a.ipynb", SECOND, "+1 -1 lines"),
    ]
    with pytest.raises(NothingFound, match="did you mean 'clean'"):
        who_changed(g, "claen")


def test_stale_results_are_those_of_older_components_and_what_came_of_them() -> None:
    assert stale(graph()) == []
    assert stale(graph(batches(second(), SECOND))) == []
    other = [
        started("bbbb", "other", at=300.0),
        component("clean", "d-clean3", at=300.0),
        replace(task(0, "clean", run="bbbb", at=300.0), component="d-clean3"),
    ]
    rows = stale(graph(batches(second(), SECOND), batches(other, "bbbb")))
    assert told(rows, "why", "name") == [
        ("its component has changed", "clean"),
        ("made from a stale result", "fit"),
    ]
    back = [
        started("cccc", "other", at=400.0),
        component("clean", "d-clean2", at=400.0),
        replace(task(0, "clean", run="cccc", at=400.0), component="d-clean2"),
    ]
    runs = (batches(second(), SECOND), batches(other, "bbbb"), batches(back, "cccc"))
    assert stale(graph(*runs)) == []  # the change was taken back


def test_blast_counts_what_a_change_reaches(g: GraphTraversalSource) -> None:
    assert blast(g, "load") == [
        {"name": "clean", "tasks": 2, "values": 2, "pipelines": ["train"]},
        {"name": "fit", "tasks": 2, "values": 0, "pipelines": ["train"]},
        {"name": "report", "tasks": 1, "values": 0, "pipelines": ["train"]},
    ]
    assert blast(g, "report") == []
    with pytest.raises(NothingFound):
        blast(g, "nothing")


def test_slowest_says_where_the_time_goes(g: GraphTraversalSource) -> None:
    assert slowest(g, 2) == [
        {"name": "fit", "tasks": 2, "seconds": 13.0, "mean": 6.5, "longest": 10.0},
        {"name": "clean", "tasks": 2, "seconds": 4.0, "mean": 2.0, "longest": 3.0},
    ]
    assert slowest(graph()) == []


def test_failures_are_listed_with_error_and_age(g: GraphTraversalSource) -> None:
    rows = failures(g)
    assert told(rows, "name", "error", "attempts") == [("fit", "OSError: gone", 2)]
    assert failures(g, "1h", now=lambda: 200.0) == rows
    assert failures(g, "1m", now=lambda: 300.0) == []
    with pytest.raises(ValueError, match="time"):
        failures(g, "soon")
