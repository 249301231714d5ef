"""The graph in a database elsewhere: complete, and the same, whatever happens on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from gremlin_python.driver.driver_remote_connection import DriverRemoteConnection
from gremlin_python.process.anonymous_traversal import traversal
from gremlin_python.process.traversal import P, T

import twingraph_nb
from tests.lineage.remote_running import (
    TOKEN,
    Database,
    Proxy,
    address,
    contents,
    free_port,
    until,
)
from tests.lineage.runs import RUN, FakeStore, batches, started, story, task
from tests.lineage.runs import component as component_used
from twingraph_nb import component, pipeline
from twingraph_nb.events import Event, RunFinished, TaskDone, TaskStarted
from twingraph_nb.lineage.machine import source
from twingraph_nb.lineage.projection import Projection
from twingraph_nb.lineage.remote import read_address, write_to
from twingraph_nb.lineage.remote_backlog import Sources
from twingraph_nb.lineage.remote_ids import TEXT_ID, number_of
from twingraph_nb.lineage.remote_writer import RemoteWriter
from twingraph_nb.runs.cli import main
from twingraph_nb.runs.record import NotebookRecord
from twingraph_nb.session import close_session, get_session
from twingraph_nb.settings import Settings
from twingraph_nb.store import Store

SETTLED = 100.0
"""Seconds that a busy machine may take."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    close_session()
    monkeypatch.setenv("TWINGRAPH_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    close_session()


@pytest.fixture(scope="module")
def running() -> Iterator[Database]:
    with Database() as made:
        yield made


@pytest.fixture
def database(running: Database) -> Database:
    """A database with nothing in it."""
    running.g.V().drop().to_list()
    return running


def work(count: int) -> None:
    """A run with what a graph can have: values, joins, a failure, a skipped task, a retry."""
    failed = threading.Event()

    @component
    def load(x: int) -> int:
        return x

    @component(retries=1, delay=0)
    def join(xs: list[int], password: str = "hunter2") -> int:
        if not failed.is_set():
            failed.set()
            raise OSError("once")
        return sum(xs)

    @component
    def broken(x: int) -> int:
        raise ValueError("no")

    @pipeline(on_error="continue")
    def everything(count: int) -> object:
        parts = [load(one) for one in range(count)]
        after = load(broken(parts[0]))
        return join(parts[:10]), after

    everything(count)
    get_session().drain(60)


def settled() -> None:
    get_session().driver.flush()
    writer = get_session().remote
    assert writer is not None
    assert writer.settle(SETTLED), writer.status


def here() -> object:
    return contents(twingraph_nb.lineage())


def test_a_run_arrives_as_it_is_here(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINGRAPH_LINEAGE", database.url)
    work(300)
    settled()
    vertices, edges = contents(database.g)
    assert (vertices, edges) == here()
    states = [told["state"][0] for label, told in vertices.values() if label == "Task"]
    assert {one: states.count(one) for one in states} == {
        "succeeded": 301, "failed": 1, "skipped": 1,
    }  # fmt: skip
    assert "hunter2" not in str(vertices)


def changed_measure() -> str:
    """Two versions of a component, each used once; the id of the second one's task."""

    @component
    def measure(x: int) -> int:
        return x

    measure(1).result(60)

    @component
    def measure(x: int) -> int:
        return x + 1

    task = measure(1)
    task.result(60)
    return f"task:{task.hash}"


def test_a_database_that_takes_only_numbers_as_ids_gets_and_answers_the_same(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Database(only_numbers=True) as database:
        get_session().send_lineage(database.url)
        id = changed_measure()
        work(20)
        settled()
        close_session()
        assert contents(database.g) == here()
        assert main(["lineage", "backfill", database.url]) == 0
        assert ", 0 elements written" in capsys.readouterr().out  # it sees what is there
        assert database.g.V(id).out("instance_of").out("new_version_of").count().next() == 1
        found = database.g.V().has(T.id, P.within(id, "task:none")).out("in_run").in_("in_run")
        assert found.has_id(id).id_().to_list() == [id]
        plain = DriverRemoteConnection(database.url.replace(f"twin:{TOKEN}@", ""), "g",
                                       username="twin", password=TOKEN)  # fmt: skip
        with closing(plain):  # as any other client sees it
            g = traversal().with_(plain)
            assert g.V(number_of(id)).values(TEXT_ID).to_list() == [id]
            assert g.V().has(TEXT_ID, id).id_().to_list() == [number_of(id)]
        run = database.g.V(id).values("run").next()
        assert main(["lineage", "forget", run]) == 0
        assert main(["lineage", "push", database.url]) == 0
        assert database.g.V(id, f"run:{run}").to_list() == []
        assert contents(database.g) == here()


def test_a_connection_that_is_cut_again_and_again_loses_and_doubles_nothing(
    database: Database,
) -> None:
    with Proxy(database.port) as proxy:
        get_session().send_lineage(address(proxy.port))
        writer = get_session().remote
        assert writer is not None
        for _ in range(3):
            work(100)
            seen = len(proxy.sent)
            until(lambda seen=seen: len(proxy.sent) > seen + 20_000)
            proxy.cut()
        settled()
        assert len(proxy.heads) > 3
    assert contents(database.g) == here()


def many_tasks(count: int) -> list[Event]:
    """The events of a run of tasks that need nothing of each other."""
    done: list[Event] = [started(), component_used("one")]
    for number in range(count):
        told = task(number, "one"), TaskStarted(102.0, number), TaskDone(103.0, number, {"v": "1"})
        done += told
    return [*done, RunFinished(104.0, "succeeded")]


def test_a_database_that_is_killed_and_comes_back_empty_gets_ten_thousand_tasks(
    home: Path, database: Database
) -> None:
    events = batches(many_tasks(10_000), size=100)
    with closing(Store.open(home)) as store:
        writer = write_to(database.url, home, store)
        for batch in events:
            store.emit([batch])
            writer.emit([batch])
        until(lambda: writer.status.written > 3_000)
        database.kill()
        assert writer.status.behind > 0
        database.start()
        assert store.flush(60)
        assert writer.settle(200), writer.status
        writer.close()
    made = Projection()
    made.apply(events)
    g, mine = database.g, source(made.graph)
    assert g.V().id_().to_set() == mine.V().id_().to_set()
    assert g.E().id_().to_set() == mine.E().id_().to_set()
    assert g.V().has("Task", "state", "succeeded").has("Output", "1").count().next() == 10_000
    assert g.V().count().next() == mine.V().count().next()
    assert g.E().count().next() == mine.E().count().next()


def script(home: Path, text: str, url: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "TWINGRAPH_HOME": str(home), "TWINGRAPH_LINEAGE": url}
    environment["PYTHONPATH"] = str(Path(twingraph_nb.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", text],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_script_that_ends_has_written_all_of_its_run(home: Path, database: Database) -> None:
    text = (
        "from twingraph_nb import component\n"
        "@component\n"
        "def quick(x: int) -> int:\n"
        "    return x\n"
        "for number in range(200):\n"
        "    quick(number)\n"
    )
    process = script(home, text, database.url)
    assert (process.communicate()[1], process.returncode) == ("", 0)
    assert database.g.V().has("Task", "state", "succeeded").count().next() == 200
    assert contents(database.g) == here()


def test_what_a_killed_kernel_left_behind_is_sent_by_the_next_session(home: Path) -> None:
    port = free_port()
    text = (
        "import threading\n"
        "from twingraph_nb import component\n"
        "from twingraph_nb.session import get_session\n"
        "inside = threading.Event()\n"
        "@component\n"
        "def quick(x: int) -> int:\n"
        "    return x\n"
        "@component\n"
        "def endless(x: int) -> int:\n"
        "    inside.set()\n"
        "    threading.Event().wait()\n"
        "tasks = [quick(one) for one in range(50)] + [endless(1)]\n"
        "inside.wait()\n"
        "[task.result() for task in tasks[:-1]]\n"
        "get_session().driver.flush_to_disk()\n"
        "while not get_session().remote.status.why: inside.wait(); import time; time.sleep(0.01)\n"
        "print('there', flush=True)\n"
        "threading.Event().wait()\n"
    )
    process = script(home, text, address(port))
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    process.kill()
    _, said = process.communicate()
    assert said.count("cannot be reached: Connection refused") == 1
    with Database(port) as database:
        get_session().send_lineage(database.url)
        settled()
        assert contents(database.g) == here()
        states = database.g.V().has_label("Task").group_count().by("state").next()
        assert states == {"succeeded": 50, "interrupted": 1}


def test_push_sends_what_is_missing_and_backfill_everything_once(
    home: Path, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    work(5)
    close_session()
    assert main(["lineage", "push", database.url]) == 0
    assert database.g.V().count().next() == 0  # nobody wanted that run to be there
    assert main(["lineage", "backfill", database.url]) == 0
    assert "connected" in capsys.readouterr().out
    assert contents(database.g) == here()
    assert main(["lineage", "backfill", database.url]) == 0
    assert ", 0 elements written" in capsys.readouterr().out
    database.kill()
    database.start()
    assert main(["lineage", "push", database.url]) == 0
    assert contents(database.g) == here()


def test_the_run_of_a_notebook_is_there_with_what_it_started(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINGRAPH_LINEAGE", database.url)
    record = NotebookRecord(Settings.load(), "/data/a.ipynb", {"n": 3})
    record.begin("a")
    monkeypatch.setenv("TWINGRAPH_RUN", record.id)
    work(2)
    settled()
    record.finish("succeeded")
    record.close()
    told = database.g.V(f"run:{record.id}").in_("started_by").values("name").to_set()
    assert told == {"everything"}
    assert contents(database.g) == here()


def test_several_who_write_the_same_runs_at_once_make_one_graph(
    home: Path, database: Database
) -> None:
    work(100)
    close_session()
    text = "import sys; from twingraph_nb.runs.cli import main; sys.exit(main({}))"
    command = ["lineage", "backfill", database.url]
    both = [script(home, text.format(command), "") for _ in range(2)]
    assert [(one.communicate()[1], one.returncode) for one in both] == [("", 0), ("", 0)]
    assert contents(database.g) == here()


def test_a_forgotten_run_goes_from_there_too_at_once_or_when_somebody_connects(
    home: Path, database: Database
) -> None:
    get_session().send_lineage(database.url)
    for count in (3, 4, 2):
        work(count)
    settled()
    first, second, stays = (run.id for run in get_session().store.runs())  # type: ignore[union-attr]
    assert main(["lineage", "forget", first]) == 0
    until(lambda: f"run:{first}" not in contents(database.g)[0])  # this session does it
    assert f"run:{second}" in contents(database.g)[0]
    close_session()
    assert main(["lineage", "forget", second]) == 0
    assert main(["lineage", "push", database.url]) == 0
    vertices, edges = contents(database.g)
    assert not [one for one in (*vertices, *edges) if first in one or second in one]
    tasks = [id for id, (label, _) in vertices.items() if label == "Task"]
    assert len(tasks) == 6
    assert f"run:{stays}" in vertices


def test_versions_of_a_component_are_in_order_whichever_machine_tells_first(
    tmp_path: Path, database: Database
) -> None:
    text = (
        "from twingraph_nb import component\n"
        "from twingraph_nb.session import get_session\n"
        "@component\n"
        "def step(x: int) -> int:\n"
        "    return x + {}\n"
        "step(1).result()\n"
    )
    homes = [tmp_path / f"machine {number}" for number in range(3)]
    for number, each in enumerate(homes):
        _, said = script(each, text.format(number), "").communicate()
        assert said == ""
    for each in (homes[1], homes[2], homes[0]):
        with_store = Store.open(each, readonly=True)
        writer = write_to(database.url, each, with_store, everything=True)
        assert writer.settle(SETTLED), writer.status
        writer.close()
        with_store.close()
    g = database.g
    order = g.V().has("Component", "name", "step").order().by("first_used").id_().to_list()
    links = g.E().has_label("new_version_of")
    pairs = {(edge.outV.id, edge.inV.id) for edge in links.to_list()}
    assert pairs == {(order[1], order[0]), (order[2], order[1])}


def test_without_a_store_what_fits_waits_in_memory_and_the_rest_is_said() -> None:
    port = free_port()
    writer = RemoteWriter(read_address(address(port)), Sources(), home=None)
    writer._queue._most = 12
    until(lambda: writer.status.why)
    writer.emit(batches(story()))
    assert (writer.status.behind, writer.status.dropped) == (12, len(story()) - 12)
    assert f"{len(story()) - 12} events dropped for want of a store" in str(writer.status)
    with Database(port) as there:
        assert writer.settle(SETTLED)
        g = there.g
        assert g.V().has_label("Task").has("number").count().next() == 4
        told = g.V().has_label("Run").values("incomplete").next()
        assert told == f"its last {len(story()) - 12} events or more were dropped: " + (
            "nothing could keep them"
        )
    writer.close()


def test_a_queue_that_is_full_is_read_from_the_store_instead(database: Database) -> None:
    store = FakeStore(**{RUN: story()})
    sources = Sources(store)  # type: ignore[arg-type]
    writer = RemoteWriter(read_address(database.url), sources, home=None)
    assert writer.settle(SETTLED)
    writer._queue._most = 5
    writer.emit(batches(story()))
    assert writer.settle(SETTLED)
    writer.close()
    made = Projection()
    made.apply(batches(story()))
    assert contents(database.g) == contents(source(made.graph))
