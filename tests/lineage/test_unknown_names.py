"""Names that nothing in the graph has are told, with the nearest that something has."""

from __future__ import annotations

import pytest

from tests.lineage.runs import batches, component, started, story, task
from twingraph_nb.events import Batch
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.machine import source
from twingraph_nb.lineage.projection import Projection
from twingraph_nb.lineage.text import read_query
from twingraph_nb.lineage.unknown import unknown_names


@pytest.fixture(scope="module")
def graph() -> Graph:
    made = Projection()
    used = component("paint", attributes={"team": "blue"})
    own = (started("bbbb", "own"), used, task(0, "paint", run="bbbb"))
    made.apply([*batches(story()), Batch("bbbb", 0, own)])
    return made.graph


def told(graph: Graph, text: str) -> list[str]:
    return unknown_names(read_query(text, source(graph)).traversal.bytecode, graph)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("g.V().has('Task', 'stat', 'failed')", "no property 'stat' (did you mean 'state'?)"),
        ("g.V().has('Taks', 'state', 'failed')", "no label 'Taks' (did you mean 'Task'?)"),
        ("g.V().hasLabel('Componet')", "no label 'Componet' (did you mean 'Component'?)"),
        ("g.V().values('Nmae')", "no property 'Nmae' (did you mean 'Name'?)"),
        ("g.V().where(__.out('feed'))", "no edge 'feed' (did you mean 'feeds'?)"),
        ("g.V().has('teem', 'blue')", "no property 'teem' (did you mean 'team'?)"),
        ("g.V().repeat(out('reports'))", "no edge 'reports'"),
    ],
)
def test_an_unknown_property_label_or_edge_is_told(graph: Graph, text: str, note: str) -> None:
    (found,) = told(graph, text)
    assert found.startswith(f"the graph has {note}")


@pytest.mark.parametrize(
    "text",
    [
        "g.V().has('Task', 'state', 'failed').values('Git History')",  # in the schema, not here
        "g.V().has('team', 'blue').has('commit')",
        "g.V().as('x').out('feeds').select('x').by('anything')",
        "g.V().hasLabel('Person').outE('started').has('at', gt(1))",
        "g.V().values('commit', 'name')",
    ],
)
def test_what_something_has_is_not_told(graph: Graph, text: str) -> None:
    assert [note for note in told(graph, text) if "commit" not in note] == []


def test_each_name_is_told_once(graph: Graph) -> None:
    assert len(told(graph, "g.V().has('xyz', 1).has('xyz', 2).values('xyz')")) == 1
