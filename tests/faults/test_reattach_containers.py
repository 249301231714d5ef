"""Tasks in containers and pods of their own outlive their kernel, and are found again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.executors.kubernetes_running import Admin, admin
from tests.executors.running import Memory, same
from tests.faults.cable import Cable
from tests.faults.kernels import Kernel
from tests.services import base
from twingraph_nb.component import make_component
from twingraph_nb.errors import Unreachable
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.docker import DockerExecutor
from twingraph_nb.executors.kubernetes import KubernetesExecutor
from twingraph_nb.settings import Settings

MIB = 2**20
CREATED = "docker.api.container.ContainerApiMixin.create_container_from_config"
STARTED = "docker.api.container.ContainerApiMixin.start"
MADE = "kubernetes.client.BatchV1Api.create_namespaced_job"
ASKED = "twingraph_nb.executors.docker_container.Container.rejoin"


@pytest.fixture
def another_engine(tmp_path: Path) -> Iterator[str]:
    """The address of a second one, which knows nothing of the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "FOLDER", tmp_path / "services")
        yield base.ensure("docker")["host"]
        base.stop("docker")


@pytest.fixture(scope="module")
def cluster(kubernetes: Mapping[str, str]) -> Iterator[Admin]:
    with admin(kubernetes) as boss:
        yield boss


@pytest.fixture
def kernel(
    docker_host: str, python_image: str, gate: Path, tmp_path: Path, home: Path
) -> Callable[..., Kernel]:
    def made(size: int = 0, **more: object) -> Kernel:
        options: Mapping[str, object] = {
            "host": docker_host,
            "image": python_image,
            "volumes": {str(gate): "/gate"},
            "fresh": True,
            **more,
        }
        options = {key: value for key, value in options.items() if value}
        return Kernel(tmp_path, home, "docker", options, seconds=600, gate="/gate", size=size)

    return made


@pytest.fixture
def pod_kernel(cluster: Admin, gate: Path, tmp_path: Path, home: Path) -> Callable[..., Kernel]:
    def made(size: int = 0, **more: object) -> Kernel:
        options: Mapping[str, object] = {
            "kubeconfig": cluster.address["kubeconfig"],
            "image": cluster.address["image"],
            "image_pull_policy": "IfNotPresent",
            "namespace": cluster.namespace,
            "volumes": [{"hostPath": {"path": str(gate)}, "mount": "/gate"}],
            **more,
        }
        return Kernel(tmp_path, home, "kubernetes", options, seconds=600, gate="/gate", size=size)

    return made


def begun(gate: Path) -> list[str]:
    return (gate / "began").read_text().split()


def name_in(ticket: str) -> str:
    return str(json.loads(ticket)["name"])


def left(engine: Any, name: str) -> list[str]:
    found = engine.containers.list(all=True, filters={"name": name}, ignore_removed=True)
    return [str(one.status) for one in found]


async def another_session(docker_host: str, image: str) -> None:
    """A session of somebody else, which removes what dead kernels have left."""
    made = DockerExecutor(Settings.load())
    options = {"host": docker_host, "image": image}
    component = make_component(same, platform="docker", options=options, keep=False)
    job = Job("another", "same", component, {"x": 1})
    try:
        assert (await made.run(job, Memory())).value == 1
    finally:
        await made.close()


# -- docker --------------------------------------------------------------------------------------


async def test_a_container_goes_on_and_its_whole_story_is_heard(
    kernel: Callable[..., Kernel], engine: Any, gate: Path, docker_host: str, python_image: str
) -> None:
    dead = kernel(3 * MIB)
    mark = dead.die()
    name = name_in(dead.tickets()[-1])
    await another_session(docker_host, python_image)
    assert left(engine, name) == ["running"]
    dead.die_after(ASKED, "last")
    (gate / "go").touch()
    result, logs = dead.resume()
    assert result == [mark, 3 * MIB]
    assert logs.splitlines() == [f"began {mark}", f"ended {mark}"]
    assert begun(gate) == [mark]
    assert left(engine, name) == []


def test_an_error_of_a_task_found_again_has_its_lines_and_its_cure(
    kernel: Callable[..., Kernel], gate: Path
) -> None:
    dead = kernel()
    dead.die()
    (gate / "fail").touch()
    (gate / "go").touch()
    said = dead.fail()
    assert "import not_there" in said
    assert "No module named 'not_there'" in said


@pytest.mark.parametrize("spot", [CREATED, STARTED])
def test_a_container_whose_kernel_died_before_it_could_use_it_is_not_a_second_one(
    spot: str, kernel: Callable[..., Kernel], engine: Any, gate: Path
) -> None:
    dead = kernel()
    dead.die_after(spot)
    (name,) = map(name_in, dead.tickets())
    assert len(left(engine, name)) == 1
    (gate / "go").touch()
    (mark, _), _ = dead.resume()
    assert begun(gate) == [mark]
    assert left(engine, name) == []


