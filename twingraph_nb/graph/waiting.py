"""Waiting on event loops that are not ours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

__all__ = ["Chunks", "Heartbeat"]

_BEAT = 0.1
"""Seconds until the stop button is heard by a cell that awaits."""
_lock = threading.Lock()


class Heartbeat:
    """Keeps a notebook's loop turning while a cell awaits.

    ipykernel 7.4 turns the stop button into a tornado callback that does not wake a loop which
    sleeps in its selector: without other traffic the cell would not stop.
    """

    __slots__ = ("_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._beat()

    def _beat(self) -> None:
        self._handle = self._loop.call_later(_BEAT, self._beat)

    def stop(self) -> None:
        """The await is over."""
        self._handle.cancel()


class Chunks:
    """The chunks of a stream, and who waits for the next."""

    __slots__ = ("_waiting", "items")

    def __init__(self) -> None:
        self.items: list[object] = []
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def put(self, chunk: object) -> None:
        """Add a chunk."""
        self.items.append(chunk)
        self.wake()

    def wake(self) -> None:
        """Tell who waits that there is more, or that it is over."""
        with _lock:
            waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            try:
                loop.call_soon_threadsafe(_settle, future)
            except RuntimeError:
                pass  # that loop was closed: nobody waits any more

    async def beyond(self, seen: int, is_over: Callable[[], bool]) -> None:
        """Wait until there are more than `seen` chunks, or it is over."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with _lock:
            self._waiting.append((loop, future))
        if len(self.items) > seen or is_over():
            return
        await future


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
