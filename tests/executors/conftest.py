"""What tests of several modules share: a pool of worker processes, a client of the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.executors import celery_running, running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_pool() -> AsyncIterator[None]:
    """What `running.shared` gives: to start a worker takes a second."""
    async with running.executor() as pool:
        running.pools.append(pool)
        yield
        running.pools.remove(pool)


@pytest.fixture(scope="module")
def client(docker_host: str) -> Iterator[Any]:
    """The tests' own way to the engine, past the executor."""
    import docker  # not where these tests run on another Python

    made = docker.DockerClient(base_url=docker_host)
    yield made
    made.close()


@pytest.fixture
def docker_engine(docker_host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have executors find the tests' engine."""
    monkeypatch.setenv("DOCKER_HOST", docker_host)


@pytest.fixture
def celery_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret that the tests' workers have."""
    monkeypatch.setenv("TWINGRAPH_SECRET", celery_running.SECRET)
