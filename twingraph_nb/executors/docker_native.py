"""Components in other languages on platform `docker`: a container stays for the next call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from docker.errors import DockerException
from requests.exceptions import RequestException

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.docker_container import (
    IF_MARKED,
    Container,
    is_missing,
    start_error,
)
from twingraph_nb.executors.docker_setup import Setup
from twingraph_nb.executors.docker_streams import Streams
from twingraph_nb.executors.native_far import Ears, End, Lacking
from twingraph_nb.executors.native_program import FOLDER, Program
from twingraph_nb.executors.recalled import Engine
from twingraph_nb.languages import Built

__all__ = ["ContainerHome", "ContainerVessel"]


class ContainerHome:
    """Containers of one image and setup; see `Home`."""

    platform: ClassVar[str] = "docker"
    kind: ClassVar[str] = "container"
    brings: ClassVar[bool] = False

    def __init__(
        self, api: Any, setup: Setup, image: str, size: int, which: Callable[[], Awaitable[Engine]]
    ) -> None:
        self._api, self._setup, self.image, self.which = api, setup, image, which
        self.workers, self.idle = setup.workers or size, setup.idle
        self.single = setup.fresh
        self.key = self.stock = f"{image} {setup.key}"
        self.linger = setup.linger
        self.facts: Mapping[str, object] = {"host": setup.host}

    def vessel(self, built: Built) -> ContainerVessel:
        files = {f"{FOLDER}/{one.name}": str(one) for one in built.folder.iterdir()}
        own = replace(self._setup, files={**self._setup.files, **files})
        kept = IF_MARKED if self.linger else ""
        return ContainerVessel(Container(self._api, own, self.image, kept=kept))

    async def has(self, program: str) -> bool:
        asking = asyncio.ensure_future(asyncio.to_thread(self._has, program))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            await asyncio.wait([asking])  # so that its container is gone
            asking.exception()
            raise

    def _has(self, program: str) -> bool:
        container = Container(self._api, replace(self._setup, files={}), self.image)
        try:
            container.start([program, "--version"], {}).close()
            return True
        except (DockerException, RequestException, OSError) as exc:
            if not is_missing(exc, program):
                raise start_error(self.image, exc) from None
            return False
        finally:
            container.disconnect()
            container.remove()


class ContainerVessel:
    """A container, as a worker of another language sees it; see `Vessel`."""

    def __init__(self, container: Container) -> None:
        self._container, self.image = container, container.image
        self._streams: Streams | None = None
        self._more: Callable[[], None]

    @property
    def label(self) -> str:
        return self._container.label

    async def start(self, program: Program, environ: dict[str, str], ears: Ears) -> None:
        loop = asyncio.get_running_loop()
        making = asyncio.ensure_future(
            asyncio.to_thread(self._container.start, program.command, environ)
        )
        try:
            sock = await asyncio.shield(making)
        except asyncio.CancelledError:
            await asyncio.wait([making])  # so that the container can be removed
            if not making.exception():
                making.result().close()
            raise
        except (DockerException, RequestException, OSError) as exc:
            missing = next((one for one in program.needs if is_missing(exc, one)), None)
            if missing:
                raise Lacking(missing) from None
            raise start_error(self.image, exc) from None
        self._more = ears.more
        self._streams = Streams(loop, ears.out, ears.error, ears.over)
        self._streams.open(sock)

    def write(self, data: memoryview) -> int:
        if self._streams is None:
            raise BrokenPipeError
        return self._streams.write([data], self._more)

    def hush(self) -> None:
        if self._streams is not None:
            self._streams.close()

    async def end(self, last_words: str, *, worked: bool) -> End:
        return await asyncio.to_thread(self._end, last_words)

    @property
    def whereabouts(self) -> dict[str, str]:
        return {"container": self._container.id}

    async def mark(self, kept: bool) -> None:
        try:
            await asyncio.to_thread(self._container.mark, kept)
        except (DockerException, RequestException, OSError) as exc:
            raise ExecutorError(f"{self.label} cannot be given a name: {exc}") from exc

    async def remove(self) -> None:
        self._container.disconnect()
        await asyncio.to_thread(self._container.remove)

    def _end(self, last_words: str) -> End:
        cause = self._container.cause(last_words)  # raises the right error if that is not known
        try:
            return End(self._container.state().get("ExitCode"), cause)
        except (DockerException, RequestException):  # somebody has just removed it
            return End(None, cause)
