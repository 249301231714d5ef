"""Full disks, locks, damage and wrong folders: real ones."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.store.samples import batches, database, ended, numbers, record, story
from twingraph_nb.errors import StoreError
from twingraph_nb.events import Batch, Event, RunFinished, RunStarted, TaskLogged
from twingraph_nb.store import Store
from twingraph_nb.store.writer import HELD_EVENTS

MAY_MOUNT = os.geteuid() == 0 and bool(
    int(Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0], 16) & 1 << 21
)  # CAP_SYS_ADMIN

HOLDER = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
if sys.argv[2] == "whole":
    held.execute("PRAGMA locking_mode = EXCLUSIVE")
held.execute("BEGIN EXCLUSIVE")
held.execute("CREATE TABLE IF NOT EXISTS mine (x)")
print("held", flush=True)
input()
held.execute("ROLLBACK")
held.close()
"""


class Watcher:
    """Collects what on_trouble is told, and waits for it."""

    def __init__(self, store: Store) -> None:
        self.told: list[str] = []
        self._changed = threading.Condition()
        store.on_trouble = self._take

    def _take(self, sentence: str) -> None:
        with self._changed:
            self.told.append(sentence)
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.told) >= count, 60)
            return self.told


def long_story(run: str, count: int = 400) -> list[Event]:
    noise = "x" * 10_000
    return [
        RunStarted(at=1.0, run=run, name=run),
        *[TaskLogged(at=1.0, task=0, stream="stdout", text=f"{n} {noise}") for n in range(count)],
        RunFinished(at=2.0, state="succeeded"),
    ]


