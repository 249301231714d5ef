"""The live view's widgets, without a browser: what they hold after each tick."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from twingraph_nb import component, get_session, pipeline
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.task import Task
from twingraph_nb.picture.collapse import Arrow, Box, Drawing
from twingraph_nb.views.graph import Graph
from twingraph_nb.views.live import LiveView


@component()
def first(text: str) -> str:
    print(f"got {text}")
    return text * 2


@component()
def second(text: str) -> int:
    return len(text)


@component()
def wrong(number: int) -> int:
    raise ValueError(f"<{number}> is wrong")


@component()
def unrelated() -> None:
    pass


@pipeline(on_error="continue")
def steps(text: str) -> object:
    number = second(first(text))
    wrong(number)
    return number


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # ipycytoscape's, at import
        yield


def finished(shown: Run | Task) -> LiveView:
    """A view that has seen everything."""
    session = get_session()
    session.drain()
    task = shown if isinstance(shown, Task) else None
    run = shown if isinstance(shown, Run) else session.runs[shown.link.id]
    view = LiveView(session, run, task)
    view.tick(time.time())
    return view


def labels(view: LiveView) -> dict[str, str]:
    nodes = view._graph.widget.graph.nodes
    return {node.data["label"].split("\n")[0]: node.classes for node in nodes}


def choose(view: LiveView, name: str) -> str:
    """Click on a node and give the inspector's HTML."""
    node = next(n for n in view._graph.widget.graph.nodes if n.data["label"].startswith(name))
    view._on_click({"data": dict(node.data)})
    view.tick(time.time())
    return str(view._panel.value)


def test_a_run_is_a_graph_with_states() -> None:
    view = finished(steps("ab"))
    assert labels(view) == {"first": "succeeded", "second": "succeeded", "wrong": "failed"}
    edges = {(e.data["source"], e.data["target"]) for e in view._graph.widget.graph.edges}
    assert edges == {("t0", "t1"), ("t1", "t2")}
    assert "2/3 done" in view._line.value


def test_a_task_shows_what_it_needs_and_nothing_else() -> None:
    unrelated()
    view = finished(second(first("ab")))
    assert labels(view) == {"first": "succeeded", "second": "succeeded"}
    assert "2/2 done" in view._line.value


def test_the_inspector_shows_inputs_outputs_log_and_source() -> None:
    run = steps("ab")
    html = choose(finished(run), "first")
    assert "&#x27;ab&#x27;" in html
    assert "abab" in html
    assert "got ab" in html
    assert "def first(text: str)" in html


def test_the_inspector_shows_where_an_input_comes_from() -> None:
    run = steps("ab")
    html = choose(finished(run), "second")
    assert "from first" in html
    assert "abab" in html


def test_the_inspector_shows_an_error_as_data() -> None:
    html = choose(finished(steps("ab")), "wrong")
    assert "ValueError: &lt;4&gt; is wrong" in html
    assert "<4>" not in html


def test_values_that_nobody_holds_are_shown_by_the_text_in_the_log() -> None:
    view = finished(steps("ab"))  # the run's handle has gone
    assert "abab" in choose(view, "first")


def test_a_view_keeps_no_run_alive() -> None:
    run = steps("ab")
    assert isinstance(run, Run)
    view = finished(run)
    held = {id(thing) for thing in (view, view.picture, vars(view), vars(view.picture))}
    assert not held & {id(thing) for thing in gc.get_referrers(run, *run.tasks)}


def test_a_finished_view_is_over_for_the_ticker_after_its_last_fit() -> None:
    view = finished(steps("ab"))
    assert view.tick(time.time())
    view.tick(time.time() + 10)
    assert not view.tick(time.time() + 20)
    assert view._stop.layout.display == "none"


def test_the_last_picture_has_every_task() -> None:
    """However many came while the one before was thought out."""
    session = get_session()
    run = steps("ab")
    view = LiveView(session, run)
    view.picture.drawing()  # of nothing yet, and the next one is not due
    view.picture._plan_next = float("inf")
    session.drain()
    view.tick(time.time())
    assert len(view._graph.widget.graph.nodes) == 3


def test_a_box_that_gets_wider_keeps_its_widget_and_never_shrinks() -> None:
    def shown(name: str, **more: Any) -> bool:
        return graph.show(Drawing((Box("t0", name, "ready", "ready", (0,), 0, **more),), (), 1))

    graph = Graph(lambda node: None)
    assert shown("fit", platform="docker")
    widget, node = graph.widget, graph.widget.graph.nodes[0]
    assert node.data["label"] == "fit\nready\non docker"
    narrow = node.data["width"]
    assert shown("fit_of_everything_there_is", platform="docker")
    wide = node.data["width"]
    assert wide > narrow
    assert not shown("fit", platform="docker")
    assert (node.data["width"], node.data["label"]) == (wide, "fit\nready\non docker")
    assert graph.widget is widget


def test_a_graph_that_grows_keeps_its_widget_and_one_that_shrinks_gets_another() -> None:
    boxes = [Box(f"t{i}", f"n{i}", "ready", "ready", (i,), i) for i in range(3)]
    graph = Graph(lambda node: None)
    widget = graph.widget
    graph.show(Drawing((boxes[0],), (), 1))
    graph.show(Drawing(tuple(boxes[:2]), (Arrow("t0", "t1"),), 2))
    assert graph.widget is widget
    assert [node.data["id"] for node in widget.graph.nodes] == ["t0", "t1"]
    graph.show(Drawing((boxes[2],), (), 3))
    assert graph.widget is not widget
    assert [node.data["id"] for node in graph.widget.graph.nodes] == ["t2"]
