"""A task that lasts goes on in its warm worker when its kernel is killed, and is found again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.executors.kubernetes_running import Admin
from tests.executors.running import Memory, same
from tests.faults.cable import Cable
from tests.faults.kernels import DYING, Kernel, is_kept
from twingraph_nb.component import make_component
from twingraph_nb.errors import ExecutorError
from twingraph_nb.events import RunStarted, TaskLogged
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.docker import DockerExecutor
from twingraph_nb.executors.lasting import BUSY
from twingraph_nb.settings import Settings

MIB = 2**20
SCRIPT = """
import importlib, json, os, signal, sys, time
from twingraph_nb import component, pipeline
from twingraph_nb.session import get_session

OPTIONS = json.loads(os.environ["OPTIONS"])

@component(platform=sys.argv[1], workers=1, **OPTIONS)
def step(name: str, folder: str, ballast: bytes) -> str:
    import os, time
    with open(f"{folder}/began", "a") as file:
        file.write(name + "\\n")
    print("began", name, flush=True)
    for count in range(3000 if name == "long" else 0):
        if os.path.exists(f"{folder}/go"):
            break
        print("tick", count, flush=True)
        time.sleep(0.2)
    print("ended", name, flush=True)
    return name

@pipeline()
def work(folder: str, size: int):
    first = step("long", folder, bytes(size))
    while not (first.done or first.state == "running"):
        time.sleep(0.02)
    return [first, *(step(name, folder, bytes(size)) for name in "ab")]  # they wait behind it
"""
SCRIPT += (
    DYING
    + """
if __name__ == "__main__":
    if os.environ.get("DIE_AFTER"):
        die_after(os.environ["DIE_AFTER"])
    if len(sys.argv) > 2:
        run = get_session().resume(sys.argv[2])
    else:
        run = work(os.environ["GATE"], int(os.environ["SIZE"]))
    result = run.result()
    print("result", json.dumps([result, "".join(task.logs for task in run.tasks)]))
"""
)


@pytest.fixture
def kernel(
    docker_host: str, python_image: str, gate: Path, tmp_path: Path, home: Path
) -> Callable[..., Kernel]:
    def made(size: int = 0, **more: object) -> Kernel:
        volumes = {str(gate): "/gate"}
        options = {"host": docker_host, "image": python_image, "volumes": volumes, **more}
        about: dict[str, Any] = {"gate": "/gate", "size": size, "script": SCRIPT}
        return Kernel(tmp_path, home, "docker", options, seconds=0, **about)

    return made


@pytest.fixture
def cable(cluster: Admin, tmp_path: Path) -> Iterator[Cable]:
    """The way to the cluster by the kubeconfig in the test's folder."""
    known = json.loads(Path(cluster.address["kubeconfig"]).read_text())
    entry = known["clusters"][0]["cluster"]
    with Cable(int(urlsplit(entry["server"]).port or 0)) as made:
        entry["server"] = f"https://127.0.0.1:{made.port}"
        (tmp_path / "kubeconfig").write_text(json.dumps(known))
        yield made


@pytest.fixture
def pod_kernel(cluster: Admin, cable: Cable, gate: Path, tmp_path: Path, home: Path) -> Kernel:
    options: Mapping[str, object] = {
        "kubeconfig": str(tmp_path / "kubeconfig"),
        "image": cluster.address["image"],
        "image_pull_policy": "IfNotPresent",
        "namespace": cluster.namespace,
        "volumes": [{"hostPath": {"path": str(gate)}, "mount": "/gate"}],
        "warm": True,
    }
    return Kernel(tmp_path, home, "kubernetes", options, seconds=0, gate="/gate", script=SCRIPT)


def resumes(kernel: Kernel) -> bool:
    return any(isinstance(event, RunStarted) and event.resumes for event in kernel.events())


def ticks(kernel: Kernel) -> int:
    said = [event.text for event in kernel.events() if isinstance(event, TaskLogged)]
    return "".join(said).count("tick")


def container_in(engine: Any, kernel: Kernel) -> Any:
    (ticket,) = set(kernel.tickets())
    return engine.containers.get(json.loads(ticket)["container"])


