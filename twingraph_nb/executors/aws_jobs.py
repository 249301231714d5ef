"""What AWS Batch is told of a job, and what it tells of one that ended. What asks AWS blocks."""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twingraph_nb.errors import ExecutorError, PortabilityError, TaskTimeout, WorkerDied
from twingraph_nb.executors.aws_clients import Services, Where, asking, bucket_of, where_of
from twingraph_nb.executors.base import Job

__all__ = ["JobSetup", "Jobs", "fate", "job_name", "setup_of", "unheard"]

MANIFEST = "TWINGRAPH_MANIFEST"
_GROUP = "/aws/batch/job"  # of logs, unless a job definition says otherwise
_TAIL = 200  # lines of a log
_SHORTEST = 60  # seconds: the least time limit Batch knows
_GRACE = 60  # seconds a job may go on after its task's timeout
_MIB = 1 << 20
_ASKED = 100  # jobs in one call; the most Batch takes

_BOOT = f"""\
import json, os, sys, tempfile, urllib.request
def get(url):
    return urllib.request.urlopen(url, timeout=60).read()
if sys.version_info < (3, 9):
    sys.exit("twingraph needs Python 3.9 or later here, this is %d.%d" % sys.version_info[:2])
manifest = json.loads(get(os.environ.pop("{MANIFEST}")))
path = os.path.join(tempfile.mkdtemp(), "kit.zip")
with open(path, "wb") as file:
    file.write(get(manifest["kit"]))
sys.path.insert(0, path)
from twingraph_nb.remote_post import serve_array
serve_array(manifest)
"""

FARGATE: Mapping[float, Sequence[int]] = {
    0.25: (512, 1024, 2048),
    0.5: range(1024, 4096 + 1, 1024),
    1: range(2048, 8192 + 1, 1024),
    2: range(4096, 16384 + 1, 1024),
    4: range(8192, 30720 + 1, 1024),
    8: range(16384, 61440 + 1, 4096),
    16: range(32768, 122880 + 1, 8192),
}
"""vCPUs and the MiB of memory that go with them on Fargate (AWS Batch user guide)."""


@dataclass(frozen=True)
class JobSetup:
    """How jobs are described; those of equal setup can be one array.

    given: a job definition of the user's, or "". memory: MiB. attempts: of Batch itself, after a
    machine was lost. timeout: seconds, 0 for none.
    """

    where: Where
    bucket: str
    queue: str
    given: str
    image: str
    role: str
    execution_role: str
    vcpus: float
    memory: int
    attempts: int
    timeout: int
    trust: bool

    def definition(self, fargate: bool) -> dict[str, Any]:
        """Give the job definition as the API has it, named by its content.

        Raises:
            PortabilityError: no machine of Fargate is that large.
        """
        vcpus, memory = self._on_fargate() if fargate else (max(1, math.ceil(self.vcpus)), 0)
        needs = {"VCPU": f"{vcpus:g}", "MEMORY": str(memory or self.memory or 2048)}
        container: dict[str, Any] = {
            "image": self.image,
            "command": ["python3", "-c", _BOOT],
            "resourceRequirements": [{"type": k, "value": v} for k, v in needs.items()],
        }
        if self.role:
            container["jobRoleArn"] = self.role
        if self.execution_role or fargate:
            container["executionRoleArn"] = self.execution_role or self.role
        found: dict[str, Any] = {
            "type": "container",
            "containerProperties": container,
            "platformCapabilities": ["FARGATE" if fargate else "EC2"],
            "retryStrategy": self._retries(),
        }
        digest = hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()[:20]
        return {"jobDefinitionName": f"twingraph-{digest}", **found}

    def _retries(self) -> dict[str, Any]:
        # Errors of the task are the scheduler's to retry; Batch sees to its own machines only.
        again = {"onStatusReason": "Host EC2*", "action": "RETRY"}
        never = {"onReason": "*", "action": "EXIT"}
        if self.attempts == 1:
            return {"attempts": 1}
        return {"attempts": self.attempts, "evaluateOnExit": [again, never]}

    def _on_fargate(self) -> tuple[float, int]:
        for vcpus, sizes in FARGATE.items():
            if vcpus >= self.vcpus and sizes[-1] >= self.memory:
                return vcpus, next(size for size in sizes if size >= self.memory)
        raise PortabilityError(
            "the component",
            "batch",
            [
                f"it asks for {self.vcpus:g} vCPUs and {self.memory:,} MiB, and Fargate has up to "
                f"{max(FARGATE):g} and {FARGATE[16][-1]:,}: ask for less, or use a queue on EC2"
            ],
        )


