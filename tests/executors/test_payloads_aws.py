"""Large values in a bucket: inputs that tasks share, and results that stay there."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

import twingraph_nb as tg
from tests.executors.aws_running import Told, client, job, objects, opened, until, value
from tests.executors.kubernetes_running import admin, using
from tests.executors.test_payloads import dead_owner
from tests.services.aws import environment
from twingraph_nb.errors import ExecutorError, PortabilityError
from twingraph_nb.executors.aws_batch import BatchExecutor
from twingraph_nb.executors.aws_bucket import Bucket
from twingraph_nb.executors.aws_clients import Services, Where
from twingraph_nb.executors.aws_lambda import LambdaExecutor
from twingraph_nb.executors.aws_values import BucketValue
from twingraph_nb.executors.base import Outcome, RemoteParts
from twingraph_nb.executors.docker import DockerExecutor
from twingraph_nb.executors.payloads import LARGE
from twingraph_nb.remote import TAG
from twingraph_nb.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")
BUCKET = "twingraph-payloads"


@pytest.fixture(scope="module", autouse=True)
def service(aws: Mapping[str, str]) -> Iterator[None]:
    """The emulator as AWS, and a bucket that is empty at the end."""
    with pytest.MonkeyPatch.context() as patch:
        for name, text in environment(aws).items():
            patch.setenv(name, text)
        patch.delenv("AWS_PROFILE", raising=False)
        client(aws, "s3").create_bucket(Bucket=BUCKET)
        yield
        assert objects(aws, BUCKET) == []


@pytest.fixture(scope="module")
def options(aws: Mapping[str, str]) -> dict[str, object]:
    return {"role": aws["role"], "bucket": BUCKET}


@pytest.fixture(scope="module")
def queued(options: dict[str, object], aws: Mapping[str, str]) -> dict[str, object]:
    return {**options, "queue": aws["queue"], "image": aws["image"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def functional(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LambdaExecutor]:
    async with opened(LambdaExecutor, tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def batch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BatchExecutor]:
    async with opened(BatchExecutor, tmp_path_factory.mktemp("home")) as made:
        yield made


class Traffic:
    """What the kernel puts into buckets and gets from them, by full key."""

    def __init__(self) -> None:
        self.put: list[str] = []
        self.got: list[str] = []

    def stored(self) -> list[str]:
        return [key for key in self.put if "/payload/" in key]

    def brought(self) -> list[str]:
        return [key for key in self.got if "/kept/" in key]


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    seen, put, get = Traffic(), Bucket.put, Bucket.get

    def putting(self: Bucket, key: str, buffers: Any) -> None:
        seen.put.append(self.root + key)
        put(self, key, buffers)

    def getting(self: Bucket, key: str) -> bytes:
        seen.got.append(key)
        return get(self, key)

    monkeypatch.setattr(Bucket, "put", putting)
    monkeypatch.setattr(Bucket, "get", getting)
    return seen


def kept(aws: Mapping[str, str]) -> list[str]:
    return [key for key in objects(aws, BUCKET) if "/kept/" in key]


def first(x: bytes, number: int) -> tuple[int, bytes]:
    return number, bytes(x[:8])


def large(x: bytes, times: int) -> bytes:
    return x * times


def size_of(x: bytes) -> int:
    return len(x)


def sizes_of(parts: list[bytes]) -> list[int]:
    return [len(part) for part in parts]


async def stays(executor: Any, asked: Any) -> BucketValue:
    outcome: Outcome = await executor.run(asked, Told())
    assert isinstance(outcome.value, BucketValue), outcome
    return outcome.value


# -- inputs -------------------------------------------------------------------------------------


async def test_an_input_of_many_functions_is_stored_once(
    functional: LambdaExecutor, options: dict[str, object], traffic: Traffic
) -> None:
    body = os.urandom(2 * LARGE)
    asked = [job("lambda", first, (body, n), **options) for n in range(6)]
    found = await asyncio.gather(*[value(functional, one) for one in asked])
    assert found == [(n, body[:8]) for n in range(6)]
    assert len(traffic.stored()) == 1


async def test_an_input_of_many_jobs_is_stored_once(
    batch: BatchExecutor, queued: dict[str, object], traffic: Traffic, aws: Mapping[str, str]
) -> None:
    body = os.urandom(2 * LARGE)
    for number in range(2):  # two turns, so two submissions
        asked = [job("batch", first, (body, n + number), **queued) for n in range(2)]
        found = await asyncio.gather(*[value(batch, one) for one in asked])
        assert found == [(n + number, body[:8]) for n in range(2)]
    assert len(traffic.stored()) == 1
    assert traffic.stored()[0] in objects(aws, BUCKET)


async def test_the_setting_names_the_bucket_too(
    options: dict[str, object], traffic: Traffic, tmp_path: Path, aws: Mapping[str, str]
) -> None:
    def made(settings: Settings) -> LambdaExecutor:
        return LambdaExecutor(replace(settings, payloads=f"s3://{BUCKET}/deep/er"))

    body = os.urandom(LARGE)
    async with opened(made, tmp_path) as one:
        plain = {"role": options["role"]}
        assert await value(one, job("lambda", first, (body, 1), **plain)) == (1, body[:8])
        assert traffic.stored()[0].startswith("deep/er/twingraph/")
        with pytest.raises(PortabilityError, match="is no bucket of S3"):
            await value(one, job("lambda", first, (body, 1), payloads="/data", **plain))
    assert [key for key in objects(aws, BUCKET) if key.startswith("deep/")] == []


async def test_containers_fetch_from_a_bucket(
    docker_host: str, python_image: str, traffic: Traffic, tmp_path: Path, aws: Mapping[str, str]
) -> None:
    body = os.urandom(2 * LARGE)
    here = {"host": docker_host, "image": python_image, "network": "bridge", "workers": 2}
    async with opened(DockerExecutor, tmp_path) as one:
        more = {**here, "payloads": f"s3://{BUCKET}"}
        asked = [job("docker", first, (body, n), **more) for n in range(4)]
        found = await asyncio.gather(*[value(one, each) for each in asked])
        assert found == [(n, body[:8]) for n in range(4)]
        assert len(traffic.stored()) == 1
        nowhere = job("docker", first, (body, 1), **{**here, "payloads": "s3://tg-nowhere"})
        with pytest.raises(ExecutorError, match="there is no bucket of that name"):
            await value(one, nowhere)
    assert traffic.stored()[0] not in objects(aws, BUCKET)


async def test_pods_fetch_from_a_bucket(
    kubernetes: Mapping[str, str], traffic: Traffic, aws: Mapping[str, str]
) -> None:
    body = os.urandom(2 * LARGE)
    with admin(kubernetes) as boss:
        async with using(boss) as cluster:
            for _ in range(2):  # a Job each, which knows nothing of the other's input
                found, _ = await cluster.run(size_of, body, payloads=f"s3://{BUCKET}")
                assert found == len(body)
            assert len(traffic.stored()) == 1
    assert traffic.stored()[0] not in objects(aws, BUCKET)


# -- results ------------------------------------------------------------------------------------


async def test_a_large_result_goes_to_the_next_job_without_the_kernel(
    batch: BatchExecutor,
    functional: LambdaExecutor,
    options: dict[str, object],
    queued: dict[str, object],
    traffic: Traffic,
) -> None:
    made = await stays(batch, job("batch", large, (b"ab", LARGE), **queued))
    following = job("lambda", size_of, (made,), **options)
    assert functional.takes(made, following.component)
    assert await value(functional, following) == 2 * LARGE
    again = await stays(functional, job("lambda", large, (made, 3), **options))
    parts = RemoteParts([made, b"here", again])
    listed = job("batch", sizes_of, (parts,), **queued)
    assert batch.takes(parts, listed.component)
    assert await value(batch, listed) == [2 * LARGE, 4, 6 * LARGE]
    assert traffic.brought() == []
    assert await again.fetch() == b"ab" * 3 * LARGE
    assert len(traffic.brought()) == 1


async def test_only_jobs_of_the_same_bucket_take_it(
    batch: BatchExecutor, queued: dict[str, object]
) -> None:
    made = await stays(batch, job("batch", large, (b"ab", LARGE), **queued))
    for other in ({"bucket": "another"}, {"region": "eu-west-1"}):
        asked = job("batch", size_of, (made,), **{**queued, **other})
        assert not batch.takes(made, asked.component)


async def test_a_result_is_removed_when_nobody_has_it(
    batch: BatchExecutor, queued: dict[str, object], aws: Mapping[str, str]
) -> None:
    made = await stays(batch, job("batch", large, (b"ab", LARGE), **queued))
    assert made.key in kept(aws)
    key = made.key
    del made
    gc.collect()
    await until(lambda: key not in kept(aws))


async def test_a_result_is_gone_with_its_session(
    options: dict[str, object], tmp_path: Path, aws: Mapping[str, str]
) -> None:
    async with opened(LambdaExecutor, tmp_path) as one:
        made = await stays(one, job("lambda", large, (b"ab", 4 * LARGE), **options))
        changed = await stays(one, job("lambda", large, (b"ab", 4 * LARGE), **options))
        client(aws, "s3").put_object(Bucket=BUCKET, Key=changed.key, Body=b"tg")
        with pytest.raises(ExecutorError, match="the result of large was changed in the bucket"):
            await changed.fetch()
        following = job("lambda", size_of, (changed,), **options)
        with pytest.raises(ExecutorError, match="another size where it is kept"):
            await value(one, following)
    assert made.key not in objects(aws, BUCKET)
    with pytest.raises(ExecutorError, match="look at it before that, or keep it with cache="):
        await made.fetch()
    assert not one.takes(made, following.component)


async def test_in_a_pipeline_it_comes_when_somebody_looks(
    options: dict[str, object], traffic: Traffic
) -> None:
    made = tg.component(platform="lambda", **cast(Any, options))(large)
    sized = tg.component(platform="lambda", **cast(Any, options))(size_of)
    task = made(b"ab", 4 * LARGE)
    assert await sized(task) == 8 * LARGE
    assert traffic.brought() == []
    assert await task == b"ab" * 4 * LARGE
    assert len(traffic.brought()) == 1


@pytest.mark.parametrize(
    "said",
    [
        [b"kept/../../secret", b"0" * 64, TAG.pack(1)],
        [b"kept/result", b"0" * 63, TAG.pack(1)],
        [b"kept/result", b"0" * 64, b"short"],
        [b"kept/result"],
        [b"\xff", b"0" * 64, TAG.pack(1)],
    ],
)
async def test_a_far_side_can_only_name_its_own_result(said: list[bytes]) -> None:
    bucket = Bucket(Services(), Where(), BUCKET, "lambda")
    with pytest.raises(ExecutorError, match="the answer of size_of cannot be read"):
        bucket.kept.value(job("lambda", size_of, (b"",)), "jobs/1/", said)
    assert bucket.kept.keys == set()


# -- whose it is ------------------------------------------------------------------------------


async def test_what_a_killed_kernel_left_is_removed_unless_its_jobs_may_run(
    functional: LambdaExecutor, options: dict[str, object], aws: Mapping[str, str]
) -> None:
    s3, dead = client(aws, "s3"), dead_owner()
    gone = [f"twingraph/{dead}/lambda-1/payload/a", f"twingraph/{dead}/batch-1/component/a"]
    left = [
        f"twingraph/{dead}/batch-2/in/1/jobs",
        f"twingraph/{dead}/batch-2/payload/a",
        f"twingraph/{dead}/celery-1/payload/a",
        "twingraph/another-machine.1.2/lambda-1/payload/a",
    ]
    for key in (*gone, *left):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    with contextlib.closing(Services()) as services:
        Bucket(services, Where(), BUCKET, "lambda").check()
    found = objects(aws, BUCKET)
    assert [key for key in gone if key in found] == []
    assert [key for key in left if key in found] == left
    for key in left:
        s3.delete_object(Bucket=BUCKET, Key=key)
