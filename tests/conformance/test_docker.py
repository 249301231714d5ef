"""Platform `docker` keeps the promises of all platforms, on a real engine."""

from __future__ import annotations

import json
from typing import Any

import docker
import pytest

from tests.conformance.suite import Conformance, Place


class TestDocker(Conformance):
    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        host = request.getfixturevalue("docker_host")
        patch.setenv("DOCKER_HOST", host)
        image = request.getfixturevalue("python_image")
        client: Any = docker.DockerClient(base_url=host)
        request.addfinalizer(client.close)
        before = {one.id for one in client.containers.list(all=True, ignore_removed=True)}

        def ours() -> list[Any]:
            found = client.containers.list(
                all=True, filters={"label": "twingraph.owner"}, ignore_removed=True
            )
            return [one for one in found if one.id not in before]

        return Place(
            "docker",
            {"image": image},
            left=lambda: [one.name for one in ours()],
            visible=lambda: json.dumps([one.attrs for one in ours()]),
        )
