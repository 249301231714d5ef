"""A served graph as gremlinpython's driver sees it: the same answers as without a server."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from gremlin_python.driver.protocol import GremlinServerError
from gremlin_python.process.graph_traversal import GraphTraversalSource, __
from gremlin_python.process.strategies import PartitionStrategy, SubgraphStrategy
from gremlin_python.process.traversal import (
    Cardinality,
    Direction,
    Merge,
    Operator,
    Order,
    P,
    Pop,
    Scope,
    T,
    TextP,
)
from gremlin_python.statics import SingleByte, bigdecimal, bigint, long, short
from gremlin_python.structure.graph import Edge, Path, Vertex

from tests.lineage.asking import ask, kitchen
from tests.lineage.served import SERIALIZERS, client, opened, request, served
from twingraph_nb.lineage.containers import key_of
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.machine import source
from twingraph_nb.lineage.serve import Bounds, Server
from twingraph_nb.lineage.traverser import Limits

G = GraphTraversalSource
TRAVERSALS: dict[str, Callable[[G], Any]] = {
    "elements": lambda g: g.V("ann").out_e("cooked").order().by("stars").in_v(),
    "edges": lambda g: g.E().has("years", P.between(1, 9)),
    "predicates": lambda g: g.V().has("age", P.gt(20).and_(P.lt(32)).or_(P.eq(40))).values("name"),
    "texts": lambda g: g.V().has("name", TextP.starting_with("c")).id_(),
    "regex": lambda g: g.V().has("name", TextP.regex("^(a|c)+.[nd]$")).id_(),
    "lists": lambda g: g.V().has("name", P.within(["ann", "rice"])).id_(),
    "maps": lambda g: g.V().has_label("cook").value_map(True),
    "groups": lambda g: g.V().group().by(T.label).by(__.values("name").fold()),
    "paths": lambda g: g.V("ann").repeat(__.out("taught")).emit().path().by("name"),
    "labels": lambda g: g.V().as_("a").out("taught").as_("b").select(Pop.last, "a", "b").by("age"),
    "sacks": lambda g: g.with_sack(1.0).V("ann").out_e().sack(Operator.mult).by("years").sack(),
    "order": lambda g: g.V().values("age").order().by(Order.desc),
    "local": lambda g: g.V().values("age").fold().sum_(Scope.local),
    "strategy": lambda g: g.with_strategies(SubgraphStrategy(vertices=__.has_label("dish"))).V(),
    "bulk": lambda g: g.V().both().both().both().dedup().count(),
    "properties": lambda g: g.V("ann").properties("age").value(),
    "sets": lambda g: g.V().label().fold().dedup(Scope.local),
    "nothing": lambda g: g.V("nobody"),
    "null": lambda g: g.inject(None, 1),
}
VALUES = [
    1, -5, long(1), 1 << 40, bigint(1 << 80), short(7), SingleByte(-3), 0.5, float("inf"), True,
    "", "a\nü€\u0000", "𝄞", bigdecimal("12.50"), uuid.UUID(int=5), b"\x00\xff",
    datetime(2024, 2, 3, 4, 5, 6, 7000, tzinfo=UTC), [1, ["a", None]], {"a": {"b": [1.5]}},
]  # fmt: skip


@pytest.fixture(scope="module")
def kitchen_server() -> Iterator[Server]:
    with Server(kitchen()) as server:
        yield server


@pytest.fixture
def free() -> Iterator[tuple[Server, Graph]]:
    graph = kitchen()
    with Server(graph, writable=True) as server:
        yield server, graph


def shown(results: list[Any]) -> list[Any]:
    """Results without what a client cannot know: elements by class, id, label and properties."""

    def one(value: Any) -> Any:
        if isinstance(value, Vertex | Edge):
            kind = "vertex" if isinstance(value, Vertex) else "edge"
            properties = sorted((p.key, p.value) for p in value.properties)
            return (kind, value.id, value.label, properties)
        if isinstance(value, Path):
            return ("path", value.labels, [one(item) for item in value.objects])
        if isinstance(value, dict):
            return {key: one(item) for key, item in value.items()}
        return [one(item) for item in value] if isinstance(value, list) else value

    return [one(result) for result in results]


@pytest.mark.parametrize("form", SERIALIZERS)
def test_a_traversal_gives_what_it_gives_without_a_server(
    kitchen_server: Server, form: str
) -> None:
    embedded = source(kitchen())
    with served(kitchen_server, form) as g:
        for name, asked in TRAVERSALS.items():
            assert shown(asked(g).to_list()) == shown(asked(embedded).to_list()), name


@pytest.mark.parametrize("form", SERIALIZERS)
def test_a_text_gives_what_it_gives_without_a_server(kitchen_server: Server, form: str) -> None:
    texts = [
        "g.V().has('age', gt(30)).values('name')",
        "g.V('ann').as('a').out('taught').path().by('name')",
        "g.V().groupCount().by(label)",
        "g.V('ann').repeat(__.out()).emit().times(3).dedup()",
    ]
    with client(kitchen_server, form) as asking:
        for text in texts:
            assert shown(asking.submit(text).all().result()) == shown(ask(text)), text
        bound = asking.submit("g.V().has('age', lt(x)).values(y)", {"x": 30, "y": "name"})
        assert bound.all().result() == ["bob"]


def test_the_last_step_of_a_text_says_what_is_wanted(kitchen_server: Server) -> None:
    found = {
        "g.V().values('age').next()": [40],
        "g.V().values('age').next(2)": [40, 25],
        "g.V().label().toSet()": ["cook", "dish"],
        "g.V('nobody').hasNext()": [False],
        "g.V().iterate()": [],
        "g.V('nobody').tryNext()": [],
        "g.V().label().toList()": ["cook"] * 3 + ["dish"] * 3,
    }
    with client(kitchen_server) as asking:
        assert {text: asking.submit(text).all().result() for text in found} == found
        with pytest.raises(GremlinServerError, match="597: there is no next result"):
            asking.submit("g.V('nobody').next()").all().result()


@pytest.mark.parametrize("form", SERIALIZERS)
def test_values_keep_their_types_there_and_back(free: tuple[Server, Graph], form: str) -> None:
    server, graph = free
    with served(server, form) as g:
        for number, value in enumerate(VALUES):
            if form == "graphbinary" and type(value) is int:
                value = long(value)  # gremlinpython writes a plain int in 32 bits
            if form == "graphson" and isinstance(value, bytes):
                continue  # gremlinpython does not read its own GraphSON of bytes
            g.add_v("value").property(T.id, f"v{number}").property("is", value).iterate()
            kept = graph.vertex(f"v{number}").value("is")
            expected = Decimal("12.50") if str(value) == "12.50" else value
            assert key_of(kept) == key_of(expected), value
            assert g.V(f"v{number}").values("is").next() == value


@pytest.mark.parametrize("form", SERIALIZERS)
def test_a_free_graph_is_written_by_the_usual_upserts(form: str) -> None:
    graph = Graph()
    with Server(graph, writable=True) as server, served(server, form) as g:
        rows = [{T.id: f"t{n}", T.label: "Task", "n": n} for n in range(5)]
        for _ in range(2):
            g.inject(rows).unfold().as_("row").merge_v(__.select("row")).iterate()
            g.merge_e(
                {T.id: "e", T.label: "feeds", Direction.OUT: "t0", Direction.IN: "t1"}
            ).option(Merge.on_create, {"port": "x"}).option(
                Merge.on_match, {"seen": True}
            ).iterate()
            g.V("t2").fold().coalesce(__.unfold(), __.add_v("no")).property(
                Cardinality.set_, "tag", "a"
            ).iterate()
        assert g.V().count().next() == 5
        edge = graph.edges["e"]
        assert (edge.outV.id, edge.inV.id, edge.content) == (
            "t0",
            "t1",
            {"port": "x", "seen": True},
        )
        write = PartitionStrategy(partition_key="p", write_partition="a", read_partitions=["a"])
        g.with_strategies(write).add_v("Task").iterate()
        assert g.V().has("p", "a").count().next() == 1


def test_a_request_that_fails_leaves_nothing_half_done(free: tuple[Server, Graph]) -> None:
    server, graph = free
    before = sorted(map(str, graph.vertices)), sorted(graph.edges)
    with served(server) as g:
        for asked in (
            g.add_v("a").add_v("b").V().side_effect(__.drop()).fail("no"),
            g.inject(*range(500)).add_v("x").property("n", __.math("1 / 0")),
            g.with_("evaluationTimeout", 200).add_v("x").repeat(__.identity()),
            g.V("ann").property("age", 1).add_e("taught").to(__.V("nobody")),
        ):
            with pytest.raises(GremlinServerError):
                asked.iterate()
            assert (sorted(map(str, graph.vertices)), sorted(graph.edges)) == before
            assert graph.vertex("ann").value("age") == 40


def test_a_graph_that_is_only_read_refuses_every_way_to_change_it(kitchen_server: Server) -> None:
    before = str(kitchen())
    sneaky = SubgraphStrategy(vertices=__.side_effect(__.add_v("x")))
    with served(kitchen_server) as g, client(kitchen_server) as asking:
        for asked in (
            lambda: g.add_v("x").iterate(),
            lambda: g.V().side_effect(__.drop()).iterate(),
            lambda: g.V().property("a", 1).iterate(),
            lambda: g.with_strategies(sneaky).V().iterate(),
            lambda: g.V().choose(__.has("age"), __.merge_v({T.id: "x"})).iterate(),
            lambda: asking.submit("g.V().drop()").all().result(),
            lambda: asking.submit("g.withoutStrategies(ReadOnlyStrategy).addV()").all().result(),
        ):
            with pytest.raises(GremlinServerError, match="not read only"):
                asked()
        assert source(kitchen()).V().count().next() == g.V().count().next()
    assert before == "graph[vertices:6 edges:7]"


# -- how results come -----------------------------------------------------------------------------


def test_many_results_come_in_batches_of_the_size_that_is_asked_for() -> None:
    graph = Graph()
    for number in range(2_500):
        graph.add_vertex("n", number)
    with Server(graph) as server, opened(server) as raw, served(server, "graphbinary") as g:
        raw.send(request(gremlin="g.V().id()", batchSize=1000))
        told = [raw.answer() for _ in range(3)]
        assert [one["status"]["code"] for one in told] == [206, 206, 200]
        sizes = [len(one["result"]["data"]["@value"]) for one in told]
        assert sizes == [1000, 1000, 500]
        assert g.V().id_().to_list() == list(range(2_500))


def test_an_answer_is_split_before_it_is_too_large_for_clients() -> None:
    graph = Graph()
    for number in range(30):
        graph.add_vertex("n", number, {"text": "x" * 1_000_000})
    with Server(graph) as server, served(server) as g:
        assert len(g.V().to_list()) == 30  # gremlinpython takes frames of 10 MiB


def test_a_subgraph_comes_whole_in_graphson(kitchen_server: Server) -> None:
    with opened(kitchen_server) as raw:
        raw.send(request(gremlin="g.E('t1').subgraph('x').cap('x')"))
        told = raw.answer()["result"]["data"]["@value"][0]
    assert told["@type"] == "tinker:graph"
    assert [one["@value"]["id"] for one in told["@value"]["vertices"]] == ["ann", "bob"]
    assert [one["@value"]["outV"] for one in told["@value"]["edges"]] == ["ann"]
    with (
        served(kitchen_server, "graphbinary") as g,
        pytest.raises(GremlinServerError, match="599: GraphBinary has no type here for a Graph"),
    ):
        g.E("t1").subgraph("x").cap("x").next()


def test_elements_come_without_properties_when_only_tokens_are_wanted(
    kitchen_server: Server,
) -> None:
    with served(kitchen_server) as g:
        whole, bare = g.V("ann"), g.with_("materializeProperties", "tokens").V("ann")
        assert (len(whole.next().properties), bare.next().properties) == (2, [])


# -- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "code", "why"),
    [
        ({"gremlin": "g.V().repeat(identity())", "evaluationTimeout": 100}, 598, "limit 0.1 s"),
        ({"gremlin": "g.with('evaluationTimeout', 100).V().repeat(both())"}, 598, "limit 0.1 s"),
        ({"gremlin": "g.with('evaluationTimeout', 1e9).V().repeat(both())"}, 598, "limit 0.4 s"),
        ({"gremlin": f"g.inject('{'a' * 60}!').is(regex('^(a+)+$'))"}, 598, "regular expression"),
        ({"gremlin": "g.inject(1).emit().repeat(identity())", "batchSize": 9999}, 597, "too many"),
        ({"gremlin": "g.V().fail('stop')"}, 595, "stop"),
        ({"gremlin": "g.V().outt()"}, 597, "line 1, column 7: there is no step outt()"),
        ({"gremlin": "g.V().map{it.get()}"}, 597, "line 1"),
        ({"gremlin": "g.V(", "language": "gremlin-lang"}, 597, "line 1"),
        ({"gremlin": 5}, 499, "no text"),
        ({"gremlin": "g.V()", "aliases": {"g": "other"}}, 499, "no traversal source 'other'"),
        ({"gremlin": "g.V()", "batchSize": "many"}, 499, "batchSize is a number"),
        ({"gremlin": "g.V()", "session": "s"}, 499, "no sessions"),
        ({"gremlin": "g.inject('a').is(regex('('))"}, 597, "not a regular expression"),
    ],
)
def test_what_cannot_be_answered_is_said_with_its_code(
    asked: dict[str, Any], code: int, why: str
) -> None:
    bounds = Bounds(query=Limits(seconds=0.4, results=1000, held=10_000))
    with Server(kitchen(), bounds=bounds) as server, opened(server) as raw:
        told = raw.ask(request(**asked))
        assert told[0] == code
        assert why in told[1]
        assert raw.ask(request(gremlin="g.V().count()"))[0] == 200


def test_operations_of_sessions_are_refused_with_the_reason(kitchen_server: Server) -> None:
    with opened(kitchen_server) as raw:
        for op, processor in (("eval", "session"), ("close", "session"), ("bytecode", "session")):
            code, why = raw.ask(request(op, processor, session="s", gremlin="g.V()"))
            assert (code, why) == (499, "this server has no sessions: each request is a "
                                        "transaction of its own")  # fmt: skip
        assert raw.ask(request("keys", "traversal"))[0] == 499
    with served(kitchen_server) as g, pytest.raises(GremlinServerError, match="no sessions"):
        g.tx().begin().V().next()


def test_clients_do_not_wait_for_each_other() -> None:
    """While one asks without end, and another writes without end, the rest gets its answers."""
    bounds = Bounds(query=Limits(seconds=60))
    with (
        Server(kitchen(), writable=True, bounds=bounds) as server,
        opened(server) as slow,
        opened(server) as writer,
        ThreadPoolExecutor(4) as threads,
    ):
        for _ in range(8):
            slow.send(request(gremlin="g.V().repeat(identity())"))
        writer.send(request(gremlin="g.addV().repeat(identity())"))

        def asked(number: int) -> list[int]:
            with served(server, list(SERIALIZERS)[number % 2], pool_size=1) as g:
                return [g.inject(number * 100 + n).next() for n in range(5)]

        found = list(threads.map(asked, range(4)))
        assert found == [[number * 100 + n for n in range(5)] for number in range(4)]


def test_writers_take_turns_and_lose_nothing() -> None:
    graph = Graph()
    graph.add_vertex("counter", "c", {"n": 0})
    with Server(graph, writable=True) as server:
        start = threading.Barrier(4)

        def count(_: int) -> None:
            with served(server) as g:
                start.wait(30)
                for _ in range(25):
                    g.V("c").property("n", __.values("n").math("_ + 1")).iterate()

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(count, range(4)))
    assert graph.vertex("c").value("n") == 100


def test_what_nobody_waits_for_any_more_is_stopped() -> None:
    """Else 4 clients that come and go would fill the places of all others."""
    bounds = Bounds(query=Limits(seconds=3600), threads=2)
    with Server(kitchen(), bounds=bounds) as server:
        for _ in range(4):
            with opened(server) as raw:
                raw.send(request(gremlin="g.V().repeat(identity())"))
                raw.send(request(gremlin="g.V().repeat(identity())"))
        with opened(server) as raw:
            assert raw.ask(request(gremlin="g.V().count()"))[0] == 200
            raw.send(request(gremlin="g.V().repeat(identity())"))