def setup_of(job: Job, payloads: str = "") -> JobSetup:
    """Give the setup that a job's component asks for.

    Args:
        payloads: where values go if the component names no bucket.
    Raises:
        PortabilityError: what is needed is missing; says what.
    """
    options: Mapping[str, Any] = job.component.options
    policy = job.component.policy
    bucket, queue = bucket_of(job.component, payloads), options.get("queue")
    problems = [
        f"{name}= is missing, {about}"
        for name, given, about in (
            ("queue", queue, "the name of a job queue of AWS Batch: queue='my-queue'"),
            ("bucket", bucket, "the one through which inputs and results go: bucket='my-bucket'"),
        )
        if not given
    ]
    vcpus = options.get("vcpus") or policy.cpus
    try:
        number = float(vcpus)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= 256:
        problems.append(f"vcpus= wants a number such as 0.25 or 4, not {vcpus!r}")
    if options.get("attempts", 1) > 10:
        problems.append(f"attempts= wants 1 to 10, not {options['attempts']}")
    if problems:
        raise PortabilityError(job.name, "batch", problems)
    timeout = policy.timeout
    return JobSetup(
        where=where_of(job.component),
        bucket=bucket,
        queue=options["queue"],
        given=options.get("job_definition", ""),
        image=options.get("image") or _image(),
        role=options.get("role", ""),
        execution_role=options.get("execution_role", ""),
        vcpus=number,
        memory=math.ceil(policy.memory / _MIB),
        attempts=options.get("attempts", 1),
        timeout=0 if timeout is None else max(_SHORTEST, math.ceil(timeout) + _GRACE),
        trust=bool(options.get("trust")),
    )


class Jobs:
    """What Batch is asked."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def definition(self, setup: JobSetup) -> str:
        """Give the job definition to use; it is registered when there is none of equal content.

        Raises:
            ExecutorError: the queue cannot be used, or AWS refuses.
            PortabilityError: no machine is that large.
        """
        client = self._client(setup.where)
        fargate = self._check_queue(setup)
        if setup.given:
            return setup.given
        wanted = setup.definition(fargate)
        name = wanted["jobDefinitionName"]
        if fargate and not (setup.execution_role or setup.role):
            raise ExecutorError(
                "platform 'batch': jobs on Fargate need a role that may fetch images and write "
                "logs: execution_role='arn:aws:iam::...:role/ecsTaskExecutionRole'"
            )
        with self._asking(setup.where, f"register the job definition {name!r}"):
            known = client.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")
            if known["jobDefinitions"]:
                return str(name)
            made = client.register_job_definition(**wanted)
            return str(made["jobDefinitionName"])

    def submit(self, setup: JobSetup, definition: str, name: str, size: int, url: str) -> str:
        """Start a job, an array when `size` is above 1; gives its id."""
        overrides: dict[str, Any] = {"environment": [{"name": MANIFEST, "value": url}]}
        if setup.given:
            overrides["command"] = ["python3", "-c", _BOOT]
        wanted: dict[str, Any] = {
            "jobName": name,
            "jobQueue": setup.queue,
            "jobDefinition": definition,
            "containerOverrides": overrides,
        }
        if size > 1:
            wanted["arrayProperties"] = {"size": size}
        if setup.timeout:
            wanted["timeout"] = {"attemptDurationSeconds": setup.timeout}
        with self._asking(setup.where, f"submit a job to the queue {setup.queue!r}"):
            return str(self._client(setup.where).submit_job(**wanted)["jobId"])

    def describe(self, where: Where, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Give what Batch knows of jobs, by id: one call for each 100."""
        found = {}
        with self._asking(where, "look up jobs"):
            for at in range(0, len(ids), _ASKED):
                answer = self._client(where).describe_jobs(jobs=list(ids[at : at + _ASKED]))
                found.update({one["jobId"]: one for one in answer["jobs"]})
        return found

    def named(self, where: Where, queue: str, name: str) -> str:
        """Give the id of the job that was submitted under a name, "" if there is none."""
        with self._asking(where, f"look for the job {name!r}"):
            found = self._client(where).list_jobs(
                jobQueue=queue, filters=[{"name": "JOB_NAME", "values": [name]}]
            )["jobSummaryList"]
        return str(found[0]["jobId"]) if found else ""

    def terminate(self, where: Where, id: str) -> None:
        """End a job, or keep it from starting."""
        with self._asking(where, f"end the job {id}"):
            self._client(where).terminate_job(jobId=id, reason="the task was cancelled")

    def tail(self, where: Where, detail: Mapping[str, Any]) -> list[str]:
        """Give the last lines of a job's log; none when it has no log that we may read."""
        container = detail.get("container", {})
        stream = container.get("logStreamName")
        options = container.get("logConfiguration", {}).get("options", {})
        if not stream:
            return []
        try:
            with asking("batch", "read the log", where, "logs"):
                said = self._services.client("logs", where).get_log_events(
                    logGroupName=options.get("awslogs-group", _GROUP),
                    logStreamName=stream,
                    limit=_TAIL,
                    startFromHead=False,
                )
        except ExecutorError:  # the job's end is told all the same
            return []
        return [one["message"] for one in said["events"]]

    def _check_queue(self, setup: JobSetup) -> bool:
        """See that the queue takes jobs; True if its machines are Fargate's."""
        client = self._client(setup.where)
        with self._asking(setup.where, f"look up the queue {setup.queue!r}"):
            found = client.describe_job_queues(jobQueues=[setup.queue])["jobQueues"]
            if not found:
                raise ExecutorError(
                    f"platform 'batch': there is no job queue {setup.queue!r} in "
                    f"{setup.where}: create it, or name another with queue="
                )
            queue = found[0]
            if queue["state"] != "ENABLED" or queue.get("status") == "INVALID":
                raise ExecutorError(
                    f"platform 'batch': the job queue {setup.queue!r} takes no jobs (state "
                    f"{queue['state']}, status {queue.get('status')} "
                    f"{queue.get('statusReason', '')}): enable it, or name another with queue="
                )
            places = [one["computeEnvironment"] for one in queue["computeEnvironmentOrder"]]
            said = client.describe_compute_environments(computeEnvironments=places)
        kinds = [
            one.get("computeResources", {}).get("type", "") for one in said["computeEnvironments"]
        ]
        return any(kind.startswith("FARGATE") for kind in kinds)

    def _client(self, where: Where) -> Any:
        return self._services.client("batch", where)

    def _asking(self, where: Where, doing: str) -> Any:
        return asking("batch", doing, where, "batch")


