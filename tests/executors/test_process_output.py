"""Platform `process`: what a task prints comes live, in order and to its own log."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.executors.running import (
    Memory,
    job_of,
    shared,
    until,
)
from twingraph_nb.context import ctx

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("one_pool")]


async def test_prints_come_in_order_and_to_their_own_task() -> None:
    def say(name: str) -> None:
        for at in range(300):
            sys.stdout.write(f"{name} {at}\n")  # whole: a thread of the task before may be late
        print("to err", file=sys.stderr)
        threading.Thread(target=sys.stdout.write, args=("from a thread\n",)).start()

    reports = [Memory() for _ in range(6)]
    async with shared() as pool:
        await asyncio.gather(*[pool.run(job_of(say, f"t{n}"), r) for n, r in enumerate(reports)])
    for n, report in enumerate(reports):
        lines = report.text().splitlines()
        assert [line for line in lines if line != "from a thread"] == [
            f"t{n} {k}" for k in range(300)
        ]
        assert report.text("stderr") == "to err\n"


async def test_prints_and_progress_come_while_it_runs() -> None:
    def step(go: str) -> None:
        print("begun")
        ctx.progress(0.5, "half")
        while not os.path.exists(go):
            time.sleep(0.01)

    async with shared() as pool:
        go = f"/tmp/twingraph-test-{os.getpid()}-{time.monotonic_ns()}"
        report = Memory()
        running = asyncio.create_task(pool.run(job_of(step, go), report))
        await until(lambda: report.progressed)
        assert report.logs == [("stdout", "begun\n")]
        assert report.progressed == [(0.5, "half")]
        assert not running.done()
        Path(go).touch()
        assert (await running).error is None
        os.unlink(go)


async def test_what_programs_and_c_code_write_is_in_the_log() -> None:
    def shell() -> None:
        subprocess.run(["sh", "-c", "echo out; echo err >&2"], check=True)
        os.write(1, b"raw\n")

    report = Memory()
    async with shared() as pool:
        await pool.run(job_of(shell), report)
    assert report.text() == "out\nraw\n"
    assert report.text("stderr") == "err\n"


async def test_a_flood_of_output_arrives_whole() -> None:
    def flood() -> None:
        for at in range(20_000):
            print("line", at)

    report = Memory()
    async with shared() as pool:
        await pool.run(job_of(flood), report)
    assert report.text() == "".join(f"line {at}\n" for at in range(20_000))
    assert len(report.logs) < 2_000


async def test_output_without_end_is_cut_and_said_so() -> None:
    def flood() -> None:
        line = "x" * 100_000 + "\n"
        for _ in range(1_000):
            print(line, end="")

    report = Memory()
    async with shared() as pool:
        assert (await pool.run(job_of(flood), report)).error is None
    assert "more output is not kept" in report.text("system")
    assert len(report.text()) < 70_000_000
