"""Graphs as files: GraphSON and GraphML, there and back, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal
from uuid import UUID

import pytest
from gremlin_python.statics import SingleByte, bigint, long, short
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lineage.runs import batches, story
from twingraph_nb.lineage import graphml, graphson
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.projection import Projection
from twingraph_nb.lineage.text_names import Float32

VALUES = [
    1, long(1), short(1), SingleByte(1), bigint(2**80), 1.5, Float32("1.1"), Decimal("1.10"),
    float("inf"), True, None, "ä\n\"'<&>", "", b"\x00\xff", [1, [2]], {"a": 1, 2: [3]}, {1, "x"},
    UUID(int=7), datetime(2024, 1, 2, 3, tzinfo=UTC), date(2024, 1, 2), timedelta(seconds=90),
]  # fmt: skip


def small() -> Graph:
    graph = Graph()
    marko = graph.add_vertex("person", 1, {"name": "marko"})
    lop = graph.add_vertex("software", "x", {"lang": "java"})
    graph.add_property(marko, "place", "here", "list", meta={"since": 2004})
    graph.add_property(marko, "place", "there", "list")
    graph.add_edge("created", marko, lop, long(9), {"weight": 0.4})
    graph.add_edge("self", marko, marko, "loop")
    return graph


def whole(graph: Graph) -> object:
    vertices = {
        v.id: (v.label, {k: [(c.value, c.content) for c in v.cells(k)] for k in v.content})
        for v in graph.vertices.values()
    }
    edges = {e.id: (e.label, e.out.id, e.in_.id, dict(e.content)) for e in graph.edges.values()}
    return vertices, edges


@pytest.mark.parametrize("shape", ["adjacency", "whole"])
def test_graphson_gives_back_the_graph(
    shape: Literal["adjacency", "whole"], tmp_path: Path
) -> None:
    graph = small()
    graphson.save(graph, tmp_path / "g.json", shape)
    assert whole(graphson.load(tmp_path / "g.json")) == whole(graph)
    lineage = Projection()
    lineage.apply(batches(story()))
    assert whole(graphson.loads(graphson.dumps(lineage.graph, shape))) == whole(lineage.graph)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_graphson_keeps_values_and_their_types(value: object) -> None:
    found = graphson.decoded(json.loads(json.dumps(graphson.encoded(value))))
    assert (found, type(found)) == (value, type(value))


def test_graphson_is_what_tinkerpop_writes() -> None:
    graph = Graph()
    one = graph.add_vertex("person", 1)
    graph.add_property(one, "name", "marko", id=long(0))
    two = graph.add_vertex("software", 3)
    graph.add_edge("created", one, two, 9, {"weight": 0.4})
    assert [json.loads(line) for line in graphson.dumps(graph).splitlines()] == [
        {
            "id": {"@type": "g:Int32", "@value": 1},
            "label": "person",
            "outE": {
                "created": [
                    {
                        "id": {"@type": "g:Int32", "@value": 9},
                        "inV": {"@type": "g:Int32", "@value": 3},
                        "properties": {"weight": {"@type": "g:Double", "@value": 0.4}},
                    }
                ]
            },
            "properties": {"name": [{"id": {"@type": "g:Int64", "@value": 0}, "value": "marko"}]},
        },
        {
            "id": {"@type": "g:Int32", "@value": 3},
            "label": "software",
            "inE": {
                "created": [
                    {
                        "id": {"@type": "g:Int32", "@value": 9},
                        "outV": {"@type": "g:Int32", "@value": 1},
                        "properties": {"weight": {"@type": "g:Double", "@value": 0.4}},
                    }
                ]
            },
        },
    ]


@pytest.mark.parametrize(
    "text",
    ["nonsense", "[]", "1", '{"label":"x"}', '{"id":{"@type":"g:Class","@value":"os"}}',
     '{"id":1,"outE":{"a":[{"id":2,"inV":3}]}}', '{"id":1,"properties":{"a":5}}',
     '{"id":1,"properties":{"a":[5]}}', '{"id":{"@type":"g:Double","@value":"x"}}',
     '{"id":{"@type":"g:UUID","@value":"x"}}', '{"id":{"@type":"gx:Byte","@value":900}}',
     '{"@type":"tinker:graph","@value":{"vertices":[1],"edges":[]}}'],
)  # fmt: skip
def test_graphson_that_is_none_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(graphson.GraphSONError):
        graphson.loads(text)


def test_graphml_gives_back_what_it_can_hold(tmp_path: Path) -> None:
    graph = Graph()
    a = graph.add_vertex("person", "a", {"name": "ä<&>\"'", "age": 29, "big": long(2**40)})
    b = graph.add_vertex("thing", "b", {"weight": 1.5, "ok": True, "name": "b"})
    graph.add_edge("made", a, b, "e", {"name": "x", "at": 2.5})
    graphml.save(graph, tmp_path / "g.xml")
    assert whole(graphml.load(tmp_path / "g.xml")) == whole(graph)


def test_graphml_shows_what_it_cannot_hold_as_text() -> None:
    graph = small()
    graph.add_vertex("odd", "odd", {"list": [1, 2], "bad\x00": "a\x00b", "none": None})
    found = graphml.loads(graphml.dumps(graph))
    assert found.vertices["1"].value("place") == '["here", "there"]'
    assert found.vertices["odd"].value("list") == "[1, 2]"
    assert found.vertices["odd"].value("bad\ufffd") == "a\ufffdb"


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "<a/>", "<graphml/>", "<graphml><graph><edge source='a' target='b'/></graph>"
     "</graphml>", "<!DOCTYPE x [<!ENTITY a 'b'>]><graphml><graph/></graphml>",
     "<graphml><key id='k' attr.type='int'/><graph><node id='a'><data key='k'>x</data></node>"
     "</graph></graphml>"],
)  # fmt: skip
def test_graphml_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(graphml.GraphMLError):
        graphml.loads(text)


plain = st.one_of(st.integers(-(2**31), 2**31 - 1), st.floats(allow_nan=False), st.booleans(),
                  st.text(max_size=20))  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.text(min_size=1, max_size=5), plain, max_size=4), max_size=5))
def test_any_graph_survives_graphson(rows: list[dict[str, object]]) -> None:
    graph = Graph()
    made = [graph.add_vertex("v", None, row) for row in rows]
    for one, row in zip(made, rows, strict=True):
        graph.add_edge("e", one, made[0], None, row)
    for shape in ("adjacency", "whole"):
        assert whole(graphson.loads(graphson.dumps(graph, shape))) == whole(graph)  # type: ignore[arg-type]
    assert len(graphml.loads(graphml.dumps(graph)).edges) == len(rows)
