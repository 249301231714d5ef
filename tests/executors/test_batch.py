"""Platform `batch`: real containers behind an emulated AWS Batch, S3 and CloudWatch.

What it shares with all platforms is in tests/conformance/test_batch.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import docker
import pytest
import pytest_asyncio
from botocore.exceptions import ClientError

from tests.executors.aws_running import Told, client, job, objects, opened, until, value
from tests.services import base
from tests.services.aws import environment
from twingraph_nb.errors import (
    ExecutorError,
    PortabilityError,
    TaskTimeout,
    Unreachable,
    WorkerDied,
)
from twingraph_nb.executors import aws_arrays
from twingraph_nb.executors.aws_batch import BatchExecutor
from twingraph_nb.executors.aws_bucket import Bucket
from twingraph_nb.executors.aws_clients import Where
from twingraph_nb.executors.aws_jobs import Jobs, fate, job_name, setup_of, unheard
from twingraph_nb.executors.aws_watch import Watch
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.payloads import LARGE

pytestmark = pytest.mark.asyncio(loop_scope="module")
BUCKET = "twingraph-batch"


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
    return {"role": aws["role"], "queue": aws["queue"], "image": aws["image"], "bucket": BUCKET}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def batch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BatchExecutor]:
    async with opened(BatchExecutor, tmp_path_factory.mktemp("home")) as made:
        yield made


def id_of(told: Told) -> str:
    return str(json.loads(told.tickets[-1])["mark"]["id"])


@contextlib.contextmanager
def containers() -> Iterator[Callable[[str], list[Any]]]:
    """Gives what finds the containers of a job that run.

    The emulator removes one only after it has said that the job is over.
    """
    engine = docker.DockerClient(base.ensure("docker")["host"])
    with contextlib.closing(engine):
        yield lambda id: engine.containers.list(sparse=True, filters={"name": id.replace(":", "-")})


# -- what comes back ----------------------------------------------------------------------------


async def test_a_map_is_one_array_though_an_input_is_long_in_coming(
    batch: BatchExecutor, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(x: int, more: bytes) -> int:
        if x == 3:
            raise ValueError("three")
        return x * x + len(more)

    put, others = Bucket.put, threading.Event()

    def putting(self: Bucket, key: str, buffers: Any) -> None:
        if "/payload/" in f"/{key}":
            assert others.wait(60)
        put(self, key, buffers)

    monkeypatch.setattr(Bucket, "put", putting)
    tolds = [Told() for _ in range(5)]
    inputs = [(x, b"" if x < 4 else bytes(LARGE)) for x in range(5)]
    asked = [
        asyncio.create_task(batch.run(job("batch", step, one, **options), told))
        for one, told in zip(inputs, tolds, strict=True)
    ]
    await until(lambda: batch._arrays._open)
    asyncio.get_running_loop().call_later(3 * aws_arrays.TURN, others.set)
    found = await asyncio.gather(*asked)
    assert [one.value for one in found] == [0, 1, 4, None, 16 + LARGE]
    assert str(found[3].error) == "three"
    marks = [json.loads(told.tickets[-1])["mark"] for told in tolds]
    assert len({(mark["name"], mark["group"], mark["size"]) for mark in marks}) == 1
    assert sorted(mark["index"] for mark in marks) == list(range(5))


async def test_a_job_definition_of_the_users_own_is_used(
    batch: BatchExecutor, options: dict[str, object], aws: Mapping[str, str]
) -> None:
    needs = [{"type": "VCPU", "value": "0.25"}, {"type": "MEMORY", "value": "512"}]
    client(aws, "batch").register_job_definition(
        jobDefinitionName="of-my-own",
        type="container",
        containerProperties={
            "image": aws["image"],
            "command": ["false"],
            "resourceRequirements": needs,
            "environment": [{"name": "SPOKEN", "value": "by the definition"}],
        },
    )

    def step() -> str:
        return os.environ["SPOKEN"]

    asked = job("batch", step, **{**options, "image": "no/such:1"}, job_definition="of-my-own")
    assert await value(batch, asked) == "by the definition"


class Api:
    """Batch, of which is only seen what it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def client(self, service: str, where: Where) -> Api:
        return self

    def describe_jobs(self, jobs: list[str]) -> dict[str, list[dict[str, str]]]:
        self.asked.append(len(jobs))
        return {"jobs": [{"jobId": one, "status": "RUNNING"} for one in jobs]}


async def test_all_jobs_are_looked_up_together_a_hundred_in_a_call() -> None:
    api, heard, states = Api(), asyncio.Event(), []
    watch = Watch(Jobs(cast(Any, api)))

    def changed(detail: Mapping[str, Any]) -> None:
        states.append(detail["status"])
        if len(states) == 250:
            heard.set()

    for number in range(250):
        watch.expect(Where(), f"id:{number}", changed)
    await heard.wait()
    await watch.close()
    assert api.asked[:3] == [100, 100, 50]


# -- how jobs end -------------------------------------------------------------------------------


