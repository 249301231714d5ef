"""A line between us and a service of this machine that a test can cut, stop and heal."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Self

__all__ = ["Cable"]

_READ = 1 << 16
_ACCEPTED = 0.02  # seconds in which what has just been accepted becomes a line
_STEPS = 10  # of the loop that this takes, and more

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Cable:
    """Passes on what comes to a port (or a socket's path) of its own. Calls from any thread.

    port: its own, on `host`; 0 with paths.
    """

    def __init__(self, there: int | Path, *, host: str = "127.0.0.1", here: Path | None = None):
        self._there, self._host, self._here = there, host, here
        self._loop = asyncio.new_event_loop()
        self._lines: set[_Line] = set()
        self._held = False
        self.port = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="cable", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *error: object) -> None:
        self._do(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """End all connections, and take no new ones."""
        self._do(self._shut())

    def hold(self) -> None:
        """Take connections and what comes over them, but pass nothing on: a black hole."""
        self._do(self._set(held=True))

    def heal(self, *, forget: bool = False) -> None:
        """Pass on again, what was held too.

        Args:
            forget: the connections of before stay silent for ever, without an end, as after a
                firewall's or an address translator's restart; only new ones work.
        """
        self._do(self._set(held=False, forget=forget))

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._lines)

    # -- on its loop -------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _open(self) -> None:
        if self._here is not None:
            self._server = await asyncio.start_unix_server(self._take, self._here)
            return
        self._server = await asyncio.start_server(self._take, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        self._server.close()
        await asyncio.sleep(_ACCEPTED)
        for _ in range(_STEPS):  # the time alone may pass in one, on a busy machine
            await asyncio.sleep(0)
        while lines := tuple(self._lines):
            for line in lines:
                line.end()
            await asyncio.gather(*[line.ended.wait() for line in lines])
            await asyncio.sleep(0)  # those that are over leave

    async def _set(self, *, held: bool, forget: bool = False) -> None:
        if not held and not self._server.is_serving():
            await self._open()
        self._held = held
        for line in self._lines:
            if held:
                line.open.clear()
            elif not forget and not line.forgotten:
                line.open.set()
            else:
                line.forgotten = True

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line((reader, writer), held=self._held)
        self._lines.add(line)
        try:
            await line.run(self._reach)
        finally:
            self._lines.discard(line)

    async def _reach(self) -> Ends:
        if isinstance(self._there, Path):
            return await asyncio.open_unix_connection(self._there)
        return await asyncio.open_connection(self._host, self._there)


class _Line:
    """One connection through the cable."""

    def __init__(self, near: Ends, *, held: bool) -> None:
        self._near = near
        self.open, self.ended = asyncio.Event(), asyncio.Event()
        self.forgotten = False
        self._task: asyncio.Task[Any] | None = None
        if not held:
            self.open.set()

    def end(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def run(self, reach: Any) -> None:
        self._task = asyncio.current_task()
        writers = [self._near[1]]
        try:
            await self.open.wait()
            far = await reach()
            writers.append(far[1])
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(self._near[0], far[1]))
                group.create_task(self._copy(far[0], self._near[1]))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass
        finally:
            for writer in writers:
                writer.transport.abort()
            self.ended.set()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for data in _parts(reader):
            await self.open.wait()
            writer.write(data)
            await writer.drain()
        await self.open.wait()
        with contextlib.suppress(OSError):
            writer.write_eof()


async def _parts(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while data := await reader.read(_READ):
        yield data
