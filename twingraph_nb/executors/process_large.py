"""A message with large frames on its way to a worker process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from twingraph_nb.segments import Segments
from twingraph_nb.wire import Buffer, frame

__all__ = ["Large"]


class Large:
    """A message with large frames, on its way into shared memory in a thread.

    behind: messages that must not be sent before it. ready: it can be handed over.
    """

    def __init__(
        self,
        frames: Sequence[Buffer],
        kind: int,
        tag: int,
        loop: asyncio.AbstractEventLoop,
        flush: Callable[[], None],
    ) -> None:
        self.behind: list[Sequence[Buffer]] = []
        self.ready = self._dropped = False
        self._segments: Segments | None = None
        self._whole, self._kind, self._tag = frames, kind, tag
        self._flush = flush
        self._copying = loop.run_in_executor(None, self._copy)
        self._copying.add_done_callback(self._copied)

    def hand_over(self, jobs: socket.socket) -> Sequence[Buffer]:
        """Hand the memory over; gives the buffers to send then."""
        if self._segments is None:
            return frame(self._whole, kind=self._kind, tag=self._tag)
        return [self._segments.send(jobs), *self._segments.rest]

    def drop(self) -> None:
        """Let go of the memory: nobody is there to take it."""
        self._dropped = True
        if self._segments is not None:
            self._segments.close()

    def _copy(self) -> None:
        try:
            self._segments = Segments(self._whole, kind=self._kind, tag=self._tag)
        except OSError:
            pass  # no memory for a copy: it goes through the socket piece by piece

    def _copied(self, copying: asyncio.Future[None]) -> None:
        if self._dropped:
            self.drop()
        elif not copying.cancelled():
            self.ready = True
            self._flush()
