"""The graph in memory: elements, properties of several values, indexes."""

from __future__ import annotations

import math
import threading

import pytest
from gremlin_python.process.traversal import TextP
from gremlin_python.statics import long
from hypothesis import given, settings
from hypothesis import strategies as st

from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.machine import source
from twingraph_nb.lineage.problems import UnknownElement


def test_ids_are_given_or_made_and_never_twice() -> None:
    graph = Graph()
    graph.add_vertex(id=0)
    made = graph.add_vertex()
    assert made.id == 1
    assert type(made.id) is long
    with pytest.raises(ValueError, match="already exists: 0"):
        graph.add_vertex(id=0)
    with pytest.raises(UnknownElement, match="Vertex does not exist: 9"):
        graph.vertex(9)


def test_a_vertex_without_edges_on_a_side_has_no_neighbours_there() -> None:
    graph = Graph()
    one, two = graph.add_vertex(), graph.add_vertex()
    edge = graph.add_edge("to", one, two, properties={"x": 1})
    assert (one.neighbours("out"), one.neighbours("in")) == ([two], [])
    assert (two.edges("in", "to"), two.edges("in", "other")) == ([edge], [])
    assert (edge.outV, edge.inV, edge.value("x")) == (one, two, 1)


def test_a_loop_is_met_from_both_sides() -> None:
    graph = Graph()
    one = graph.add_vertex()
    edge = graph.add_edge("self", one, one)
    assert one.edges("both") == [edge, edge]
    graph.remove(one)
    assert (graph.vertices, graph.edges) == ({}, {})


def test_a_property_may_have_several_values_with_properties_of_their_own() -> None:
    graph = Graph()
    vertex = graph.add_vertex(properties={"name": "a"})
    graph.add_property(vertex, "name", "b", "list", meta={"since": 3})
    assert list(vertex.values("name")) == ["a", "b"]
    assert [cell.value("since") if callable(cell.value) else cell.content
            for cell in vertex.cells("name")] == [{}, {"since": 3}]  # fmt: skip
    assert source(graph).V().has("name", TextP.containing("b")).count().next() == 1
    graph.add_property(vertex, "name", "b", "set", meta={"since": 4})
    assert list(vertex.values("name")) == ["a", "b"]
    graph.add_property(vertex, "name", "c", "single")
    assert list(vertex.values("name")) == ["c"]


def test_found_by_value_and_label_as_the_graph_is_now() -> None:
    graph = Graph()
    one = graph.add_vertex("x", properties={"n": 1})
    two = graph.add_vertex("y", properties={"n": 1.0})
    assert list(graph.find("n", 1)) == [one, two]
    assert list(graph.find("n", 1, "y")) == [two]
    graph.set_property(one, "n", 2)
    assert list(graph.find("n", 1)) == [two]
    assert list(graph.find("n", 2)) == [one]
    graph.remove(two)
    assert list(graph.find("n", 1)) == []
    assert list(graph.labelled("x")) == [one]


def test_a_truth_value_is_no_number_and_not_a_number_is_equal_to_nothing() -> None:
    graph = Graph()
    yes = graph.add_vertex(properties={"v": True})
    one = graph.add_vertex(properties={"v": 1})
    graph.add_vertex(properties={"v": math.nan})
    assert list(graph.find("v", True)) == [yes]
    assert list(graph.find("v", 1)) == [one]
    assert list(graph.find("v", math.nan)) == []


def test_values_without_a_hash_are_found_too() -> None:
    graph = Graph()
    held = graph.add_vertex(properties={"v": [1, 2]})
    graph.add_vertex(properties={"v": [1, 3]})
    assert list(graph.find("v", [1, 2])) == [held]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "set", "append", "remove"]),
            st.integers(0, 4),
            st.sampled_from([0, 1, "a", True, None, 0.5]),
        ),
        max_size=30,
    )
)
def test_an_index_says_what_a_look_at_every_vertex_says(
    changes: list[tuple[str, int, object]],
) -> None:
    graph = Graph()
    list(graph.find("k", "made now"))
    for what, number, value in changes:
        vertex = graph.vertices.get(number)
        if what == "add" and vertex is None:
            graph.add_vertex(id=number, properties={"k": value})
        elif vertex is not None and what == "set":
            graph.set_property(vertex, "k", value)
        elif vertex is not None and what == "append":
            graph.add_property(vertex, "k", value, "list")
        elif vertex is not None and what == "remove":
            graph.remove(vertex)
    for value in (0, 1, "a", True, None, 0.5):
        seen = {
            v.id
            for v in graph.vertices.values()
            if any(x == value and isinstance(x, bool) == isinstance(value, bool)
                   for x in v.values("k"))
        }  # fmt: skip
        assert {v.id for v in graph.find("k", value)} == seen


def test_questions_are_answered_while_another_thread_writes() -> None:
    graph = Graph()
    graph.add_vertex("task", 0, {"n": 0})
    g = source(graph)

    def write() -> None:
        for number in range(1, 1500):
            vertex = graph.add_vertex("task", number, {"n": number % 7})
            graph.add_edge("next", graph.vertices[number - 1], vertex)
            graph.set_property(vertex, "late", number)
            if number > 100:
                graph.remove(graph.vertices[number - 100])
                graph.add_vertex("task", number - 100, {"n": -1})

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        g.V().out("next").out("next").limit(50).values("n", "late").to_list()
        g.V().has("n", 3).in_("next").count().next()
        g.V().group_count().by("n").next()
        g.E().count().next()
    assert g.V().has("n", -1).count().next() == 1399
