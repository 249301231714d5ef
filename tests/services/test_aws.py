"""The tests' AWS runs functions and jobs for real, and keeps the service's limits."""

from __future__ import annotations

import base64
import io
import json
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config

HANDLER = """
import os, time
calls = 0
def handle(event, context):
    global calls
    calls += 1
    print("called", calls)
    time.sleep(event.get("sleep", 0))
    if "boom" in event:
        raise ValueError(event["boom"])
    if "exit" in event:
        os._exit(event["exit"])
    return {"calls": calls, "size": len(event.get("text", ""))}
"""
Client = Callable[[str], Any]


@pytest.fixture
def client(aws: Mapping[str, str]) -> Client:
    """Make a client of a service by its name; it tries everything once."""
    session = boto3.Session(aws["key"], aws["secret"], region_name=aws["region"])
    once = Config(retries={"total_max_attempts": 1})
    return lambda name: session.client(name, endpoint_url=aws["endpoint_url"], config=once)


@pytest.fixture
def function(aws: Mapping[str, str], client: Client) -> Iterator[str]:
    """The name of a function that handles events with HANDLER and has 1 second for each."""
    packed, name = io.BytesIO(), f"f-{uuid.uuid4().hex[:8]}"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("handling.py", HANDLER)
    client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.11",
        Role=aws["role"],
        Handler="handling.handle",
        Code={"ZipFile": packed.getvalue()},
        Timeout=1,
        MemorySize=256,
    )
    yield name
    client("lambda").delete_function(FunctionName=name)


def answer_of(client: Client, name: str, **event: object) -> Any:
    said = client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    return json.load(said["Payload"])


def submit(client: Client, aws: Mapping[str, str], program: str, **more: Any) -> str:
    """Submit a job that runs a Python program; gives its id."""
    needs = [{"type": "VCPU", "value": "0.25"}, {"type": "MEMORY", "value": "128"}]
    words = ["python3", "-u", "-c", program]
    definition = client("batch").register_job_definition(
        jobDefinitionName=f"d-{uuid.uuid4().hex[:8]}",
        type="container",
        containerProperties={
            "image": aws["image"],
            "command": words,
            "resourceRequirements": needs,
        },
    )["jobDefinitionArn"]
    job = {"jobName": "test", "jobQueue": aws["queue"], "jobDefinition": definition}
    return str(client("batch").submit_job(**job, **more)["jobId"])


def ended(client: Client, job: str) -> dict[str, Any]:
    """What is said of a job when it has ended. Batch has no event to wait for."""
    while True:
        found: dict[str, Any] = client("batch").describe_jobs(jobs=[job])["jobs"][0]
        if found["status"] in ("SUCCEEDED", "FAILED"):
            return found
        time.sleep(0.1)


def printed(client: Client, job: dict[str, Any]) -> list[str]:
    place = {"logGroupName": "/aws/batch/job", "logStreamName": job["container"]["logStreamName"]}
    return [each["message"] for each in client("logs").get_log_events(**place)["events"]]


def test_function_stays_loaded_and_gives_the_tail_of_its_log(client: Client, function: str) -> None:
    first = answer_of(client, function, text="x" * 1_000_000)
    again = client("lambda").invoke(FunctionName=function, LogType="Tail", Payload=b"{}")
    assert first == {"calls": 1, "size": 1_000_000}
    assert json.load(again["Payload"]) == {"calls": 2, "size": 0}
    assert "called 2\n" in base64.b64decode(again["LogResult"]).decode()


def test_errors_of_functions_are_told_apart(client: Client, function: str) -> None:
    raised = answer_of(client, function, boom="no")
    assert (raised["errorType"], raised["errorMessage"]) == ("ValueError", "no")
    late = answer_of(client, function, sleep=30)
    assert late["errorMessage"].endswith("Task timed out after 1.00 seconds")
    gone = answer_of(client, function, exit=3)
    assert gone["errorMessage"].endswith("Runtime exited with error: exit status 3")


def test_limits_of_the_service_hold(client: Client, function: str) -> None:
    api = client("lambda")
    with pytest.raises(api.exceptions.ClientError, match="RequestEntityTooLargeException"):
        api.invoke(FunctionName=function, Payload=json.dumps({"text": "x" * 6_300_000}))
    api.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=1)

    def attempt(_: int) -> bool:
        try:
            return "calls" in answer_of(client, function, sleep=0.5)
        except api.exceptions.TooManyRequestsException:
            return False

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, range(2))) == [False, True]


def test_job_uses_presigned_urls_from_inside(client: Client, aws: Mapping[str, str]) -> None:
    place = {"Bucket": aws["bucket"], "Key": uuid.uuid4().hex}
    url = client("s3").generate_presigned_url("put_object", Params=place)
    program = f"""if True:
        from urllib.request import Request, urlopen
        kind = {{"Content-Type": "application/octet-stream"}}
        urlopen(Request({url!r}, data=bytes(range(256)), method="PUT", headers=kind)).close()
    """
    assert ended(client, submit(client, aws, program))["status"] == "SUCCEEDED"
    assert client("s3").get_object(**place)["Body"].read() == bytes(range(256))


def test_array_job_runs_each_index_and_fails_with_one(
    client: Client, aws: Mapping[str, str]
) -> None:
    program = "import os; i = int(os.environ['AWS_BATCH_JOB_ARRAY_INDEX']); print(i); exit(i)"
    parent = submit(client, aws, program, arrayProperties={"size": 2})
    assert ended(client, parent)["statusReason"] == "Array Child Job failed"
    children = [ended(client, f"{parent}:{index}") for index in range(2)]
    found = [(each["container"]["exitCode"], printed(client, each)) for each in children]
    assert found == [(0, ["0"]), (1, ["1"])]


def test_job_without_memory_and_terminated_job_say_so(
    client: Client, aws: Mapping[str, str]
) -> None:
    hungry = ended(client, submit(client, aws, "bytearray(400 << 20)"))
    assert hungry["container"]["exitCode"] == 137
    assert hungry["container"]["reason"].startswith("OutOfMemoryError")
    idle = submit(client, aws, "import time; time.sleep(600)")
    client("batch").terminate_job(jobId=idle, reason="enough")
    assert ended(client, idle)["statusReason"] == "enough"
