"""One container that works on jobs: how it is reached and ended."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from docker.errors import DockerException, NotFound
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import RequestException

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.docker_container import ALWAYS, Container, is_missing, start_error
from twingraph_nb.executors.docker_recalled import ended
from twingraph_nb.executors.docker_setup import Setup
from twingraph_nb.executors.docker_streams import Streams
from twingraph_nb.executors.kit import bootstrap
from twingraph_nb.executors.rejoining import RejoiningWorker
from twingraph_nb.executors.stream_worker import room_of
from twingraph_nb.executors.worker import Ending, Worker
from twingraph_nb.wire import Message

__all__ = ["DockerWorker"]

_ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1"}
_BEAT = 20.0  # seconds between two looks whether the engine is still there
_MISSED = 2  # looks in vain, each as long as the client is patient, and it is gone
_PATIENCE = 60.0  # seconds for an engine that was there before to answer, of a task that begins
_SOON = 0.5  # seconds between two tries
_DYING = 0.1  # seconds after the end of its streams in which a container most often ends


class DockerWorker(RejoiningWorker):
    """A container whose standard streams carry jobs; one that is kept outlives a connection.

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
        program = bootstrap(trust=setup.trust, linger=linger, limit=limit, idle=setup.idle)
        self._program = ["python3", "-u", "-c", program]
        self._container = Container(api, setup, image, name, kept=ALWAYS if setup.lasts else "")
        self._streams = self._ears(loop)
        self._watching: asyncio.Task[None] | None = None
        super().__init__(loop, heard, ended)

    async def connect(self) -> None:
        end, told = self._loop.time() + _PATIENCE, False
        while (sock := await self._started(self._loop.time() >= end)) is None:
            if not told:
                told = True
                said = "the Docker engine does not answer; it is asked again for"
                self.tell(f"{said} {_PATIENCE:g} s")
            await asyncio.sleep(_SOON)
        self.label = self._container.label
        self._streams.open(sock)
        self._watching = self._loop.create_task(self._watch())

    async def _started(self, last: bool) -> socket.socket | None:
        """The streams of a container that has been started; None if the engine is away, unless
        that was the last try."""
        container = self._container
        making = asyncio.ensure_future(
            asyncio.to_thread(container.start, self._program, _ENVIRONMENT)
        )
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            await asyncio.wait([making])  # so that `kill` knows the container
            if not making.exception():
                making.result().close()
            raise
        except (DockerException, RequestException, OSError) as exc:
            if last or not isinstance(exc, NoConnection):
                raise _start_error(container.image, exc) from None
        await asyncio.to_thread(container.remove)
        return None

    async def again(self, command: Sequence[str]) -> bool:
        container = self._container
        self._streams.close()
        container.disconnect()
        await asyncio.sleep(_DYING)
        reach = functools.partial(container.rejoin, b"")
        if command:
            reach = functools.partial(container.visit, container.id, command, b"")
        reaching = asyncio.ensure_future(asyncio.to_thread(reach))
        try:
            sock = await asyncio.shield(reaching)
        except asyncio.CancelledError:
            reaching.add_done_callback(_hung_up)
            raise
        except NotFound:
            return False
        except (DockerException, RequestException, OSError) as exc:
            raise ExecutorError(f"{self.label} cannot be reached: {exc}") from exc
        finally:
            del reaching  # as above
        if sock is None:
            return False
        self._streams = self._ears(self._loop)
        self._streams.open(sock)
        return True

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
        """Take a container whose engine is silent for lost: its streams may stay open for ever."""
        missed = 0
        while True:
            await asyncio.sleep(_BEAT)
            if self.tickets:
                there = await asyncio.to_thread(self._container.answers)
                missed = 0 if there else missed + 1
            if missed == _MISSED:
                missed = 0
                self.lost()

    def _ears(self, loop: asyncio.AbstractEventLoop) -> Streams:
        return Streams(loop, self.received, self.heard_error, self.lost)


def _hung_up(reaching: asyncio.Future[socket.socket | None]) -> None:
    """Close a connection that came too late."""
    if not reaching.cancelled() and reaching.exception() is None:
        sock = reaching.result()
        if sock is not None:
            sock.close()


def _start_error(image: str, exc: Exception) -> ExecutorError:
    if is_missing(exc, "python3"):
        return ExecutorError(
            f"image {image!r} has no python3 on its PATH, which runs the component there: "
            "take an image with Python 3.9 or later"
        )
    return start_error(image, exc)
