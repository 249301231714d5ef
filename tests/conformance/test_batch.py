"""Platform `batch` keeps the promises of all platforms, on an emulated AWS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping

import pytest

from tests.conformance.suite import Conformance, Place
from tests.executors.aws_running import client, objects
from tests.services.aws import environment


class TestBatch(Conformance):
    # The least that a job can have is more than the suite eats: tests/executors/test_batch.py,
    # test_too_much_memory_becomes_a_sentence.
    test_a_task_out_of_memory_says_so = None  # type: ignore[assignment]

    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        aws = request.getfixturevalue("aws")
        for name, text in environment(aws).items():
            patch.setenv(name, text)
        patch.delenv("AWS_PROFILE", raising=False)
        bucket = f"twingraph-batch-{uuid.uuid4().hex[:8]}"  # other workers have theirs
        client(aws, "s3").create_bucket(Bucket=bucket)
        options = {"role": aws["role"], "queue": aws["queue"], "image": aws["image"]}
        return Place(
            "batch",
            {**options, "bucket": bucket},
            left=lambda: objects(aws, bucket),
            visible=lambda: described(aws),
            given=lambda: children(aws),
            one={"queue": aws["narrow"], "vcpus": 1},
            queued=lambda: client(aws, "batch").list_jobs(
                jobQueue=aws["narrow"], jobStatus="RUNNABLE"
            )["jobSummaryList"],
            libraries=lambda: {"image": request.getfixturevalue("data_image")},
        )


def listed(aws: Mapping[str, str]) -> list[str]:
    api = client(aws, "batch")
    return [
        one["jobId"]
        for queue in (aws["queue"], aws["narrow"])
        for state in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED")
        for one in api.list_jobs(jobQueue=queue, jobStatus=state)["jobSummaryList"]
    ]


def children(aws: Mapping[str, str]) -> list[str]:
    """The jobs of all arrays."""
    return [id for id in listed(aws) if ":" in id]


def described(aws: Mapping[str, str]) -> str:
    """All that who may describe jobs can read."""
    api, ids = client(aws, "batch"), listed(aws)
    known = [api.describe_jobs(jobs=ids[at : at + 100])["jobs"] for at in range(0, len(ids), 100)]
    return json.dumps([known, api.describe_job_definitions()["jobDefinitions"]], default=str)
