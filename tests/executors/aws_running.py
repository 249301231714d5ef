"""What the tests of platforms on AWS share."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import io
import itertools
import uuid
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import boto3

from tests.executors.running import Memory
from twingraph_nb.component import make_component
from twingraph_nb.executors.base import Executor, Job, RemoteValue
from twingraph_nb.settings import Settings

_numbers = itertools.count(1)


class Told(Memory):
    """A report that also keeps the tickets, and lets a test wait for a state."""

    def __init__(self) -> None:
        super().__init__()
        self.tickets: list[str] = []

    def ticket(self, ticket: str) -> None:
        self.tickets.append(ticket)


class Made(Protocol):
    def __call__(self, settings: Settings) -> Executor: ...


@contextlib.asynccontextmanager
async def opened(made: Made, home: Path) -> AsyncIterator[Any]:
    """An executor with a home of its own."""
    one = made(replace(Settings.load(), home=home))
    await one.open()
    try:
        yield one
    finally:
        await one.close()


def job(
    platform: str,
    function: Callable[..., object],
    arguments: tuple[object, ...] = (),
    **options: object,
) -> Job:
    """A job of a platform, with a hash of its own."""
    component = make_component(function, platform=platform, options=options, keep=False)
    number = next(_numbers)
    return Job(f"h{number}", function.__name__, component, component.bind(arguments, {}), 1)


async def value(executor: Executor, asked: Job, told: Told | None = None) -> object:
    """What a job gives, brought here if it stays elsewhere."""
    outcome = await executor.run(asked, told or Told())
    if outcome.error is not None:
        raise outcome.error
    found = outcome.value
    return await found.fetch() if isinstance(found, RemoteValue) else found


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.05)


def client(aws: Mapping[str, str], name: str) -> Any:
    return boto3.client(
        name,
        endpoint_url=aws["endpoint_url"],
        region_name=aws["region"],
        aws_access_key_id=aws["key"],
        aws_secret_access_key=aws["secret"],
    )


@contextlib.contextmanager
def layer(aws: Mapping[str, str], *names: str) -> Iterator[str]:
    """A layer for functions with some of the distributions that are installed here; its ARN."""
    packed, place = io.BytesIO(), {"Bucket": aws["bucket"], "Key": f"layer-{uuid.uuid4().hex}"}
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            for each in importlib.metadata.distribution(name).files or ():
                if each.suffix != ".pyc" and not {"..", "tests"} & set(each.parts):
                    archive.write(str(each.locate()), f"python/{each}")
    client(aws, "s3").put_object(**place, Body=packed.getvalue())
    api, content = client(aws, "lambda"), {f"S3{key}": value for key, value in place.items()}
    made = api.publish_layer_version(LayerName="laid", Content=content)
    client(aws, "s3").delete_object(**place)
    yield made["LayerVersionArn"]
    api.delete_layer_version(LayerName="laid", VersionNumber=made["Version"])


def objects(aws: Mapping[str, str], bucket: str) -> list[str]:
    found = client(aws, "s3").list_objects_v2(Bucket=bucket)
    return [one["Key"] for one in found.get("Contents", ())]
