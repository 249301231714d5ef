"""Files of older and newer versions."""

from __future__ import annotations

import contextlib
import sqlite3
import tarfile
import zlib
from pathlib import Path

import pytest

from tests.store.samples import database, ended, story
from twingraph_nb.errors import StoreError
from twingraph_nb.events import TaskDone, TaskLogged, encode
from twingraph_nb.scheduler.state import RunState
from twingraph_nb.store import Store
from twingraph_nb.store.schema import APPLICATION, LATEST, STEPS


def write_first_version(home: Path) -> None:
    """A file as the first version of the package wrote it, with a run and a result."""
    home.mkdir(parents=True)
    body = encode(story("r1", state="succeeded"))
    with contextlib.closing(sqlite3.connect(database(home), isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode = WAL")
        for statement in STEPS[0]:
            file.execute(statement)
        file.execute(f"PRAGMA application_id = {APPLICATION}")
        file.execute("PRAGMA user_version = 1")
        file.execute(
            "INSERT INTO runs (id, name, form, state, started, finished, seen, events)"
            " VALUES ('r1', 'old', 'pipeline', 'succeeded', 1, 2, 2, 9)"
        )
        file.execute(
            "INSERT INTO events VALUES ('r1', 0, 9, ?, ?)",
            (zlib.crc32(body), body),
        )
        file.execute("INSERT INTO results VALUES ('d1', 'clean', 'r1', 'h1', 123.0, '{}')")


@pytest.mark.parametrize("readonly", [False, True])
def test_older_file_is_brought_up_to_date_with_all_that_is_in_it(
    home: Path, readonly: bool
) -> None:
    write_first_version(home)
    store = Store.open(home, readonly=readonly)
    with contextlib.closing(sqlite3.connect(database(home))) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (LATEST,)
        assert file.execute("SELECT at, used FROM results").fetchone() == (123.0, 123.0)
    assert [(row.id, row.name, row.events) for row in store.runs()] == [("r1", "old", 9)]
    (batch,) = store.events("r1")
    assert list(batch.events) == story("r1", state="succeeded")
    kept = store.find("d1")
    assert kept is not None
    assert (kept.run, kept.at) == ("r1", 123.0)
    store.close()


OLD = Path(__file__).with_name("old")


def test_homes_of_all_versions_are_here() -> None:
    """Where this fails, the schema went up: see tests/store/old/made.py."""
    kept = {int(one.name[7:-7]) for one in OLD.glob("schema-*.tar.gz")}
    assert kept >= set(range(2, LATEST))  # the first was never given to anybody


@pytest.mark.parametrize("kept", sorted(one.name for one in OLD.glob("schema-*.tar.gz")))
@pytest.mark.parametrize("readonly", [False, True])
def test_what_an_earlier_version_has_written_is_read(home: Path, kept: str, readonly: bool) -> None:
    with tarfile.open(OLD / kept) as archive:
        archive.extractall(home, filter="data")
    store = Store.open(home, readonly=readonly)
    rows = store.runs()
    assert [(row.name, row.state) for row in rows] == [
        ("broken", "failed"), ("squares", "succeeded"), ("squares", "succeeded"),
    ]  # fmt: skip
    assert store.notes == ()
    for row in rows:
        state, count = RunState(), 0
        for batch in store.events(row.id):
            count += len(batch.events)
            for event in batch.events:
                state.handle(event)
        assert (state.state, count) == (row.state, row.events)
    told = [event for batch in store.events(rows[2].id) for event in batch.events]
    assert [e.text for e in told if isinstance(e, TaskLogged)] == ["loading 3\n"]
    results = [e for e in told if isinstance(e, TaskDone) and e.kept]
    values = [store.load(blob) for e in results for blob in e.kept.values()]
    assert values[0] == [0, 1, 2]
    assert sorted(values[1:4]) == [0, 1, 4]
    found = [store.find(str(e.digest)) for e in results]
    assert [one.outputs if one else None for one in found] == [e.kept for e in results]
    store.close()


def test_migration_that_fails_half_way_changes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_first_version(home)
    broken = (STEPS[0], (*STEPS[1], "ALTER TABLE nowhere ADD COLUMN x"))
    monkeypatch.setattr("twingraph_nb.store.schema.STEPS", broken)
    with pytest.raises(StoreError, match="no such table: nowhere"):
        Store.open(home)
    with contextlib.closing(sqlite3.connect(database(home))) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (1,)
        assert len(file.execute("SELECT * FROM results").fetchone()) == 6


def test_newer_file_is_refused_and_left_alone(home: Path) -> None:
    store = Store.open(home)
    ended(store, "r1", at=1.0)
    store.close()
    with contextlib.closing(sqlite3.connect(database(home))) as file:
        file.execute(f"PRAGMA user_version = {LATEST + 1}")
    for readonly in (True, False):
        with pytest.raises(StoreError, match=r"newer twingraph-nb .*upgrade with `pip install -U"):
            Store.open(home, readonly=readonly)
    with contextlib.closing(sqlite3.connect(database(home))) as file:
        assert file.execute("SELECT count(*) FROM runs").fetchone() == (1,)
