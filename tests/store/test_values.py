"""Kept values and results that can be used again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.store.samples import record, story
from twingraph_nb.errors import StoreError
from twingraph_nb.store import Kept, Store


@dataclass
class Point:
    x: int


def blob_path(store: Store, blob: str) -> Path:
    return store.home / "blobs" / blob[:2] / blob


def test_kept_outputs_are_found_and_loaded(store: Store) -> None:
    rows = np.arange(100_000.0)
    outputs = {"rows": rows, "facts": {"n": 3, "p": Point(4)}, "none": None}
    before = time.time()
    blobs = store.keep("d1", "clean", "r1", "h1", outputs)
    kept = store.find("d1")
    assert kept is not None
    assert kept == Kept("d1", "clean", "r1", "h1", kept.at, blobs)
    assert before <= kept.at <= time.time()
    assert store.load(blobs["facts"]) == {"n": 3, "p": Point(4)}
    assert store.load(blobs["none"]) is None
    loaded = store.load(blobs["rows"])
    assert isinstance(loaded, np.ndarray)
    np.testing.assert_array_equal(loaded, rows)
    loaded[0] = 7.0  # a value is the reader's own
    assert store.find("d2") is None


def test_another_process_store_finds_it_too(store: Store, home: Path) -> None:
    blobs = store.keep("d1", "clean", "r1", "h1", {"value": [1, 2]})
    reader = Store.open(home, readonly=True)
    kept = reader.find("d1")
    assert kept is not None
    assert reader.load(kept.outputs["value"]) == [1, 2]
    with pytest.raises(StoreError, match="was opened for reading only"):
        reader.keep("d2", "c", "r", "h", {"value": 1})
    assert blobs == kept.outputs
    reader.close()


def test_result_that_is_too_old_is_not_found(store: Store) -> None:
    store.keep("d1", "clean", "r1", "h1", {"value": 1})
    kept = store.find("d1", max_age=3600.0)
    assert kept is not None
    while time.time() <= kept.at:
        pass
    assert store.find("d1", max_age=0.0) is None


def test_result_from_the_future_has_no_age(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.keep("d1", "clean", "r1", "h1", {"value": 1})
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 86_400)  # the clock was set back
    assert store.find("d1", max_age=3600.0) is None
    with store.looking() as look:
        assert look.find("d1", max_age=3600.0) is None
    assert store.find("d1") is not None


def test_equal_values_share_one_file(store: Store) -> None:
    first = store.keep("d1", "c", "r1", "h1", {"a": "x" * 1000, "b": "x" * 1000})
    second = store.keep("d2", "c", "r2", "h2", {"a": "x" * 1000})
    assert {*first.values(), *second.values()} == {first["a"]}
    assert len(list((store.home / "blobs").glob("*/*"))) == 1


def test_many_threads_keep_at_once(store: Store) -> None:
    def keep(n: int) -> dict[str, str]:
        return store.keep(f"d{n}", "c", "r1", f"h{n}", {"value": n % 5})

    with ThreadPoolExecutor(16) as pool:
        blobs = list(pool.map(keep, range(100)))
    assert [store.load(blob["value"]) for blob in blobs] == [n % 5 for n in range(100)]
    assert all(store.find(f"d{n}") for n in range(100))


def test_value_that_cannot_be_pickled_is_refused_by_the_name_of_its_port(store: Store) -> None:
    with pytest.raises(StoreError, match=r"output 'rows' of clean cannot be kept.*rows\['lock'\]"):
        store.keep("d1", "clean", "r1", "h1", {"rows": {"lock": threading.Lock()}})
    assert store.find("d1") is None


class Fragile:
    """Refuses to be unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return int, ("not a number",)


def test_value_whose_class_fails_says_so_and_stays(store: Store) -> None:
    blob = store.keep("d1", "c", "r1", "h1", {"value": Fragile()})["value"]
    with pytest.raises(StoreError, match=r"cannot be read here: .*not a number"):
        store.load(blob)
    assert store.find("d1") is not None


def truncated(path: Path) -> None:
    os.truncate(path, 10)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncated, flipped])
def test_damaged_value_is_forgotten_so_that_its_task_runs_again(
    store: Store, damage: Callable[[Path], None]
) -> None:
    blobs = store.keep("d1", "c", "r1", "h1", {"a": "x" * 500, "b": "fine"})
    damage(blob_path(store, blobs["a"]))
    with pytest.raises(StoreError, match=f"kept value {blobs['a'][:12]} is damaged on disk"):
        store.load(blobs["a"])
    assert store.flush()
    assert store.find("d1") is None
    again = store.keep("d1", "c", "r1", "h2", {"a": "x" * 500, "b": "fine"})
    assert again == blobs
    assert store.load(again["a"]) == "x" * 500


def test_result_whose_value_is_missing_is_not_found(store: Store) -> None:
    blobs = store.keep("d1", "c", "r1", "h1", {"value": 1})
    blob_path(store, blobs["value"]).unlink()
    assert store.find("d1") is None
    with pytest.raises(StoreError, match="is missing from the store"):
        store.load(blobs["value"])


def test_source_of_a_component_is_kept_as_a_run_used_it(store: Store) -> None:
    record(store, "r1", story("r1"))
    assert store.component_source("d1") == "def clean(): ..."
    assert store.component("d1") == {"name": "clean", "source": "def clean(): ..."}
    assert store.component_source("unknown") is None
