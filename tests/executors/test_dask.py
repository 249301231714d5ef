"""Platform `dask`: real clusters; results stay there, jobs can be ended, nothing is left.

What it shares with all platforms is in tests/conformance/test_dask.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from distributed import Client

from tests.executors.clusters import (
    alive,
    edited,
    ended,
    holding,
    process_of,
    until,
    value,
)
from tests.executors.dask_running import cluster, on, same
from tests.executors.running import Memory
from twingraph_nb.context import ctx
from twingraph_nb.errors import ExecutorError, WorkerDied
from twingraph_nb.executors import dask_link
from twingraph_nb.executors.base import Job, RemoteParts
from twingraph_nb.executors.dask import DaskExecutor
from twingraph_nb.executors.dask_cluster import Cluster
from twingraph_nb.executors.dask_local import LocalDask
from twingraph_nb.executors.dask_values import DaskValue
from twingraph_nb.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The cluster of all tests in which no worker is harmed."""
    made = LocalDask(2)
    yield made.address
    made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def far(address: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DaskExecutor]:
    monkeypatch.setenv("TWINGRAPH_DASK_ADDRESS", address)
    made = DaskExecutor(Settings.load())
    await made.open()
    yield made
    await made.close()
    left = await asyncio.to_thread(left_at, address)
    assert left == ([], [])  # nothing is left, whatever the test did


def left_at(address: str) -> tuple[list[str], list[str]]:
    """The tasks and topics that a cluster still knows."""

    def look(dask_scheduler: object = None) -> tuple[list[str], list[str]]:
        tasks = [str(one) for one in dask_scheduler.tasks]  # type: ignore[attr-defined]
        topics = dask_scheduler._broker._topics  # type: ignore[attr-defined]
        return tasks, [one for one in topics if one.startswith("twingraph")]

    with Client(address, set_as_default=False) as client:
        for _ in range(100):
            found: tuple[list[str], list[str]] = client.run_on_scheduler(look)
            if not any(found):
                break
        return found


# -- large inputs --------------------------------------------------------------------------------


def counted(array: np.ndarray, number: int) -> tuple[int, int]:
    array[0] = number
    return number, int(array.sum())


