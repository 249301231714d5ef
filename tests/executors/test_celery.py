"""Platform `celery`: real workers behind a real Redis; nothing is lost, nothing is left.

What it shares with all platforms is in tests/conformance/test_celery.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import pytest_asyncio
import redis

from tests.executors.celery_keys import keys_in
from tests.executors.celery_running import SECRET, on, same, worker
from tests.executors.clusters import (
    alive,
    edited,
    ended,
    holding,
    process_of,
    started,
    until,
    value,
)
from tests.executors.running import Memory
from twingraph_nb.errors import ExecutorError, WorkerDied
from twingraph_nb.executors import celery_link, celery_protocol
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.celery import CeleryExecutor
from twingraph_nb.executors.celery_protocol import Refused, Seal
from twingraph_nb.settings import Settings

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("celery_secret"),
]


def workers_of(url: str) -> list[object]:
    with redis.Redis.from_url(url) as there:
        return [json.loads(one) for one in there.zrange(celery_protocol.WORKERS, 0, -1)]


def keys_of(url: str) -> set[str]:
    with redis.Redis.from_url(url) as there:
        return keys_in(there)


@pytest.fixture(scope="module")
def url(redis_url: str) -> Iterator[str]:
    place = urlsplit(redis_url)._replace(path="/7").geturl()
    with redis.Redis.from_url(place) as there:
        there.flushdb()
        yield place
        there.flushdb()


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def one_worker(url: str) -> AsyncIterator[None]:
    """The worker of all tests in which none is harmed: to start one takes seconds."""
    process = worker(url)
    await until(lambda: workers_of(url))
    yield
    ended(process)
    await until(lambda: not workers_of(url))


@pytest_asyncio.fixture(loop_scope="module")
async def far(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CeleryExecutor]:
    monkeypatch.setenv("TWINGRAPH_CELERY_BROKER", url)
    made = CeleryExecutor(Settings.load())
    await made.open()
    yield made
    await made.close()
    with contextlib.suppress(TimeoutError):
        await until(lambda: keys_of(url) == set())
    assert keys_of(url) == set()  # nothing is left, whatever the test did


# -- values, words, errors -----------------------------------------------------------------------


def counted(array: np.ndarray, number: int) -> tuple[int, int]:
    array[0] = number
    return number, int(array.sum())


async def test_an_input_of_many_tasks_is_put_into_redis_once(
    far: CeleryExecutor, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed: list[int] = []
    close = Seal.close

    def counting(self: Seal, messages: object) -> bytes:
        sealed.append(len(token := close(self, messages)))  # type: ignore[arg-type]
        return token

    monkeypatch.setattr(Seal, "close", counting)
    array = np.zeros(1_000_000, np.int64)
    asked = [value(far, on(counted, array, number)) for number in range(12)]
    assert await asyncio.gather(*asked) == [(number, number) for number in range(12)]
    assert 8_000_000 < sum(sealed) < 12_000_000  # base64 makes it a third longer
    (kept,) = [key for key in keys_of(url) if ":payload:" in key]
    with redis.Redis.from_url(url) as there:
        assert 0 < there.ttl(kept) <= celery_protocol.KEEP


async def test_an_input_that_was_changed_in_redis_is_refused(far: CeleryExecutor, url: str) -> None:
    task = asyncio.create_task(value(far, on(same, os.urandom(2 << 20), queue="held")))
    with redis.Redis.from_url(url) as there:
        await until(lambda: list(there.scan_iter("*:payload:*")))
        (key,) = there.scan_iter("*:payload:*")
        there.set(key, Seal(b"x" * 32, "another").close([]))
    process = worker(url, "--queue", "held")
    with pytest.raises(ExecutorError, match="a part of its inputs was refused: the signature"):
        await task
    ended(process)


async def test_tasks_find_their_inputs_in_a_folder_that_is_mounted(
    far: CeleryExecutor, url: str, tmp_path: Path
) -> None:
    array = np.zeros(1_000_000, np.int64)
    for number in range(3):
        found = await value(far, on(counted, array, number, payloads=str(tmp_path)))
        assert found == (number, number)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
    assert not [key for key in keys_of(url) if ":payload:" in key]


async def test_a_task_finds_its_variables_and_secrets_which_redis_never_shows(
    far: CeleryExecutor, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_OF_MINE", "hush-hush-hush")

    def asks() -> tuple[str, str]:
        import os

        return os.environ["PLAIN"], os.environ["TOKEN_OF_MINE"]

    place = urlsplit(url)
    command = ["redis-cli", "-p", str(place.port), "--no-auth-warning", "monitor"]
    environ = {**os.environ, "REDISCLI_AUTH": place.password or ""}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as monitor:
        assert monitor.stdout is not None
        assert monitor.stdout.readline() == b"OK\n"
        job = on(asks, env={"PLAIN": "plain-to-see"}, secrets=["TOKEN_OF_MINE"])
        assert await value(far, job) == ("plain-to-see", "hush-hush-hush")
        monitor.terminate()
        seen = monitor.stdout.read()
    assert b"twingraph_nb.run" in seen
    for word in (b"hush-hush", b"plain-to-see", b"TOKEN_OF_MINE", b"asks"):
        assert word not in seen


async def test_a_thousand_small_ones_go_side_by_side(far: CeleryExecutor) -> None:
    small = on(same, 0).component
    found = await asyncio.gather(
        *[value(far, Job("h", "same", small, {"x": x})) for x in range(1000)]
    )
    assert found == list(range(1000))


async def test_short_jobs_do_not_wait_behind_one_that_turns_out_long(
    far: CeleryExecutor, tmp_path: Path
) -> None:
    def maybe(x: int, gate: str) -> int:
        import os
        import time

        while x == 0 and gate and not os.path.exists(gate):
            time.sleep(0.01)
        return x

    component = on(maybe, 0, "").component

    def one(x: int, gate: str) -> Job:
        return Job("h", "maybe", component, {"x": x, "gate": gate})

    await asyncio.gather(*[value(far, one(x, "")) for x in range(200)])
    gate = tmp_path / "gate"
    long = asyncio.create_task(value(far, one(0, str(gate))))
    rest = await asyncio.gather(*[value(far, one(x, str(gate))) for x in range(1, 100)])
    assert rest == list(range(1, 100))
    assert not long.done()
    gate.touch()
    assert await long == 0


# -- cancelled and killed ------------------------------------------------------------------------


async def test_cancelling_a_running_task_kills_it_with_what_it_started(
    far: CeleryExecutor,
) -> None:
    def parent() -> None:
        import subprocess

        child = subprocess.Popen(["sleep", "60"])
        print(f"pid={child.pid}", flush=True)
        child.wait()

    first, second, other = Memory(), Memory(), Memory()
    tasks = [
        asyncio.create_task(far.run(on(holding), first)),
        asyncio.create_task(far.run(on(holding, 0.5), other)),
    ]
    pid = await process_of(first)
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert not alive(pid)
    assert (await tasks[1]).error is None  # no other was harmed
    again = asyncio.create_task(far.run(on(parent), second))
    pid = await process_of(second)
    again.cancel()
    await asyncio.wait([again])
    await until(lambda: not alive(pid))


async def test_a_cancelled_task_is_over_only_when_its_process_has_ended(
    far: CeleryExecutor,
) -> None:
    cores = sorted(os.sched_getaffinity(0))

    def late(core: int) -> None:
        import os
        import time

        os.sched_setaffinity(0, [core])
        os.nice(19)
        print(f"pid={os.getpid()}", flush=True)
        time.sleep(60)

    report = Memory()
    task = asyncio.create_task(far.run(on(late, cores[0]), report))
    pid = await process_of(report)
    spin = f"import os\nos.sched_setaffinity(0, [{cores[0]}])\nwhile True: pass"
    with started("-c", spin) as busy:
        try:
            await until(lambda: os.sched_getaffinity(busy.pid) == {cores[0]})
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not alive(pid)
        finally:
            busy.kill()


async def test_cancelling_a_queued_task_takes_it_off_the_queue(
    far: CeleryExecutor, url: str
) -> None:
    report = Memory()
    task = asyncio.create_task(far.run(on(same, 1, queue="nobodys"), report))
    with redis.Redis.from_url(url) as there:
        await until(lambda: any(there.llen(key) for key in there.scan_iter("nobodys*")))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any(there.llen(key) for key in there.scan_iter("nobodys*"))
    assert report.workers == []


async def test_a_task_that_nobody_takes_says_so_in_its_log(
    far: CeleryExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_link, "_UNHEARD", 0.1)
    report = Memory()
    task = asyncio.create_task(far.run(on(same, 1, queue="nobodys"), report))
    await until(lambda: report.logs)
    assert "no worker takes from queue 'nobodys'" in report.text("system")
    assert "twingraph worker celery --broker redis://:***@" in report.text("system")
    task.cancel()
    await asyncio.wait([task])


async def test_a_worker_killed_in_the_middle_loses_nothing(far: CeleryExecutor, url: str) -> None:
    process = worker(url, "--queue", "mortal")
    report = Memory()
    task = asyncio.create_task(value(far, on(holding, 1.0, queue="mortal"), report))
    pid = await process_of(report)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    await until(lambda: not alive(pid))  # the task did not outlive its worker
    heir = worker(url, "--queue", "mortal")
    assert await task != pid
    assert "its worker was lost; it runs again" in report.text("system")
    ended(heir)


async def test_a_task_that_kills_its_process_is_not_run_for_ever(far: CeleryExecutor) -> None:
    def deadly() -> None:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    outcome = await far.run(on(deadly), Memory())
    assert isinstance(outcome.error, WorkerDied)
    assert "was lost 3 times while it ran" in str(outcome.error)
    assert await value(far, on(same, 1)) == 1


async def test_priorities_and_queues_decide_who_goes_first(far: CeleryExecutor, url: str) -> None:
    order: list[int] = []

    async def run(priority: int) -> None:
        await value(far, on(same, priority, queue="ordered", priority=priority))
        order.append(priority)

    tasks = [asyncio.create_task(run(priority)) for priority in (-1, 0, 3)]
    with redis.Redis.from_url(url) as there:
        await until(
            lambda: sum(there.llen(key) for key in there.scan_iter("ordered*")) == len(tasks)
        )
    process = worker(url, "--queue", "ordered", "--concurrency", "1")
    await asyncio.gather(*tasks)
    assert order == [3, 0, -1]
    ended(process)


# -- trust and versions --------------------------------------------------------------------------


async def test_a_kernel_with_another_secret_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINGRAPH_SECRET", "another secret, also long enough")
    far = CeleryExecutor(Settings.load())
    try:
        with pytest.raises(ExecutorError, match=r"does not fit: .* need the same TWINGRAPH_SECRET"):
            await far.run(on(same, 1, broker=url), Memory())
    finally:
        await far.close()


async def test_a_message_of_a_run_that_is_over_is_not_run_again(
    far: CeleryExecutor, url: str, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"

    def leaves(trace: str) -> None:
        with open(trace, "a") as file:
            file.write("ran\n")

    with redis.Redis.from_url(url) as there:
        seen = set()
        task = asyncio.create_task(value(far, on(leaves, str(trace), queue="copied")))
        await until(lambda: list(there.scan_iter("copied*")))
        (key,) = there.scan_iter("copied*")
        (message,) = there.lrange(key, 0, -1)
        process = worker(url, "--queue", "copied")
        await task
        there.lpush(key, message)
        await until(lambda: there.llen(key) == 0 and not there.exists("twingraph:unacked"))
        seen.add(trace.read_text())
    assert seen == {"ran\n"}
    ended(process)


async def test_a_message_says_what_it_is_for_and_when_it_was_made() -> None:
    seal = Seal(SECRET.encode(), "orders")
    token = seal.close([(1, 2, [b"body"])])
    assert [(m.kind, m.tag, m.frames) for m in seal.open(token, 60)] == [(1, 2, [b"body"])]
    changed = token[:-9] + (b"A" if token[-9:-8] != b"A" else b"B") + token[-8:]
    for other, what in (
        (Seal(SECRET.encode(), "answers x"), token),
        (Seal(b"another secret...", "orders"), token),
        (seal, changed),
        (seal, b"no token at all"),
    ):
        with pytest.raises(Refused, match="signature"):
            other.open(what)
    with pytest.raises(Refused, match="older than"):
        seal.open(token, -61)


async def test_without_a_secret_nothing_is_sent_and_no_worker_starts(
    url: str, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.delenv("TWINGRAPH_SECRET")
    far = CeleryExecutor(Settings.load())
    with pytest.raises(ExecutorError, match="needs a secret that kernel and workers share"):
        await far.run(on(same, 1, broker=url), Memory())
    process = worker(url, secret="")
    assert await asyncio.to_thread(process.wait) == 1
    home.mkdir(parents=True)
    file = home / "secret"
    file.write_text(SECRET)
    file.chmod(0o644)
    with pytest.raises(ExecutorError, match="others may read the secret in"):
        await far.run(on(same, 1, broker=url), Memory())
    file.chmod(0o600)
    assert await value(far, on(same, 1, broker=url)) == 1
    await far.close()


async def test_a_module_that_was_changed_is_imported_anew(
    far: CeleryExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await edited(far, "celery", tmp_path, monkeypatch)


async def test_the_result_of_a_job_is_found_again_by_its_ticket(
    far: CeleryExecutor, tmp_path: Path
) -> None:
    tickets: list[str] = []

    class Keeps(Memory):
        def ticket(self, ticket: str) -> None:
            tickets.append(ticket)

    job = on(holding, 1.0)
    task = asyncio.create_task(far.run(job, Keeps()))
    await until(lambda: tickets)
    heir = CeleryExecutor(Settings.load())
    outcome = await heir.attach(tickets[0], job, Memory())
    found = await task
    assert outcome.value == found.value
    assert isinstance(found.value, int)
    unknown = json.dumps({**json.loads(tickets[0]), "session": "0123abcd"})
    with pytest.raises(ExecutorError, match="nothing is known of the job"):
        await heir.attach(unknown, job, Memory())
    assert "client" in await far.probe()
    await heir.close()
