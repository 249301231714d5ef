"""Facts as requests to a database: in any order, more than once, and what cannot be sent."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from gremlin_python.process.graph_traversal import GraphTraversal, __
from gremlin_python.process.traversal import P, T
from gremlin_python.structure.io.graphbinaryV1 import GraphBinaryWriter

from tests.lineage.remote_running import contents
from tests.lineage.runs import RUN, batches, component, started, story, task
from twingraph_nb.events import Batch, Event, RunFinished, TaskDone, TaskErred, TaskStarted
from twingraph_nb.events import ErrorInfo as Wrong
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.machine import answers, source
from twingraph_nb.lineage.projection import Projection
from twingraph_nb.lineage.remote_address import read_address
from twingraph_nb.lineage.remote_ids import TEXT_ID, number_of, numbered
from twingraph_nb.lineage.remote_rows import Rows, rows_writer
from twingraph_nb.lineage.remote_slices import Slice, Slicer
from twingraph_nb.lineage.remote_upsert import edge_row, g
from twingraph_nb.lineage.remote_versions import chained
from twingraph_nb.lineage.remote_wire import Denied
from twingraph_nb.lineage.serve_binary import Reader
from twingraph_nb.lineage.traverser import Limits

SECOND = "bbbb000000000002"


def sliced(events: list[Event], run: str = RUN, size: int = 3) -> list[Slice]:
    slicer = Slicer()
    made = (slicer.take(run, [batch]) for batch in batches(events, run, size))
    return [one for one in made if one is not None]


def written(slices: Iterable[Slice], most: int = 5) -> Graph:
    graph = Graph()
    for one in slices:
        for request in one.requests(most):
            for part in request.halves():
                assert len(list(answers(graph, part.bytecode(), Limits()))) == 1
    return graph


def projected(*runs: list[Batch]) -> Graph:
    made = Projection()
    for each in runs:
        made.apply(each)
    return made.graph


def same(one: Graph, other: Graph) -> bool:
    """Equal but for the links between versions, which no single slice can know."""
    first, second = (contents(source(graph)) for graph in (one, other))
    for _, edges in (first, second):
        for id in [id for id, edge in edges.items() if edge["label"] == "new_version_of"]:
            del edges[id]
    assert first == second
    return True


@pytest.mark.parametrize("seed", range(12))
def test_slices_of_several_runs_in_any_order_and_some_twice_make_the_same_graph(seed: int) -> None:
    chance = random.Random(seed)
    slices = sliced(story()) + sliced(story(SECOND, at=500.0), SECOND, size=chance.randint(1, 6))
    slices += chance.sample(slices, 5)
    chance.shuffle(slices)
    expected = projected(batches(story()), batches(story(SECOND, at=500.0), SECOND))
    assert same(written(slices), expected)


def test_what_moved_last_stays_although_something_older_comes_later() -> None:
    events = [
        started(),
        component("fit"),
        task(0, "fit"),
        TaskStarted(1.0, 0, worker="first"),
        TaskErred(2.0, 0, 1, Wrong("OSError", "busy"), retryable=True),
        TaskStarted(3.0, 0, attempt=2, worker="second"),
        TaskDone(4.0, 0, {"value": "8"}),
        RunFinished(5.0, "succeeded"),
    ]
    slices = sliced(events, size=1)
    graph = written([slices[-2], *slices, slices[3], slices[4]])
    told = graph.vertex(f"task:{RUN}00000000")
    assert [told.value(key) for key in ("state", "attempts", "worker", "error")] == [
        "succeeded", 2, "second", "OSError: busy",
    ]  # fmt: skip
    assert same(graph, projected(batches(events)))


def test_the_revision_of_a_run_comes_last_and_says_what_is_there() -> None:
    slices = sliced(story())
    for one in slices:
        *before, last = one.requests(4)
        assert [row["p"].get("revision") for row in last.rows] == [one.until]
        assert all(f"run:{RUN}" not in str(part.rows) or part.shape for part in before)
    assert slices[-1].until == len(story())
    assert [one.over for one in slices] == [*[False] * (len(slices) - 1), True]


def test_batches_that_come_early_wait_with_all_that_they_tell() -> None:
    slicer, parts = Slicer(), batches(story(), size=3)
    assert [slicer.take(RUN, [part]) for part in parts[1:]] == [None] * (len(parts) - 1)
    assert slicer.waiting == [RUN]
    whole = slicer.take(RUN, [parts[0]])
    assert whole is not None
    assert (whole.until, whole.over, slicer.waiting) == (len(story()), True, [])
    assert whole.names == {"load", "clean", "fit", "report"}
    assert same(written([whole]), projected(batches(story())))


def test_text_that_is_no_text_and_numbers_too_large_are_sent_as_they_can_be() -> None:
    told = task(0, "fit", inputs={"pi": "3.14159"}, index=2**70)
    graph = written(sliced([started(name="\ud83d"), component("fit"), told]))
    vertex = graph.vertex(f"task:{RUN}00000000")
    assert vertex.value("index") == str(2**70)
    assert "3.14159" in vertex.value("Input Values")
    assert graph.vertex(f"run:{RUN}").value("name") == "?"


def test_the_first_use_of_a_component_is_the_earliest_and_the_rest_the_latest() -> None:
    early, late = (
        sliced([started(run, at=at), component("fit", at=at, version=number)], run)
        for run, at, number in ((RUN, 5.0, 7), (SECOND, 9.0, 8))
    )
    for order in ([*early, *late], [*late, *early], [*late, *early, *late, *early]):
        vertex = written(order).vertex("component:d-fit")
        assert (vertex.value("first_used"), vertex.value("version")) == (5.0, 8)


def test_versions_are_chained_by_their_first_use_each_name_for_itself() -> None:
    rows = [
        {"id": "component:c", "name": "fit", "at": 3.0},
        {"id": "component:a", "name": "fit", "at": 1.0},
        {"id": "component:b", "name": "fit", "at": 2.0},
        {"id": "component:x", "name": "load", "at": 2.5},
    ]
    assert set(chained(rows).values()) == {
        ("component:b", "component:a"),
        ("component:c", "component:b"),
    }


def test_rows_go_out_as_gremlinpython_writes_them() -> None:
    row = edge_row("é|feeds|ü", ("feeds", "task:1", "task:2", {"input": "x", "port": 7}))
    row["p"] |= {"yes": True, "no": False, "seconds": 0.25, "below": -(2**31), "": "\u2713"}
    written = bytes(rows_writer().write_object(Rows([row, {}])))
    assert written == bytes(GraphBinaryWriter().write_object([row, {}]))
    large = Rows([{"count": 2**31, "least": -(2**63)}])
    assert Reader(bytes(rows_writer().write_object(large))).value() == large


def test_ids_become_numbers_wherever_a_traversal_has_them_and_texts_where_it_shows_them() -> None:
    one, two = (number_of(text) for text in ("task:1", "run:2"))
    asked = g.V("task:1", ["run:2"]).has(T.id, P.within("task:1").or_(P.eq("run:2")))
    asked = asked.where(__.out("in_run").has_id("run:2")).project("i").by(T.id)
    meant = g.V(one, [two]).has(T.id, P.within(one).or_(P.eq(two)))
    text = __.coalesce(__.values(TEXT_ID), __.id_())
    meant = meant.where(__.out("in_run").has_id(two)).project("i").by(text)
    assert numbered(asked.bytecode) == meant.bytecode
    assert numbered(g.V(7).id_().bytecode) == g.V(7).coalesce(*text_of()).bytecode
    assert 0 <= one < 2**63
    assert one == number_of("task:1") != two


def text_of() -> tuple[GraphTraversal, GraphTraversal]:
    return __.values(TEXT_ID), __.id_()


@pytest.mark.parametrize(("kind", "can"), [("lang.Long", True), ("lang.Integer", False)])
def test_ids_that_a_hash_does_not_fit_are_refused_with_the_cure(kind: str, can: bool) -> None:
    said = f"Expected an id that is convertible to class java.{kind} but received class x - [Long]"
    denied = Denied(read_address("ws://host"), 500, said)
    assert denied.wants_numbers == can
    assert ("vertexIdManager=ANY" in str(denied)) != can
