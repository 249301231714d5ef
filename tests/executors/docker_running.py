"""What the tests of platform `docker` share: an executor on the tests' engine."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from tests.executors.running import Memory
from twingraph_nb.component import make_component
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.docker import DockerExecutor
from twingraph_nb.executors.docker_container import SESSION
from twingraph_nb.executors.owner import OWNER, owner_label
from twingraph_nb.settings import Settings

__all__ = ["Using", "executor", "where"]


class Using:
    """An executor on the tests' engine, and what its containers are."""

    def __init__(self, made: DockerExecutor, client: Any, image: str) -> None:
        self.made, self.client, self.image = made, client, image

    async def run(
        self, function: Callable[..., object], *args: object, **options: object
    ) -> tuple[Any, Memory]:
        report = Memory()
        outcome = await self.made.run(self.job(function, *args, **options), report)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value, report

    def job(self, function: Callable[..., object], *args: object, **options: object) -> Job:
        options = {"image": self.image, **options}
        made = make_component(function, platform="docker", options=options, keep=False)
        return Job(secrets.token_hex(12), made.name, made, made.bind(args, {}), 1)

    def containers(self) -> list[Any]:
        """Those of this executor."""
        mine = f"{SESSION}={self.made._session}"
        found = self.client.containers.list(all=True, filters={"label": mine}, ignore_removed=True)
        assert all(one.labels[OWNER] == owner_label() for one in found)
        return list(found)

    def another(self) -> contextlib.AbstractAsyncContextManager[Using]:
        """One more executor on the engine."""
        return executor(self.client, self.image)


@contextlib.asynccontextmanager
async def executor(client: Any, image: str, workers: int = 1) -> AsyncIterator[Using]:
    made = DockerExecutor(replace(Settings.load(), processes=workers))
    await made.open()
    using = Using(made, client, image)
    try:
        yield using
    finally:
        await made.close()
        assert using.containers() == []


def where() -> str:
    with open("/proc/sys/kernel/hostname") as file:
        return file.read().strip()
