"""Far sides that garble their answers, never read or print without end: no crash and no hang."""

from __future__ import annotations

import asyncio
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.executors.docker_running import executor as docker_executor
from tests.executors.running import Memory, executor, run, same, until
from tests.pythons.test_far_side import far_side
from tests.wire.test_fuzz import announced
from twingraph_nb.component import make_component
from twingraph_nb.errors import ExecutorError, ResultError, WorkerDied
from twingraph_nb.executors.base import Outcome
from twingraph_nb.graph.task import Task
from twingraph_nb.remote import CHECKPOINT, CHUNK, FAILED, GAVE, LOG, PROGRESS, RESULT, TURNED
from twingraph_nb.session import get_session
from twingraph_nb.wire import frame

SECONDS = struct.pack("<d", 0.0)
NAN = struct.pack("<d", float("nan"))


def writes(*bodies: bytes) -> str:
    """Send bytes by every pipe and socket that leads out of here."""
    import os
    import stat

    for body in bodies:
        for way in range(3, 32):
            try:
                if stat.S_IFMT(os.fstat(way).st_mode) in (stat.S_IFIFO, stat.S_IFSOCK):
                    os.write(way, body)
            except OSError:
                pass
    return "done"


def message(kind: int, *frames: bytes) -> bytes:
    """A sound message, as the first job's."""
    return b"".join(map(bytes, frame(frames, kind=kind, tag=1, checked=True)))


async def ended(*bodies: bytes) -> tuple[Outcome, Memory]:
    async with far_side(sys.executable) as there:
        async with asyncio.timeout(120):
            found: tuple[Outcome, Memory] = await there(writes, *bodies)
            return found


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"Hello, I am no message at all!", "this is not a message of twingraph_nb"),
        (announced([1 << 40]), "1,099,511,627,776 bytes are announced; 68,719,476,736 are allowed"),
        (message(RESULT), "a message of kind 15 without what belongs to it"),
        (message(FAILED, b"short"), "a message of kind 16 without what belongs to it"),
        (message(GAVE, b"odd", b""), "a message of kind 17 without what belongs to it"),
    ],
    ids=["no message", "huge", "no result", "no failure", "nothing given"],
)
async def test_what_is_no_message_ends_the_far_side_and_is_told(body: bytes, said: str) -> None:
    outcome, _ = await ended(body)
    assert isinstance(outcome.error, WorkerDied)
    told = f"the far side that ran writes gave an answer that is not to be understood ({said})"
    assert str(outcome.error) == told


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (message(RESULT, SECONDS), "the result of writes cannot be read here (ValuesError: "),
        (message(RESULT, NAN, b"{"), "the result of writes cannot be read here (ValuesError: "),
        (message(FAILED, SECONDS, b'["user","x",{}]'), "the error of writes cannot be read here"),
    ],
    ids=["empty", "torn", "malformed"],
)
async def test_an_answer_that_cannot_be_read_is_told(body: bytes, said: str) -> None:
    outcome, _ = await ended(body)
    assert isinstance(outcome.error, ResultError)
    assert str(outcome.error).startswith(said)


async def test_what_is_said_meanwhile_and_cannot_be_read_is_passed_over() -> None:
    bad = [message(LOG), message(PROGRESS, b"x"), message(PROGRESS, NAN), message(TURNED)]
    bad += [message(CHECKPOINT, b"{"), message(CHUNK), message(99, b"?")]
    outcome, told = await ended(*bad)
    assert (outcome.error, outcome.value) == (None, "done")
    assert told.progressed == []
    assert "a checkpoint is lost: the value cannot be read: JSONDecodeError" in told.text("system")


async def test_one_that_talks_before_it_can_work_is_told_what_it_may_not_do(tmp_path: Path) -> None:
    python = script(tmp_path, f'echo Welcome!; exec {sys.executable} "$@"')
    async with far_side(python) as there:
        with pytest.raises(ExecutorError) as caught:
            await there(same, 1)
    assert str(caught.value) == (
        "a far side ended before it could run same: it gave an answer that is not to be "
        "understood (this is not a message of twingraph_nb): what starts it there must not write "
        "to its standard output"
    )


async def test_a_process_that_garbles_its_answers_is_ended_and_the_next_goes_on() -> None:
    async with executor(1) as pool:
        with pytest.raises(WorkerDied, match="since its answer could not be read: this is not a"):
            await run(pool, writes, b"Hello, I am no message at all!")
        assert await run(pool, same, 3) == 3


@pytest.mark.usefixtures("docker_engine")
async def test_a_container_that_garbles_its_answers_is_removed(
    client: Any, python_image: str
) -> None:
    async with docker_executor(client, python_image) as using:
        with pytest.raises(WorkerDied, match="gave an answer that is not to be understood"):
            await using.run(writes, b"Hello, I am no message at all!")
        assert (await using.run(same, 3))[0] == 3


@pytest.mark.usefixtures("docker_engine")
async def test_a_container_that_never_reads_holds_nobody_up_and_can_be_cancelled(
    client: Any, python_image: str, tmp_path: Path
) -> None:
    deaf = {"/usr/local/bin/python3": script(tmp_path, "exec sleep 600")}
    async with docker_executor(client, python_image) as using:
        task = asyncio.create_task(
            using.run(same, bytes(50_000_000), files=deaf, writable=True, workers=1)
        )
        await until(lambda: using.containers())
        assert (await using.run(same, 3))[0] == 3
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_a_million_lines_hold_nobody_up_and_the_log_says_where_it_is_cut() -> None:
    def floods() -> int:
        for at in range(1_000_000):
            sys.stdout.write(f"line {at}\n")
        return 1

    def quiet() -> int:
        return 2

    get_session()
    flood = make_component(floods, platform="process", keep=False)()
    beside = make_component(quiet, platform="process", keep=False)()
    assert isinstance(flood, Task)
    assert isinstance(beside, Task)
    assert (beside.result(120), flood.result(120)) == (2, 1)
    lines = flood.logs.splitlines()
    assert lines[:2] == ["line 0", "line 1"]
    assert lines[-1] == "[the log is cut here: over 4194304 characters]"
    assert len(flood.logs) < 4_300_000


def script(folder: Path, text: str) -> str:
    path = folder / "python3"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)
