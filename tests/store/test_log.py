"""What was emitted is what is read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.samples import batches, ended, gone_origin, numbers, record, story
from twingraph_nb.errors import RunError
from twingraph_nb.events import (
    AnyEvent,
    Batch,
    CancelAsked,
    ComponentUsed,
    ErrorInfo,
    Event,
    RunFinished,
    RunStarted,
    TaskAdded,
    TaskCancelled,
    TaskDone,
    TaskErred,
    TaskLogged,
    TaskProgressed,
    TaskReused,
    TaskSkipped,
    TaskStarted,
    TaskWoken,
)
from twingraph_nb.store import Store, identity

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
st.register_type_strategy(str, text)
st.register_type_strategy(float, finite)
st.register_type_strategy(int, st.integers(-(2**53), 2**53))
events_of_any_kind: st.SearchStrategy[Event] = st.one_of(
    *[
        st.from_type(kind)
        for kind in AnyEvent.__args__  # type: ignore[attr-defined]
        if kind not in (ComponentUsed, RunStarted)
    ]
)


def read(store: Store, run: str, start: int = 0) -> list[Event]:
    return [event for batch in store.events(run, start) for event in batch.events]


def test_events_come_back_as_they_were(store: Store) -> None:
    told = story("r1", tasks=20, state="succeeded")
    record(store, "r1", told)
    assert read(store, "r1") == told


@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(told=st.lists(events_of_any_kind, max_size=12), size=st.integers(1, 5))
def test_any_events_come_back_as_they_were(store: Store, told: list[Event], size: int) -> None:
    run = os.urandom(8).hex()
    first = RunStarted(at=1.0, run=run, name="any")
    record(store, run, [first, *told]) if size > 4 else store.emit(
        batches(run, [first, *told], size)
    )
    assert store.flush(), store.trouble
    assert read(store, run) == [first, *told]


def test_reading_from_the_middle_gives_the_rest_with_its_numbers(store: Store) -> None:
    told = story("r1", tasks=1500)
    record(store, "r1", told)
    for start in (0, 1, 1999, 2000, 2001, len(told) - 1):
        assert read(store, "r1", start) == told[start:]
        assert store.events("r1", start)[0].seq == start
    assert store.events("r1", len(told)) == []
    assert store.events("nobody") == []


def test_what_json_cannot_hold_is_replaced_and_the_rest_kept(store: Store) -> None:
    odd = [
        RunStarted(at=1.0, run="r\udcff", name="caf\udce9", origin={"notebook": "\udce9.ipynb"}),
        ComponentUsed(at=1.0, digest="d", name="c", source="\ud800", policy={"x": object}),
        TaskAdded(at=1.0, task=0, hash="h", name="c", component="d"),
        TaskLogged(at=1.0, task=0, stream="stdout", text="half \udc80 a pair"),
        TaskProgressed(at=1.0, task=0, fraction=float("nan")),
        TaskDone(at=2.0, task=0),
    ]
    record(store, "r1", odd)
    assert store.trouble == ""
    kept = read(store, "r1")
    assert [type(event) for event in kept] == [type(event) for event in odd]
    assert kept[3] == TaskLogged(at=1.0, task=0, stream="stdout", text="half ? a pair")
    assert kept[4] == TaskProgressed(at=1.0, task=0, fraction=0.0)
    assert store.run("r1").name == "caf?"
    assert store.component_source("d") == "?"


def test_row_of_a_run_tells_how_its_tasks_ended(store: Store) -> None:
    error = ErrorInfo("ValueError", "bad row")
    told: list[Event] = [
        RunStarted(at=5.0, run="r1", name="etl", on_error="continue", origin=identity()),
        ComponentUsed(at=5.0, digest="once", name="once"),
        ComponentUsed(at=5.0, digest="thrice", name="thrice", policy={"retries": 2}),
        *[
            TaskAdded(at=6.0, task=n, hash=f"h{n}", name="t", component="once", form=form)
            for n, form in enumerate(["map", "call", "call", "call", "call"])
        ],
        TaskAdded(at=6.0, task=5, hash="h5", name="t", component="thrice"),
        TaskAdded(at=6.0, task=6, hash="h6", name="t", component="thrice"),
        TaskDone(at=7.0, task=1),
        TaskReused(at=7.0, task=2, digest="x"),
        TaskSkipped(at=7.0, task=3, because=5),
        TaskCancelled(at=7.0, task=4),
        TaskErred(at=7.0, task=5, attempt=1, error=error),
        TaskErred(at=7.0, task=6, attempt=1, error=error),
    ]
    record(store, "r1", told)
    row = store.run("r1")
    counted = (row.tasks, row.done, row.reused, row.skipped, row.cancelled, row.failed)
    assert counted == (6, 1, 1, 1, 1, 0)
    more: list[Event] = [
        TaskWoken(at=8.0, task=5),
        TaskErred(at=8.0, task=5, attempt=2, error=error),
        TaskErred(at=8.5, task=5, attempt=3, error=error),
        TaskErred(at=8.5, task=6, attempt=2, error=error, retryable=False),
        TaskErred(at=8.6, task=0, attempt=1, error=error),
        RunFinished(at=9.0, state="failed", error=error),
    ]
    store.emit(batches("r1", more, start=len(told)))
    assert store.flush()
    row = store.run("r1")
    assert (row.failed, row.state, row.started, row.finished) == (2, "failed", 5.0, 9.0)
    assert (row.error, row.events) == ("ValueError: bad row", len(told) + len(more))


def test_events_that_cannot_be_stored_cost_only_the_record_of_their_own_run(store: Store) -> None:
    ended(store, "twice", at=1.0)
    other = Store.open(store.home)
    other.emit(
        [
            *batches("twice", story("twice", at=9.0, state="failed")),
            *batches("good", story("good", state="failed")),
            Batch("odd", 0, (RunStarted(at=float("nan"), run="odd", name="odd"),)),
        ]
    )
    other.flush()
    assert other.flush()
    assert other.trouble == ""
    other.close()
    assert read(store, "good") == story("good", state="failed")
    assert read(store, "twice") == story("twice", at=1.0, state="succeeded")
    assert store.run("twice").state == "succeeded"
    assert store.run("odd").started == 0.0


@pytest.mark.parametrize("before", ["cancel", "failure"])
def test_retry_that_will_not_come_counts_as_failed(store: Store, before: str) -> None:
    error = ErrorInfo("E", "m")
    stops = {
        "cancel": CancelAsked(at=2.0),
        "failure": TaskErred(at=2.0, task=1, attempt=1, error=error, retryable=False),
    }
    told = [
        RunStarted(at=1.0, run="r1", name="n"),
        ComponentUsed(at=1.0, digest="d", name="c", policy={"retries": 5}),
        TaskAdded(at=1.0, task=0, hash="h0", name="c", component="d"),
        TaskAdded(at=1.0, task=1, hash="h1", name="c", component="d"),
        stops[before],
        TaskErred(at=3.0, task=0, attempt=1, error=error),
    ]
    record(store, "r1", told)
    assert store.run("r1").failed == (1 if before == "cancel" else 2)


def test_runs_are_listed_newest_first_and_by_parent(store: Store) -> None:
    ended(store, "old", at=10.0)
    ended(store, "new", at=30.0)
    ended(store, "child", at=20.0, parent="old")
    assert [row.id for row in store.runs()] == ["new", "child", "old"]
    assert [row.id for row in store.runs(limit=1)] == ["new"]
    assert [row.id for row in store.runs(parent="old")] == ["child"]


def test_a_run_is_found_by_the_start_of_its_id_or_as_the_last(store: Store) -> None:
    ended(store, "abc1", at=10.0)
    ended(store, "abd2", at=20.0)
    ended(store, "xyz", at=30.0, parent="abd2")
    assert store.resolve("abc") == "abc1"
    assert store.resolve("x") == "xyz"
    assert store.resolve("last") == "abd2"
    with pytest.raises(RunError, match="2 runs start with 'ab': abd2, abc1; write more"):
        store.resolve("ab")
    with pytest.raises(RunError, match=r"no run is called 'abx1' \(did you mean 'abc1'\?\)"):
        store.resolve("abx1")
    with pytest.raises(RunError, match="run nobody is not in the store"):
        store.run("nobody")


def test_last_of_an_empty_store_says_that_it_is_empty(store: Store) -> None:
    with pytest.raises(RunError, match="no run is recorded yet"):
        store.resolve("last")


def test_run_whose_process_is_gone_is_interrupted(store: Store) -> None:
    origins = {
        "mine": identity(),
        "ticks": {**identity(), "pid_started": identity()["pid_started"].partition(".")[2]},
        "gone": gone_origin(),
        "elsewhere": {**identity(), "host": "another-host", "pid": "1"},
        "unknown": {},
    }
    for run, origin in origins.items():
        record(store, run, [RunStarted(at=1.0, run=run, name=run, origin=origin)])
    states = {row.id: row.state for row in store.runs()}
    assert states == {**dict.fromkeys(origins, "running"), "gone": "interrupted"}


def test_killed_process_that_nobody_has_waited_for_counts_as_gone(store: Store) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import json; from twingraph_nb.store import identity;"
         "print(json.dumps(identity()), flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    origin = json.loads(child.stdout.readline())
    record(store, "r1", [RunStarted(at=1.0, run="r1", name="n", origin=origin)])
    assert store.run("r1").state == "running"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still a zombie
    assert store.run("r1").state == "interrupted"
    child.communicate()
    assert store.run("r1").state == "interrupted"


def test_reader_sees_what_another_store_writes_meanwhile(store: Store, home: Path) -> None:
    reader = Store.open(home, readonly=True)
    told = story("r1", tasks=3)
    store.emit([Batch("r1", 0, tuple(told[:4]))])
    assert store.flush()
    assert numbers(reader, "r1") == [0, 1, 2, 3]
    store.emit([Batch("r1", 4, tuple(told[4:]))])
    assert store.flush()
    assert read(reader, "r1", start=4) == told[4:]
    assert reader.run("r1").done == 3
    reader.close()


def test_events_are_written_without_being_asked_for(store: Store, home: Path) -> None:
    store.emit(
        [Batch("r1", 0, (RunStarted(at=1.0, run="r1", name="n"), TaskStarted(at=1.0, task=0)))]
    )
    reader = Store.open(home, readonly=True)
    while not reader.events("r1"):  # the test's own time limit ends this
        pass
    assert numbers(reader, "r1") == [0, 1]
    reader.close()


def test_closing_writes_what_is_left_and_nothing_comes_after(home: Path) -> None:
    store = Store.open(home)
    told = story("r1", tasks=3000)
    store.emit(batches("r1", told, size=3))
    store.close()
    store.emit([Batch("r1", len(told), (RunFinished(at=1.0, state="failed"),))])
    assert store.flush() is False
    again = Store.open(home)
    assert read(again, "r1") == told
    again.close()


def test_a_forked_child_leaves_the_parents_store_alone(store: Store) -> None:
    record(store, "r1", story("r1"))
    with warnings.catch_warnings():  # Python 3.12 and later warn of forks beside threads
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        store.close()
        os._exit(0 if store.flush() is False else 1)
    assert os.waitpid(child, 0)[1] == 0
    ended(store, "r2", at=1.0)
    assert [row.id for row in store.runs()] == ["r1", "r2"]
