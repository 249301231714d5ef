"""What the tests of Celery and Dask share: jobs with options, and looking at processes."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.executors.running import Memory
from twingraph_nb.component import make_component
from twingraph_nb.executors.base import Executor, Job

__all__ = [
    "alive",
    "edited",
    "ended",
    "holding",
    "job_on",
    "process_of",
    "started",
    "until",
    "value",
]

ROOT = Path(__file__).resolve().parents[2]


def job_on(platform: str, function: Callable[..., object], *args: object, **options: object) -> Job:
    component = make_component(function, platform=platform, options=options, keep=False)
    return Job(secrets.token_hex(12), function.__name__, component, component.bind(args, {}), 1)


async def value(executor: Executor, job: Job, report: Memory | None = None) -> object:
    outcome = await executor.run(job, report or Memory())
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


async def until(condition: Callable[[], object], seconds: float = 100.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends while we read
        return False


def holding(seconds: float = 60.0) -> int:
    """A component that prints its process and waits."""
    import os
    import time

    print(f"pid={os.getpid()}", flush=True)
    time.sleep(seconds)
    return os.getpid()


async def edited(
    executor: Executor, platform: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run a function of a module, change the module, and see the new one run."""
    monkeypatch.syspath_prepend(str(folder))
    file = folder / f"edited_on_{platform}.py"
    for number in (1, 2):
        file.write_text(f"def which() -> int:\n    return {number}\n")
        os.utime(file, (number, number))
        importlib.invalidate_caches()
        sys.modules.pop(file.stem, None)
        module = importlib.import_module(file.stem)
        found = await asyncio.gather(
            *[value(executor, job_on(platform, module.which)) for _ in range(4)]
        )
        assert found == [number] * 4


async def process_of(report: Memory) -> int:
    """The process that a `holding` job printed."""
    await until(lambda: "pid=" in report.text())
    found = re.search(r"pid=(\d+)", report.text())
    assert found is not None
    return int(found[1])


def started(*command: str, **environ: str) -> subprocess.Popen[bytes]:
    """A process of ours, of its own group, its output in nobody's way."""
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[bytes], how: int = signal.SIGTERM) -> None:
    """End a process of ours, and wait for it."""
    process.send_signal(how)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
