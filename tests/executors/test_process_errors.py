"""Platform `process`: errors keep what is known of them; what cannot travel is named."""

from __future__ import annotations

import asyncio
import importlib
import os
import sqlite3
import sys
import threading
from pathlib import Path

import pytest

from tests.executors.running import (
    executor,
    pid_of,
    run,
    same,
    shared,
)
from twingraph_nb.errors import ExecutorError, PortabilityError, ResultError, TaskError

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("one_pool")]


async def test_the_users_error_keeps_notes_cause_and_lines() -> None:
    def fail() -> None:
        try:
            {}["key"]
        except KeyError as exc:
            error = ValueError("no such row")
            error.add_note("try another")
            raise error from exc

    async with shared() as pool:
        with pytest.raises(ValueError, match="no such row") as caught:
            await run(pool, fail)
    assert caught.value.__notes__ == ["try another"]
    assert isinstance(caught.value.__cause__, KeyError)
    places = [(entry.path.name, entry.name) for entry in caught.traceback]
    assert places[-1] == ("test_process_errors.py", "fail")
    assert "raise error from exc" in str(caught.traceback[-1].statement)


async def test_exit_interrupt_and_recursion_are_failures_of_the_task_alone() -> None:
    def leave() -> None:
        sys.exit(3)

    def interrupt() -> None:
        raise KeyboardInterrupt

    def deep() -> None:
        deep()

    def cancel() -> None:
        raise asyncio.CancelledError

    async with executor(1) as pool:
        pid = await run(pool, pid_of)
        with pytest.raises(TaskError, match=r"called sys\.exit\(3\)"):
            await run(pool, leave)
        with pytest.raises(TaskError, match="raised KeyboardInterrupt"):
            await run(pool, interrupt)
        with pytest.raises(TaskError, match="raised CancelledError"):
            await run(pool, cancel)
        with pytest.raises(RecursionError):
            await run(pool, deep)
        assert await run(pool, pid_of) == pid


async def test_a_result_that_cannot_be_pickled_is_named() -> None:
    def connect() -> dict[str, object]:
        return {"ok": 1, "db": sqlite3.connect(":memory:")}

    def local() -> object:
        class Inner: ...

        return Inner()

    def nested() -> list[object]:
        deep: list[object] = []
        for _ in range(100_000):
            deep = [deep]
        return deep

    async with shared() as pool:
        with pytest.raises(ResultError, match=r"connect gave the result\['db'\], a sqlite3\.Conn"):
            await run(pool, connect)
        with pytest.raises(ResultError, match=r"local gave the result, a .*Inner"):
            await run(pool, local)
        with pytest.raises(ResultError, match="nested"):
            await run(pool, nested)


async def test_an_input_that_cannot_be_pickled_is_named() -> None:
    async with shared() as pool:
        with pytest.raises(
            PortabilityError, match=r"same cannot travel.*\n.*x\['lock'\], a _thread"
        ):
            await run(pool, same, {"lock": threading.Lock()})
        assert await run(pool, same, 1) == 1


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("/nonexistent/python", "could not be started: .*No such file"),
        ("/bin/false", "ended before it could run same: it ended with exit code 1"),
    ],
)
async def test_a_worker_that_cannot_start_is_an_executor_error(
    python: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    async with executor(1) as pool:
        with pytest.raises(ExecutorError, match=said):
            await run(pool, same, 1)
        monkeypatch.undo()
        assert await run(pool, same, 1) == 1


async def test_a_module_that_fails_in_the_worker_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "module_of_process_test.py"
    module.write_text("def step():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    steps = importlib.import_module("module_of_process_test")
    async with executor(1) as pool:
        assert await run(pool, steps.step) == 1
        module.write_text("def step():\n    return 22\n")
        os.utime(module, (1, 1))
        importlib.reload(steps)
        assert await run(pool, steps.step) == 22  # not the version the worker had imported
        module.write_text("raise OSError('no licence')")
        os.utime(module, (2, 2))
        with pytest.raises(PortabilityError, match=r"OSError when it was loaded.*no licence"):
            await run(pool, steps.step)
