"""One container that works on jobs: how it is reached and ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from docker.errors import DockerException
from requests.exceptions import RequestException

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.docker_container import Container, Streams, is_missing, start_error
from twingraph_nb.executors.docker_recalled import ended
from twingraph_nb.executors.docker_setup import Setup
from twingraph_nb.executors.kit import bootstrap
from twingraph_nb.executors.stream_worker import StreamWorker, room_of
from twingraph_nb.executors.worker import Ending, Worker
from twingraph_nb.wire import Message

__all__ = ["DockerWorker"]

_ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1"}
_BEAT = 20.0  # seconds between two looks whether the engine is still there
_MISSED = 2  # looks in vain, each as long as the client is patient, and it is gone


class DockerWorker(StreamWorker):
    """A container whose standard streams carry jobs.

    name: of one that is to outlive this kernel. limit: seconds its job may run then, 0 for any.
    """

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
        name: str = "",
        limit: float = 0.0,
    ) -> None:
        self.single = setup.fresh
        self.checked = bool(name)  # what another kernel sends must not pass for the rest of a part
        self.room = 0 if setup.fresh else room_of(setup.memory)
        linger = setup.linger if name else 0.0
        program = bootstrap(trust=setup.trust, linger=linger, limit=limit)
        self._program = ["python3", "-u", "-c", program]
        self._container = Container(api, setup, image, name, lasts=setup.lasts)
        self._streams = Streams(loop, self.received, self.heard_error, self.gone)
        self._watching: asyncio.Task[None] | None = None
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
        self._watching = self._loop.create_task(self._watch())

    @property
    def whereabouts(self) -> Mapping[str, str]:
        return {"container": self._container.id}

    def write(self, data: Sequence[memoryview]) -> int:
        return self._streams.write(data, self.flush)

    async def kill(self, grace: float) -> None:
        if self._watching is not None:
            self._watching.cancel()
        await ended(self._container, self._streams, grace)

    async def cause(self) -> str:
        return await asyncio.to_thread(self._container.cause, self.tail)

    async def _watch(self) -> None:
        """Give up a container whose engine is silent: its streams may stay open for ever."""
        missed = 0
        while missed < _MISSED:
            await asyncio.sleep(_BEAT)
            if self.tickets:
                there = await asyncio.to_thread(self._container.answers)
                missed = 0 if there else missed + 1
        self.gone()


def _start_error(image: str, exc: Exception) -> ExecutorError:
    if is_missing(exc, "python3"):
        return ExecutorError(
            f"image {image!r} has no python3 on its PATH, which runs the component there: "
            "take an image with Python 3.9 or later"
        )
    return start_error(image, exc)
