"""Platform `dask`: clusters of all kinds, found or made, that grow, die or are not there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.executors.clusters import ROOT, alive, ended, holding, process_of, until, value
from tests.executors.dask_running import cluster, dask, listens, on, same
from tests.executors.running import Memory
from tests.services.base import free_port
from twingraph_nb.errors import ExecutorError, Unreachable
from twingraph_nb.executors import dask_cluster
from twingraph_nb.executors.dask import DaskExecutor
from twingraph_nb.settings import Settings


async def test_workers_need_not_have_the_package() -> None:
    place, scheduler, worker = await cluster(package=False)
    only = worker()
    far = DaskExecutor(Settings.load())

    def where() -> str:
        import twingraph_nb

        return str(twingraph_nb.__file__)

    assert await value(far, on(where, address=place)) == "<twingraph>/twingraph_nb.py"
    assert "1 worker" in await asyncio.to_thread(
        lambda: next(iter(far._links.values())).result()._cluster.versions
    )
    await far.close()
    ended(only)
    ended(scheduler)


async def test_without_an_address_a_cluster_is_made_and_ends_with_the_kernel() -> None:
    script = f"import asyncio\nfrom {__name__} import first\nasyncio.run(first())\n"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as kernel:
        assert kernel.stdout is not None
        pids = [int(word) for word in (await asyncio.to_thread(kernel.stdout.readline)).split()]
        assert len(pids) == 2
        assert all(map(alive, pids))
        kernel.kill()
    await until(lambda: not any(map(alive, pids)))


async def first() -> None:
    """The kernel of the test above: says the cluster's process and the task's, and goes on."""
    far = DaskExecutor(Settings.load())
    pid = await value(far, on(holding, 0.0))
    (link,) = far._links.values()
    print(link.result()._cluster.own_pid, pid, flush=True)
    await asyncio.sleep(60)


async def test_a_scheduler_that_dies_fails_its_tasks_and_the_next_finds_a_new_one() -> None:
    place, scheduler, worker = await cluster()
    only = worker()
    far = DaskExecutor(Settings.load())
    report = Memory()
    task = asyncio.create_task(far.run(on(holding, address=place), report))
    pid = await process_of(report)
    scheduler.kill()
    scheduler.wait()
    with pytest.raises(ExecutorError, match="the cluster is gone"):
        await task
    ended(only)
    await until(lambda: not alive(pid))
    again = dask("scheduler", "--host", "127.0.0.1", "--no-dashboard", "--port", place[-5:])
    await until(lambda: listens(int(place[-5:])))
    heir = worker()
    assert await value(far, on(same, 4, address=place)) == 4
    await far.close()
    ended(heir)
    ended(again)


async def test_no_scheduler_names_the_address_and_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dask_cluster, "_PATIENCE", 0.5)
    place = f"tcp://127.0.0.1:{free_port()}"
    far = DaskExecutor(Settings.load())
    with pytest.raises(Unreachable) as caught:
        await far.run(on(same, 1, address=place), Memory())
    assert place in str(caught.value)
    assert "dask scheduler" in str(caught.value)
    await far.close()


NOWHERE = """
from twingraph_nb import component
from twingraph_nb.errors import Unreachable

@component(platform="dask", address="tcp://127.0.0.1:port")
def same(x):
    return x

if __name__ == "__main__":
    try:
        same(1).result(60)
    except Unreachable as exc:
        print(exc)
"""


async def test_an_address_that_is_none_is_an_error_and_leaves_no_client(tmp_path: Path) -> None:
    done = await script_of(tmp_path, NOWHERE)
    assert done.stderr == ""  # Dask's own client would try to close at exit, in vain
    assert "platform 'dask' cannot be reached at tcp://127.0.0.1:port: " in done.stdout


CLIENTS = """
from distributed import Client
from twingraph_nb import component

@component(platform="dask")
def kernel_and_worker(kernel):
    import os
    return os.getppid() == kernel, os.environ["OF_CLUSTER"]

if __name__ == "__main__":
    import os
    for number in "12":
        os.environ["OF_CLUSTER"] = number
        with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None):
            print(kernel_and_worker(os.getpid()).result(60))
"""


async def test_the_default_client_counts_while_it_is_open(tmp_path: Path) -> None:
    done = await script_of(tmp_path, CLIENTS)
    assert done.stdout.splitlines() == ["(True, '1')", "(True, '2')"]


ADAPTIVE = """
import time
from distributed import LocalCluster
from twingraph_nb import component

if __name__ == "__main__":
    with LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None) as cluster:
        cluster.adapt(minimum=0, maximum=2, interval="100ms")

        @component(platform="dask", address=cluster.scheduler_address)
        def square(x):
            return x * x

        assert not cluster.workers
        print(square.map(range(10)).result(60))
        while cluster.workers:
            time.sleep(0.05)
        print(square(12).result(60))
"""


async def test_an_adaptive_cluster_grows_for_tasks_and_shrinks_after_them(tmp_path: Path) -> None:
    done = await script_of(tmp_path, ADAPTIVE)
    assert done.stdout.split("\n")[:2] == ["[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]", "144"]


async def script_of(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a user; it must succeed."""
    script = folder / "script.py"
    script.write_text(text)
    command = [sys.executable, str(script)]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    return done