def job_name(job: Job) -> str:
    """Give a name that Batch takes: what it is, and the task's hash."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", job.name).strip("-_")[:60] or "task"
    return f"{plain}-{re.sub('[^A-Za-z0-9]', '', job.hash)[:32] or '0'}-{job.attempt}"


def fate(job: Job, detail: Mapping[str, Any]) -> BaseException:
    """Give the error for a job that ended without an answer.

    Args:
        detail: the job as Batch describes it.
    """
    container = detail.get("container", {})
    why, status = str(container.get("reason", "")), str(detail.get("statusReason", ""))
    code, name = container.get("exitCode"), job.name
    label = "Batch job"
    if "OutOfMemory" in why:
        return WorkerDied(name, f"ran out of memory{_had(container)}: ask for more, memory=", label)
    if "Host EC2" in status:
        return ExecutorError(f"platform 'batch': the machine that ran {name} was lost: {status}")
    if "CannotPull" in why or "CannotPull" in status:
        image = container.get("image", "")
        said = f"the image {image!r} cannot be fetched ({why or status}): name another, image="
        return ExecutorError(f"platform 'batch': {said}")
    if "timeout" in status.lower() or "timed out" in status.lower():
        limit = detail.get("timeout", {}).get("attemptDurationSeconds", 0)
        return TaskTimeout(name, float(limit))
    if code == 127:
        cause = "could not start: its image has no python3; name one that has, image="
        return WorkerDied(name, cause, label)
    if code is not None and code > 128:
        cause = f"was killed by signal {code - 128}"
        if code == 137:
            cause += f", perhaps for want of memory{_had(container)}: ask for more, memory="
        return WorkerDied(name, cause, label)
    if code is not None:
        return WorkerDied(name, f"ended with exit code {code}{_reason(why)}", label)
    if detail.get("status") == "SUCCEEDED":
        return ExecutorError(f"platform 'batch': {name} ended without an answer in the bucket")
    return WorkerDied(name, f"ended without a result{_reason(why or status)}", label)


def _had(container: Mapping[str, Any]) -> str:
    for need in container.get("resourceRequirements", ()):
        if need.get("type") == "MEMORY":
            return f" (it has {need['value']} MiB)"
    return f" (it has {container['memory']} MiB)" if container.get("memory") else ""


def _reason(text: str) -> str:
    return f": {text}" if text else ""


def unheard(lines: Sequence[str], heard: str) -> str:
    """Give the lines of a log that were not heard of otherwise."""
    known = Counter(heard.splitlines())
    left = []
    for line in lines:
        if known[line] > 0:
            known[line] -= 1
        else:
            left.append(line)
    return "".join(f"{line}\n" for line in left)


def _image() -> str:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return f"public.ecr.aws/docker/library/python:{version}-slim"
