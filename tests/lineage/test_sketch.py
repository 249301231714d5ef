"""What people see of a graph: short texts, no secrets, and when each node was there."""

from __future__ import annotations

from tests.lineage.runs import RUN, batches, story
from twingraph_nb.graph.summary import MASK
from twingraph_nb.lineage.excerpt import of_run
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.projection import Projection
from twingraph_nb.lineage.sketch import PREVIEW, Node, Sketch, sketch, without


def drawn() -> Sketch:
    """The run in which clean works, fit fails and report is skipped."""
    projection = Projection()
    projection.apply(batches(story()))
    return sketch(of_run(projection.graph, RUN))


def node(found: Sketch, type: str, name: str) -> Node:
    return next(one for one in found.nodes if (one.type, one.name) == (type, name))


def test_a_task_is_shown_with_its_state_platform_and_times() -> None:
    fit = node(drawn(), "Task", "fit")
    assert (fit.state, fit.platform, fit.times) == ("failed", "docker", (101.0, 105.0, 108.0))
    assert fit.about["error"] == "OSError: gone"


def test_other_vertices_are_there_from_the_time_of_what_they_stand_beside() -> None:
    found = drawn()
    assert (found.begin, found.end) == (100.0, 109.0)
    value = next(one for one in found.nodes if one.id == "value:blob8")
    assert value.times[0] == 105.0  # when the task that made it was done
    assert node(found, "Component", "fit").times[0] is not None


def test_names_are_what_people_tell_things_by() -> None:
    found = drawn()
    assert node(found, "Notebook", "a.ipynb").about["name"] == "work/a.ipynb"
    assert node(found, "Environment", "Python 3.11.7").id.startswith("environment:")


def test_links_name_the_tasks_they_join() -> None:
    found = drawn()
    feeds = {
        (found.nodes[one.source].name, found.nodes[one.target].name)
        for one in found.links
        if one.type == "feeds"
    }
    assert {("load", "clean"), ("clean", "fit"), ("fit", "report")} <= feeds


def test_values_are_previews_and_secrets_are_masked() -> None:
    graph = Graph()
    texts = {"text": "x" * 10_000, "api_key": "hunter2", "url": "http://me:pw@host/", "none": ""}
    graph.add_vertex("Thing", 1, texts)
    about = sketch(graph).nodes[0].about
    assert about["text"].startswith("x" * PREVIEW)
    assert len(about["text"]) < PREVIEW + 30
    assert about["api_key"] == MASK
    assert "pw" not in about["url"]
    assert "none" not in about


def test_what_is_filtered_out_takes_its_links_along() -> None:
    left = without(drawn(), {"type": ["Component", "Run"], "state": ["skipped"]})
    assert {one.type for one in left.nodes}.isdisjoint({"Component", "Run"})
    assert "report" not in {one.name for one in left.nodes if one.type == "Task"}
    names = {(left.nodes[one.source].name, left.nodes[one.target].name) for one in left.links}
    assert ("clean", "fit") in names
