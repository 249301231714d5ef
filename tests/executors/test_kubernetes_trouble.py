"""Platform `kubernetes` when something is not there, not allowed or not understood."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.executors.kubernetes_running import Admin, Ticketed, Using, admin, using
from tests.services.base import free_port
from twingraph_nb.errors import DefinitionError, ExecutorError, Unreachable, WorkerDied
from twingraph_nb.executors.kubernetes import KubernetesExecutor
from twingraph_nb.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def boss(kubernetes: Mapping[str, str]) -> Iterator[Admin]:
    with admin(kubernetes) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(boss: Admin) -> AsyncIterator[Using]:
    async with using(boss) as made:
        yield made


def add(a: int, b: int = 1) -> int:
    return a + b


def hold() -> None:
    print("holding", flush=True)
    time.sleep(60)


async def error_of(made: Using, **options: object) -> tuple[ExecutorError, str]:
    """What the platform says against a job, and what it told while the job waited."""
    report = Ticketed()
    with pytest.raises(ExecutorError) as caught:
        await made.made.run(made.job(add, 1, **options), report)
    return caught.value, report.text("system")


def config_of(address: Mapping[str, str], folder: Path, **cluster: object) -> str:
    """A kubeconfig like that of the tests, with something else said about the cluster."""
    known = json.loads(Path(address["kubeconfig"]).read_text())
    known["clusters"][0]["cluster"] |= cluster
    path = folder / "kubeconfig"
    path.write_text(json.dumps(known))
    return str(path)


async def test_an_image_that_cannot_be_pulled_fails_after_patience(shared: Using) -> None:
    error, told = await error_of(shared, image="localhost:1/not/there:1", patience=1)
    assert str(error).startswith("image 'localhost:1/not/there:1' cannot be pulled (ErrImagePull: ")
    assert "connection refused" in str(error)
    assert str(error).endswith("that did not change in 1 s")
    assert told.startswith("image 'localhost:1/not/there:1' cannot be pulled")


async def test_an_image_that_may_not_be_pulled_fails_at_once(shared: Using) -> None:
    error, _ = await error_of(shared, image="not-there:1", image_pull_policy="Never")
    assert str(error) == (
        "image 'not-there:1' is not on the node, and image_pull_policy='Never' forbids to pull"
    )


async def test_an_image_whose_name_is_none_fails_at_once(shared: Using) -> None:
    error, _ = await error_of(shared, image="no such name", warm=True)
    assert "image 'no such name' is no name of an image" in str(error)


async def test_a_config_that_is_not_there_is_named(shared: Using) -> None:
    pod = {"containers": [{"name": "worker", "envFrom": [{"configMapRef": {"name": "lost"}}]}]}
    error, told = await error_of(shared, pod=pod, patience=0.5)
    said = 'the container cannot be started (CreateContainerConfigError: configmap "lost" not found'
    assert str(error).startswith(said)
    assert told.startswith(said)


async def test_an_image_without_python_is_named(shared: Using) -> None:
    pod = {"containers": [{"name": "worker", "env": [{"name": "PATH", "value": "/nowhere"}]}]}
    error, _ = await error_of(shared, pod=pod)
    assert "has no python3 on its PATH, which runs the component there" in str(error)


async def test_a_pod_that_ends_before_it_can_work_says_why(shared: Using) -> None:
    command = ["sh", "-c", "echo this is too old >&2; exit 7"]
    error, _ = await error_of(shared, pod={"containers": [{"name": "worker", "command": command}]})
    assert "ended with exit code 7 before" in str(error)
    assert str(error).endswith(": this is too old")


async def test_an_init_container_that_fails_is_named(shared: Using) -> None:
    command = ["sh", "-c", "echo no disk > /dev/termination-log; exit 3"]
    first = {"name": "fetch", "image": shared.admin.address["image"], "command": command}
    error, _ = await error_of(shared, pod={"initContainers": [first]})
    said = "the pod was given up: its init container 'fetch' ended with exit code 3: no disk"
    assert str(error).startswith(said)


async def test_a_service_account_that_is_not_there_is_named(shared: Using) -> None:
    error, told = await error_of(shared, service_account="nobody", patience=0.5)
    assert "the cluster does not make the pod: " in told
    assert 'serviceaccount "nobody" not found' in str(error)


async def test_a_quota_that_is_used_up_is_told(kubernetes: Mapping[str, str]) -> None:
    with admin(kubernetes) as boss:
        quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
        boss.core.create_namespaced_resource_quota(boss.namespace, quota)
        async with using(boss) as made:
            error, told = await error_of(made, patience=0.5)
    assert "the cluster does not make the pod: " in told
    assert "exceeded quota: none, requested: pods=1" in str(error)


async def test_a_quota_of_jobs_refuses_at_once(kubernetes: Mapping[str, str]) -> None:
    with admin(kubernetes) as boss:
        quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
        boss.core.create_namespaced_resource_quota(boss.namespace, quota)
        async with using(boss) as made:
            error, _ = await error_of(made)
    assert str(error).startswith(f"the quota of namespace {boss.namespace!r} is used up: ")


async def test_a_namespace_that_is_not_there_is_named(shared: Using) -> None:
    error, _ = await error_of(shared, namespace="nowhere")
    assert str(error) == (
        "there is no namespace 'nowhere' on the cluster: kubectl create namespace nowhere, "
        "or name another one with namespace="
    )


async def test_a_missing_right_is_named_with_what_to_ask_for(shared: Using) -> None:
    config = shared.admin.address["viewer_kubeconfig"]
    error, _ = await error_of(shared, kubeconfig=config)
    said = f"this user may not create jobs in namespace {shared.admin.namespace!r} ("
    assert str(error).startswith(said)
    assert 'User "viewer" cannot create resource "jobs"' in str(error)
    assert "ask its admin for a Role with: create, get, list, delete jobs" in str(error)


async def test_a_user_that_nobody_knows_is_told(shared: Using, tmp_path: Path) -> None:
    path = config_of(shared.admin.address, tmp_path)
    known = json.loads(Path(path).read_text())
    known["users"][0]["user"] = {"token": "wrong"}
    Path(path).write_text(json.dumps(known))
    error, _ = await error_of(shared, kubeconfig=path)
    assert "it does not know this user. Log in again" in str(error)


async def test_a_kubeconfig_that_is_not_there_is_named(shared: Using) -> None:
    error, _ = await error_of(shared, kubeconfig="/no/such/config")
    assert isinstance(error, Unreachable)
    assert str(error).startswith(
        "platform 'kubernetes' cannot be reached at kubeconfig /no/such/config: "
        "there is no such file, and this kernel runs in no pod. Start one (kind, k3d, minikube)"
    )


async def test_a_kubeconfig_that_is_none_is_told(shared: Using, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("just: [words")
    error, _ = await error_of(shared, kubeconfig=str(path))
    assert f"kubeconfig {path}: it cannot be read: " in str(error)
    path.write_text("a: 1")
    error, _ = await error_of(shared, kubeconfig=str(path), context="x")
    assert f"kubeconfig {path}: it cannot be read: " in str(error)


async def test_a_context_that_is_not_there_gets_a_suggestion(shared: Using) -> None:
    error, _ = await error_of(shared, context="locla")
    assert "it has no context 'locla' (did you mean 'local'?). It has: local" in str(error)


async def test_a_cluster_that_is_not_there_is_told(shared: Using, tmp_path: Path) -> None:
    server = f"https://127.0.0.1:{free_port()}"
    error, _ = await error_of(
        shared, kubeconfig=config_of(shared.admin.address, tmp_path, server=server)
    )
    assert str(error).startswith(
        f"platform 'kubernetes' cannot be reached at {server}: nothing listens there. Start one"
    )


class Door:
    """A port before the cluster's that can be closed, and opened as another one."""

    def __init__(self, server: str) -> None:
        self.port = int(server.rpartition(":")[2])
        self.copies: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        self.server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        return f"https://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        self.server.close()
        for one in self.copies:
            one.cancel()
        await asyncio.gather(*self.copies, return_exceptions=True)
        self.copies.clear()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        self.copies.add(asyncio.create_task(self._copy(reader, back)))
        self.copies.add(asyncio.create_task(self._copy(there, writer)))

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()


