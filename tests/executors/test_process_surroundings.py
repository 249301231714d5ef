"""Platform `process`: a worker finds what the kernel has: folder, variables, definitions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.executors.running import (
    Memory,
    executor,
    job_of,
    run,
    same,
    shared,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("one_pool")]


SCRIPT = """
import asyncio, enum
from tests.executors.running import Memory, executor, job_of

class Unseen:
    def __init__(self, x): self.x = x
    def value(self): return scale(self.x)

class OwnError(ValueError):
    pass

def scale(x): return x * 2
def use(thing): return thing.value(), thing
def later(x): return scale(x)
def fail():
    raise OwnError("mine")

async def main():
    async with executor(1) as pool:
        async def run(function, *args):
            return await pool.run(job_of(function, *args), Memory())
        for _ in range(2):
            value, thing = (await run(use, Unseen(4))).value
            assert value == 8 and type(thing) is Unseen
        assert (await run(later, 3)).value == 6
        global scale
        def scale(x): return x * 10
        assert (await run(later, 3)).value == 30
        error = (await run(fail)).error
        assert type(error) is OwnError, error
        import traceback
        assert 'raise OwnError("mine")' in "".join(traceback.format_exception(error))
        local = type("Local", (), {})
        print((await run(use, local())).error)

asyncio.run(main())
"""


async def test_what_a_script_defines_goes_both_ways(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], env=env, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert "use cannot travel to platform 'process'" in done.stdout
    assert "thing, a Local" in done.stdout


async def test_ctrl_c_does_not_reach_the_workers() -> None:
    def interrupted() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "still here"

    async with shared() as pool:
        assert await run(pool, interrupted) == "still here"
        assert all(os.getpgid(pid) != os.getpgid(0) for pid in pool.pids)


async def test_a_child_that_the_user_forks_does_not_disturb_the_worker() -> None:
    def fork() -> int:
        pid = os.fork()
        if not pid:
            print("from the child", flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        return 1

    report = Memory()
    async with executor(1) as pool:
        assert (await pool.run(job_of(fork), report)).value == 1
        assert await run(pool, same, 1) == 1
    assert report.text() == "from the child\n"


async def test_the_current_folder_is_the_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move() -> str:
        was = os.getcwd()
        os.chdir("/")
        return was

    async with executor(1) as pool:
        await run(pool, move)
        monkeypatch.chdir(tmp_path)
        assert await run(pool, move) == str(tmp_path)
        assert await run(pool, move) == str(tmp_path)


async def test_the_environment_is_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> str | None:
        return os.environ.get("TWINGRAPH_TEST_LOOK")

    async with shared() as pool:
        assert await run(pool, look) is None
        monkeypatch.setenv("TWINGRAPH_TEST_LOOK", "set in a cell")
        assert await run(pool, look) == "set in a cell"
        monkeypatch.delenv("TWINGRAPH_TEST_LOOK")
        assert await run(pool, look) is None
