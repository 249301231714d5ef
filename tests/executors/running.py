"""What the tests of executors share: a report that remembers, and a pool for one test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

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
