"""The tests' Kubernetes is a real one: what executors rely on, seen by the Python client."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from kubernetes import client, config, stream, watch

SPACE = "default"
MAKER = uuid.uuid4().hex  # other processes run tests of this file too
ECHO = """
import struct, sys
while head := sys.stdin.buffer.read(4):
    piece = sys.stdin.buffer.read(struct.unpack(">I", head)[0])
    sys.stdout.buffer.write(head + piece[::-1])
    sys.stdout.buffer.flush()
"""


@pytest.fixture
def api(kubernetes: Mapping[str, str]) -> Iterator[client.ApiClient]:
    """A client with all rights; the jobs and pods that a test made are deleted after it."""
    with config.new_client_from_config(kubernetes["kubeconfig"]) as found:
        yield found
        ours = {"label_selector": f"made-by={MAKER}"}
        client.BatchV1Api(found).delete_collection_namespaced_job(
            SPACE, propagation_policy="Background", **ours
        )
        client.CoreV1Api(found).delete_collection_namespaced_pod(
            SPACE, grace_period_seconds=0, **ours
        )


def job_of(image: str, program: str, **container: Any) -> dict[str, Any]:
    """A Job of one container that runs a Python program once."""
    about = {"name": f"t-{uuid.uuid4().hex[:8]}", "labels": {"made-by": MAKER}}
    main = {"name": "main", "image": image, "command": ["python3", "-u", "-c", program]}
    pod = {"restartPolicy": "Never", "containers": [{**main, **container}]}
    template = {"metadata": {"labels": about["labels"]}, "spec": pod}
    return {"metadata": about, "spec": {"backoffLimit": 0, "template": template}}


def pod_when(api: client.ApiClient, job: dict[str, Any], done: Callable[[Any], object]) -> Any:
    """Create the Job; its pod once `done(pod)`."""
    client.BatchV1Api(api).create_namespaced_job(SPACE, job)
    look, core = watch.Watch(), client.CoreV1Api(api)
    selector = f"job-name={job['metadata']['name']}"
    for event in look.stream(core.list_namespaced_pod, SPACE, label_selector=selector):
        if done(event["object"]):
            look.stop()
            return event["object"]
    raise AssertionError("the watch has ended")


def ended(pod: Any) -> Any:
    """How the pod's container has ended, None while it has not."""
    states = pod.status.container_statuses
    return states and states[0].state.terminated


def waits(pod: Any) -> str:
    """Why the pod's container is not running, "" if it is or nobody has looked yet."""
    states = pod.status.container_statuses
    return (states and states[0].state.waiting and states[0].state.waiting.reason) or ""


def test_job_runs_and_its_log_can_be_read(
    api: client.ApiClient, kubernetes: Mapping[str, str]
) -> None:
    pod = pod_when(api, job_of(kubernetes["image"], "print('hello')"), ended)
    log = client.CoreV1Api(api).read_namespaced_pod_log(pod.metadata.name, SPACE)
    assert (log, ended(pod).exit_code) == ("hello\n", 0)


def test_exit_code_and_lack_of_memory_are_told_apart(
    api: client.ApiClient, kubernetes: Mapping[str, str]
) -> None:
    image, limit = kubernetes["image"], {"limits": {"memory": "64Mi"}}
    failed = pod_when(api, job_of(image, "raise SystemExit(3)"), ended)
    hungry = pod_when(api, job_of(image, "bytearray(300 << 20)", resources=limit), ended)
    found = [(ended(pod).exit_code, ended(pod).reason) for pod in (failed, hungry)]
    assert found == [(3, "Error"), (137, "OOMKilled")]


def test_attached_stdin_and_stdout_carry_all_bytes(
    api: client.ApiClient, kubernetes: Mapping[str, str]
) -> None:
    job = job_of(kubernetes["image"], ECHO, stdin=True, stdinOnce=True)
    pod = pod_when(api, job, lambda pod: pod.status.phase == "Running")
    wire = stream.stream(
        client.CoreV1Api(api).connect_get_namespaced_pod_attach,
        *(pod.metadata.name, SPACE),
        **{"stdin": True, "stdout": True, "stderr": True, "tty": False},
        binary=True,
        _preload_content=False,
    )
    sent = bytes(range(256)) * 1024
    wire.write_stdin(struct.pack(">I", len(sent)) + sent)
    heard = b""
    while len(heard) < 4 + len(sent) and wire.is_open():
        wire.update(timeout=10)
        heard += wire.read_stdout() if wire.peek_stdout() else b""
    wire.close()
    assert heard == struct.pack(">I", len(sent)) + sent[::-1]


def test_pending_pod_says_why(api: client.ApiClient, kubernetes: Mapping[str, str]) -> None:
    missing = job_of("nowhere.invalid/none:1", "", imagePullPolicy="Never")
    large = job_of(kubernetes["image"], "", resources={"requests": {"cpu": "1000"}})
    pod = pod_when(api, large, lambda pod: pod.status.conditions)
    condition = pod.status.conditions[0]
    assert (condition.reason, "Insufficient cpu" in condition.message) == ("Unschedulable", True)
    pod = pod_when(api, missing, lambda pod: waits(pod).startswith("Err"))
    assert waits(pod) == "ErrImageNeverPull"


def test_viewer_may_look_but_not_start(kubernetes: Mapping[str, str]) -> None:
    with config.new_client_from_config(kubernetes["viewer_kubeconfig"]) as viewer:
        client.CoreV1Api(viewer).list_namespaced_pod(SPACE)
        with pytest.raises(client.ApiException, match=r"viewer.*cannot create.*jobs") as refused:
            client.BatchV1Api(viewer).create_namespaced_job(SPACE, job_of(kubernetes["image"], ""))
    assert refused.value.status == 403
