"""Platform `kubernetes` keeps the promises of all platforms, on a real cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from kubernetes import client, config

from tests.conformance.suite import Conformance, Place
from tests.executors.kubernetes_running import admin


def place_of(request: pytest.FixtureRequest, **options: Any) -> Place:
    """A namespace of its own; there is none when the class is over."""
    address = request.getfixturevalue("kubernetes")
    ours = admin(address)
    boss = ours.__enter__()
    request.addfinalizer(lambda: ours.__exit__(None, None, None))
    said = {
        "image": address["image"],
        "image_pull_policy": "IfNotPresent",
        "kubeconfig": address["kubeconfig"],
        "namespace": boss.namespace,
        **options,
    }
    return Place(
        "kubernetes",
        said,
        libraries=lambda: {"image": request.getfixturevalue("data_image")},
        left=lambda: [one["metadata"]["name"] for one in boss.objects()],
        visible=lambda: json.dumps(boss.objects()),
    )


class TestWarmPods(Conformance):
    """Pods that stay for the next task."""

    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        return place_of(request, warm=True)


class TestJobs(Conformance):
    """A Job for each task: the same far side, so only what a Job's own life is about."""

    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        place = place_of(request, pod={"hostNetwork": True})  # a third cheaper, for a hundred
        address = request.getfixturevalue("kubernetes")
        place.given = lambda: made(address, place.options["namespace"])
        return place


def made(address: Mapping[str, str], namespace: str) -> list[str]:
    """All Jobs there have been in a namespace: the cluster keeps what it has said of them."""
    with config.new_client_from_config(address["kubeconfig"]) as api:
        said = client.CoreV1Api(api).list_namespaced_event(
            namespace,
            field_selector="involvedObject.kind=Job,reason=SuccessfulCreate",
            _preload_content=False,
        )
    return [one["involvedObject"]["name"] for one in json.loads(said.data)["items"]]


OF_JOBS = {
    "test_values_arrive_equal_in_both_directions",
    "test_a_far_side_that_ends_is_an_error_with_its_exit_code",
    "test_a_timeout_ends_the_far_side",
    "test_cancelling_a_running_task_ends_the_far_side",
    "test_cancelling_a_queued_task_keeps_it_from_running",
    "test_a_far_side_that_is_killed_fails_its_task_alone",
    "test_a_task_out_of_memory_says_so",
    "test_a_hundred_tasks_in_flight_all_come_back_each_once",
    "test_environment_and_secrets_are_there_and_nowhere_else",
    "test_names_with_shell_characters_are_only_names",
}
assert vars(Conformance).keys() >= OF_JOBS
for name in vars(Conformance):
    if name.startswith("test_") and name not in OF_JOBS:
        setattr(TestJobs, name, None)
