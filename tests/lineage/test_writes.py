"""Steps that change a graph, strategies that forbid or filter, and transactions."""

from __future__ import annotations

from typing import Any

import pytest
from gremlin_python.process.graph_traversal import __
from gremlin_python.process.strategies import PartitionStrategy, ReadOnlyStrategy, SubgraphStrategy
from gremlin_python.process.traversal import T

from tests.lineage.asking import ask, kitchen, refusal
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.machine import source
from twingraph_nb.lineage.problems import ReadOnlyGraph, TransactionOpen

WRITES: list[tuple[str, str, list[Any]]] = [
    ("g.addV('cook').property('name', 'dan')", "g.V().has('name', 'dan').label()", ["cook"]),
    ("g.addV('x').property(T.id, 'new')", "g.V('new').label()", ["x"]),
    ("g.addV('x').property('n', 1).property('n', 2)", "g.V().values('n')", [1, 2]),
    ("g.V('ann').property('age', 41)", "g.V('ann').values('age')", [41]),
    ("g.V('ann').property('age', null)", "g.V('ann').has('age')", []),
    ("g.V('ann').property(list, 'age', 41)", "g.V('ann').values('age')", [40, 41]),
    ("g.V('ann').property(set, 'age', 40)", "g.V('ann').values('age')", [40]),
    ("g.V('ann').property(['x': 1, 'y': 2])", "g.V('ann').values('x', 'y')", [1, 2]),
    ("g.V('ann').property('x', 1, 'since', 3)", "g.V('ann').properties('x').values('since')", [3]),
    ("g.E('t1').property('years', 9)", "g.E('t1').values('years')", [9]),
    ("g.V('ann').addE('met').to(V('cid'))", "g.V('ann').out('met').id()", ["cid"]),
    (
        "g.V('ann').as('a').V('cid').addE('met').from('a').property('on', 1)",
        "g.V('ann').outE('met').values('on')",
        [1],
    ),
    ("g.V('ann').drop()", "g.E().count()", [4]),
    ("g.V('ann').drop()", "g.V('cake').inE().count()", [2]),
    ("g.E().hasLabel('taught').drop()", "g.V().out('taught')", []),
    ("g.V().properties('age').drop()", "g.V().has('age')", []),
    (
        "g.mergeV([name: 'ann']).option(onMatch, [age: 1]).option(onCreate, [age: 2])",
        "g.V().has('name', 'ann').values('age')",
        [1],
    ),
    (
        "g.mergeV([name: 'dan', (T.label): 'cook']).option(onCreate, [age: 2])",
        "g.V().has('cook', 'name', 'dan').values('age')",
        [2],
    ),
    ("g.mergeV([(T.id): 'ann'])", "g.V().count()", [6]),
    (
        "g.mergeE([(T.label): 'met', (Direction.OUT): 'ann', (Direction.IN): 'cid'])",
        "g.V('ann').out('met').id()",
        ["cid"],
    ),
    (
        "g.mergeE([(T.label): 'taught', (Direction.OUT): 'ann', (Direction.IN): 'bob'])"
        ".option(onMatch, [years: 7])",
        "g.E().hasLabel('taught').values('years')",
        [7, 5],
    ),
]


@pytest.mark.parametrize(("change", "query", "wanted"), WRITES)
def test_a_change_is_seen_by_the_next_query(change: str, query: str, wanted: list[Any]) -> None:
    graph = kitchen()
    ask(change, graph)
    assert ask(query, graph) == wanted


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("g.addV('~x')", "Label can not be a hidden key: ~x"),
        ("g.V('ann').property('~x', 1)", "Property key can not be a hidden key: ~x"),
        ("g.addE('x').from(V('ann'))", "must resolve to a Vertex or the ID of a Vertex"),
        ("g.mergeE([(T.label): 'x', (Direction.OUT): 'ann'])", "In Vertex not specified"),
        ("g.mergeV([name: null])", "does not allow null Map values"),
        ("g.mergeV([name: 'x']).option(onCreate, [name: 'y'])", "cannot override values"),
        ("g.mergeV([name: 'ann']).option(onMatch, [(T.label): 'y'])", "expects keys in Map"),
        ("g.mergeE([(Direction.OUT): 'no', (Direction.IN): 'ann'])", "could not be resolved"),
        ("g.E('t1').property(list, 'x', 1)", "cardinality can only be set for a Vertex"),
        ("g.addV().property(T.id, 'ann')", "Vertex with id already exists: ann"),
    ],
)
def test_a_change_that_cannot_be_meant_is_refused(query: str, said: str) -> None:
    graph = kitchen()
    assert said in refusal(query, graph)
    assert (len(graph.vertices), len(graph.edges)) == (6, 7)


