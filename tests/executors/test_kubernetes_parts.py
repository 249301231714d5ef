"""Platform `kubernetes`: what is read and written without a cluster."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.executors.running import same
from twingraph_nb.component import make_component
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.kubernetes_setup import Setup, job_body, job_name
from twingraph_nb.executors.kubernetes_story import Story, is_active, story_of
from twingraph_nb.executors.kubernetes_stream import Frames
from twingraph_nb.executors.owner import is_orphan, owner_label
from twingraph_nb.executors.recalled import name_of, ticket_of


def pod(state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """A pod as the API gives it, with a container in that state."""
    container = {"name": "worker", "image": "an-image", "state": state or {}}
    return {"metadata": {}, "status": {"containerStatuses": [container], **status}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


LOST = "Node node7 which was running pod x is unresponsive"
DRAIN = {"type": "DisruptionTarget", "status": "True", "message": "Eviction API: evicting"}
FULL = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (pod(phase="Failed", reason="Evicted", message="low on memory."), "evicted by its node: "),
        (pod(phase="Failed", reason="DeadlineExceeded"), "active for longer than its deadline"),
        (pod(phase="Failed", reason="NodeLost", message=LOST), f"node that is lost: {LOST}"),
        (pod(phase="Failed", reason="Shutdown", message="bye"), "node that was shut down: bye"),
        (pod(phase="Failed", reason="OutOfcpu", message="no room"), "refused by its node (OutOfc"),
        (pod(ended(143), phase="Failed", conditions=[DRAIN]), "ended by the cluster: Eviction API"),
        (pod(ended(137, "OOMKilled")), "ran out of memory (the limit is 64 MiB)"),
        (pod(ended(137)), "was killed by signal SIGKILL"),
        (pod(ended(3)), "ended with exit code 3"),
        (
            pod(
                waiting("PodInitializing"),
                phase="Failed",
                initContainerStatuses=[
                    {"name": "fetch", "state": ended(3, message="no such file")}
                ],
            ),
            "its init container 'fetch' ended with exit code 3: no such file",
        ),
        (pod(phase="Failed"), "ended without a word of its node"),
        (pod(ended(200, message="odd")), "ended with exit code 200: odd"),
    ],
)
def test_an_end_is_a_sentence(found: dict[str, Any], said: str) -> None:
    story = story_of(found, "worker", 64 << 20)
    assert said in story.ended
    assert not story.running


@pytest.mark.parametrize(
    ("state", "said", "hopeless", "again"),
    [
        (waiting("ErrImagePull", "refused"), "cannot be pulled (ErrImagePull: refused)", 0, 0),
        (waiting("ImagePullBackOff", "Back-off"), "cannot be pulled (ImagePullBackOff", 0, 1),
        (waiting("ErrImageNeverPull"), "is not on the node", 1, 0),
        (waiting("InvalidImageName", "bad"), "is no name of an image: bad", 1, 0),
        (waiting("CrashLoopBackOff", "back-off 5s"), "ends again and again", 0, 1),
        (waiting("CreateContainerError", "no disk."), "(CreateContainerError: no disk)", 0, 0),
        (
            waiting("RunContainerError", 'exec: "python3": executable file not found in $PATH'),
            "image 'an-image' has no python3 on its PATH",
            1,
            0,
        ),
    ],
)
def test_a_reason_to_wait_is_a_sentence(
    state: dict[str, Any], said: str, hopeless: bool, again: bool
) -> None:
    story = story_of(pod(state, phase="Pending"), "worker")
    assert said in story.trouble
    assert (story.hopeless, story.again) == (bool(hopeless), bool(again))
    assert story.ended == ""


def test_a_pod_that_waits_for_a_node_is_no_failure() -> None:
    found = {"metadata": {}, "status": {"phase": "Pending", "conditions": [FULL]}}
    said = "no node can take the pod: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu"
    assert story_of(found, "worker") == Story(trouble=said)
    assert not is_active(found)


def test_a_pod_that_starts_or_runs_has_no_trouble() -> None:
    assert story_of(pod(waiting("ContainerCreating")), "worker") == Story()
    assert story_of({"metadata": {}}, "worker") == Story()
    running = pod({"running": {"startedAt": "now"}}, phase="Running")
    assert story_of(running, "worker") == Story(running=True)
    assert is_active(running)
    assert not is_active(pod({"running": {}}, phase="Failed", reason="DeadlineExceeded"))


def test_an_image_without_python_is_told_when_the_container_has_ended() -> None:
    found = pod(ended(127, "ContainerCannotRun", 'exec: "python3": executable file not found'))
    assert "has no python3 on its PATH" in story_of(found, "worker").trouble


def framed(kind: int, body: bytes, *, last: bool = True) -> bytes:
    size = len(body)
    short = size if size < 126 else 126 if size < 1 << 16 else 127
    more = b"" if short < 126 else struct.pack(">H" if short == 126 else ">Q", size)
    return bytes([kind | (0x80 if last else 0), short]) + more + body


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 400), min_size=1))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    parts: list[bytes], cuts: list[int]
) -> None:
    out, errors, answers = bytearray(), bytearray(), []
    frames = Frames(out.extend, errors.extend, answers.append)
    stream = b""
    for part in parts:
        stream += framed(2, b"\x01" + part) + framed(9, b"ping") + framed(2, b"\x02" + part)
    stream += framed(2, b"\x01begin", last=False) + framed(0, b"end") + framed(2, b"")
    stream += framed(2, b"\x01" + bytes(70_000)) + framed(2, b"\x03{}")
    at, step = 0, 0
    while at < len(stream):
        size = cuts[step % len(cuts)] * (1 if at < 3000 else 1000)
        assert frames.feed(stream[at : at + size])
        at, step = at + size, step + 1
    assert bytes(out) == b"".join(parts) + b"beginend" + bytes(70_000)
    assert bytes(errors) == b"".join(parts)
    assert answers == [b"\x8a\x84\0\0\0\0ping"] * len(parts)
    assert not frames.feed(framed(8, b""))


def test_a_jobs_name_is_one_that_kubernetes_allows() -> None:
    component = make_component(same, name="Größe_of THINGS that is far too long for it", keep=False)
    job = Job("5ca1ab1e" * 3, "a task", component, {}, 2)
    assert name_of(job) == f"tg-gr-e-of-things-that-{job.hash}-2"
    assert len(name_of(job)) <= 57  # a pod's name adds six characters to it
    assert job_name("f").startswith("tg-f-warm-")
    assert job_name("f") != job_name("f")


def test_a_job_is_started_under_the_name_of_its_ticket_if_it_was_not_started_before() -> None:
    before, after = (Job(hash, "f", make_component(same, keep=False), {}) for hash in ("a1", "b2"))
    assert name_of(after) != name_of(before)
    after.ticket = ticket_of(before)
    assert name_of(after) == name_of(before)


def test_a_pods_description_is_merged_over_ours() -> None:
    pod = {
        "hostNetwork": True,
        "securityContext": {"runAsUser": 5, "seccompProfile": None},
        "containers": [
            {"name": "worker", "env": [{"name": "HOME", "value": "/h"}]},
            {"name": "side", "image": "x"},
        ],
    }
    setup = Setup(
        "image",
        pod=pod,
        gpus=2,
        cpus=0.5,
        memory=1024,
        timeout=60.0,
        component="a b",
        service_account="robot",
        image_pull_secrets=("keys",),
        image_pull_policy="Always",
        node_selector={"disk": "fast"},
        tolerations=({"key": "gpu", "operator": "Exists"},),
    )
    body = job_body(setup, "tg-x")
    spec = body["spec"]["template"]["spec"]
    worker, side = spec["containers"]
    assert (spec["hostNetwork"], side) == (True, {"name": "side", "image": "x"})
    assert spec["securityContext"] == {"runAsNonRoot": True, "runAsUser": 5, "runAsGroup": 65534}
    assert [one["value"] for one in worker["env"] if one["name"] == "HOME"] == ["/h"]
    needs = {"cpu": "500m", "memory": "1024", "nvidia.com/gpu": "2"}
    assert worker["resources"] == {"requests": needs, "limits": needs}
    assert spec["activeDeadlineSeconds"] > 60
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("robot", True)
    assert spec["imagePullSecrets"] == [{"name": "keys"}]
    assert worker["imagePullPolicy"] == "Always"
    assert spec["nodeSelector"] == {"disk": "fast"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert body["metadata"]["labels"]["app.kubernetes.io/component"] == "a-b"
    assert body["spec"]["backoffLimit"] == 0


def test_a_label_names_this_kernel_and_tells_when_it_is_gone() -> None:
    label = owner_label()
    machine, pid, started = label.split(".")
    assert not is_orphan(label)
    assert is_orphan(f"{machine}.{pid}.1")
    assert is_orphan(f"{machine}.999999999.{started}")
    assert not is_orphan(f"elsewhere.{pid}.1")  # we cannot know
    assert not is_orphan(f"{machine}.{pid}.0")
    assert not is_orphan("nonsense")
