"""Batch inside moto with what it leaves out: queues, array jobs, limits, exit codes, live logs.

moto runs a job's container for real, and at once: here one waits, RUNNABLE, until its compute
environment has the vCPUs. moto gives the children of an array no index, never lets their parent
fail or end, applies no limits, hides the exit code, and shows the log when all is over.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from moto.batch import models
from moto.core.utils import unix_time_millis

__all__ = ["install"]

OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"


def install(labels: dict[str, str]) -> None:
    """Complete moto's jobs; their containers get these labels."""
    job = models.Job
    client = models.Job.docker_client.fget
    described: Callable[..., dict[str, Any]] = job.describe
    terminated: Callable[..., None] = job.terminate
    ran: Callable[..., None] = job.run
    started: Callable[..., None] = job._start_attempt
    machines = _Machines()
    property_of: Callable[..., Any] = job._get_container_property

    def container_property(self: Any, name: str, default: Any) -> Any:
        if name != "environment":
            return property_of(self, name, default)
        return [{"name": key, "value": value} for key, value in _environment(self).items()]

    def describe(self: Any) -> dict[str, Any]:
        result = described(self)
        if self._child_jobs:
            _describe_array(self, result)
        elif self.exit_code is not None and "container" in result:
            result["container"]["exitCode"] = self.exit_code
            if getattr(self, "out_of_memory", False):
                result["container"]["reason"] = OUT_OF_MEMORY
        index = self.array_properties.get("index")
        if index is not None:
            result["arrayProperties"] = {"index": index}
        return result

    def start_attempt(self: Any) -> None:
        machines.enter(self)
        started(self)

    def run(self: Any) -> None:
        ran(self)
        machines.leave(self)

    def terminate(self: Any, reason: str) -> None:
        terminated(self, reason)
        machines.look()
        for child in self._child_jobs or []:
            child.terminate(reason)

    job._get_container_property = container_property
    job.describe = describe
    job.terminate = terminate
    job._start_attempt = start_attempt
    job.run = run
    job.docker_client = property(lambda self: _Client(client(self), self, labels))


class _Machines:
    """The vCPUs of the compute environments, and which jobs have them."""

    def __init__(self) -> None:
        self._jobs: dict[str, dict[str, float]] = {}
        self._news = threading.Condition()

    def enter(self, job: Any) -> None:
        """Wait for room.

        Raises:
            InterruptedError: the job was ended before there was some.
        """
        place = job.job_queue.environments[0]
        most = float((place.compute_resources or {}).get("maxvCpus", 1))
        needs = float(job._get_container_property("vcpus", 1))
        with self._news:
            jobs = self._jobs.setdefault(place.name, {})
            self._news.wait_for(lambda: job.stop or sum(jobs.values()) + needs <= most)
            if job.stop:
                raise InterruptedError("ended before it began")
            jobs[job.job_id] = needs

    def leave(self, job: Any) -> None:
        """Make room."""
        with self._news:
            for jobs in self._jobs.values():
                jobs.pop(job.job_id, None)
            self._news.notify_all()

    def look(self) -> None:
        """See which of those that wait were ended."""
        with self._news:
            self._news.notify_all()


def _environment(job: Any) -> dict[str, str]:
    """What the job's container is told; the service's own names only while it is being started."""
    parts = [job.job_definition.container_properties, job.container_overrides]
    found = {e["name"]: e["value"] for part in parts for e in part.get("environment", [])}
    if threading.current_thread() is job:
        found["AWS_BATCH_JOB_ID"] = job.job_id
        found["AWS_BATCH_JOB_ATTEMPT"] = "1"
        found["AWS_BATCH_JQ_NAME"] = job.job_queue.name
        if "index" in job.array_properties:
            found["AWS_BATCH_JOB_ARRAY_INDEX"] = str(job.array_properties["index"])
    return found


def _describe_array(job: Any, result: dict[str, Any]) -> None:
    """The parent is pending while children are left, then it failed if one of them did."""
    states = [child.status for child in job._child_jobs]
    left = [state for state in states if state not in ("SUCCEEDED", "FAILED")]
    job.status = "PENDING" if left else "FAILED" if "FAILED" in states else "SUCCEEDED"
    result["status"] = job.status
    if job.status == "FAILED" and not result.get("statusReason"):
        result["statusReason"] = "Array Child Job failed"
    result.setdefault("container", {}).pop("logStreamName", None)


class _Client:
    """A Docker client that starts a job's container with the limits of its definition."""

    def __init__(self, client: Any, job: Any, labels: dict[str, str]) -> None:
        self._client, self._job, self._labels = client, job, labels

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @property
    def containers(self) -> _Client:
        return self

    def run(self, **wanted: Any) -> Any:
        memory = int(self._job._get_container_property("memory", 512))
        for each in self._job.container_overrides.get("resourceRequirements", []):
            if each["type"] == "MEMORY":
                memory = int(each["value"])
        container = self._client.containers.run(
            **wanted,
            hostname=f"job-{self._job.job_id[-12:]}",  # also where it shares our network
            mem_limit=f"{memory}m",
            memswap_limit=f"{memory}m",
            labels=self._labels,
        )
        follower = threading.Thread(target=_follow, args=(self._job, container), daemon=True)
        follower.start()
        asked = container.reload

        def reload() -> None:
            """moto asks twice a second: what can be told from the end of its log is."""
            if container.status != "running" or not follower.is_alive():
                asked()

        container.reload = reload
        # moto asks for the whole log at the end, when it has been told already.
        container.logs = lambda **_: follower.join() or b""
        wait = container.wait

        def waited(**options: Any) -> Any:
            result = wait(**options)
            container.reload()
            self._job.out_of_memory = container.attrs["State"]["OOMKilled"]
            return result

        container.wait = waited
        return container


def _follow(job: Any, container: Any) -> None:
    """Put the container's lines into the job's log stream as they are printed."""
    stream, group = job._stream_name, job._log_group
    job._log_backend.ensure_log_group(group)
    job._log_backend.ensure_log_stream(group, stream)
    job.log_stream_name = stream
    pending = b""
    follow = type(container).logs(container, stream=True, follow=True)
    # The engine ends the stream with the container; moto removes it a moment later.
    with contextlib.closing(follow):
        for piece in follow:
            *lines, pending = (pending + piece).split(b"\n")
            _put(job, lines)
    _put(job, [pending] if pending else [])


def _put(job: Any, lines: list[bytes]) -> None:
    now = unix_time_millis()
    events = [{"timestamp": now, "message": line.decode(errors="replace")} for line in lines]
    if events:
        job._log_backend.put_log_events(job._log_group, job._stream_name, events)
