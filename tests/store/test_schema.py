"""Files of older and newer versions."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from pathlib import Path

import pytest

from tests.store.samples import database, ended, story
from twingraph_nb.errors import StoreError
from twingraph_nb.events import encode
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
