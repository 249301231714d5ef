"""A worker whose one job outlives its connection: it is reached again, and asked for the rest."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.recalled import Question
from twingraph_nb.executors.stream_worker import StreamWorker
from twingraph_nb.executors.worker import Ending, Worker
from twingraph_nb.remote import CHUNK, LOG, READY, TURNED
from twingraph_nb.wire import Decoder, Message

__all__ = ["RejoiningWorker"]

_ONCE = (LOG, CHUNK)
"""What is told in its order and must not be heard twice; of all else the newest counts."""


class RejoiningWorker(StreamWorker):
    """A subclass calls `lost` where a stream may end alone, and reaches the far side in `again`.

    Only a far side that keeps the story of its job can be asked again: one that is `checked`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[Worker, Message], None],
        ended: Callable[[Worker, Ending], None],
    ) -> None:
        self._told: Counter[int] = Counter()
        self._known: Counter[int] = Counter()  # of what is told again, heard before
        self._asked: Question | None = None
        self._search: asyncio.Task[None] | None = None
        super().__init__(loop, heard, ended)

    @abstractmethod
    async def again(self) -> bool:
        """Reach the streams of the far side once more; False if it has ended, or stays away."""

    def lost(self) -> None:
        """Say that the streams have ended, and the far side perhaps not; once or more."""
        sent = self._open and not self._unsent  # half of a job is never run
        if not (self.checked and sent and self.tickets) or self.ending:
            self.gone()
        elif self._search is None:
            self._search = self._loop.create_task(self._searched())

    def received(self, data: bytes | memoryview) -> None:
        super().received(data if self._asked is None else self._asked.answer(data))

    async def end(self, grace: float) -> None:
        if self._search is not None:
            self._search.cancel()
            await asyncio.wait([self._search])
        await super().end(grace)

    async def _searched(self) -> None:
        self._asked, self._decoder = Question(), Decoder()
        self._known = self._told.copy()
        try:
            found = await self.again()
        except ExecutorError:
            found = False
        self._search = None
        if found:
            self.put([self._asked.message])
            self.flush()
        else:
            self.gone()

    def _hear(self, message: Message) -> None:
        kind = message.kind
        if kind in _ONCE:
            if self._known[kind]:
                self._known[kind] -= 1
                return
            self._told[kind] += 1
        elif kind == TURNED and not self.ready:  # what got lost with the connection
            self._heard(self, Message(0, READY, 0, []))
        super()._hear(message)
