"""Timeouts: of the wait for a start, and of the attempt."""

from __future__ import annotations

import asyncio
import threading

import pytest

from twingraph_nb import component, get_session
from twingraph_nb.breaker import Breaker
from twingraph_nb.errors import TaskTimeout
from twingraph_nb.events import TaskErred, TaskStarted


class Gate:
    """Holds tasks until it is opened."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def hold(self) -> None:
        self.begun.set()
        self.open.wait(30)


def test_a_task_that_waits_too_long_for_a_place_fails_without_having_started() -> None:
    gate = Gate()

    @component(limit="gpu:1")
    def holds() -> None:
        gate.hold()

    @component(limit="gpu:1", queue_timeout="300ms")
    def waits(x: int) -> int:
        return x

    first = holds()
    assert gate.begun.wait(30)
    late = waits(1)
    with pytest.raises(TaskTimeout, match=r"waits did not start within 0.3 s"):
        late.result(30)  # type: ignore[attr-defined]
    gate.open.set()
    first.result(30)  # type: ignore[attr-defined]
    events = [e for b in get_session().history(late.link.id) for e in b.events]  # type: ignore[attr-defined]
    assert [type(e) for e in events if getattr(e, "task", None) == 1][1:] == [TaskErred]
    assert waits(2).result(30) == 2  # type: ignore[attr-defined]


def test_it_counts_as_an_attempt_and_the_next_one_may_start() -> None:
    gate = Gate()

    @component(limit="gpu:1")
    def holds() -> None:
        gate.hold()

    @component(limit="gpu:1", queue_timeout=0.05, retries=200, delay=0.01, backoff="fixed")
    def waits(x: int) -> int:
        return x

    first = holds()
    assert gate.begun.wait(30)
    late = waits(1)
    while late.state != "retrying":  # type: ignore[attr-defined]
        threading.Event().wait(0.005)
    gate.open.set()
    assert late.result(30) == 1  # type: ignore[attr-defined]
    first.result(30)  # type: ignore[attr-defined]


def test_the_wait_for_a_worker_of_the_platform_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINGRAPH_THREADS", "1")
    gate = Gate()

    @component()
    def holds() -> None:
        gate.hold()

    @component(queue_timeout=0.3)
    def waits(x: int) -> int:
        return x

    first = holds()
    assert gate.begun.wait(30)
    with pytest.raises(TaskTimeout, match="did not start within"):
        waits(1).result(30)  # type: ignore[attr-defined]
    gate.open.set()
    first.result(30)  # type: ignore[attr-defined]
    assert waits(2).result(30) == 2  # type: ignore[attr-defined]


def test_once_started_the_wait_is_over_and_only_the_timeout_counts() -> None:
    @component(queue_timeout=0.3)
    async def takes_longer() -> int:
        await asyncio.sleep(0.4)
        return 1

    @component(queue_timeout=30, timeout=0.05)
    async def hangs() -> None:
        await asyncio.Event().wait()

    assert takes_longer().result(30) == 1  # type: ignore[attr-defined]
    with pytest.raises(TaskTimeout, match="hangs did not finish within"):
        hangs().result(30)  # type: ignore[attr-defined]


def test_started_is_said_once_for_an_attempt_under_clocks() -> None:
    @component(queue_timeout=30, timeout=30)
    def work() -> int:
        return 1

    task = work()
    assert task.result(30) == 1  # type: ignore[attr-defined]
    events = [e for b in get_session().history(task.link.id) for e in b.events]  # type: ignore[attr-defined]
    assert sum(isinstance(e, TaskStarted) for e in events) == 1


def test_thousands_that_wait_too_long_fail_together() -> None:
    gate = Gate()

    @component(limit="gpu:1")
    def holds() -> None:
        gate.hold()

    @component(limit="gpu:1", queue_timeout=0.3)
    async def waits(x: int) -> int:
        return x

    first = holds()
    assert gate.begun.wait(30)
    tasks = [waits(x) for x in range(3000)]
    for task in tasks:
        with pytest.raises(TaskTimeout):
            task.result(30)  # type: ignore[attr-defined]
    gate.open.set()
    first.result(30)  # type: ignore[attr-defined]
    assert waits(1).result(30) == 1  # type: ignore[attr-defined]


def test_a_wait_that_took_too_long_says_nothing_to_a_breaker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TWINGRAPH_THREADS", "1")
    gate = Gate()
    breaker = Breaker("api", failures=1)

    @component()
    def holds() -> None:
        gate.hold()

    @component(queue_timeout=0.3, breaker=breaker)
    def waits(x: int) -> int:
        return x

    first = holds()
    assert gate.begun.wait(30)
    with pytest.raises(TaskTimeout, match="did not start within"):
        waits(1).result(30)  # type: ignore[attr-defined]
    assert breaker.state == "closed"
    gate.open.set()
    first.result(30)  # type: ignore[attr-defined]