def running(engine: Any, gate: Path) -> list[Any]:
    """The containers that have this folder: other tests run components of the same name."""
    labelled = {"label": "twingraph.component=step", "status": "running"}
    found = engine.containers.list(filters=labelled, ignore_removed=True)
    return [one for one in found if str(gate) in [m.get("Source") for m in one.attrs["Mounts"]]]


def status(engine: Any, id: str) -> str:
    found = engine.containers.list(all=True, filters={"id": id}, ignore_removed=True)
    return str(found[0].status) if found else ""


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


async def another_session(docker_host: str, image: str, ticket: str = "") -> None:
    """A session of somebody else, which removes what dead kernels have left.

    ticket: of a task that is over, in a container that works on another one by now.
    """
    made = DockerExecutor(Settings.load())
    options: Mapping[str, object] = {"host": docker_host, "image": image}
    component = make_component(same, platform="docker", options=options, keep=False)
    job = Job("another", "same", component, {"x": 1})
    try:
        assert (await made.run(job, Memory())).value == 1
        if ticket:
            with pytest.raises(ExecutorError, match=BUSY):
                await made.attach(ticket, job, Memory())
    finally:
        await made.close()


def is_whole(logs: str) -> bool:
    said = [line for line in logs.splitlines() if "long" in line or "tick" in line]
    ticks = [f"tick {number}" for number in range(len(said) - 2)]
    return len(ticks) > 2 and said == ["began long", *ticks, "ended long"]


async def test_a_task_that_lasts_goes_on_and_what_waited_behind_it_runs_once(
    kernel: Callable[..., Kernel], engine: Any, gate: Path, docker_host: str, python_image: str
) -> None:
    dead = kernel(3 * MIB)  # which is not read for a name before the task lasts
    dead.die_when(lambda: is_kept(dead.events()))
    container = container_in(engine, dead)
    other = {**json.loads(dead.tickets()[-1]), "door": "/tmp/.twingraph-over"}
    await another_session(docker_host, python_image, json.dumps(other))
    assert status(engine, container.id) == "running"
    (gate / "go").touch()
    result, logs = dead.resume()
    assert result == ["long", "a", "b"]
    assert sorted((gate / "began").read_text().split()) == ["a", "b", "long"]
    assert is_whole(logs)
    assert status(engine, container.id) == ""


async def test_one_that_nobody_asks_for_ends_is_removed_and_runs_again(
    kernel: Callable[..., Kernel], engine: Any, gate: Path, docker_host: str, python_image: str
) -> None:
    dead = kernel(linger=1)
    dead.die_when(lambda: is_kept(dead.events()))
    container = container_in(engine, dead)
    (gate / "go").touch()
    until(lambda: status(engine, container.id) == "exited")
    await another_session(docker_host, python_image)
    assert status(engine, container.id) == ""
    result, logs = dead.resume()
    assert result == ["long", "a", "b"]
    assert "is lost, it runs again: there is no container" in logs
    assert (gate / "began").read_text().split().count("long") == 2


def test_one_that_does_not_linger_ends_with_its_kernel(
    kernel: Callable[..., Kernel], engine: Any, gate: Path
) -> None:
    dead = kernel(linger=0)
    dead.die_when(lambda: ticks(dead) > 10)
    assert dead.tickets() == []
    until(lambda: not running(engine, gate))
    (gate / "go").touch()
    result, _ = dead.resume()
    assert result == ["long", "a", "b"]
    assert (gate / "began").read_text().split().count("long") == 2


def test_a_task_that_lasts_goes_on_in_a_warm_pod(
    pod_kernel: Kernel, cluster: Admin, cable: Cable, gate: Path
) -> None:
    """It is joined again by the run that resumes one that had joined it, when it is cut off."""

    def cut_off() -> None:
        cable.cut()
        cable.heal()
        (gate / "go").touch()

    dead = pod_kernel
    dead.die_when(lambda: is_kept(dead.events()))
    (pod,) = cluster.pods()
    dead.die_when(lambda: resumes(dead) and ticks(dead) > 2, "last")
    assert pod in cluster.pods()
    result, logs = dead.resume_through(cut_off)
    assert result == ["long", "a", "b"]
    assert (gate / "began").read_text().split().count("long") == 1
    assert logs.count("was lost, and is there again") == 1
    assert is_whole(logs)
    assert pod not in cluster.pods()