async def test_a_cluster_that_restarts_is_found_again(boss: Admin, tmp_path: Path) -> None:
    known = json.loads(Path(boss.address["kubeconfig"]).read_text())
    door = Door(known["clusters"][0]["cluster"]["server"])
    async with using(boss) as made:
        path = config_of(boss.address, tmp_path, server=await door.open())
        report = Ticketed()
        job = made.job(hold, kubeconfig=path, linger=0)  # else it would be heard again
        task = asyncio.create_task(made.made.run(job, report))
        while "holding" not in report.text():
            report.told.clear()
            await report.told.wait()
        await door.close()
        outcome = await task
        assert isinstance(outcome.error, WorkerDied)
        assert "lost its connection to this kernel" in str(outcome.error)
        error, told = await error_of(made, kubeconfig=path, patience=3)
        assert "does not answer (create jobs): nothing listens there" in str(error)
        assert told.count("it is asked again for 3 s") == 1
        config_of(boss.address, tmp_path, server=await door.open())
        assert (await made.run(add, 1, kubeconfig=path))[0] == 2
        await asyncio.gather(*made.made._closing)
        (left,) = boss.jobs()[:1]  # nobody could remove it, while the cluster was away
        boss.batch.delete_namespaced_job(left, boss.namespace)
        (left,) = boss.pods()[:1]
        boss.core.delete_namespaced_pod(left, boss.namespace, grace_period_seconds=0)
    await door.close()


