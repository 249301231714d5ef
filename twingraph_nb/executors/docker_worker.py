"""One container that works on jobs: how it is reached and ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from docker.errors import DockerException
from requests.exceptions import RequestException

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.docker_container import Container, Streams, is_missing, start_error
from twingraph_nb.executors.docker_setup import Setup
from twingraph_nb.executors.kit import bootstrap
from twingraph_nb.executors.stream_worker import StreamWorker, room_of
from twingraph_nb.executors.worker import Ending, Worker
from twingraph_nb.wire import Message

__all__ = ["DockerWorker"]

_ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1"}


class DockerWorker(StreamWorker):
    """A container whose standard streams carry jobs."""

    kind = "container"

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[Worker, Message], None],
        ended: Callable[[Worker, Ending], None],
        *,
        api: Any,
        setup: Setup,
        image: str,
    ) -> None:
        self.single = setup.fresh
        self.room = 0 if setup.fresh else room_of(setup.memory)
        self._program = ["python3", "-u", "-c", bootstrap(trust=setup.trust)]
        self._container = Container(api, setup, image)
        self._streams = Streams(loop, self.received, self.heard_error, self.gone)
        super().__init__(loop, heard, ended)

    async def connect(self) -> None:
        making = asyncio.ensure_future(
            asyncio.to_thread(self._container.start, self._program, _ENVIRONMENT)
        )
        try:
            sock = await asyncio.shield(making)
        except asyncio.CancelledError:
            await asyncio.wait([making])  # so that `kill` knows the container
            raise
        except (DockerException, RequestException, OSError) as exc:
            raise _start_error(self._container.image, exc) from exc
        self.label = self._container.label
        self._streams.open(sock)

    def write(self, data: Sequence[memoryview]) -> int:
        return self._streams.write(data, self.flush)

    async def kill(self, grace: float) -> None:
        if grace and self._container.id:
            await asyncio.to_thread(self._container.ask_to_end)
            end = self._loop.time() + grace
            while not self._streams.over and self._loop.time() < end:
                await asyncio.sleep(0.01)
        self._streams.close()
        self._container.disconnect()
        await asyncio.to_thread(self._container.remove)

    async def cause(self) -> str:
        return await asyncio.to_thread(self._container.cause, self.tail)


def _start_error(image: str, exc: Exception) -> ExecutorError:
    if is_missing(exc, "python3"):
        return ExecutorError(
            f"image {image!r} has no python3 on its PATH, which runs the component there: "
            "take an image with Python 3.9 or later"
        )
    return start_error(image, exc)
