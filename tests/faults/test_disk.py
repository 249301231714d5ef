"""A run whose disk is full, whose log is held by another or is damaged: it goes on, and says so."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.suite import events_of, until
from tests.store.samples import database
from tests.store.test_faults import MAY_MOUNT, held, quota, small_disk, truncate
from twingraph_nb import component, pipeline
from twingraph_nb.events import TaskLogged
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.task import Task
from twingraph_nb.scheduler.state import RunState
from twingraph_nb.session import close_session, get_session
from twingraph_nb.store import Store

LARGE = 3_000_000
"""Bytes; more than the small disk has."""


@component(cache=True)
def large(trace: str, size: int) -> bytes:
    with open(trace, "a") as file:
        file.write("ran\n")
    return bytes(size)


@component()
def talks(count: int) -> int:
    for number in range(count):
        print(number, "x" * 1000)
    return count


@pipeline()
def both(trace: str, size: int, lines: int) -> object:
    return large(trace, size), talks(lines)


def recorded(home: Path) -> RunState:
    """The newest run as another process reads it; its events have no gap."""
    with contextlib.closing(Store.open(home, readonly=True)) as store:
        state, count = RunState(), 0
        for batch in store.events(store.resolve("last")):
            assert batch.seq == count
            count += len(batch.events)
            for event in batch.events:
                state.handle(event)
    return state


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


@pytest.mark.parametrize("limit", [quota, small_disk] if MAY_MOUNT else [quota])
def test_a_run_goes_on_with_a_full_disk_and_is_recorded_whole_once_there_is_room(
    home: Path,
    trace: Path,
    limit: Callable[[Path], contextlib.AbstractContextManager[Callable[[], None]]],
) -> None:
    with limit(home) as relieve:
        session = get_session()
        run = both(str(trace), LARGE, 4000)
        assert isinstance(run, Run)
        value, count = run.result(60)
        assert (len(value), count) == (LARGE, 4000)
        until(lambda: session.troubles)
        assert session.troubles[0].startswith("runs are not being recorded: ")
        relieve()
        until(lambda: not session.troubles)  # recording has gone on by itself
        assert session.store is not None
        assert session.store.flush()
        assert recorded(home).state == "succeeded"
        close_session()
        again = get_session()
        assert again.troubles == []
        assert len(both(str(trace), LARGE, 1).result(60)[0]) == LARGE  # type: ignore[attr-defined]
        assert len(both(str(trace), LARGE, 1).result(60)[0]) == LARGE  # type: ignore[attr-defined]
        assert trace.read_text().count("ran") == 2  # what could not be kept was done once more
        close_session()


@contextlib.contextmanager
def small_folder(folder: Path) -> Iterator[Callable[[], None]]:
    """A folder of values that takes 1 MB, until what is given is called."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


if MAY_MOUNT:

    def test_a_value_for_which_there_is_no_room_is_made_again_and_the_task_says_why(
        home: Path, trace: Path
    ) -> None:
        with small_folder(home / "blobs") as relieve:
            for _ in range(2):
                task = large(str(trace), LARGE)
                assert isinstance(task, Task)
                assert len(task.result(60)) == LARGE  # type: ignore[arg-type]
                told = [e.text for e in events_of(task) if isinstance(e, TaskLogged)]
                assert "the disk is full; make room" in "".join(told)
            assert get_session().troubles == []  # the log itself has room
            assert [one.name for one in (home / "blobs").rglob(".draft-*")] == []
            relieve()
            for _ in range(2):
                assert len(large(str(trace), LARGE).result(60)) == LARGE  # type: ignore[attr-defined]
            assert trace.read_text().count("ran") == 3
            close_session()


def test_a_run_goes_on_while_another_process_holds_the_log(
    home: Path, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twingraph_nb.store.database.BUSY_SECONDS", 0.2)
    session = get_session()
    with held(database(home), "write") as release:
        run = both(str(trace), 10, 10)
        assert isinstance(run, Run)
        assert run.result(60) == (bytes(10), 10)
        until(lambda: session.troubles)
        assert "is locked by another process" in session.troubles[0]
        release()
        until(lambda: not session.troubles)
    assert session.store is not None
    assert session.store.flush()
    assert recorded(home).state == "succeeded"


def flip_all(path: Path) -> None:
    """Turn every page around but the first, while somebody has the file open."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for at in range(4096, size, 4096):
            file.seek(at)
            file.write(os.urandom(512))


@pytest.mark.parametrize("damage", [truncate, flip_all])
def test_a_log_that_is_damaged_under_a_session_stops_no_run_and_the_next_starts_afresh(
    home: Path, trace: Path, damage: Callable[[Path], None]
) -> None:
    assert both(str(trace), 10, 100).result(60) == (bytes(10), 100)  # type: ignore[attr-defined]
    session = get_session()
    assert session.store is not None
    assert session.store.flush()
    with contextlib.closing(sqlite3.connect(database(home))) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that all of it is in the file
    damage(database(home))
    for number in range(3):
        assert both(str(trace), 10 + number, 100).result(60) == (bytes(10 + number), 100)  # type: ignore[attr-defined]
    close_session()
    assert both(str(trace), 20, 5).result(60) == (bytes(20), 5)  # type: ignore[attr-defined]
    assert get_session().store is not None
    close_session()
    assert recorded(home).state == "succeeded"


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flipped, truncate])
@pytest.mark.parametrize("resume", [False, True])
def test_a_kept_value_that_is_damaged_is_never_given_out(
    home: Path, trace: Path, damage: Callable[[Path], None], resume: bool
) -> None:
    first = both(str(trace), 1000, 1)
    assert isinstance(first, Run)
    assert first.result(60) == (bytes(1000), 1)
    close_session()
    for blob in (home / "blobs").glob("??/*"):
        damage(blob)
    again = both.run(str(trace), 1000, 1, resume=first.id if resume else "")
    assert isinstance(again, Run)
    if not resume:
        assert again.result(60) == (bytes(1000), 1)
    else:  # it was taken over without a look, and whoever looks is told
        with contextlib.suppress(Exception):
            assert again.result(60) == (bytes(1000), 1)
        close_session()
        third = both.run(str(trace), 1000, 1, resume=again.id)
        assert isinstance(third, Run)
        assert third.result(60) == (bytes(1000), 1)
    assert trace.read_text().count("ran") == 2
