"""What the clean-up removes, and what it must not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.store.samples import database, ended, gone_origin, record, story
from twingraph_nb.errors import StoreError
from twingraph_nb.events import RunStarted
from twingraph_nb.store import Freed, Store

DAY = 86400.0


def age(store: Store, blob: str, days: float) -> None:
    """Make the file of a blob look old."""
    then = time.time() - days * DAY
    os.utime(store.home / "blobs" / blob[:2] / blob, (then, then))


def ids(store: Store) -> set[str]:
    return {row.id for row in store.runs()}


def test_old_runs_that_have_ended_go_and_others_stay(store: Store) -> None:
    now = time.time()
    ended(store, "old", at=now - 40 * DAY)
    ended(store, "young", at=now - 1 * DAY)
    record(store, "running", story("running", at=now - 50 * DAY))
    gone = RunStarted(at=now - 50 * DAY, run="gone", name="gone", origin=gone_origin())
    record(store, "gone", [gone])
    expected = store.gc(30 * DAY, dry_run=True)
    assert ids(store) == {"old", "young", "running", "gone"}
    freed = store.gc(30 * DAY)
    assert freed == expected
    assert (freed.runs, freed.events, freed.results, freed.blobs) == (2, 10, 0, 0)
    assert freed.bytes > 100
    assert ids(store) == {"young", "running"}
    assert store.events("old") == []
    assert store.gc(30 * DAY) == Freed()


def test_newest_runs_can_be_kept_however_old(store: Store) -> None:
    for n in range(4):
        ended(store, f"r{n}", at=1000.0 + n)
    assert store.gc(DAY, keep_last=3).runs == 1
    assert ids(store) == {"r1", "r2", "r3"}


def test_a_run_and_what_it_started_go_together(store: Store) -> None:
    now = time.time()
    ended(store, "parent", at=1000.0)
    ended(store, "child", at=1001.0, parent="parent")
    record(store, "grandchild", story("grandchild", at=now, parent="child"))
    ended(store, "other", at=1000.0)
    ended(store, "others-child", at=1000.0, parent="other")
    assert store.gc(DAY).runs == 2
    assert ids(store) == {"parent", "child", "grandchild"}


def test_values_that_nothing_names_go_once_they_are_not_young(store: Store) -> None:
    ended(store, "young", at=time.time())
    wanted = store.keep("d1", "c", "young", "h1", {"value": "wanted"})["value"]
    replaced = store.keep("d2", "c", "young", "h2", {"value": "replaced"})["value"]
    store.keep("d2", "c", "young", "h3", {"value": "the newer one"})
    fresh = store.keep("d3", "c", "young", "h4", {"value": "just written"})["value"]
    store.keep("d3", "c", "young", "h5", {"value": "and replaced"})
    for blob in (wanted, replaced):
        age(store, blob, days=1)
    draft = store.home / "blobs" / wanted[:2] / ".draft-of-a-killed-writer"
    draft.write_bytes(b"half")
    os.utime(draft, (1000.0, 1000.0))
    freed = store.gc(30 * DAY)
    assert (freed.results, freed.blobs) == (0, 2)
    assert not draft.exists()
    assert store.load(wanted) == "wanted"
    assert store.load(fresh) == "just written"
    with pytest.raises(StoreError, match="is missing"):
        store.load(replaced)


def test_result_of_an_old_run_goes_unless_it_is_still_used(home: Path) -> None:
    store = Store.open(home)
    for digest in ("used", "unused"):
        ended(store, f"of-{digest}", at=1000.0)
        blob = store.keep(digest, "c", f"of-{digest}", "h", {"value": digest})["value"]
        age(store, blob, days=40)
    store.close()
    _make_results_old(home)
    store = Store.open(home)
    assert store.find("used") is not None
    assert store.flush()
    freed = store.gc(30 * DAY)
    assert (freed.runs, freed.results, freed.blobs) == (2, 1, 1)
    assert store.find("used") is not None
    assert store.find("unused") is None
    store.close()


def _make_results_old(home: Path) -> None:
    import contextlib
    import sqlite3

    with contextlib.closing(sqlite3.connect(database(home))) as connection, connection:
        connection.execute("UPDATE results SET at = 1000, used = 1000")


def test_space_is_given_back_to_the_disk(home: Path) -> None:
    store = Store.open(home)
    for n in range(20):
        record(store, f"r{n}", story(f"r{n}", tasks=1000, at=1000.0, state="succeeded"))
    store.close()
    before = database(home).stat().st_size
    store = Store.open(home)
    assert store.gc(DAY).runs == 20
    store.close()
    assert database(home).stat().st_size < before / 4


def test_reader_may_only_ask_what_would_go(home: Path) -> None:
    store = Store.open(home)
    ended(store, "old", at=1000.0)
    store.close()
    reader = Store.open(home, readonly=True)
    assert reader.gc(DAY, dry_run=True).runs == 1
    with pytest.raises(StoreError, match="was opened for reading only"):
        reader.gc(DAY)
    assert ids(reader) == {"old"}
    reader.close()
