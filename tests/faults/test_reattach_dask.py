"""Tasks on a Dask cluster outlive their kernel, and are found again by their keys."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executors.test_dask import left_at
from tests.faults.kernels import Kernel
from twingraph_nb.executors.dask_local import LocalDask

MIB = 2**20
SENT = "distributed.client.Client.map"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    made = LocalDask(2)
    yield made.address
    made.close()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    folder = tmp_path / "gate"
    folder.mkdir()
    return folder


def kernel(
    address: str, gate: Path, tmp_path: Path, home: Path, size: int = 0, **more: object
) -> Kernel:
    options = {"address": address, **more}
    return Kernel(tmp_path, home, "dask", options, seconds=600, gate=str(gate), size=size)


def begun(gate: Path) -> list[str]:
    return (gate / "began").read_text().split()


def nothing_left(address: str) -> None:
    end = time.monotonic() + 20
    while (left := left_at(address)) != ([], []):
        assert time.monotonic() < end, left
        time.sleep(0.1)


def test_a_task_goes_on_and_its_whole_story_is_heard(
    address: str, gate: Path, tmp_path: Path, home: Path
) -> None:
    dead = kernel(address, gate, tmp_path, home, 3 * MIB)
    mark = dead.die()
    (gate / "go").touch()
    result, logs = dead.resume()
    assert result == [mark, 3 * MIB]
    assert logs.splitlines() == [f"began {mark}", f"ended {mark}"]
    assert begun(gate) == [mark]
    nothing_left(address)


def test_a_task_whose_kernel_died_while_it_was_sent_does_not_run_twice_at_once(
    address: str, gate: Path, tmp_path: Path, home: Path
) -> None:
    dead = kernel(address, gate, tmp_path, home)
    dead.die_after(SENT)
    assert json.loads(dead.tickets()[-1])["name"].startswith("tg-slow-")
    (gate / "go").touch()
    (mark, _), _ = dead.resume()
    assert begun(gate)[-1] == mark
    nothing_left(address)


def test_a_result_that_nobody_asks_for_is_let_go(
    address: str, gate: Path, tmp_path: Path, home: Path
) -> None:
    dead = kernel(address, gate, tmp_path, home, linger=1)
    mark = dead.die()
    (gate / "go").touch()
    nothing_left(address)
    (again, _), _ = dead.resume()
    assert begun(gate) == [mark, again]
