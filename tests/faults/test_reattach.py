"""Jobs of Celery, Batch and Lambda outlive their kernel, are found again, not started twice."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from tests.executors import clusters
from tests.executors.aws_running import client, objects
from tests.faults.cable import Cable
from tests.faults.kernels import Kernel
from tests.services.aws import environment

SECRET = "a secret of the tests, long enough"
PREPARED = "twingraph_nb.executors.celery_broker.Broker._prepare"
SENT = "twingraph_nb.executors.celery_broker.Broker._send"
TICKETED = "twingraph_nb.scheduler.live.TaskReport.ticket"
SUBMITTED = "twingraph_nb.executors.aws_jobs.Jobs.submit"


@pytest.fixture
def worker(redis_url: str) -> Iterator[str]:
    url = urlsplit(redis_url)._replace(path="/13").geturl()
    with redis.Redis.from_url(url) as there:
        there.flushdb()
        words = ("-m", "twingraph_nb.runs.cli", "worker", "celery", "--broker", url)
        process = clusters.started(*words, "--concurrency", "1", TWINGRAPH_SECRET=SECRET)
        try:
            yield url
        finally:
            clusters.ended(process)
            there.flushdb()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    folder = tmp_path / "gate"
    folder.mkdir()
    return folder


@pytest.fixture
def celery(worker: str, gate: Path, tmp_path: Path, home: Path) -> Kernel:
    environ = {"TWINGRAPH_CELERY_BROKER": worker, "TWINGRAPH_SECRET": SECRET}
    return Kernel(tmp_path, home, "celery", {}, seconds=600, gate=str(gate), **environ)


@pytest.fixture
def bucket(aws: Mapping[str, str]) -> str:
    name = f"twingraph-{secrets.token_hex(6)}"
    client(aws, "s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def batch(
    aws: Mapping[str, str], bucket: str, tmp_path: Path, home: Path
) -> Callable[[float], Kernel]:
    options = {**{key: aws[key] for key in ("role", "queue", "image")}, "bucket": bucket}

    def made(seconds: float) -> Kernel:
        return Kernel(tmp_path, home, "batch", options, seconds=seconds, **environment(aws))

    return made


def begun(gate: Path) -> list[str]:
    return (gate / "began").read_text().split()


def started(aws: Mapping[str, str]) -> int:
    """How many jobs of the task there have ever been."""
    named = [{"name": "JOB_NAME", "values": ["slow-*"]}]
    found = client(aws, "batch").list_jobs(jobQueue=aws["queue"], filters=named)
    return len(found["jobSummaryList"])


def test_celery_answers_the_kernel_that_comes_after(celery: Kernel, gate: Path) -> None:
    mark = celery.die()
    (gate / "go").touch()
    assert celery.resume()[0] == [mark, 0]
    assert begun(gate) == [mark]


@pytest.mark.parametrize("spot", [PREPARED, SENT])
def test_celery_does_not_begin_twice_for_a_kernel_that_died_while_it_sent(
    spot: str, celery: Kernel, gate: Path
) -> None:
    celery.die_after(spot)
    (gate / "go").touch()
    (mark, _), _ = celery.resume()
    assert begun(gate) == [mark]


def test_batch_answers_the_kernel_that_comes_after(
    aws: Mapping[str, str], bucket: str, batch: Callable[[float], Kernel]
) -> None:
    dead = batch(6)
    mark = dead.die()
    assert dead.resume()[0] == [mark, 0]
    assert not objects(aws, bucket)


@pytest.mark.parametrize("spot", [TICKETED, SUBMITTED])
def test_batch_does_not_begin_twice_for_a_kernel_that_died_while_it_submitted(
    spot: str, aws: Mapping[str, str], bucket: str, batch: Callable[[float], Kernel]
) -> None:
    before = started(aws)
    dead = batch(0)
    dead.die_after(spot)
    assert dead.resume()[0][1] == 0
    assert started(aws) == before + 1
    assert not objects(aws, bucket)


def test_lambda_answers_the_kernel_that_comes_after(
    aws: Mapping[str, str], bucket: str, tmp_path: Path, home: Path
) -> None:
    """Once that reaches the region of the call; a kernel that does not starts no second one."""
    url = urlsplit(aws["endpoint_url"])
    with Cable(int(url.port or 0), host=str(url.hostname)) as cable:
        there = f"http://{url.hostname}:{cable.port}"
        options = {"role": aws["role"], "bucket": bucket, "endpoint_url": there}
        dead = Kernel(tmp_path, home, "lambda", options, seconds=5, **environment(aws))
        mark = dead.die()
        cable.cut()
        said = dead.fail()
        assert "platform 'lambda' cannot be reached" in said
        assert "may go on there, so no other was started: resume again" in said
        cable.heal()
        region = dead.environ.pop("AWS_DEFAULT_REGION")
        dead.environ["AWS_DEFAULT_REGION"] = "sa-east-1"
        assert "that is sa-east-1" in dead.fail()
        dead.environ["AWS_DEFAULT_REGION"] = region
        result, logs = dead.resume()
    assert result == [mark, 0]
    assert logs.splitlines() == [f"began {mark}", f"ended {mark}"]
    assert not objects(aws, bucket)