async def test_a_cancelled_job_is_gone_before_the_task_is(
    batch: BatchExecutor, options: dict[str, object], aws: Mapping[str, str]
) -> None:
    def step() -> None:
        print("sleeping", flush=True)
        time.sleep(600)

    told = Told()
    running = asyncio.create_task(batch.run(job("batch", step, **options), told))
    await until(told.text)
    id = id_of(told)
    with containers() as found_of:
        assert found_of(id)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        found = client(aws, "batch").describe_jobs(jobs=[id])["jobs"][0]
        assert found["status"] == "FAILED"
        assert found_of(id) == []


async def test_cancelling_one_of_an_array_leaves_the_others(
    batch: BatchExecutor, options: dict[str, object]
) -> None:
    def step(x: int) -> int:
        print("up", flush=True)
        if x:
            time.sleep(600)
        return x

    tolds = [Told(), Told()]
    asked = [
        asyncio.create_task(batch.run(job("batch", step, (x,), **options), tolds[x]))
        for x in range(2)
    ]
    await until(tolds[1].text)
    asked[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked[1]
    assert (await asked[0]).value == 0


async def test_a_job_that_is_cancelled_in_its_turn_is_never_submitted(
    batch: BatchExecutor,
    options: dict[str, object],
    aws: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never() -> None: ...

    monkeypatch.setattr(aws_arrays, "TURN", 2.0)  # else it may be over between two looks
    asked = job("batch", never, **options)
    running = asyncio.create_task(batch.run(asked, Told()))
    await until(lambda: batch._arrays._open)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not batch._arrays._open)
    listed = client(aws, "batch").list_jobs(
        jobQueue=aws["queue"], filters=[{"name": "JOB_NAME", "values": [job_name(asked)]}]
    )
    assert [one["jobName"] for one in listed["jobSummaryList"] if "never" in one["jobName"]] == []


async def test_too_much_memory_becomes_a_sentence(
    batch: BatchExecutor, options: dict[str, object]
) -> None:
    def step() -> int:
        return len(bytearray(2 << 30))

    with pytest.raises(
        WorkerDied, match=r"ran out of memory \(it has 512 MiB\): ask for more, mem"
    ):
        await value(batch, job("batch", step, memory="200m", **options))


async def test_an_answer_that_is_garbage_ends_the_job(
    batch: BatchExecutor, options: dict[str, object], aws: Mapping[str, str]
) -> None:
    def step() -> None:
        time.sleep(600)

    told = Told()
    running = asyncio.create_task(batch.run(job("batch", step, **options), told))
    await until(lambda: told.workers)
    known = json.loads(told.tickets[0])
    key = f"{known['root']}jobs/{known['mark']['group']}/0/000-x"
    client(aws, "s3").put_object(Bucket=BUCKET, Key=key, Body=b"tg garbage")
    with pytest.raises(ExecutorError, match="the answer of step cannot be read"):
        await running
    with containers() as found_of:
        assert found_of(id_of(told)) == []


KERNEL = """
import asyncio, sys, time
from pathlib import Path
from tests.executors.aws_running import Told, job, opened
from twingraph_nb.executors.aws_batch import BatchExecutor

def step(x):
    print("working", flush=True)
    time.sleep(1)
    return bytes([x]) * (2 << 20)

class Telling(Told):
    def ticket(self, ticket):
        print(ticket, flush=True)

async def main(options):
    async with opened(BatchExecutor, Path(sys.argv[1])) as batch:
        await batch.run(job("batch", step, (1,), **options), Telling())

asyncio.run(main(eval(sys.argv[2])))
"""


async def test_a_ticket_finds_the_answer_after_the_kernel_was_killed(
    batch: BatchExecutor, options: dict[str, object], aws: Mapping[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "kernel.py"
    script.write_text(KERNEL)
    kernel = await asyncio.create_subprocess_exec(
        *(sys.executable, script, tmp_path, repr(options)),
        env={**os.environ, "PYTHONPATH": str(base.ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert kernel.stdout is not None
    await kernel.stdout.readline()  # it is submitted after this one
    ticket = (await kernel.stdout.readline()).decode()
    kernel.kill()
    await kernel.wait()

    def step(x: int) -> bytes: ...

    told, asked = Told(), job("batch", step, (1,), **options)
    assert (await batch.attach(ticket, asked, told)).value == b"\1" * (2 << 20)
    assert told.text() == "working\n"
    root = json.loads(ticket)["root"]
    await until(lambda: not [k for k in objects(aws, BUCKET) if k.startswith(root)])


# -- what is wrong with the request -------------------------------------------------------------


async def refused(batch: BatchExecutor, **options: object) -> str:
    def step() -> None: ...

    with pytest.raises((ExecutorError, PortabilityError)) as caught:
        await value(batch, job("batch", step, **options))
    return str(caught.value)


async def test_missing_things_are_named_with_their_cure(
    batch: BatchExecutor, options: dict[str, object]
) -> None:
    assert "bucket= is missing" in await refused(batch, queue="first")
    assert "queue= is missing" in await refused(batch, bucket=BUCKET)
    said = await refused(batch, **{**options, "queue": "nowhere"})
    assert "there is no job queue 'nowhere'" in said
    assert "queue=" in said
    said = await refused(batch, **{**options, "bucket": "twingraph-nowhere"})
    assert "cannot use the bucket 'twingraph-nowhere': there is no bucket of that name" in said
    said = await refused(batch, **{**options, "bucket": "s3://x"})
    assert "not a bucket's name" in said or "Invalid bucket name" in said


async def test_a_disabled_queue_is_named(
    batch: BatchExecutor, options: dict[str, object], aws: Mapping[str, str]
) -> None:
    api = client(aws, "batch")
    place = api.describe_job_queues(jobQueues=[aws["queue"]])["jobQueues"][0]
    with contextlib.suppress(ClientError):
        api.create_job_queue(
            jobQueueName="off",
            state="DISABLED",
            priority=1,
            computeEnvironmentOrder=place["computeEnvironmentOrder"],
        )
    said = await refused(batch, **{**options, "queue": "off"})
    assert "the job queue 'off' takes no jobs (state DISABLED" in said


async def test_nobody_at_the_address(batch: BatchExecutor, options: dict[str, object]) -> None:
    url = f"http://127.0.0.1:{base.free_port()}"
    with pytest.raises(Unreachable) as caught:
        await value(batch, job("batch", lambda_step, endpoint_url=url, **options))
    assert url in str(caught.value)
    assert "endpoint_url=" in str(caught.value)


def lambda_step() -> None: ...


# -- what emulators leave out -------------------------------------------------------------------


def asked_for(**options: object) -> Job:
    return job("batch", lambda_step, queue="q", bucket="b", **options)


def detail(**said: object) -> dict[str, object]:
    container = {k: said.pop(k) for k in ("reason", "exitCode", "image") if k in said}
    return {"status": "FAILED", "container": container, **said}


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        ({"statusReason": "Host EC2 (instance i-0) terminated."}, ExecutorError, "machine"),
        ({"reason": "CannotPullContainerError: no", "image": "x"}, ExecutorError, "image 'x'"),
        ({"reason": "OutOfMemoryError: Container killed", "exitCode": 137}, WorkerDied, "memory="),
        ({"exitCode": 139}, WorkerDied, "killed by signal 11"),
        ({"exitCode": 137}, WorkerDied, "killed by signal 9, perhaps for want of memory"),
        ({"exitCode": 127}, WorkerDied, "its image has no python3"),
        ({"exitCode": 3}, WorkerDied, "ended with exit code 3"),
        ({"statusReason": "Job attempt duration exceeded timeout"}, TaskTimeout, "within"),
        ({"statusReason": "Terminated by an admin"}, WorkerDied, "Terminated by an admin"),
        ({"status": "SUCCEEDED"}, ExecutorError, "without an answer"),
    ],
)
async def test_each_end_has_its_sentence(
    said: dict[str, object], kind: type[Exception], text: str
) -> None:
    error = fate(asked_for(), detail(**said))
    assert type(error) is kind
    assert text in str(error)


async def test_the_definition_says_what_the_component_asks_for() -> None:
    asked = asked_for(cpus=1.5, memory="3g", attempts=3, role="r", image="i", timeout=5)
    setup = setup_of(asked)
    wanted = setup.definition(fargate=False)
    container = wanted["containerProperties"]
    assert container["resourceRequirements"] == [
        {"type": "VCPU", "value": "2"},
        {"type": "MEMORY", "value": "3072"},
    ]
    assert wanted["retryStrategy"]["attempts"] == 3
    assert [one["action"] for one in wanted["retryStrategy"]["evaluateOnExit"]] == ["RETRY", "EXIT"]
    assert setup.timeout == 65
    other = setup_of(asked_for(memory="4g", role="r", image="i")).definition(fargate=False)
    assert other["jobDefinitionName"] != wanted["jobDefinitionName"]


@pytest.mark.parametrize(
    ("vcpus", "memory", "given"),
    [(0, 0, (0.25, 512)), (0.25, "3g", (0.5, 3072)), (3, "9g", (4, 9216)), (9, "1g", (16, 32768))],
)
async def test_fargate_gets_a_size_that_it_has(
    vcpus: float, memory: object, given: tuple[float, int]
) -> None:
    options = {"memory": memory} if memory else {}
    wanted = setup_of(asked_for(vcpus=vcpus, role="r", **options)).definition(fargate=True)
    needs = [n["value"] for n in wanted["containerProperties"]["resourceRequirements"]]
    assert (float(needs[0]), int(needs[1])) == given


async def test_more_than_fargate_has_is_refused() -> None:
    with pytest.raises(PortabilityError, match="use a queue on EC2"):
        setup_of(asked_for(memory="200g", role="r")).definition(fargate=True)


async def test_names_are_such_as_batch_takes() -> None:
    asked = asked_for()
    asked.name = "sum of; rm -rf $(x)/ä"
    assert job_name(asked) == f"sum-of-rm--rf-x-{asked.hash}-1"


async def test_lines_that_were_heard_are_not_told_twice() -> None:
    assert unheard(["a", "b", "b", "c"], "a\nb\n") == "b\nc\n"