async def test_a_container_that_nobody_asks_ends_and_is_removed(
    kernel: Callable[..., Kernel], engine: Any, gate: Path, docker_host: str, python_image: str
) -> None:
    dead = kernel(linger=1)
    dead.die()
    name = name_in(dead.tickets()[-1])
    (gate / "go").touch()
    end = time.monotonic() + 60
    while left(engine, name) != ["exited"]:
        assert time.monotonic() < end
        time.sleep(0.1)
    await another_session(docker_host, python_image)
    assert left(engine, name) == []
    (mark, _), _ = dead.resume()
    assert begun(gate)[1:] == [mark]


def test_a_run_that_is_resumed_while_the_engine_is_away_starts_no_second_container(
    kernel: Callable[..., Kernel], gate: Path, docker_host: str, tmp_path: Path
) -> None:
    """It fails, and leaves it to the next; one that is cut off when it hears it joins it again."""
    path = tmp_path / "docker.sock"
    with Cable(Path(docker_host.removeprefix("unix://")), here=path) as cable:
        dead = kernel(host=f"unix://{path}")
        mark = dead.die()
        cable.cut()
        said = dead.fail()
        assert "platform 'docker' cannot be reached" in said
        assert "may go on there, so no other was started: resume again" in said
        cable.heal()

        def cut_off() -> None:
            cable.cut()
            cable.heal()
            (gate / "go").touch()

        result, logs = dead.resume_through(cut_off)
    assert result == [mark, 0]
    began, again, ended = logs.splitlines()
    assert "was lost, and is there again" in again
    assert [began, ended] == [f"began {mark}", f"ended {mark}"]
    assert begun(gate) == [mark]


def test_another_engine_is_not_asked_for_a_container_and_gets_no_second_one(
    kernel: Callable[..., Kernel], engine: Any, another_engine: str, gate: Path, docker_host: str
) -> None:
    dead = kernel(host=None)  # that of the environment
    dead.environ["DOCKER_HOST"] = docker_host
    mark = dead.die()
    dead.environ["DOCKER_HOST"] = another_engine
    said = dead.fail()
    known = engine.info()
    there = f"{known['ID']} {known['Name']} {known['DockerRootDir']}"
    assert f"(at {another_engine}), and the job was started on {there}" in said
    assert "so no other was started: resume again" in said
    dead.environ["DOCKER_HOST"] = docker_host
    (gate / "go").touch()
    assert dead.resume()[0] == [mark, 0]
    assert begun(gate) == [mark]


# -- kubernetes ----------------------------------------------------------------------------------


def test_a_job_goes_on_and_its_whole_story_is_heard(
    pod_kernel: Callable[..., Kernel], cluster: Admin, gate: Path
) -> None:
    dead = pod_kernel(3 * MIB)
    mark = dead.die()
    assert cluster.jobs() == [name_in(dead.tickets()[-1])]
    (gate / "go").touch()
    result, logs = dead.resume()
    assert result == [mark, 3 * MIB]
    assert logs.splitlines() == [f"began {mark}", f"ended {mark}"]
    assert begun(gate) == [mark]
    assert cluster.jobs() == []


def test_a_job_whose_kernel_died_before_it_could_use_it_is_not_a_second_one(
    pod_kernel: Callable[..., Kernel], cluster: Admin, gate: Path
) -> None:
    dead = pod_kernel()
    dead.die_after(MADE)
    assert cluster.jobs() == [name_in(dead.tickets()[-1])]
    (gate / "go").touch()
    (mark, _), _ = dead.resume()
    assert begun(gate) == [mark]
    assert cluster.jobs() == []


async def test_another_cluster_is_not_asked_for_a_job(
    pod_kernel: Callable[..., Kernel], cluster: Admin, gate: Path
) -> None:
    dead = pod_kernel()
    dead.die()
    facts = json.loads(dead.tickets()[-1])
    there = cluster.core.read_namespace("kube-system").metadata.uid
    assert facts["engine"][0] == there
    job = Job("here", "same", make_component(same, platform="kubernetes", keep=False), {"x": 1})
    made = KubernetesExecutor(Settings.load())
    try:
        facts |= {"engine": ["elsewhere", "https://elsewhere", ""], "namespace": "elsewhere"}
        with pytest.raises(Unreachable, match=f"that is {there} .* was started on elsewhere"):
            await made.attach(json.dumps(facts), job, Memory())
    finally:
        await made.close()
    (gate / "go").touch()
    dead.resume()


def test_a_job_that_nobody_asks_ends(
    pod_kernel: Callable[..., Kernel], cluster: Admin, gate: Path
) -> None:
    dead = pod_kernel(linger=1)
    dead.die()
    (gate / "go").touch()
    end = time.monotonic() + 60
    while [one["status"].get("phase") for one in cluster.objects()[:1]] != ["Succeeded"]:
        assert time.monotonic() < end
        time.sleep(0.1)
    (mark, _), _ = dead.resume()
    assert begun(gate)[1:] == [mark]
    assert cluster.jobs() == []
