"""A far side that is to outlive its kernel ends when that dies before its task has come."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.executors.running import Memory, job_of, same
from twingraph_nb.executors.kit import bootstrap, kit_bytes
from twingraph_nb.executors.owner import this_machine
from twingraph_nb.executors.recalled import Echo, Engine, Recalled, ticket_of
from twingraph_nb.executors.travel import Travel
from twingraph_nb.remote import JOB, TAG
from twingraph_nb.remote_kept import UNFED
from twingraph_nb.wire import frame


@contextmanager
def far_side(program: str) -> Iterator[subprocess.Popen[bytes]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def tell(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


async def question() -> bytes:
    job = job_of(same, 1)
    known = Recalled.read(job, ticket_of(job))
    return Echo(known, Memory(), Travel("docker")).question


async def test_one_that_was_sent_nothing_ends_when_another_kernel_asks() -> None:
    with far_side(bootstrap(linger=600)) as process:
        tell(process, await question())
        assert process.wait(60) == 1


async def test_one_that_has_no_task_yet_ends_when_another_kernel_asks() -> None:
    with far_side(bootstrap(linger=600)) as process:
        tell(process, kit_bytes() + await question())
        assert process.wait(60) == 1


async def test_half_a_task_and_another_kernels_question_are_not_taken_for_a_whole() -> None:
    task = b"".join(frame([TAG.pack(1), bytes(1000)], kind=JOB, tag=1, checked=True))
    with far_side(bootstrap(linger=600)) as process:
        tell(process, kit_bytes() + task[:-10] + await question())
        assert process.wait(60) == 1


def test_one_that_nobody_feeds_ends() -> None:
    program = bootstrap(linger=600)
    assert f"signal.alarm({UNFED})" in program
    with far_side(program.replace(f"signal.alarm({UNFED})", "signal.alarm(1)")) as process:
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("there", "here", "other"),
    [
        (Engine("one", "a"), Engine("one", "b"), False),
        (Engine("one", "a"), Engine("two", "a"), True),
        (Engine("", "a"), Engine("two", "a"), False),  # an engine that does not say who it is
        (Engine("", "a", "red"), Engine("", "b", "red"), False),
        (Engine("", "a", "red"), Engine("two", "b", "blue"), True),
        (Engine("", "a", "red"), Engine("", "a", "blue"), False),  # its certificate was renewed
        (Engine("elsewhere", "redis://:***@localhost"), Engine(this_machine(), ""), True),
    ],
)
def test_an_engine_is_another_if_anything_says_so(there: Engine, here: Engine, other: bool) -> None:
    assert there.is_other(here) is here.is_other(there) is other


@pytest.mark.parametrize(
    ("address", "id"),
    [
        ("redis://:***@localhost:6379/0", this_machine()),
        ("tcp://127.0.0.1:8786", this_machine()),
        ("redis+socket:///run/redis.sock", this_machine()),
        ("rediss://cache.example.com:6379", ""),
    ],
)
def test_what_a_machine_calls_its_own_is_another_elsewhere(address: str, id: str) -> None:
    assert Engine.by_address(address) == Engine(id, address)
