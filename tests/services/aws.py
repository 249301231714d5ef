"""AWS by moto, with real containers for Lambda and Batch on the tests' engine. Dummy keys only.

It listens on the engine's bridge: the one address by which both the tests and the containers
reach it, so that a presigned URL made by one can be used by the other.
"""

from __future__ import annotations

import contextlib
import os
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import docker
from docker.errors import DockerException

from tests.services.base import ROOT, Place, Service, free_port, healthy, state
from tests.services.images import python_image

__all__ = ["KEY", "REGION", "Aws", "environment"]

REGION = "us-east-1"
KEY = "testing"
UP = 60.0  # seconds
LABEL = "twingraph-tests=aws"
BUCKET, ROLE = "twingraph-tests", "twingraph-tests"
QUEUES = {"wide": 256, "narrow": 1}  # vCPUs
# What runs in containers: the runtime client of Lambda, boto3, and the sandbox's inside.
SITE = ("awslambdaric", "boto3", Path(__file__).with_name("lambda_image"))


class Aws(Service):
    """Address: ``endpoint_url``, ``endpoint_inside`` (the same), ``region``, ``key``, ``secret``,
    ``bucket``, ``role``, ``queue``, ``narrow`` (a queue whose machines have one vCPU), ``image``
    (Python with boto3, for Batch too).
    """

    name: ClassVar[str] = "aws"

    def start(self, place: Place) -> Mapping[str, str]:
        engine = place.use("docker")
        gateway, image = engine["gateway"], python_image(site=SITE)
        port = free_port(gateway)
        endpoint = f"http://{gateway}:{port}"
        address = {
            "endpoint_url": endpoint,
            "endpoint_inside": endpoint,
            "region": REGION,
            "key": KEY,
            "secret": KEY,
            "bucket": BUCKET,
            "queue": "wide",
            "narrow": "narrow",
            "image": image,
        }
        words = (sys.executable, "-m", "tests.services.moto_server", gateway, str(port))
        env = {**environment(address), "DOCKER_HOST": engine["host"], "PYTHONPATH": str(ROOT)}
        # A network of its own for each job costs the engine half as much as the job.
        env["MOTO_DOCKER_NETWORK_MODE"] = "host"
        place.spawn("moto", *words, image, LABEL, env=env)
        place.wait(lambda: _answers(endpoint), seconds=UP, reason="moto does not answer")
        return {**address, "role": _furnish(address)}

    def clean(self, place: Place) -> None:
        engine = state("docker")
        if engine is None or not healthy(engine):
            return
        host = engine.address["host"]
        with (
            contextlib.suppress(DockerException),
            contextlib.closing(docker.DockerClient(host, version="auto")) as client,
        ):
            for each in client.containers.list(all=True, filters={"label": LABEL}, sparse=True):
                each.remove(force=True, v=True)


def environment(address: Mapping[str, str]) -> dict[str, str]:
    """The environment in which every AWS client finds this service and no other."""
    return {
        "AWS_ENDPOINT_URL": address["endpoint_url"],
        "AWS_ACCESS_KEY_ID": address["key"],
        "AWS_SECRET_ACCESS_KEY": address["secret"],
        "AWS_REGION": address["region"],
        "AWS_DEFAULT_REGION": address["region"],
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _answers(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _furnish(address: Mapping[str, str]) -> str:
    """Make the bucket, the queues and the role; gives the role's ARN."""
    import boto3

    session = boto3.Session(KEY, KEY, region_name=REGION)

    def client(name: str) -> Any:
        return session.client(name, endpoint_url=address["endpoint_url"])

    client("s3").create_bucket(Bucket=BUCKET)
    role = client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    ec2, batch = client("ec2"), client("batch")
    machines = {
        "type": "FARGATE",
        "subnets": [ec2.describe_subnets()["Subnets"][0]["SubnetId"]],
        "securityGroupIds": [ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]],
    }
    for priority, (name, most) in enumerate(QUEUES.items(), 1):
        place = batch.create_compute_environment(
            computeEnvironmentName=name,
            type="MANAGED",
            state="ENABLED",
            serviceRole=role,
            computeResources={**machines, "maxvCpus": most},
        )["computeEnvironmentArn"]
        batch.create_job_queue(
            jobQueueName=name,
            state="ENABLED",
            priority=priority,
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": place}],
        )
    return str(role)
