"""Tasks in other languages that last go on when their kernel is killed, and are found again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.executors.kubernetes_running import Admin
from tests.faults.kernels import DYING, Kernel, is_kept
from tests.faults.test_reattach_warm import another_session, resumes, running, status, ticks, until
from tests.languages.samples import made, run
from tests.services.images import python_image as image_with
from twingraph_nb.events import TaskLogged
from twingraph_nb.executors.docker_container import MARKED
from twingraph_nb.executors.owner import KEPT

CODE = {
    "javascript": """
import fs from "node:fs";
function step(folder) {
  const nap = new Int32Array(new SharedArrayBuffer(4));
  fs.appendFileSync(`${folder}/began`, "x");
  console.log("began x");
  for (let n = 0; !fs.existsSync(`${folder}/go`); n++) {
    console.log(`tick ${n}`);
    Atomics.wait(nap, 0, 0, 200);
  }
  if (fs.existsSync(`${folder}/fail`)) throw new RangeError("no way");
  console.log("ended x");
  return "ü";
}""",
    "bash": """
printf x >>"$folder/began"
echo "began x"
for ((n = 0; 1; n++)); do
  [[ ! -e $folder/go ]] || break
  echo "tick $n"
  sleep 0.2
done
[[ ! -e $folder/fail ]] || exit 7
echo "ended x"
out=ü
""",
    "c++": """
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <unistd.h>
std::string step(const std::string &folder) {
  std::ofstream(folder + "/began", std::ios::app) << "x";
  std::cout << "began x" << std::endl;
  for (int n = 0; !std::filesystem::exists(folder + "/go"); n++) {
    std::cout << "tick " << n << std::endl;
    usleep(200000);
  }
  if (std::filesystem::exists(folder + "/fail")) throw std::range_error("no way");
  std::cout << "ended x\\n";
  return "ü";
}""",
    "rust": """
