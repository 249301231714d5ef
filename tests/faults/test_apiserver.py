"""The API server of Kubernetes is killed, stays away and comes back, while a run works there.

In the suite it is one of two of the shared cluster, which has other guests: a second one before the
same database, and all of the run goes by that. In `make chaos` (TWINGRAPH_TESTS_ALONE) it is the
only one of a cluster of the test's own, so that controllers and node lose theirs too.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from tests.conformance.suite import PATIENCE, events_of, until
from tests.executors.kubernetes_running import Admin, admin
from tests.faults.kernels import is_kept
from tests.services import base, processes
from tests.services.base import free_port
from twingraph_nb import pipeline
from twingraph_nb.component import make_component
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.task import Task
from twingraph_nb.session import close_session

GATE = "/gate"


class ApiServer:
    """One process that is an API server, and how to reach it.

    address: as that of the tests' cluster.
    """

    def __init__(self, folder: Path, address: Mapping[str, str], command: list[str]) -> None:
        self.address = address
        self._place, self._command = base.Place("apiserver", folder), command
        self._process = ""

    def start(self) -> None:
        """Start it, as a node's supervisor does."""
        self._place.folder.mkdir(exist_ok=True)
        self._process = self._place.spawn("apiserver", *self._command)

    def kill(self) -> None:
        os.kill(int(self._process.partition(":")[0]), signal.SIGKILL)
        processes.wait_for_end(self._process)

    def end(self) -> None:
        processes.sweep(self._place.folder)


def the_only_one(folder: Path) -> ApiServer:
    """That of the cluster, in the hands of the test from now on."""
    address = base.ensure("kubernetes")
    process, command = running()
    made = ApiServer(folder, address, command)
    made._process = process
    return made


def one_more(folder: Path) -> ApiServer:
    """Another one, not started yet."""
    address = base.ensure("kubernetes")
    _, command = running()
    port, certificates = free_port(), folder / "certificates"
    command[command.index("--secure-port") + 1] = str(port)
    command[command.index("--cert-dir") + 1] = str(certificates)
    known = json.loads(Path(address["kubeconfig"]).read_text())
    known["clusters"][0]["cluster"] = {
        "server": f"https://127.0.0.1:{port}",
        "certificate-authority": str(certificates / "apiserver.crt"),
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(known))
    return ApiServer(folder / "apiserver", {**address, "kubeconfig": str(path)}, command)


def answers(kubeconfig: str) -> bool:
    try:
        with config.new_client_from_config(kubeconfig) as api:
            return bool(client.CoreV1Api(api).list_namespace(limit=1))
    except (ConfigException, HTTPError, client.ApiException):  # no certificate, no port, no answer
        return False


def running() -> tuple[str, list[str]]:
    """The identity and the command of the cluster's own API server."""
    known = base.state("kubernetes")
    assert known is not None
    process = known.processes["apiserver"]
    words = Path(f"/proc/{process.partition(':')[0]}/cmdline").read_bytes().split(b"\0")[:-1]
    return process, [word.decode() for word in words]


@pytest.fixture(params=["its own"] if "TWINGRAPH_TESTS_ALONE" in os.environ else ["shared"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ApiServer]:
    if request.param == "shared":
        made = one_more(tmp_path)
        try:
            made.start()
            until(lambda: answers(made.address["kubeconfig"]))
            yield made
        finally:
            made.end()
    else:
        monkeypatch.setattr(base, "FOLDER", tmp_path / "services")
        yield the_only_one(tmp_path / "services" / "kubernetes")
        base.stop("kubernetes")
        base.stop("docker")
        shutil.rmtree(base.FOLDER)  # its images need not wait for the next but two runs of pytest


@pytest.fixture
def boss(server: ApiServer) -> Iterator[Admin]:
    with admin(server.address) as made:
        yield made


def works(name: str, gate: str, before: object = None) -> str:
    """Leaves a line when it begins and when it ends, which its nth execution does once it may."""
    with open(f"{gate}/began", "a+") as file:
        file.write(f"{name}\n")
        file.seek(0)
        turn = file.read().split().count(name)
    print("began", name, flush=True)
    while not os.path.exists(f"{gate}/{name}-{turn}"):
        print("tick", flush=True)
        time.sleep(0.1)
    print("ended", name, flush=True)
    with open(f"{gate}/ended", "a") as file:
        file.write(f"{name}\n")
    return name.upper()


def lines(gate: Path, name: str) -> Counter[str]:
    path = gate / name
    return Counter(path.read_text().split()) if path.exists() else Counter()


def component_on(boss: Admin, gate: Path, **more: Any) -> Any:
    options = {
        "image": boss.address["image"],
        "image_pull_policy": "IfNotPresent",
        "kubeconfig": boss.address["kubeconfig"],
        "namespace": boss.namespace,
        "volumes": [{"hostPath": {"path": str(gate)}, "mount": GATE}],
        **more,
    }
    return make_component(works, platform="kubernetes", options=options, keep=False)


def test_an_api_server_that_is_killed_and_comes_back_costs_nothing(
    server: ApiServer, boss: Admin, gate: Path
) -> None:
    """What runs goes on meanwhile and is heard to its end; what is to begin waits."""
    as_job, warm = component_on(boss, gate), component_on(boss, gate, warm=True, workers=1)

    @pipeline()
    def flow() -> object:
        first, tried = as_job("first", GATE), warm("tried", GATE)
        jobs = [as_job(name, GATE, first) for name in ("short", "long")]
        return [first, *jobs, tried, warm("kept", GATE, tried)]

    for name in ("first-1", "tried-1"):
        (gate / name).touch()
    run = flow()
    assert isinstance(run, Run)
    everything = {"first", "short", "long", "tried", "kept"}
    until(lambda: run.done or lines(gate, "began").keys() == everything)
    until(lambda: run.done or all(is_kept(events_of(task)) for task in running_in(run)))
    assert not run.done
    server.kill()
    (gate / "short-1").touch()
    until(lambda: "short" in lines(gate, "ended"))  # nobody can hear that now
    late = as_job("late", GATE)
    until(lambda: late.done or "does not answer" in late.logs)
    assert not late.done
    server.start()
    for name in ("long-1", "kept-1", "late-1"):
        (gate / name).touch()
    assert run.result(PATIENCE) == ["FIRST", "SHORT", "LONG", "TRIED", "KEPT"]
    assert late.result(PATIENCE) == "LATE"
    for name in ("began", "ended"):
        assert lines(gate, name) == dict.fromkeys({*everything, "late"}, 1)
    (short,) = (task for task in run.tasks if task.form == "call" and task.result() == "SHORT")
    told = [line for line in short.logs.splitlines() if line.startswith(("began", "ended"))]
    assert told == ["began short", "ended short"]
    close_session()
    until(lambda: not boss.objects())
    until(lambda: not boss.containers())


def running_in(run: Run) -> list[Task]:
    return [task for task in run.tasks if task.form == "call" and task.state == "running"]
