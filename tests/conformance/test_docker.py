"""Platform `docker` keeps the promises of all platforms, on a real engine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.conformance import steps
from tests.conformance.suite import PATIENCE, Conformance, Place, mark, pids_of, until
from tests.services import base, images, processes
from twingraph_nb.component import make_component
from twingraph_nb.errors import WorkerDied
from twingraph_nb.executors.owner import OWNER, owner_label
from twingraph_nb.session import close_session


class TestDocker(Conformance):
    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        host = request.getfixturevalue("docker_host")
        patch.setenv("DOCKER_HOST", host)
        image = request.getfixturevalue("python_image")
        client: Any = docker.DockerClient(base_url=host)
        request.addfinalizer(client.close)

        def ours() -> list[Any]:
            """Those of this process: others may use the engine meanwhile."""
            label = f"{OWNER}={owner_label()}"
            found = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
            return list(found)

        return Place(
            "docker",
            {"image": image},
            libraries=lambda: {"image": request.getfixturevalue("data_image")},
            left=lambda: [f"{one.id} {one.attrs['State']}" for one in ours()],
            visible=lambda: json.dumps([one.attrs for one in ours()]),
        )


@pytest.fixture
def engine_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An engine that a test may kill, with the image of the running Python; gives its address."""
    monkeypatch.setattr(base, "FOLDER", tmp_path / "services")
    monkeypatch.setenv("TWINGRAPH_HOME", str(tmp_path / "home"))
    host = base.ensure("docker")["host"]
    monkeypatch.setenv("DOCKER_HOST", host)
    yield host
    base.stop("docker")


def test_a_session_that_closes_waits_for_an_engine_that_is_slow(engine_of_its_own: str) -> None:
    close_session()
    options = {"image": images.python_image(), "workers": 2}
    made = make_component(steps.square, platform="docker", options=options, keep=False)
    assert [task.result(PATIENCE) for task in [made(3), made(4)]] == [9, 16]
    known = base.state("docker")
    assert known is not None
    engine = [int(each.partition(":")[0]) for each in known.processes.values()]
    for pid in engine:
        os.kill(pid, signal.SIGSTOP)
    closing = threading.Thread(target=close_session)
    closing.start()
    closing.join(15.0)
    waited = closing.is_alive()
    for pid in engine:
        os.kill(pid, signal.SIGCONT)
    closing.join(PATIENCE)
    assert waited
    client: Any = docker.DockerClient(base_url=engine_of_its_own)
    with contextlib.closing(client):
        assert client.containers.list(all=True, filters={"label": OWNER}) == []


def test_an_engine_that_was_killed_and_restarted_is_used_again(engine_of_its_own: str) -> None:
    close_session()
    options = {"image": images.python_image()}

    def start(function: Any, *args: object) -> Any:
        return make_component(function, platform="docker", options=options, keep=False)(*args)

    assert start(steps.square, 3).result(PATIENCE) == 9
    name = mark()
    task = start(steps.stays, name)
    until(lambda: pids_of(name))
    known = base.state("docker")
    assert known is not None
    for each in known.processes.values():
        os.kill(int(each.partition(":")[0]), signal.SIGKILL)
    for each in known.processes.values():
        processes.wait_for_end(each)
    late = start(steps.square, 5)
    until(lambda: late.done or "it is asked again" in late.logs)
    assert not late.done
    assert base.ensure("docker")["host"] == engine_of_its_own
    with pytest.raises(WorkerDied, match="the container that ran stays"):
        task.result(PATIENCE)
    assert late.result(PATIENCE) == 25
    until(lambda: not pids_of(name))
    assert start(steps.square, 4).result(PATIENCE) == 16
    close_session()
    client: Any = docker.DockerClient(base_url=engine_of_its_own)
    with contextlib.closing(client):
        assert client.containers.list(all=True, filters={"label": "twingraph.owner"}) == []