@contextlib.contextmanager
def quota(home: Path) -> Iterator[Callable[[], None]]:
    """No file may grow beyond 1 MB, until what is given is called."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def relieve() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        yield relieve
    finally:
        relieve()


@contextlib.contextmanager
def small_disk(home: Path) -> Iterator[Callable[[], None]]:
    """The home is a disk of 2 MB, which grows when what is given is called."""
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", home], check=True)

    def relieve() -> None:
        subprocess.run(["mount", "-o", "remount,size=64m", home], check=True)

    try:
        yield relieve
    finally:
        subprocess.run(["umount", "-l", home], check=True)


@pytest.mark.parametrize("limit", [quota, small_disk] if MAY_MOUNT else [quota])
def test_full_disk_is_told_and_nothing_is_lost_when_there_is_room_again(
    home: Path, limit: Callable[[Path], contextlib.AbstractContextManager[Callable[[], None]]]
) -> None:
    with limit(home) as relieve:
        store = Store.open(home)
        watcher = Watcher(store)
        ended(store, "before", at=1.0)
        told = long_story("r1")
        for batch in batches("r1", told):
            store.emit([batch])
        (sentence,) = watcher.wait_for(1)
        assert sentence == store.trouble
        said = "is full; make room" if limit is small_disk else "check the disk and quota"
        assert sentence.startswith("runs are not being recorded: ")
        assert said in sentence
        assert str(home) in sentence
        assert store.flush() is False
        with pytest.raises(StoreError, match=r"output 'x' of c cannot be kept|not being recorded"):
            store.keep("d", "c", "r1", "h", {"x": b"y" * 3_000_000})
        relieve()
        assert watcher.wait_for(2) == [sentence, ""]
        assert store.trouble == ""
        assert store.flush()
        assert numbers(store, "r1") == list(range(len(told)))
        assert store.run("r1").state == "succeeded"
        store.close()


def test_what_cannot_be_held_any_longer_is_dropped_and_the_record_says_so(home: Path) -> None:
    with quota(home) as relieve:
        store = Store.open(home)
        watcher = Watcher(store)
        told = long_story("big", count=200)
        store.emit(batches("big", told))
        watcher.wait_for(1)
        line = TaskLogged(at=1.0, task=0, stream="stdout", text="")
        lost = [
            RunStarted(at=1.0, run="lost", name="lost"),
            *[line] * (HELD_EVENTS + 1000),
            RunFinished(at=9.0, state="failed"),
        ]
        for batch in batches("lost", lost, size=500):
            store.emit([batch])
        late: list[Event] = [RunStarted(at=2.0, run="late", name="late"), line, line]
        store.emit(batches("late", late))
        relieve()
        watcher.wait_for(2)
        assert store.flush()
        assert store.run("big").incomplete == ""
        row = store.run("lost")
        found = numbers(store, "lost")
        assert found == list(range(len(found)))
        assert len(found) < len(lost)
        assert row.incomplete == f"events from number {len(found)} on could not be recorded"
        assert (row.state, row.finished, row.events) == ("failed", 9.0, len(found))
        store.emit([Batch("late", 3, (RunFinished(at=3.0, state="succeeded"),))])
        assert store.flush()
        assert store.run("late").incomplete == "events from number 1 on could not be recorded"
        store.close()


@contextlib.contextmanager
def held(path: Path, how: str) -> Iterator[Callable[[], None]]:
    """Another process holds the file, until what is given is called."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"

    def release() -> None:
        if process.poll() is None:
            process.communicate("\n")

    try:
        yield release
    finally:
        release()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock counts as long after a moment, so that the test is short."""
    monkeypatch.setattr("twingraph_nb.store.database.BUSY_SECONDS", 0.2)


@pytest.mark.usefixtures("impatient")
def test_run_goes_on_while_another_process_holds_the_lock(home: Path) -> None:
    store = Store.open(home)
    watcher = Watcher(store)
    ended(store, "before", at=1.0)
    told = story("r1", state="succeeded")
    with held(database(home), "write") as release:
        store.emit(batches("r1", told))
        (sentence,) = watcher.wait_for(1)
        assert f"{database(home)} is locked by another process" in sentence
        assert [row.id for row in store.runs()] == ["before"]  # reading goes on
        release()
        assert watcher.wait_for(2)[1] == ""
    assert store.flush()
    assert numbers(store, "r1") == list(range(len(told)))
    store.close()


@pytest.mark.usefixtures("impatient")
def test_opening_a_file_that_is_wholly_locked_says_so(home: Path) -> None:
    Store.open(home).close()
    with held(database(home), "whole"):
        with pytest.raises(StoreError, match="is locked by another process; close the program"):
            Store.open(home)
        with pytest.raises(StoreError, match="is locked by another process; close the program"):
            Store.open(home, readonly=True)
    Store.open(home).close()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for at in range(4096, len(content), 4096):  # the start of each page but the first
        content[at] ^= 0xFF
    path.write_bytes(content)


def overwrite(path: Path) -> None:
    path.write_bytes(b"this is no database " * 500)


@pytest.mark.parametrize("damage", [truncate, flip, overwrite])
def test_damaged_file_is_moved_aside_and_a_new_one_started(
    home: Path, damage: Callable[[Path], None]
) -> None:
    store = Store.open(home)
    ended(store, "old", at=1.0)
    store.close()
    damage(database(home))
    damaged = database(home).read_bytes()
    with pytest.raises(StoreError, match="is damaged; move it away or restore it"):
        Store.open(home, readonly=True)
    assert database(home).read_bytes() == damaged
    store = Store.open(home)
    (note,) = store.notes
    aside = next(home.glob("twingraph.db.corrupt-*"))
    assert note == (
        f"the event log {database(home)} was damaged; it was moved to {aside} and a new one started"
    )
    assert aside.read_bytes() == damaged
    assert store.runs() == []
    ended(store, "new", at=1.0)
    store.close()
    again = Store.open(home)
    assert (again.notes, [row.id for row in again.runs()]) == ((), ["new"])
    again.close()


def test_flipped_byte_inside_an_event_is_noticed_when_it_is_read(store: Store, home: Path) -> None:
    ended(store, "r1", at=1.0)
    store.close()
    content = database(home).read_bytes()
    database(home).write_bytes(content.replace(b'"hash1"', b'"hash7"'))
    again = Store.open(home)
    with pytest.raises(StoreError, match="record of run r1 is damaged from event 0 on"):
        again.events("r1")
    again.close()


def test_file_of_another_program_is_refused_and_left_alone(home: Path) -> None:
    home.mkdir()
    with contextlib.closing(sqlite3.connect(database(home))) as other:
        other.execute("CREATE TABLE theirs (x)")
    for readonly in (True, False):
        with pytest.raises(StoreError, match="is a database of another program"):
            Store.open(home, readonly=readonly)
    with contextlib.closing(sqlite3.connect(database(home))) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.write_text("")
    with pytest.raises(StoreError, match=r"cannot be used .*set TWINGRAPH_HOME to a folder that"):
        Store.open(home)


def test_home_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)  # nobody: root may write everywhere
    try:
        with pytest.raises(StoreError, match="Permission denied; set TWINGRAPH_HOME"):
            Store.open(tmp_path / "home")
    finally:
        os.seteuid(mine)
        tmp_path.chmod(0o700)


def test_reading_where_nothing_was_recorded_says_so_and_makes_nothing(home: Path) -> None:
    with pytest.raises(StoreError, match=f"nothing has been recorded in {home} yet"):
        Store.open(home, readonly=True)
    assert not home.exists()


def test_removed_home_is_made_again_and_the_record_says_what_is_missing(home: Path) -> None:
    store = Store.open(home)
    told = story("r1", tasks=4, state="succeeded")
    store.emit([Batch("r1", 0, tuple(told[:5]))])
    assert store.flush()
    shutil.rmtree(home)
    store.emit([Batch("r1", 5, tuple(told[5:]))])
    record(store, "r2", story("r2"))
    assert store.trouble == ""
    row = store.run("r1")
    assert (row.name, row.state) == ("name of r1", "succeeded")
    assert row.incomplete == "its first events are lost: the file was removed while it ran"
    assert (store.events("r1"), row.events) == ([], 0)
    assert numbers(store, "r2") == list(range(8))
    store.close()


def test_callback_that_fails_does_not_stop_the_recording(home: Path) -> None:
    with quota(home) as relieve:
        store = Store.open(home)
        told = threading.Event()

        def fail(sentence: str) -> None:
            told.set()
            raise RuntimeError("mine")

        store.on_trouble = fail
        events = long_story("r1")
        store.emit(batches("r1", events))
        assert told.wait(60)
        watcher = Watcher(store)
        relieve()
        watcher.wait_for(1)
        assert store.flush()
        assert numbers(store, "r1") == list(range(len(events)))
        store.close()
