"""The engine as a whole: gremlinpython's terminal steps, limits, paths, seeds, many objects."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import pytest
from gremlin_python.process.graph_traversal import __
from gremlin_python.process.strategies import SeedStrategy
from gremlin_python.process.traversal import Bytecode, Traversal
from gremlin_python.structure import graph as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lineage.asking import ask, kitchen
from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.machine import Connection, source
from twingraph_nb.lineage.problems import NotSupported, QueryLimit, UnknownStep
from twingraph_nb.lineage.steps_compute import page_ranks
from twingraph_nb.lineage.traverser import Limits, Run


def ladder(steps: int) -> Graph:
    """A chain of steps with two edges from each to the next."""
    graph = Graph()
    rungs = [graph.add_vertex("rung", number) for number in range(steps)]
    for lower, upper in itertools.pairwise(rungs):
        graph.add_edge("up", lower, upper)
        graph.add_edge("up", lower, upper)
    return graph


def test_every_terminal_step_of_gremlinpython_works_without_a_server() -> None:
    g = source(kitchen())
    assert g.V().has_next()
    assert g.V().values("name").next() == "ann"
    assert g.V().values("name").next(2) == ["ann", "bob"]
    assert g.V().label().to_set() == {"cook", "dish"}
    assert g.V().label().to_list() == ["cook"] * 3 + ["dish"] * 3
    assert list(g.V("ann").values("age")) == [40]
    assert isinstance(g.V().iterate(), Traversal)
    assert g.V().values("age").promise().result().to_list() == [40, 25, 31]
    with pytest.raises(StopIteration):
        g.V("nobody").next()


async def test_a_query_works_while_an_event_loop_is_running() -> None:
    asyncio.get_running_loop()
    assert source(kitchen()).V().count().next() == 6


def test_results_are_elements_that_gremlinpython_knows() -> None:
    g = source(kitchen())
    vertex, edge = g.V("ann").next(), g.E("t1").next()
    assert isinstance(vertex, theirs.Vertex)
    assert isinstance(edge, theirs.Edge)
    assert (repr(vertex), repr(edge)) == ("v[ann]", "e[t1][ann-taught->bob]")
    assert [p.key for p in vertex.properties] == ["name", "age"]
    assert vertex == theirs.Vertex("ann")
    assert g.V(vertex).out("taught").next() == edge.inV


def test_results_come_one_by_one() -> None:
    answers = source(ladder(5_000)).V().out()
    assert answers.next().id == 1


def test_an_endless_repeat_is_stopped_and_the_error_says_so() -> None:
    g = source(kitchen(), Limits(seconds=0.2))
    with pytest.raises(QueryLimit, match=r"repeat\(\) was in its round \d+ \(limit 0\.2 s\)"):
        g.V().repeat(__.identity()).to_list()


def test_a_repeat_that_grows_without_end_is_stopped_by_memory() -> None:
    g = source(ladder(60), Limits(seconds=30, held=500))
    with pytest.raises(QueryLimit, match="holds too many objects"):
        g.V(0).repeat(__.out()).emit().path().to_list()


@pytest.mark.parametrize("end", ["fold()", "aggregate('x')", "group().by(constant(1))"])
def test_a_list_of_what_was_counted_as_one_is_bounded_too(end: str) -> None:
    with pytest.raises(QueryLimit, match="holds too many objects"):
        ask(f"g.V(0).repeat(out()).times(60).{end}", ladder(61))


def test_a_traversal_of_thousands_of_steps_is_refused_and_not_a_crash() -> None:
    code = Bytecode()
    code.add_step("V")
    for _ in range(5_000):
        code.add_step("identity")
    with pytest.raises(LineageError, match="too many steps"):
        list(Connection(kitchen()).submit(code).traversers)


def test_too_many_results_are_refused() -> None:
    with pytest.raises(QueryLimit, match="too many results"):
        source(kitchen(), Limits(results=3)).V().to_list()


def test_the_timeout_of_a_query_is_its_own() -> None:
    g = source(kitchen()).with_("evaluationTimeout", 100)
    with pytest.raises(QueryLimit, match=r"limit 0\.1 s"):
        g.V().repeat(__.both()).iterate()


def test_time_that_the_asker_takes_between_results_does_not_count() -> None:
    answers = source(kitchen(), Limits(seconds=0.05)).V().values("name")
    assert answers.next() == "ann"
    threading.Event().wait(0.1)
    assert answers.to_list() == ["bob", "cid", "soup", "cake", "rice"]


def test_equal_traversers_go_on_as_one() -> None:
    """Without it 2 ** 200 of them could not be counted."""
    g = source(ladder(201))
    assert g.V(0).repeat(__.out()).times(60).count().next() == 2**60
    assert g.V(0).as_("a").repeat(__.out()).times(60).select("a").count().next() == 2**60


def test_an_unknown_step_is_named_with_a_suggestion() -> None:
    code = Bytecode()
    code.add_step("V")
    code.add_step("outt")
    with pytest.raises(UnknownStep, match=r"no step outt\(\) \(did you mean 'out'\?\)"):
        Connection(kitchen()).submit(code)


def test_what_is_not_supported_is_refused_before_anything_runs() -> None:
    graph = kitchen()
    with pytest.raises(NotSupported, match="profile"):
        source(graph).V().drop().profile().iterate()
    assert len(graph.vertices) == 6


def test_an_empty_traversal_is_refused() -> None:
    with pytest.raises(LineageError, match="no steps"):
        Connection(kitchen()).submit(Bytecode())


def test_a_seed_gives_the_same_draw_each_time() -> None:
    def draw() -> list[Any]:
        g = source(kitchen()).with_strategies(SeedStrategy(seed=7))
        return [g.V().coin(0.5).id_().to_list(), g.V().sample(2).id_().to_list()]

    assert draw() == draw()


def test_ranks_share_one_unit_and_more_links_mean_more() -> None:
    graph = kitchen()
    ways: Any = {v: [(edge, edge.in_) for edge in v.edges("out")] for v in graph.vertices.values()}
    ranks = page_ranks(Run(graph, Limits()), ways, None, alpha=0.85, rounds=50)
    assert sum(ranks.values()) == pytest.approx(1.0)
    assert max(ranks, key=lambda vertex: ranks[vertex]).id == "cake"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("g.V().pageRank().with('~tinkerpop.pageRank.propertyName', 'r').order().by('r', desc)"
         ".limit(1).id()", ["cake"]),
        ("g.V().connectedComponent().values('gremlin.connectedComponentVertexProgram.component')"
         ".dedup()", ["ann"]),
        ("g.V().peerPressure().has('gremlin.peerPressureVertexProgram.cluster').count()", [6]),
        ("g.V('ann').shortestPath().with('~tinkerpop.shortestPath.target', hasId('rice'))"
         ".count(local)", [4, 4]),
        ("g.V('ann').shortestPath().with('~tinkerpop.shortestPath.edges', outE('taught'))"
         ".with('~tinkerpop.shortestPath.distance', 'years')"
         ".with('~tinkerpop.shortestPath.maxDistance', 3).count()", [2]),
    ],
)  # fmt: skip
def test_algorithms_over_the_graph(query: str, wanted: list[Any]) -> None:
    assert ask(query) == wanted


def test_algorithms_write_nothing_into_the_graph() -> None:
    graph = kitchen()
    ask("g.V().pageRank()", graph)
    assert sorted(graph.vertices["ann"].keys()) == ["age", "name"]


STEPS = (
    "out()", "in()", "both()", "outE().inV()", "bothE().otherV()", "hasLabel('cook')", "as('a')",
    "has('age', gt(30))", "where(out('cooked'))", "repeat(both()).times(2)", "barrier()",
    "union(out(), in())", "optional(out('taught'))", "emit().repeat(out()).times(2)",
    "local(both())", "choose(has('age'), out(), identity())", "groupCount('n').by(label)",
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(STEPS), max_size=4),
    st.sampled_from(["id()", "count()", "groupCount().by(label)", "count().as('c').select('c')"]),
)
def test_going_on_as_one_never_changes_an_answer(steps: list[str], end: str) -> None:
    """A traversal that must remember every path cannot let traversers meet."""
    query = ".".join(["V()", *steps, end])
    plain, apart = ask(f"g.{query}"), ask(f"g.withPath().{query}")
    assert sorted(map(repr, plain)) == sorted(map(repr, apart))
