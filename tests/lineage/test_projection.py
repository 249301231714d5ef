"""Events to the graph: what is in it, in any order, more than once, and what is never in it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.lineage.runs import RUN, FakeStore, batches, component, started, story, task
from twingraph_nb.errors import StoreError
from twingraph_nb.events import (
    Answered,
    Asked,
    Batch,
    ErrorInfo,
    Event,
    LimitChanged,
    MapExpanded,
    RetryAsked,
    RunContinued,
    RunPaused,
    TaskCancelled,
    TaskDone,
    TaskErred,
    TaskTicketed,
)
from twingraph_nb.lineage import schema
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.places import git_history, surroundings
from twingraph_nb.lineage.problems import ReadOnlyGraph
from twingraph_nb.lineage.projection import Projection
from twingraph_nb.lineage.redact import source_shown
from twingraph_nb.lineage.unknown import schema_properties


def plain(graph: Graph) -> tuple[dict[object, object], dict[object, object]]:
    """The whole graph as plain data."""
    vertices = {
        v.id: (v.label, {k: list(v.values(k)) for k in sorted(v.content)})
        for v in graph.vertices.values()
    }
    edges = {e.id: (e.label, e.out.id, e.in_.id, e.content) for e in graph.edges.values()}
    return dict(sorted(vertices.items())), dict(sorted(edges.items()))


def projected(*runs: list[Batch]) -> Projection:
    made = Projection()
    for one in runs:
        made.apply(one)
    return made


def content(projection: Projection, id: str) -> dict[str, object]:
    return projection.graph.vertex(id).content


def test_a_run_is_in_the_graph_with_every_kind_of_vertex_and_edge() -> None:
    graph = projected(batches(story())).graph
    edges = {(e.label, str(e.out.id), str(e.in_.id)) for e in graph.edges.values()}
    run, notebook = f"run:{RUN}", "notebook:work/a.ipynb"
    load, clean, fit, report = (f"task:{RUN}{number:08x}" for number in range(4))
    expected = {
        ("of_pipeline", run, "pipeline:train"),
        ("from_notebook", run, notebook),
        ("in_notebook", "cell:work/a.ipynb#[3]", notebook),
        ("defined_in", "component:d-fit", "cell:work/a.ipynb#[3]"),
        ("runs_on", "component:d-fit", "platform:docker"),
        ("runs_on", "component:d-load", "platform:local"),
        ("in_run", load, run),
        ("instance_of", fit, "component:d-fit"),
        ("feeds", load, clean),
        ("feeds", clean, fit),
        ("precedes", load, fit),
        ("reuses", load, "task:old0"),
        ("produces", load, "value:blob7"),
        ("produces", clean, "value:blob8"),
        ("skipped_because_of", report, fit),
        ("asked_to_cancel", "person:ann@lab", run),
        ("started", "person:ann@lab", run),
    }
    assert expected <= edges
    labels = {v.label for v in graph.vertices.values()}
    assert labels == set(schema.VERTICES) - {"File"}
    assert {e.label for e in graph.edges.values()} <= set(schema.EDGES)


def test_all_kinds_of_vertices_edges_and_properties_are_in_the_table_and_appear() -> None:
    where = {"notebook": "", "cell": "work/b.py, line 4"}
    ended = ErrorInfo("ValueError", "no", cell="cell [3]", line=2)
    more: list[Event] = [
        started("bbbb", "serve", at=200.0, parent=RUN, resumes=RUN),
        component("load", "d-new", at=200.0, cell=where["cell"], image="python:3.12"),
        replace(task(0, "load", run="bbbb", form="map"), component="d-new"),
        MapExpanded(200.0, 0, 1),
        replace(task(1, "load", run="bbbb", group=0, index=0), component="d-new"),
        replace(task(2, "load", run="bbbb", others=((f"{RUN}-run", "", "x"),)), component="d-new"),
        TaskTicketed(201.0, 2, "job 7"),
        Asked(201.0, 2, "Deploy?", "text"),
        Answered(202.0, 2, "yes", "bob@desk"),
        RetryAsked(202.0, 2, "bob@desk"),
        RunPaused(202.0, "bob@desk"),
        RunContinued(202.0, "bob@desk"),
        LimitChanged(202.0, 4, who="bob@desk"),
        TaskErred(203.0, 1, 1, ended, retryable=False),
        TaskCancelled(203.0, 2, "too slow"),
    ]
    graph = projected(batches(story()), batches(more, "bbbb")).graph
    assert {v.label for v in graph.vertices.values()} == set(schema.VERTICES)
    assert {e.label for e in graph.edges.values()} == set(schema.EDGES)
    for edge in graph.edges.values():
        kind = schema.EDGES[edge.label]
        assert edge.out.label in kind.out.split(" or ")
        assert edge.in_.label in kind.in_.split(" or ")
    found = {key for task in graph.labelled("Task") for key in task.content}
    assert found - {"name"} == set(schema.TASK_PROPERTIES) - {"Git History"}  # a test of its own
    of_errors = {"error_type", "error_cell", "error_line"}
    for label in set(schema.VERTICES) - {"Task"}:
        known = {*schema.OTHER_PROPERTIES.get(label, {"name"})} | of_errors
        assert {key for one in graph.labelled(label) for key in one.content} <= known
    properties = {key for edge in graph.edges.values() for key in edge.content}
    assert properties - {"name"} <= set(schema.EDGE_PROPERTIES)


def test_tasks_have_the_properties_that_twingraph_users_ask_for() -> None:
    made = projected(batches(story()))
    clean = content(made, f"task:{RUN}00000001")
    assert clean == {
        "name": "clean",
        "Name": "clean",
        "Hash": f"{RUN}00000001",
        "Parent Hash": f"{RUN}00000000",
        "Timestamp": "1970-01-01T00:01:41.000+00:00",
        "Input Values": f'{{"x":"← {RUN}00000000"}}',
        "Output": "8",
        "Source Code": "def clean(x):\n    return x\n",
        "Compute Platform": "local",
        "state": "succeeded",
        "started": 102.0,
        "finished": 105.0,
        "seconds": 3.0,
        "attempts": 1,
        "worker": "thread 1",
        "number": 1,
        "run": RUN,
        "digest": "dg1",
    }
    fit = made.graph.vertex(f"task:{RUN}00000002")
    assert list(fit.values("Parent Hash")) == [f"{RUN}00000001", f"{RUN}00000000"]
    assert (
        fit.value("state"),
        fit.value("attempts"),
        fit.value("error"),
        fit.value("seconds"),
    ) == (
        "failed",
        2,
        "OSError: gone",
        3.0,
    )


@pytest.mark.parametrize(
    ("upto", "states"),
    [(9, ["waiting"] * 4), (11, ["reused", "running", "waiting", "waiting"]),
     (14, ["reused", "succeeded", "retrying", "waiting"]),
     (19, ["reused", "succeeded", "failed", "skipped"])],
)  # fmt: skip
def test_tasks_are_there_from_the_moment_they_are_called(upto: int, states: list[str]) -> None:
    made = projected(batches(story()[:upto]))
    assert [content(made, f"task:{RUN}{n:08x}")["state"] for n in range(4)] == states
    assert content(made, f"run:{RUN}")["state"] == ("failed" if upto == 19 else "running")


@pytest.mark.parametrize("seed", range(8))
def test_any_order_and_any_repetition_give_the_same_graph(seed: int) -> None:
    second = "aaaa000000000002"
    whole = [*batches(story()), *batches(story(second, at=50.0), second)]
    wanted = plain(projected(whole).graph)
    mixed = [*whole, *whole]
    random.Random(seed).shuffle(mixed)
    made = Projection()
    for batch in mixed:
        made.apply([batch])
    assert plain(made.graph) == wanted


def test_components_follow_each_other_by_first_use_whatever_comes_first() -> None:
    def used(run: str, digest: str, at: float) -> list[Batch]:
        return [Batch(run, 0, (started(run, at=at), component("fit", digest, at)))]

    runs = [used("r1", "one", 1.0), used("r2", "two", 2.0), used("r3", "three", 3.0),
            used("r4", "one", 4.0)]  # fmt: skip
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1), (3, 1, 0, 2)):
        graph = projected(*(runs[i] for i in order)).graph
        links = {
            (str(e.out.id), str(e.in_.id))
            for e in graph.edges.values()
            if e.label == "new_version_of"
        }
        assert links == {("component:two", "component:one"), ("component:three", "component:two")}


def test_runs_of_several_pipelines_and_machines_share_what_is_the_same() -> None:
    other: list[Event] = [
        started("bbbb", "serve"),
        component("load"),
    ]
    graph = projected(batches(story()), batches(other, "bbbb")).graph
    assert [v.id for v in graph.labelled("Pipeline")] == ["pipeline:train", "pipeline:serve"]
    assert len([v for v in graph.labelled("Component") if v.value("name") == "load"]) == 1


def test_secrets_are_masked_by_name_by_type_and_in_source() -> None:
    secret = component(
        "login",
        inputs=(("user", "str"), ("key", "SecretStr")),
        outputs=(("token", "str"), ("url", "str")),
        source="def login(user, key: SecretStr = 'hunter2'):\n"
        "    password: str = \"hunter2\"\n    API_KEY = 'hunter2'\n",
    )
    done = TaskDone(3.0, 0, {"token": "hunter2", "url": "http://u:hunter2@host"})
    call = task(0, "login", inputs={"user": "'ann'", "key": "hunter2"})
    made = projected([Batch(RUN, 0, (started(params={"password": "hunter2"}), secret, call, done))])
    everything = repr(plain(made.graph))
    assert "hunter2" not in everything
    assert "ann" in everything


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{'password': 'a\\'b', 'n': 'x'}", "{'password': '•••', 'n': 'x'}"),
        ("[{'db': {\"api_key\": b'ab'}}]", "[{'db': {\"api_key\": b'•••'}}]"),
        ("Login(user='ann', auth='ab')", "Login(user='ann', auth='•••')"),
        ("{'token': 'abc…", "{'token': '•••'"),
        ("{'tokens': ['a'], 'author': 'ann'}", "{'tokens': ['a'], 'author': 'ann'}"),
        ("'the password is secret'", "'the password is secret'"),
    ],
)
def test_what_a_value_shows_under_the_name_of_a_secret_is_masked(text: str, shown: str) -> None:
    wrong = TaskErred(3.0, 1, 1, ErrorInfo("E", text))
    told = (
        task(0, "a", inputs={"x": text}),
        TaskDone(3.0, 0, {"value": text}),
        task(1, "a"),
        wrong,
    )
    made = projected([Batch(RUN, 0, (started(), component("a"), *told))])
    first, second = (content(made, f"task:{RUN}0000000{number}") for number in (0, 1))
    assert json.loads(str(first["Input Values"])) == {"x": shown}
    assert (first["Output"], second["error"]) == (shown, f"E: {shown}")


def test_large_values_are_cut_at_the_stated_size() -> None:
    long = "x" * 50_000
    done = TaskDone(3.0, 0, {"value": long})
    call = task(0, "load", inputs={"a": long})
    used = component("load", source=long)
    made = projected([Batch(RUN, 0, (started(), used, call, done))])
    kept = content(made, f"task:{RUN}00000000")
    assert len(str(kept["Output"])) < schema.PREVIEW + 40
    assert len(str(kept["Input Values"])) < schema.PREVIEW + 40
    assert len(str(kept["Source Code"])) < schema.SOURCE + 40
    assert "50000 characters" in str(kept["Output"])


def test_source_that_says_nothing_secret_is_left_alone() -> None:
    text = 'tokens = tokenize("a b")\npasswords_seen = 3\nname = "token"\n'
    assert source_shown(text, 1000) == text


def test_attributes_and_image_of_a_component_are_on_its_tasks() -> None:
    own = {"team": "blue", "api_key": "hunter2", "Compute Platform": "mine", "state": "mine"}
    used = component("fit", attributes=own, image="python:3.12")
    made = projected([Batch(RUN, 0, (started(), used, task(0, "fit")))])
    kept = content(made, f"task:{RUN}00000000")
    assert (kept["team"], kept["api_key"]) == ("blue", "•••")
    assert kept["Docker Image"] == "python:3.12"
    assert (kept["Compute Platform"], kept["state"]) == ("local", "waiting")


def test_what_people_did_is_in_the_graph_with_their_answers() -> None:
    events: list[Event] = [
        started(),
        component("load"),
        task(0, "load"),
        RunPaused(1.0, "bob@desk"),
        RunContinued(2.0, "bob@desk"),
        LimitChanged(2.5, 4, who="bob@desk"),
        Asked(3.0, 0, "Deploy?"),
        Answered(4.0, 0, "yes", "eve@phone"),
        RetryAsked(5.0, 0, "user"),
        Answered(6.0, 0, "no", "default"),
    ]
    graph = projected(batches(events)).graph
    people = {"person:bob@desk", "person:eve@phone", "person:ann@lab"}
    assert {v.id for v in graph.labelled("Person")} == people
    found = [(e.label, str(e.out.id), e.content) for e in graph.edges.values()]
    deeds = [one for one in found if one[1].startswith("person:") and one[0] != "started"]
    assert deeds == [
        ("paused", "person:bob@desk", {"at": 1.0}),
        ("continued", "person:bob@desk", {"at": 2.0}),
        ("changed_limit", "person:bob@desk", {"at": 2.5, "limit": 4, "name": ""}),
        ("answered", "person:eve@phone", {"at": 4.0, "text": "yes"}),
        ("asked_to_retry", "person:ann@lab", {"at": 5.0}),
    ]
    assert graph.vertex(f"task:{RUN}00000000").value("question") == "Deploy?"
    assert graph.vertex(f"run:{RUN}").value("paused") is False


def test_the_graph_is_rebuilt_from_a_store_and_reads_only_what_is_new() -> None:
    second = "aaaa000000000002"
    store = FakeStore(**{RUN: story(), second: story(second)[:10]})
    made = Projection()
    made.rebuild(store)
    assert plain(made.graph) == plain(
        projected(batches(story()), batches(story(second)[:10], second)).graph
    )
    made.catch_up(store)
    assert store.reads == 2
    store.held[second] = story(second)
    made.catch_up(store)
    assert store.reads == 3
    assert content(made, f"run:{second}")["state"] == "failed"


def test_a_run_whose_process_is_gone_is_interrupted() -> None:
    store = FakeStore(**{RUN: story()[:11]})
    store.states[RUN] = "interrupted"
    made = Projection()
    made.rebuild(store)
    assert content(made, f"run:{RUN}")["state"] == "interrupted"
    states = [content(made, f"task:{RUN}{n:08x}")["state"] for n in range(4)]
    assert states == ["reused", "interrupted", "interrupted", "interrupted"]


def test_a_damaged_record_is_named_and_hides_no_other_run() -> None:
    class Damaged(FakeStore):
        def events(self, run_id: str, start: int = 0) -> list[Batch]:
            if run_id == "bad":
                raise StoreError("the record of run bad is damaged")
            return super().events(run_id, start)

    store = Damaged(bad=story(), **{RUN: story()})
    made = Projection()
    made.rebuild(store)
    made.catch_up(store)
    assert content(made, "run:bad")["incomplete"] == "the record of run bad is damaged"
    assert content(made, f"run:{RUN}")["state"] == "failed"


def test_live_events_wait_for_what_comes_before_them() -> None:
    first, second, *rest = batches(story())
    made = projected([second, *rest])
    assert made.graph.vertices == {}
    made.apply([first])
    assert plain(made.graph) == plain(projected(batches(story())).graph)


def test_forgetting_a_run_leaves_what_others_need() -> None:
    second = "aaaa000000000002"
    made = projected(batches(story()), batches(story(second), second))
    before = plain(projected(batches(story(second), second)).graph)
    assert made.forget(RUN) == 5
    assert {v for v in made.graph.vertices if RUN in str(v)} == set()
    assert plain(made.graph)[1] == before[1]
    made.apply(batches(story()))
    assert f"run:{RUN}" in made.graph.vertices


def test_a_read_only_graph_takes_facts_and_nothing_else() -> None:
    made = Projection(Graph(read_only=True))
    made.apply(batches(story()))
    assert f"run:{RUN}" in made.graph.vertices
    with pytest.raises(ReadOnlyGraph):
        made.graph.add_vertex("Task")


def test_the_schema_is_rendered_whole() -> None:
    text = schema.described()
    for name in (*schema.VERTICES, *schema.EDGES, *schema_properties()):
        assert f"| `{name}` |" in text


def test_the_commit_is_read_from_the_repository_without_git(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    assert "commit" not in surroundings(folder)
    (git / "packed-refs").write_text(f"# pack-refs\n{commit} refs/heads/main\n")
    found = surroundings(folder)
    assert (found["commit"], found["repository"]) == (commit, str(tmp_path))
    (git / "refs" / "heads" / "main").write_text("f" * 40 + "\n")
    assert surroundings(folder)["commit"] == "f" * 40
    (git / "HEAD").write_text(commit)
    assert surroundings(folder)["commit"] == commit
    assert "msgspec" in found["packages"] or "pytest" in found["packages"]


def test_git_history_names_commit_file_and_lines() -> None:
    origin = {"commit": "0123456789abcdef", "repository": "/r", "notebook": "nb/a.ipynb"}
    assert git_history(origin, "/r/pkg/a.py, line 3", "a\nb\n") == "0123456789ab pkg/a.py lines 3-4"
    assert git_history(origin, "cell [2]", "a") == "0123456789ab nb/a.ipynb cell [2]"
    assert git_history(origin, "/elsewhere/a.py, line 3", "a") == ""
    assert git_history({}, "/r/a.py, line 3", "a") == ""
