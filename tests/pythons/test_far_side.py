"""The far side of containers, pods, Lambda and Batch needs Python 3.9 and nothing else.

Its grammar is held to 3.9 wherever this runs; it is run for real on the oldest supported
interpreter that this machine has, besides the running one.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import steps
from tests.executors.running import Memory
from tests.pythons.found import oldest
from tests.wire.samples import same as alike
from twingraph_nb.component import make_component
from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.base import Job, Outcome
from twingraph_nb.executors.kit import MODULES, bootstrap, kit_sources, kit_zip
from twingraph_nb.executors.pool import Pool
from twingraph_nb.executors.pooled import pooled
from twingraph_nb.executors.stream_worker import StreamWorker
from twingraph_nb.executors.travel import Travel

OLDEST = (3, 9)
INTERPRETERS = {"running": sys.executable, **oldest()}
BESIDES = ("remote_process", "remote_dask")
"""Far sides that are not in the kit, but run in other interpreters too."""


def far_modules() -> list[str]:
    """The modules of the far side, with those of ours that they import."""
    found: dict[str, None] = {}
    waiting = [*MODULES, *BESIDES]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            waiting += imported(text_of(name))
    return sorted(found)


def text_of(name: str) -> str:
    return files("twingraph_nb").joinpath(f"{name}.py").read_text("utf-8")


def imported(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("twingraph_nb."):
            yield str(node.module).partition(".")[2]


class Local(StreamWorker):
    """An interpreter of this machine, reached as one in a container is: the kit over its input."""

    kind = "far side"

    def __init__(self, *given: Any, python: str) -> None:
        self._python = python
        super().__init__(*given)

    async def connect(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            self._python, "-I", "-u", "-c", bootstrap(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._reading = [asyncio.create_task(self._read()), asyncio.create_task(self._heed())]

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while data := await self._process.stdout.read(1 << 16):
            self.received(data)
        self.gone()

    async def _heed(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(1 << 16):
            self.heard_error(data)

    def write(self, data: Sequence[memoryview]) -> int:
        assert self._process.stdin is not None
        for one in data:
            self._process.stdin.write(one)
        return sum(map(len, data))

    async def kill(self, grace: float) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        await asyncio.wait(self._reading)
        await self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(ConnectionError):
            await self._process.stdin.wait_closed()

    async def cause(self) -> str:
        return f"ended with exit code {await self._process.wait()}: {self.tail.strip()}"


@contextlib.asynccontextmanager
async def far_side(python: str) -> AsyncIterator[Any]:
    """What runs a function there, as an outcome and what it said."""
    pool = Pool(1, functools.partial(Local, python=python))
    travel = Travel("docker")

    async def run(function: Any, *args: object, **options: object) -> tuple[Outcome, Memory]:
        made = make_component(function, platform="docker", options=options, keep=False)
        report = Memory()
        job = Job("h1", made.name, made, made.bind(args, {}), 1)
        return await pooled(pool, travel, job, report), report

    try:
        yield run
    finally:
        await pool.close()


@pytest.mark.parametrize("name", far_modules())
def test_the_grammar_of_the_far_side_is_that_of_the_oldest_python(name: str) -> None:
    tree = ast.parse(text_of(name), f"{name}.py", feature_version=OLDEST)
    first = next(node for node in tree.body if isinstance(node, ast.ImportFrom))
    assert (first.module, first.names[0].name) == ("__future__", "annotations"), (
        "annotations such as `int | None` would be evaluated, which needs 3.10"
    )


def test_the_program_that_starts_it_is_of_the_oldest_python_too() -> None:
    ast.parse(bootstrap(), feature_version=OLDEST)
    ast.parse(kit_sources()["twingraph_nb"], feature_version=OLDEST)


@pytest.mark.parametrize("python", INTERPRETERS.values(), ids=INTERPRETERS.keys())
async def test_values_arrive_equal_in_both_directions(python: str) -> None:
    async with far_side(python) as run:
        for name, value in steps.VALUES.items():
            outcome, _ = await run(steps.same, value)
            assert outcome.error is None, name
            assert alike(outcome.value, value), name


@pytest.mark.parametrize("python", INTERPRETERS.values(), ids=INTERPRETERS.keys())
async def test_errors_logs_progress_and_streams_travel(python: str) -> None:
    async with far_side(python) as run:
        outcome, report = await run(steps.talks, 20)
        assert outcome.value == 20
        said = [line for line in report.text().splitlines() if line != "raw"]
        assert said == [f"out {at}" for at in range(20)]
        assert report.text("stderr").splitlines() == ["err 0", "err 10"]
        outcome, report = await run(steps.lives, 0.0)
        assert report.progressed == [(0.25, "a quarter")]
        for function, want in ((steps.counts, [0, 1, 2]), (steps.drips, [0, 2, 4])):
            outcome, report = await run(function, 3)
            assert (outcome.value, report.chunks) == (want, want)
        outcome, _ = await run(steps.fails, 5)
        assert isinstance(outcome.error, ValueError)
        assert isinstance(outcome.error.__cause__, KeyError)
        outcome, _ = await run(steps.breaks)
        assert isinstance(outcome.error, steps.Broken)
        assert (await run(steps.later, 1))[0].value == 2
        assert (await run(steps.reaches, 2))[0].value == 117
        assert (await run(steps.factorial, 5))[0].value == 120


@pytest.mark.parametrize("python", INTERPRETERS.values(), ids=INTERPRETERS.keys())
def test_every_module_of_the_far_side_is_imported_by_it(python: str, tmp_path: Path) -> None:
    archive = tmp_path / "kit.zip"
    archive.write_bytes(kit_zip({}))
    names = [f"twingraph_nb.{name}" for name in MODULES]
    text = f"import sys; sys.path.insert(0, {str(archive)!r}); import {', '.join(names)}"
    done = subprocess.run([python, "-I", "-c", text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_python_that_is_too_old_says_so() -> None:
    for python in oldest((3, 8)).values():  # where there is one
        async with far_side(python) as run:
            said = "twingraph needs Python 3.9 or later here, this is 3.8"
            with pytest.raises(ExecutorError, match=said):
                await run(steps.square, 3)
