"""What a task in a container costs: against a container of its own, processes, and docker cp."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from typing import Any

import docker

from tests.bench.harness import Row, compared
from tests.services.base import ensure
from tests.services.images import python_image
from twingraph_nb import async_component, component, pipeline

__all__ = ["containers"]

CALLS = 100
FAN = 1000
LARGE = 100_000_000  # bytes


def same(x):
    return x


@async_component()
async def total(xs):
    return sum(xs)


def containers() -> Iterator[Row]:
    """Through the session, with the event log on."""
    host = ensure("docker")["host"]
    image = python_image()
    inside = component(platform="docker", image=image, host=host, workers=2)(same)
    beside = component(platform="process")(same)
    client = docker.DockerClient(base_url=host)

    def alone() -> None:
        for _ in range(5):
            client.containers.run(image, ["python3", "-c", "pass"], remove=True)

    ours, base = compared(lambda: [inside(n).result() for n in range(CALLS)], alone, runs=3)
    base *= CALLS / 5
    yield Row("Docker no-op, warm", ours, base, CALLS, "ms", at_most=0.01, note="containers.run")

    @pipeline()
    def there(n):
        return total([inside(i) for i in range(n)])

    @pipeline()
    def here(n):
        return total([beside(i) for i in range(n)])

    ours, base = compared(lambda: there(FAN).result(), lambda: here(FAN).result(), runs=7)
    yield Row("1,000 Docker no-ops", ours, base, FAN, at_most=2, note="process tasks")

    data = os.urandom(LARGE)
    ours, base = compared(lambda: inside(data).result(), _copied(client, image, data), runs=5)
    yield Row(
        "100 MB through Docker and back", ours, base, unit="ms", at_most=1.2, note="docker cp"
    )
    client.close()


def _copied(client: Any, image: str, data: bytes) -> Any:
    """What `docker cp` there and back does, by the same API."""
    held = client.containers.create(image, ["sleep", "1"])

    def copy() -> None:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            member = tarfile.TarInfo("data")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        held.put_archive("/tmp", out.getvalue())
        parts, _ = held.get_archive("/tmp/data")
        with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as archive:
            found = archive.extractfile("data")
            assert found is not None
            assert len(found.read()) == len(data)

    return copy
