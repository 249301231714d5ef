"""What the tests of executors share: a report that remembers, pools, and small components."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

from twingraph_nb.component import make_component
from twingraph_nb.executors.base import Job, Outcome
from twingraph_nb.executors.process import ProcessExecutor
from twingraph_nb.settings import Settings


class Memory:
    """A report that keeps what it is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.logs: list[tuple[str, str]] = []
        self.progressed: list[tuple[float, str]] = []
        self.chunks: list[object] = []
        self.told = asyncio.Event()
        self.workers: list[str] = []

    def started(self, worker: str = "") -> None:
        self.workers.append(worker)

    def log(self, stream: str, text: str) -> None:
        self.logs.append((stream, text))
        self.told.set()

    def progress(self, fraction: float, message: str = "") -> None:
        self.progressed.append((fraction, message))
        self.told.set()

    def chunk(self, value: object) -> None:
        self.chunks.append(value)

    def ticket(self, ticket: str) -> None: ...

    def text(self, stream: str = "stdout") -> str:
        return "".join(text for name, text in self.logs if name == stream)


@contextlib.asynccontextmanager
async def executor(processes: int = 2) -> AsyncIterator[ProcessExecutor]:
    made = ProcessExecutor(replace(Settings.load(), processes=processes))
    await made.open()
    try:
        yield made
    finally:
        await made.close()
        assert made.pids == ()


def job_of(function: Callable[..., object], *args: object, **kwargs: object) -> Job:
    component = make_component(function, keep=False)
    return Job("h1", function.__name__, component, component.bind(args, kwargs), 1)


async def value_of(outcome: Outcome) -> object:
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


pools: list[ProcessExecutor] = []


@contextlib.asynccontextmanager
async def shared() -> AsyncIterator[ProcessExecutor]:
    """The pool of all tests of a module in which no worker is harmed; see `one_pool`."""
    yield pools[-1]


async def run(pool: ProcessExecutor, function: object, *args: object, **kw: object) -> object:
    outcome = await pool.run(job_of(function, *args, **kw), Memory())  # type: ignore[arg-type]
    return await value_of(outcome)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends while we read
        return False


async def until(condition: object) -> None:
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(0.01)


def same(x: object) -> object:
    return x


def pid_of() -> int:
    return os.getpid()


def hold(seconds: float = 60.0) -> int:
    print("holding")
    time.sleep(seconds)
    return os.getpid()