async def test_an_input_of_many_tasks_is_put_onto_the_cluster_once(
    far: DaskExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, hold = [], Cluster.hold

    def counting(self: Cluster, blob: bytes) -> object:
        held.append(len(blob))
        return hold(self, blob)

    monkeypatch.setattr(Cluster, "hold", counting)
    array = np.zeros(1_000_000, np.int64)
    for start in (0, 6):
        asked = [value(far, on(counted, array, start + number)) for number in range(6)]
        assert await asyncio.gather(*asked) == [(start + n, start + n) for n in range(6)]
    assert held == [8_000_000]


async def test_an_input_that_was_lost_with_its_worker_is_put_there_again() -> None:
    place, scheduler, worker = await cluster()
    first = worker()
    far = DaskExecutor(Settings.load())
    array = np.zeros(1_000_000, np.int64)
    assert await value(far, on(counted, array, 1, address=place)) == (1, 1)
    ended(first, signal.SIGKILL)
    with Client(place, set_as_default=False) as client:
        await until(lambda: not client.scheduler_info(n_workers=-1)["workers"])
    second = worker()
    assert await value(far, on(counted, array, 2, address=place)) == (2, 2)
    await far.close()
    for process in (second, scheduler):
        ended(process)


# -- values, words, errors -----------------------------------------------------------------------


async def test_a_large_result_stays_and_is_handed_on_where_it_is(
    far: DaskExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def size(x: object, more: list[object]) -> list[int]:
        return [len(x), *map(len, more)]  # type: ignore[arg-type, call-overload]

    gathered: list[int] = []
    bring = dask_link.Cluster.gather
    monkeypatch.setattr(
        dask_link.Cluster,
        "gather",
        lambda self, futures: (gathered.append(len(futures)), bring(self, futures))[1],
    )
    large = os.urandom(20_000_000)
    there = await value(far, on(same, large))
    assert isinstance(there, DaskValue)
    component = on(size, 0, []).component
    assert far.takes(there, component)
    parts = RemoteParts([there, b"abc", there])
    job = Job("h", "size", component, {"x": there, "more": parts})
    assert await value(far, job) == [20_000_000, 20_000_000, 3, 20_000_000]
    again = await value(far, on(same, there))
    assert isinstance(again, DaskValue)
    assert gathered == []
    assert await again.fetch() == large
    assert gathered == [1]


async def test_progress_and_chunks_come_while_it_runs_also_large_ones(
    far: DaskExecutor, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    def streams(gate: str):  # type: ignore[no-untyped-def]
        import os
        import time

        ctx.progress(0.5, "half")
        yield b"x" * 1_000_000
        yield 1
        while not os.path.exists(gate):
            time.sleep(0.01)
        yield 2

    report = Memory()
    task = asyncio.create_task(value(far, on(streams, str(gate)), report))
    await until(lambda: len(report.chunks) == 2)
    assert report.progressed == [(0.5, "half")]
    gate.touch()
    assert await task == [b"x" * 1_000_000, 1, 2]


async def test_a_thousand_small_ones_go_side_by_side(far: DaskExecutor) -> None:
    small = on(same, 0).component
    found = await asyncio.gather(
        *[value(far, Job(f"h{x}", "same", small, {"x": x})) for x in range(1000)]
    )
    assert found == list(range(1000))


async def test_short_jobs_do_not_wait_behind_one_that_turns_out_long(
    far: DaskExecutor, tmp_path: Path
) -> None:
    def maybe(x: int, gate: str) -> int:
        import os
        import time

        while x == 0 and gate and not os.path.exists(gate):
            time.sleep(0.01)
        return x

    component = on(maybe, 0, "").component

    def one(x: int, gate: str) -> Job:
        return Job(f"{gate}h{x}", "maybe", component, {"x": x, "gate": gate})

    await asyncio.gather(*[value(far, one(x, "")) for x in range(200)])
    gate = tmp_path / "gate"
    long = asyncio.create_task(value(far, one(0, str(gate))))
    rest = await asyncio.gather(*[value(far, one(x, str(gate))) for x in range(1, 100)])
    assert rest == list(range(1, 100))
    assert not long.done()
    gate.touch()
    assert await long == 0


# -- cancelled and killed ------------------------------------------------------------------------


async def test_cancelling_a_running_task_kills_it_with_what_it_started(
    far: DaskExecutor,
) -> None:
    def parent() -> None:

        child = subprocess.Popen(["sleep", "60"])
        print(f"pid={child.pid}", flush=True)
        child.wait()

    first, second, other = Memory(), Memory(), Memory()
    tasks = [
        asyncio.create_task(far.run(on(holding), first)),
        asyncio.create_task(far.run(on(holding, 0.5), other)),
    ]
    pid = await process_of(first)
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert not alive(pid)
    assert (await tasks[1]).error is None  # no other was harmed
    again = asyncio.create_task(far.run(on(parent), second))
    pid = await process_of(second)
    again.cancel()
    await asyncio.wait([again])
    await until(lambda: not alive(pid))


async def test_a_worker_killed_in_the_middle_loses_nothing_and_others_may_come() -> None:
    place, scheduler, worker = await cluster()
    first = worker()
    far = DaskExecutor(Settings.load())
    report = Memory()
    task = asyncio.create_task(value(far, on(holding, 2.0, address=place), report))
    pid = await process_of(report)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    await until(lambda: not alive(pid))  # the task did not outlive its worker
    second = worker()  # comes later, and has what it needs
    assert await task != pid
    assert "its worker was lost; it runs again" in report.text("system")
    assert await value(far, on(same, 3, address=place, resources={"seat": 1})) == 3
    await far.close()
    ended(second)
    ended(scheduler)


async def test_a_task_whose_worker_dies_each_time_is_given_up_with_a_sentence() -> None:
    def deadly() -> None:
        import os
        import signal

        os.kill(os.getppid(), signal.SIGKILL)

    no_second_time = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    place, scheduler, worker = await cluster(**no_second_time)
    only = worker()
    far = DaskExecutor(Settings.load())
    outcome = await far.run(on(deadly, address=place), Memory())
    assert isinstance(outcome.error, WorkerDied)
    assert "the Dask worker that ran deadly was lost each time it ran" in str(outcome.error)
    only.wait()
    await far.close()
    ended(scheduler)


# -- its cluster and its code ------------------------------------------------------------------


async def test_a_client_of_the_notebook_says_which_cluster(address: str) -> None:
    far = DaskExecutor(Settings.load())
    with await asyncio.to_thread(lambda: Client(address)) as client:
        assert await value(far, on(same, 1)) == 1  # the default client
        assert list(far._links) == [address]
        assert await value(far, on(same, 2, client=client)) == 2
        assert client.status == "running"
    await far.close()
    with pytest.raises(ExecutorError, match=r"wants a connected distributed\.Client"):
        await far.run(on(same, 1, client="tcp://there"), Memory())


async def test_a_module_that_was_changed_is_imported_anew(
    far: DaskExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await edited(far, "dask", tmp_path, monkeypatch)
