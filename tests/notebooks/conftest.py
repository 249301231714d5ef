"""All platforms at once, as the notebook of platforms wants them given."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
import redis

from tests.executors.clusters import ended, started
from tests.services.aws import environment
from twingraph_nb.executors.celery_protocol import WORKERS
from twingraph_nb.executors.dask_local import LocalDask

SECRET = "a secret of this test, long enough"
DATABASES = {"test_platforms": 9, "test_platforms_in_lab": 10}
"""The database of Redis that each file has for itself: it is emptied. Other tests have 7 and 11."""


@dataclass(frozen=True)
class Places:
    """Where all platforms are. environ: of the kernel; parameters: of the notebook."""

    environ: Mapping[str, str]
    parameters: Mapping[str, str]


@pytest.fixture(scope="module")
def broker(redis_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of the tests' Redis with one Celery worker."""
    url = urlsplit(redis_url)._replace(path=f"/{DATABASES[request.path.stem]}").geturl()
    command = ("-m", "twingraph_nb.runs.cli", "worker", "celery", "--broker", url)
    with redis.Redis.from_url(url) as there:
        there.flushdb()
        worker = started(*command, "--concurrency", "2", TWINGRAPH_SECRET=SECRET)
        while not there.zcard(WORKERS):
            assert worker.poll() is None
            time.sleep(0.05)
        yield url
        ended(worker)
        there.flushdb()


@pytest.fixture(scope="module")
def dask_address() -> Iterator[str]:
    """The scheduler of a Dask cluster of this machine."""
    cluster = LocalDask(1)
    yield cluster.address
    cluster.close()


@pytest.fixture(scope="module")
def clouds(docker_host: str, kubernetes: Mapping[str, str], aws: Mapping[str, str]) -> Places:
    """What a notebook needs to go to containers, pods, functions and jobs."""
    environ = {
        **environment(aws),
        "DOCKER_HOST": docker_host,
        "KUBECONFIG": kubernetes["kubeconfig"],
    }
    parameters = {
        "image": kubernetes["image"],
        "kubeconfig": kubernetes["kubeconfig"],
        **{name: aws[name] for name in ("role", "queue", "bucket", "region", "endpoint_url")},
        "execution_role": aws["role"],
    }
    return Places(environ, parameters)


@pytest.fixture(scope="module")
def places(clouds: Places, broker: str, dask_address: str) -> Places:
    """What a notebook needs to go everywhere."""
    environ = {
        **clouds.environ,
        "TWINGRAPH_CELERY_BROKER": broker,
        "TWINGRAPH_DASK_ADDRESS": dask_address,
        "TWINGRAPH_SECRET": SECRET,
    }
    return Places(environ, {**clouds.parameters, "dask_address": dask_address})