def test_a_read_only_graph_answers_and_refuses_every_change() -> None:
    graph = kitchen()
    graph.read_only = True
    assert ask("g.V().count()", graph) == [6]
    for change in ("addV()", "V().drop()", "V().property('x', 1)", "mergeV([x: 1])"):
        assert "not read only" in refusal(f"g.{change}", graph)
    with pytest.raises(ReadOnlyGraph):
        graph.add_vertex()


def test_read_only_strategy_refuses_a_change_inside_a_child_traversal() -> None:
    g = source(kitchen()).with_strategies(ReadOnlyStrategy())
    with pytest.raises(ReadOnlyGraph):
        g.V().side_effect(__.properties().drop()).to_list()


def test_subgraph_strategy_hides_vertices_edges_and_properties_from_every_step() -> None:
    g = source(kitchen()).with_strategies(
        SubgraphStrategy(
            vertices=__.has("age"),
            edges=__.has("years", 2),
            vertex_properties=__.has_key("name"),
        )
    )
    assert g.V().id_().to_list() == ["ann", "bob", "cid"]
    assert g.V("ann").out().id_().to_list() == ["bob"]
    assert g.E().id_().to_list() == ["t1"]
    assert g.V("bob").value_map().to_list() == [{"name": ["bob"]}]
    assert g.V().has("age", 40).to_list() == []


def test_partition_strategy_writes_and_reads_one_partition() -> None:
    graph = Graph()

    def part(name: str) -> Any:
        strategy = PartitionStrategy(
            partition_key="part", write_partition=name, read_partitions=[name]
        )
        return source(graph).with_strategies(strategy)

    part("a").add_v("x").property("n", 1).iterate()
    part("b").add_v("x").property("n", 2).iterate()
    assert part("a").V().values("n").to_list() == [1]
    part("b").merge_v({"n": 1}).iterate()
    assert part("b").V().values("n").to_list() == [2, 1]
    assert source(graph).V().count().next() == 3


def test_a_transaction_that_is_rolled_back_leaves_the_graph_as_it_was() -> None:
    graph = kitchen()
    before = ask("g.V().elementMap()", graph), ask("g.E().elementMap()", graph)
    transaction = source(graph).tx()
    g = transaction.begin()
    g.V("ann").property("age", 1).iterate()
    g.V("bob").drop().iterate()
    g.add_v("cook").property(T.id, "dan").iterate()
    g.V("dan").add_e("met").to(__.V("ann")).iterate()
    assert g.V().has("age", 1).id_().to_list() == ["ann"]
    transaction.rollback()
    found = ask("g.V().order().by(T.id).id()", graph)
    assert found == sorted(kitchen().vertices)
    assert {v["name"] for v in ask("g.V().elementMap()", graph)} == {v["name"] for v in before[0]}
    assert ask("g.V('ann').values('age')", graph) == [40]
    assert ask("g.V('bob').both().id().order()", graph) == ["ann", "cake", "cid"]
    assert graph.find("age", 1, "cook") is not None
    assert list(graph.find("age", 1)) == []


def test_a_graph_is_in_one_transaction_at_a_time() -> None:
    graph = kitchen()
    transaction = source(graph).tx()
    transaction.begin()
    with pytest.raises(TransactionOpen, match="commit it or roll it back"):
        source(graph).tx().begin()
    transaction.rollback()
    source(graph).tx().begin()


def test_a_transaction_that_is_committed_stays() -> None:
    graph = kitchen()
    transaction = source(graph).tx()
    transaction.begin().V("ann").property("age", 1).iterate()
    transaction.commit()
    assert ask("g.V('ann').values('age')", graph) == [1]
