"""Platform `celery`: a Redis that is not there, stays away or comes back empty."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
import redis

from tests.executors.celery_running import on, same, worker
from tests.executors.clusters import ended, until, value
from tests.executors.running import Memory
from tests.services.base import free_port
from twingraph_nb.errors import ExecutorError, Unreachable
from twingraph_nb.executors import celery_broker, celery_worker
from twingraph_nb.executors.celery import CeleryExecutor
from twingraph_nb.settings import Settings

pytestmark = pytest.mark.usefixtures("celery_secret")


async def server(port: int, folder: Path) -> subprocess.Popen[bytes]:
    """A Redis of the test alone."""
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    made = subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            with redis.Redis(port=port) as there:
                return bool(there.ping())
        except redis.ConnectionError:
            return False

    await until(answers)
    return made


async def test_no_broker_names_the_address_without_its_password() -> None:
    port = free_port()
    far = CeleryExecutor(Settings.load())
    with pytest.raises(Unreachable) as caught:
        await far.run(on(same, 1, broker=f"redis://:hush@127.0.0.1:{port}/0"), Memory())
    assert f"redis://:***@127.0.0.1:{port}/0" in str(caught.value)
    assert f"redis-server --port {port}" in str(caught.value)
    assert "hush" not in str(caught.value)
    await far.close()


@pytest.mark.parametrize(
    "place",
    [
        "redis://:hush@there:port/0",
        "redis://there/name",
        "unix:///tmp/redis",
        "amqp://u:hush@there",
    ],
)
async def test_what_is_no_address_of_a_redis_is_told_by_kernel_and_worker(place: str) -> None:
    said = "platform 'celery' wants a Redis, redis://HOST:PORT/NUMBER such as redis://127.0.0.1:"
    far = CeleryExecutor(Settings.load())
    with pytest.raises(ExecutorError) as caught:
        await far.run(on(same, 1, broker=place), Memory())
    with pytest.raises(ExecutorError) as theirs:
        celery_worker.serve(place, place, b"")
    await far.close()
    assert str(caught.value) == str(theirs.value)
    assert said in str(caught.value)
    assert place.replace("hush", "***") in str(caught.value)


async def test_a_broker_that_stays_away_fails_its_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_broker, "PATIENCE", 1.0)
    port = free_port()
    place = f"redis://127.0.0.1:{port}/0"
    broker = await server(port, tmp_path)
    far = CeleryExecutor(Settings.load())
    task = asyncio.create_task(far.run(on(same, 5, broker=place), Memory()))
    with redis.Redis.from_url(place) as there:
        await until(lambda: list(there.scan_iter("twingraph\x06*")))
    broker.kill()
    broker.wait()
    with pytest.raises(Unreachable, match="redis-server --port"):
        await task
    await far.close()
    process = worker(place)
    assert await asyncio.to_thread(process.wait) == 1


async def test_a_broker_that_comes_back_empty_is_given_its_jobs_again(tmp_path: Path) -> None:
    port = free_port()
    place = f"redis://127.0.0.1:{port}/0"

    broker = await server(port, tmp_path)
    far = CeleryExecutor(Settings.load())
    report = Memory()
    large = bytes(2 << 20)
    task = asyncio.create_task(value(far, on(same, large, broker=place), report))
    with redis.Redis.from_url(place) as there:
        await until(lambda: list(there.scan_iter("twingraph\x06*")))
    broker.kill()
    broker.wait()
    broker = await server(port, tmp_path)
    process = worker(place)
    assert await task == large
    assert "the broker came back without it" in report.text("system")
    await far.close()
    ended(process)
    broker.kill()
    broker.wait()
