"""What the tests of platform `kubernetes` share: an executor in a namespace of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import docker
from kubernetes import client, config

from tests.executors.running import Memory
from tests.services.base import ensure
from twingraph_nb.component import make_component
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.kubernetes import KubernetesExecutor
from twingraph_nb.settings import Settings

__all__ = ["Admin", "Using", "admin", "using"]


class Ticketed(Memory):
    """A report that keeps the ticket too."""

    def __init__(self) -> None:
        super().__init__()
        self.tickets: list[str] = []

    def ticket(self, ticket: str) -> None:
        self.tickets.append(ticket)


class Admin:
    """The tests' own way to the cluster, past the executor."""

    def __init__(self, address: Mapping[str, str]) -> None:
        self.address = address
        self.namespace = f"tests-{secrets.token_hex(4)}"
        self.api = config.new_client_from_config(address["kubeconfig"])
        self.core, self.batch = client.CoreV1Api(self.api), client.BatchV1Api(self.api)

    def objects(self) -> list[dict[str, Any]]:
        """All pods and Jobs of the namespace, as the server has them."""
        found = []
        for read in (self.core.list_namespaced_pod, self.batch.list_namespaced_job):
            found += json.loads(read(self.namespace, _preload_content=False).data)["items"]
        return found

    def pods(self) -> list[str]:
        kept = self.core.list_namespaced_pod(self.namespace, _preload_content=False)
        return [one["metadata"]["name"] for one in json.loads(kept.data)["items"]]

    def jobs(self) -> list[str]:
        kept = self.batch.list_namespaced_job(self.namespace, _preload_content=False)
        return [one["metadata"]["name"] for one in json.loads(kept.data)["items"]]

    def containers(self) -> list[str]:
        """The containers of our pods that run on the node."""
        engine = docker.DockerClient(base_url=ensure("docker")["host"])
        with contextlib.closing(engine):
            labels = [
                f"io.kubernetes.pod.namespace={self.namespace}",
                "io.kubernetes.container.name=worker",
            ]
            return [str(one.name) for one in engine.containers.list(filters={"label": labels})]


@contextlib.contextmanager
def admin(address: Mapping[str, str]) -> Iterator[Admin]:
    """An administrator with a namespace that is deleted in the end."""
    made = Admin(address)
    made.core.create_namespace({"metadata": {"name": made.namespace}})
    try:
        yield made
    finally:
        made.core.delete_namespace(made.namespace)
        made.api.close()


class Using:
    """An executor, and what the tests say about each component."""

    def __init__(self, made: KubernetesExecutor, admin: Admin) -> None:
        self.made, self.admin = made, admin

    def job(self, function: Callable[..., object], *args: object, **options: object) -> Job:
        address = self.admin.address
        options = {
            "image": address["image"],
            "image_pull_policy": "IfNotPresent",
            "kubeconfig": address["kubeconfig"],
            "namespace": self.admin.namespace,
            **options,
        }
        made = make_component(function, platform="kubernetes", options=options, keep=False)
        return Job(secrets.token_hex(12), made.name, made, made.bind(args, {}), 1)

    async def run(
        self, function: Callable[..., object], *args: object, **options: object
    ) -> tuple[Any, Ticketed]:
        report = Ticketed()
        outcome = await self.made.run(self.job(function, *args, **options), report)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value, report


@contextlib.asynccontextmanager
async def using(admin: Admin) -> AsyncIterator[Using]:
    """An executor that must leave nothing in the namespace."""
    made = KubernetesExecutor(Settings.load())
    await made.open()
    try:
        yield Using(made, admin)
    finally:
        await made.close()
    end = time.monotonic() + 30  # the server may still be at it when it has taken the order
    while admin.objects() and time.monotonic() < end:
        await asyncio.sleep(0.05)
    assert [one["metadata"]["name"] for one in admin.objects()] == []
    while admin.containers():  # of a pod that was given up while its container started
        await asyncio.sleep(0.05)