async def test_a_certificate_of_somebody_else_is_told(shared: Using, tmp_path: Path) -> None:
    known = json.loads(Path(shared.admin.address["kubeconfig"]).read_text())
    other = Path(known["clusters"][0]["cluster"]["certificate-authority"]).parent.parent
    change = {"certificate-authority": str(other / "caller.crt")}
    error, _ = await error_of(
        shared, kubeconfig=config_of(shared.admin.address, tmp_path, **change)
    )
    assert "its certificate is not the one the kubeconfig trusts" in str(error)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"volumes": [{"mount": "/x"}]}, "volumes= wants dicts of one volume each"),
        ({"volumes": ["data:/x"]}, "volumes= wants dicts of one volume each"),
        ({"tolerations": ["gpu"]}, "tolerations= wants a list of dicts"),
        ({"pod": {"spec": {}, "nodeName": "x"}}, "pod= has nodeName beside its spec"),
    ],
)
async def test_a_description_that_is_none_is_refused(
    shared: Using, options: dict[str, Any], said: str
) -> None:
    outcome = await shared.made.run(shared.job(add, 1, **options), Ticketed())
    assert isinstance(outcome.error, DefinitionError)
    assert said in str(outcome.error)


async def test_a_description_that_the_server_refuses_is_told(shared: Using) -> None:
    volume = {"emptyDir": {}, "mount": "/x", "name": "No Name"}
    error, _ = await error_of(shared, volumes=[volume])
    assert str(error).startswith("the cluster refuses the description of the job: Job.batch ")
    assert "volumes[1].name: Invalid value: " in str(error)


async def test_a_probe_gives_versions_or_why_not(
    boss: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = KubernetesExecutor(replace(Settings.load()))
    monkeypatch.setenv("KUBECONFIG", boss.address["kubeconfig"])
    assert (await made.probe()).endswith("server 1.20.2")
    monkeypatch.setenv("KUBECONFIG", "/no/such/config")
    with pytest.raises(Unreachable, match="no such file"):
        await made.probe()
