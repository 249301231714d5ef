"""`twingraph_nb.lineage()`: a normal traversal source over the store, live while runs go on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gremlin_python.process.graph_traversal import GraphTraversalSource

import twingraph_nb
from tests.lineage.runs import RUN, FakeStore, batches, story
from twingraph_nb import component, pipeline
from twingraph_nb.lineage.live import LiveGraph, live_source
from twingraph_nb.lineage.problems import ReadOnlyGraph
from twingraph_nb.session import close_session, get_session

RECORDING = """
import sys
from pathlib import Path
from twingraph_nb.events import Batch, RunStarted
from twingraph_nb.store import Store, identity
store = Store.open(Path(sys.argv[1]))
for number, line in enumerate(sys.stdin):
    began = RunStarted(1e9 + number, f"{number:016x}", "elsewhere", origin=identity())
    store.emit([Batch(began.run, 0, [began])])
    assert store.flush(60)
    print("recorded", flush=True)
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    close_session()
    monkeypatch.setenv("TWINGRAPH_HOME", str(tmp_path / "home"))
    yield
    close_session()


def states(g: GraphTraversalSource) -> dict[str, int]:
    return dict(g.V().has_label("Task").group_count().by("state").next())


def test_what_ran_is_in_the_graph_at_once() -> None:
    @component
    def double(x: int) -> int:
        return 2 * x

    g = twingraph_nb.lineage()
    assert double(double(3)).result(30) == 12
    get_session().driver.flush()
    tasks = g.V().has("Name", "double")
    assert sorted(tasks.values("Output").to_list()) == ["12", "6"]
    assert g.V().has("Output", "12").in_("feeds").values("Output").to_list() == ["6"]


def test_attributes_of_a_component_can_be_asked_for() -> None:
    @component(attributes={"team": "blue"})
    def paint(x: int) -> int:
        return x

    paint(1).result(30)
    assert twingraph_nb.lineage().V().has("team", "blue").values("Name").to_list() == ["paint"]


def test_what_ran_before_the_first_question_is_there_too() -> None:
    @component
    def early(x: int) -> int:
        return x

    for number in range(20):
        early(number)
    early(99).result(30)
    get_session().drain(30)
    assert states(twingraph_nb.lineage()) == {"succeeded": 21}


def test_running_and_waiting_tasks_can_be_seen() -> None:
    gate, inside = threading.Event(), threading.Event()

    @component
    def hold(x: int) -> int:
        inside.set()
        gate.wait(30)
        return x

    @component
    def after(x: int) -> int:
        return x

    g = twingraph_nb.lineage()
    last = after(hold(1))
    assert inside.wait(30)
    get_session().driver.flush()
    seen = states(g)
    gate.set()
    last.result(30)
    get_session().driver.flush()
    assert seen == {"running": 1, "waiting": 1}
    assert states(g) == {"succeeded": 2}


def test_runs_of_other_processes_and_of_earlier_sessions_are_there() -> None:
    script = (
        "from twingraph_nb import component\n"
        "@component\n"
        "def elsewhere(x: int) -> int:\n"
        "    return x + 1\n"
        "elsewhere(41).result(30)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    g = twingraph_nb.lineage()
    assert g.V().has("Name", "elsewhere").values("Output").to_list() == ["42"]


def test_without_a_store_the_graph_still_has_this_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINGRAPH_STORE", "off")

    @component
    def one() -> int:
        return 1

    @pipeline
    def early() -> object:
        return one()

    run = early()
    assert run.result(30) == 1
    g = twingraph_nb.lineage()
    assert one().result(30) == 1
    get_session().driver.flush()
    assert states(g) == {"succeeded": 2}


def test_lineage_is_read_only() -> None:
    with pytest.raises(ReadOnlyGraph):
        twingraph_nb.lineage().add_v("Task").next()


def test_the_function_survives_the_import_of_the_room_of_its_name() -> None:
    script = (
        "import twingraph_nb.lineage.schema\n"
        "import twingraph_nb\n"
        "from twingraph_nb.lineage import facts\n"
        "print(callable(twingraph_nb.lineage), facts.__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "True twingraph_nb.lineage.facts\n"


def test_a_live_graph_fills_gaps_from_the_store() -> None:
    live = LiveGraph(FakeStore(**{RUN: story()}))
    live.emit(batches(story())[2:])  # what came before was not seen
    assert live_source(live).V().has_label("Task").count().next() == 5


def test_a_question_sees_what_another_process_has_recorded_before_it(tmp_path: Path) -> None:
    g = twingraph_nb.lineage()
    there = [sys.executable, "-c", RECORDING, str(tmp_path / "home")]
    pipe = subprocess.PIPE
    with subprocess.Popen(there, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(1, 6):
            process.stdin.write("another\n")
            process.stdin.flush()
            assert process.stdout.readline() == "recorded\n"
            assert g.V().has("Run", "state", "running").count().next() == number
        process.kill()
        process.wait()
        assert g.V().has("Run", "state", "interrupted").count().next() == 5


def test_the_lengths_of_records_are_read_again_only_when_something_was_written() -> None:
    @component
    def still(x: int) -> int:
        return x

    store = get_session().store
    assert store is not None
    still(1).result(30)
    get_session().driver.flush_to_disk()
    before = store.lengths()
    assert store.lengths() is before
    still(2).result(30)
    get_session().driver.flush_to_disk()
    assert [one.events for one in store.lengths()] == [store.runs()[0].events]
    assert store.lengths() != before


def test_events_beyond_the_limit_come_from_the_store() -> None:
    store = FakeStore()
    live = LiveGraph(store)
    live.refresh()
    store.held[RUN] = story()
    for _ in range(12_000):
        live.emit(batches(story()))
    assert len(live.refresh().labelled("Run")) == 1  # type: ignore[arg-type]


def test_a_task_names_the_commit_file_and_lines_of_its_source(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "repository"
    (place / ".git").mkdir(parents=True)
    (place / ".git" / "HEAD").write_text(f"{commit}\n")
    script = place / "step.py"
    script.write_text(
        "from twingraph_nb import component\n"
        "@component\n"
        "def traced(x: int) -> int:\n"
        "    return x + 1\n"
        "traced(41).result(30)\n"
    )
    root = Path(twingraph_nb.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run(
        [sys.executable, str(script)], cwd=place, env=environment, check=True, timeout=120
    )
    g = twingraph_nb.lineage()
    told = g.V().has("Name", "traced").values("Git History").to_list()
    assert told == ["0123456789ab step.py lines 2-4"]
    assert g.V().has("Run", "commit", commit).in_("started").count().next() == 1
    assert "msgspec" in str(g.V().has_label("Environment").values("packages").to_list())
