"""Platform `process`: workers die alone and are replaced; what is cancelled is really ended."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.executors.running import (
    Memory,
    executor,
    hold,
    is_alive,
    job_of,
    run,
    same,
    until,
)
from twingraph_nb.errors import WorkerDied

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("one_pool")]


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    ctypes.string_at(0)


def leave_at_once() -> None:
    os._exit(7)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (kill_me, r"kill_me was killed by signal SIGKILL; .*out-of-memory killer .*MiB"),
        (crash, r"(?s)crash was killed by signal SIGSEGV\nFatal Python error.*in crash"),
        (leave_at_once, r"leave_at_once ended with exit code 7"),
    ],
)
async def test_a_death_fails_its_task_alone_and_says_the_cause(function: object, said: str) -> None:
    async with executor() as pool:
        outcomes = await asyncio.gather(
            *[run(pool, same, n) for n in range(20)],
            run(pool, function),
            *[run(pool, same, n) for n in range(20)],
            return_exceptions=True,
        )
        died = outcomes.pop(20)
        assert isinstance(died, WorkerDied)
        with pytest.raises(WorkerDied, match=said):
            raise died
        assert outcomes == [*range(20), *range(20)]
        assert await run(pool, same, "more") == "more"


async def test_short_jobs_sent_ahead_survive_the_death_of_the_one_before_them(
    tmp_path: Path,
) -> None:
    def short(folder: str, at: int) -> int:
        with open(f"{folder}/{at}", "a") as file:
            file.write("ran\n")
        if at == 30:
            os.kill(os.getpid(), 9)
        return at

    job = job_of(short, str(tmp_path), 0)

    def call(at: int) -> object:
        made = type(job)("h", f"short[{at}]", job.component, {"folder": str(tmp_path), "at": at})
        return pool.run(made, Memory())

    async with executor(1) as pool:
        for _ in range(5):
            await call(0)  # they turn out to be short: others will be sent ahead
        (tmp_path / "0").unlink()
        outcomes = await asyncio.gather(*[call(at) for at in range(60)])
    died = [at for at, outcome in enumerate(outcomes) if outcome.error is not None]
    assert died == [30]
    assert [(tmp_path / str(at)).read_text() for at in range(60)] == ["ran\n"] * 60


async def test_jobs_behind_one_that_turns_out_long_go_to_another_worker() -> None:
    def maybe(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    job = job_of(maybe, 0.0)
    async with executor(2) as pool:

        async def call(seconds: float) -> object:
            made = type(job)("h", "maybe", job.component, {"seconds": seconds})
            return (await pool.run(made, Memory())).value

        await asyncio.gather(*[call(0.0) for _ in range(50)])
        long = asyncio.create_task(call(60.0))
        await asyncio.gather(*[call(0.0) for _ in range(60)])
        assert not long.done()
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long


async def test_a_cancelled_task_is_ended_with_what_it_started() -> None:
    def start(file: str) -> None:
        child = subprocess.Popen(["sleep", "600"])
        print(f"{os.getpid()} {child.pid}")
        child.wait()

    async with executor(1) as pool:
        report = Memory()
        running = asyncio.create_task(pool.run(job_of(start, "x"), report))
        await report.told.wait()
        pids = [int(p) for p in report.text().split()]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: not any(map(is_alive, pids)))
        assert await run(pool, same, 1) == 1


async def test_a_cancelled_task_can_clean_up() -> None:
    def tidy(file: str) -> None:
        try:
            print("begun")
            time.sleep(600)
        finally:
            os.unlink(file)

    async with executor(1) as pool:
        file = Path(f"/tmp/twingraph-tidy-{os.getpid()}")
        file.touch()
        report = Memory()
        running = asyncio.create_task(pool.run(job_of(tidy, str(file)), report))
        await report.told.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not file.exists()


async def test_one_that_ignores_the_request_to_end_is_ended() -> None:
    def stubborn() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid())
        time.sleep(600)

    async with executor(1) as pool:
        report = Memory()
        running = asyncio.create_task(pool.run(job_of(stubborn), report))
        await report.told.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not is_alive(int(report.text()))


async def test_a_waiting_task_can_be_cancelled_without_harm_to_the_running_one() -> None:
    async with executor(1) as pool:
        report = Memory()
        running = asyncio.create_task(pool.run(job_of(hold, 0.3), report))
        await report.told.wait()
        waiting = asyncio.create_task(pool.run(job_of(same, 1), Memory()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await running).error is None


async def test_close_ends_all_workers() -> None:
    async with executor(2) as pool:
        report = Memory()
        held = asyncio.create_task(pool.run(job_of(hold), report))
        await report.told.wait()
        await run(pool, same, 1)
        pids = pool.pids
        assert len(pids) == 2
    assert not any(map(is_alive, pids))
    assert isinstance((await held).error, WorkerDied)


KERNEL = """
import asyncio, sys
from tests.executors.running import Memory, executor, hold, job_of, same
from tests.executors.test_process_deaths import spin
async def main():
    async with executor(2) as pool:
        report = Memory()
        held = asyncio.create_task(pool.run(job_of({held}), report))
        await report.told.wait()
        await pool.run(job_of(same, 1), Memory())
        print(*pool.pids, flush=True)
        await held
asyncio.run(main())
"""


def spin() -> None:
    print("spinning")
    ctypes.PyDLL(None).sleep(600)  # holds the interpreter: no thread of the worker can run


@pytest.mark.parametrize("held", ["hold", "spin"])
async def test_no_worker_outlives_a_killed_kernel(held: str) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    kernel = subprocess.Popen(
        [sys.executable, "-c", KERNEL.format(held=held)], stdout=subprocess.PIPE, text=True, env=env
    )
    assert kernel.stdout is not None
    pids = [int(p) for p in kernel.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(is_alive, pids))
    kernel.kill()
    kernel.wait()
    kernel.stdout.close()
    await until(lambda: not any(map(is_alive, pids)))