use std::io::Write;
fn step(folder: &str) -> Result<String, String> {
    let there = |name: &str| std::path::Path::new(folder).join(name);
    let mut began = std::fs::File::options();
    write!(began.append(true).create(true).open(there("began")).unwrap(), "x").unwrap();
    println!("began x");
    let mut n = 0;
    while !there("go").exists() {
        println!("tick {n}");
        n += 1;
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    if there("fail").exists() {
        return Err("no way".to_string());
    }
    println!("ended x");
    Ok("ü".to_string())
}""",
}
FAILED = {
    "javascript": "RangeError: no way\nin component step, the code of step, line 11",
    "bash": "exit status 7",
    "c++": "range_error: no way\nin component step, the code of step, line 14",
    "rust": "no way",
}
YIELDING = """
import fs from "node:fs";
function* step(folder) {
  const nap = new Int32Array(new SharedArrayBuffer(4));
  fs.appendFileSync(`${folder}/began`, "x");
  console.log("began x");
  for (let n = 0; !fs.existsSync(`${folder}/go`) || n < 8; n++) {
    yield n;
    console.log(`tick ${n}`);
    Atomics.wait(nap, 0, 0, 200);
  }
}"""
SIGNATURE = "step(folder: str) -> out: str"
SCRIPT = """
import importlib, json, os, signal, sys
from twingraph_nb import component, pipeline
from twingraph_nb.session import get_session

SIGNATURE = os.environ["SIGNATURE"]
OPTIONS = json.loads(os.environ["OPTIONS"])
ABOUT = {"language": os.environ["LANGUAGE"], "code": os.environ["CODE"]}

step = component(signature=SIGNATURE, platform=sys.argv[1], workers=1, **ABOUT, **OPTIONS)

@pipeline()
def work(folder: str):
    return step(folder)
"""
SCRIPT += (
    DYING
    + """
if __name__ == "__main__":
    if os.environ.get("DIE_AFTER"):
        die_after(os.environ["DIE_AFTER"])
    run = get_session().resume(sys.argv[2]) if len(sys.argv) > 2 else work(os.environ["GATE"])
    result = run.result()
    print("result", json.dumps([result, "".join(task.logs for task in run.tasks)]))
"""
)


@pytest.fixture
def kernel(docker_host: str, gate: Path, tmp_path: Path, home: Path) -> Callable[..., Kernel]:
    def start(language: str, code: str = "", **more: object) -> Kernel:
        image = image_with(bins=["node", "bash"])
        options = {"host": docker_host, "image": image, "volumes": {str(gate): "/gate"}, **more}
        return kernel_of(tmp_path, home, "docker", options, language, code)

    return start


def kernel_of(
    folder: Path, home: Path, platform: str, options: Mapping[str, object], language: str, code: str
) -> Kernel:
    about = {"LANGUAGE": language, "CODE": code or CODE[language]}
    about["SIGNATURE"] = "step(folder: str)" if code else SIGNATURE
    return Kernel(folder, home, platform, options, seconds=0, gate="/gate", script=SCRIPT, **about)


def container_of(engine: Any, kernel: Kernel) -> Any:
    """The container of the ticket, once it bears the name of one that is kept."""
    for ticket in kernel.tickets():
        found = engine.containers.get(json.loads(ticket)["container"])
        if found.name.startswith(MARKED):
            return found
    return None


def is_whole(logs: str) -> bool:
    said = logs.splitlines()
    ticks = [f"tick {number}" for number in range(len(said) - 2)]
    return len(ticks) > 2 and said == ["began x", *ticks, "ended x"]


def die(kernel: Kernel, engine: Any) -> Any:
    """Kill a kernel whose task lasts; gives the container."""
    kernel.die_when(lambda: is_kept(kernel.events()) and container_of(engine, kernel) is not None)
    return container_of(engine, kernel)


@pytest.mark.parametrize("language", CODE)
async def test_a_task_that_lasts_goes_on_in_its_container(
    language: str,
    kernel: Callable[..., Kernel],
    engine: Any,
    gate: Path,
    docker_host: str,
    python_image: str,
) -> None:
    dead = kernel(language)
    container = die(dead, engine)
    await another_session(docker_host, python_image)
    assert status(engine, container.id) == "running"
    (gate / "go").touch()
    result, logs = dead.resume()
    assert result == "ü"
    assert (gate / "began").read_text() == "x"
    assert is_whole(logs), logs
    assert status(engine, container.id) == ""


@pytest.mark.parametrize("language", FAILED)
def test_one_that_fails_meanwhile_says_why_and_where(
    language: str, kernel: Callable[..., Kernel], engine: Any, gate: Path
) -> None:
    dead = kernel(language)
    container = die(dead, engine)
    (gate / "fail").touch()
    (gate / "go").touch()
    said = dead.fail()
    assert FAILED[language] in said
    assert (gate / "began").read_text() == "x"
    assert status(engine, container.id) == ""


def test_what_it_yields_meanwhile_is_there(
    kernel: Callable[..., Kernel], engine: Any, gate: Path
) -> None:
    dead = kernel("javascript", YIELDING)
    container = die(dead, engine)
    # And if the next kernel dies too.
    dead.die_when(lambda: resumes(dead) and container.id[:12] in repr(dead.events()), "last")
    assert status(engine, container.id) == "running"
    (gate / "go").touch()
    result, logs = dead.resume()
    assert len(result) >= 8
    assert result == list(range(len(result)))
    assert logs.count("tick") == len(result)
    assert (gate / "began").read_text() == "x"


async def test_one_that_has_not_lasted_is_ended_and_runs_again(
    kernel: Callable[..., Kernel], engine: Any, gate: Path, docker_host: str, python_image: str
) -> None:
    dead = kernel("bash")
    dead.die_after("twingraph_nb.executors.native_far.FarWorker._begin")
    until(lambda: (gate / "began").exists())
    await another_session(docker_host, python_image)
    assert not running(engine, gate)
    (gate / "go").touch()
    assert dead.resume()[0] == "ü"
    assert (gate / "began").read_text() == "xx"


def test_one_whose_kernel_died_before_it_was_marked_is_ended_and_runs_again(
    kernel: Callable[..., Kernel], engine: Any, gate: Path
) -> None:
    dead = kernel("bash")
    dead.die_after("twingraph_nb.executors.docker_native.ContainerVessel.mark")
    assert dead.tickets()
    (gate / "go").touch()
    assert dead.resume()[0] == "ü"
    assert (gate / "began").read_text() == "xx"


def test_one_that_nobody_asks_for_ends_and_runs_again(
    kernel: Callable[..., Kernel], engine: Any, gate: Path
) -> None:
    dead = kernel("rust", linger=1)
    container = die(dead, engine)
    (gate / "go").touch()
    until(lambda: status(engine, container.id) == "exited")
    result, logs = dead.resume()
    assert result == "ü"
    assert "is lost, it runs again: there is no container" in logs
    assert (gate / "began").read_text() == "xx"


def test_one_that_does_not_linger_runs_again(
    kernel: Callable[..., Kernel], engine: Any, gate: Path
) -> None:
    dead = kernel("bash", linger=0)
    dead.die_when(lambda: ticks(dead) > 10)
    assert dead.tickets() == []
    (gate / "go").touch()
    assert dead.resume()[0] == "ü"
    assert (gate / "began").read_text() == "xx"
    assert not running(engine, gate)


def test_a_container_is_not_kept_for_a_task_that_is_over(
    docker_host: str, engine: Any, gate: Path
) -> None:
    options: Mapping[str, Any] = {
        "host": docker_host,
        "image": image_with(bins=["node", "bash"]),
        "volumes": {str(gate): "/gate"},
        "workers": 1,
    }
    step = made("bash", SIGNATURE, CODE["bash"], platform="docker", **options)
    task = run(step, "/gate")

    def names() -> list[str]:
        return [one.name for one in running(engine, gate)]

    until(lambda: any(name.startswith(MARKED) for name in names()))
    (gate / "go").touch()
    assert task.result(60) == "ü"
    until(lambda: len(names()) == 1 and not names()[0].startswith(MARKED))


@pytest.fixture
def pod_kernel(cluster: Admin, gate: Path, tmp_path: Path, home: Path) -> Callable[..., Kernel]:
    def start(language: str, **more: object) -> Kernel:
        options: Mapping[str, object] = {
            "kubeconfig": cluster.address["kubeconfig"],
            "image": image_with(bins=["node", "bash"]),
            "image_pull_policy": "IfNotPresent",
            "namespace": cluster.namespace,
            "volumes": [{"hostPath": {"path": str(gate)}, "mount": "/gate"}],
            **more,
        }
        return kernel_of(tmp_path, home, "kubernetes", options, language, "")

    return start


def is_labelled(cluster: Admin) -> bool:
    found = cluster.objects()
    return len(found) == 2 and all(KEPT in one["metadata"]["labels"] for one in found)


@pytest.mark.parametrize(("language", "warm"), [("rust", False), ("bash", True)])
def test_a_task_that_lasts_goes_on_in_its_pod(
    language: str, warm: bool, pod_kernel: Callable[..., Kernel], cluster: Admin, gate: Path
) -> None:
    dead = pod_kernel(language, warm=warm)
    dead.die_when(lambda: is_kept(dead.events()) and is_labelled(cluster))
    (pod,) = cluster.pods()
    (gate / "go").touch()
    result, logs = dead.resume()
    assert result == "ü"
    assert (gate / "began").read_text() == "x"
    assert is_whole(logs), logs
    assert pod not in cluster.pods()


def test_who_may_not_mark_a_pod_is_told_that_its_task_is_not_found_again(
    pod_kernel: Callable[..., Kernel], cluster: Admin, gate: Path
) -> None:
    allow(cluster, "viewer")
    dead = pod_kernel("bash", kubeconfig=cluster.address["viewer_kubeconfig"])
    dead.die_when(lambda: "if this kernel dies, the task runs again: " in logged(dead))
    assert 'User "viewer" cannot patch resource "jobs"' in logged(dead)
    (gate / "go").touch()
    assert dead.resume()[0] == "ü"
    assert (gate / "began").read_text() == "xx"


def logged(kernel: Kernel) -> str:
    return "".join(event.text for event in kernel.events() if isinstance(event, TaskLogged))


def allow(cluster: Admin, user: str) -> None:
    """Give a user in the namespace all that running tasks takes, but for what marks pods."""
    rights = [
        (["batch"], ["jobs"], ["create", "get", "list", "delete"]),
        ([""], ["pods"], ["get", "list", "watch", "delete"]),
        ([""], ["pods/attach", "pods/exec"], ["get", "create"]),
        ([""], ["pods/log"], ["get"]),
        ([""], ["events"], ["list"]),
    ]
    rules = [{"apiGroups": g, "resources": r, "verbs": v} for g, r, v in rights]
    about = {"metadata": {"name": "runs-tasks"}}
    api = client.RbacAuthorizationV1Api(cluster.api)
    api.create_namespaced_role(cluster.namespace, {**about, "rules": rules})
    group = "rbac.authorization.k8s.io"
    role = {"apiGroup": group, "kind": "Role", "name": "runs-tasks"}
    subjects = [{"apiGroup": group, "kind": "User", "name": user}]
    bound = {**about, "roleRef": role, "subjects": subjects}
    api.create_namespaced_role_binding(cluster.namespace, bound)
