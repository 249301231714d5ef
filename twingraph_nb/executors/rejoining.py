"""A worker whose job outlives its connection: it is reached again, and asked for the rest."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.lasting import BUSY, asking_at
from twingraph_nb.executors.recalled import Question
from twingraph_nb.executors.stream_worker import StreamWorker
from twingraph_nb.executors.worker import Ending, Worker
from twingraph_nb.remote import CHUNK, GAVE, LOG, READY, TAG, TURNED
from twingraph_nb.wire import Decoder, Message

__all__ = ["RejoiningWorker"]

_ONCE = (LOG, CHUNK)
"""What is told in its order and must not be heard twice; of all else the newest counts."""
_AWAY = 300.0  # seconds for a far side to be reached again while a task goes on there
_TOLD = 5.0  # seconds of these after which it is said
_SOON = 0.5  # seconds between attempts


class RejoiningWorker(StreamWorker):
    """A subclass calls `lost` where a stream may end alone, and reaches the far side in `again`.

    Only a far side that keeps the story of its job can be asked again: one that is `checked`, of
    a single job, or one of many whose job has a door. The latter takes no job after that.
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
        self._since = 0.0  # when it was lost, until something is heard again
        self._door = 0, ""  # of the job of that tag
        self._beside = False  # what is heard comes by one who asks at the door
        super().__init__(loop, heard, ended)

    @abstractmethod
    async def again(self, command: Sequence[str]) -> bool:
        """Reach the streams of the far side once more; False if it has ended.

        Args:
            command: to run there beside, whose streams are wanted; empty = those of its own.
        Raises:
            ExecutorError: it cannot be reached now.
        """

    def lost(self) -> None:
        """Say that the streams have ended, and the far side perhaps not; once or more."""
        if self._over or self._search is not None:
            return
        self._since = self._since or self._loop.time()
        tag, door = self._door
        sent = self._open and not self._unsent  # half of a job is never run
        if self.ending or not self.tickets:
            self.gone()
        elif self.tickets[0].tag == tag:
            self._leave_the_rest()
            self._search = self._loop.create_task(self._searched(asking_at(door)))
        elif self.checked and sent:
            self._search = self._loop.create_task(self._searched(()))
        else:
            self.gone()

    def received(self, data: bytes | memoryview) -> None:
        super().received(data if self._asked is None else self._asked.answer(data))

    def heard_error(self, data: bytes) -> None:
        if not self._beside:
            super().heard_error(data)
        elif BUSY.encode() in data:  # the job is over, and its answer gone
            self.gone()

    def keep(self, tag: int, door: str, linger: float, limit: float) -> None:
        self._door = tag, door
        super().keep(tag, door, linger, limit)

    def flush(self) -> None:
        if self._search is None:
            super().flush()

    async def end(self, grace: float) -> None:
        if self._search is not None:
            self._search.cancel()
            await asyncio.wait([self._search])
        await super().end(grace)

    def _leave_the_rest(self) -> None:
        """Give back all but the job that goes on: the far side begins no other."""
        self.single = self.alone = True
        self._unsent.clear()
        rest = b"".join(TAG.pack(one.tag) for one in list(self.tickets)[1:])
        if rest:
            self._heard(self, Message(0, GAVE, 0, [b"", rest]))

    async def _searched(self, command: Sequence[str]) -> None:
        """Reach it again and ask it for all it has said, as long as there is hope."""
        said = False
        while (away := self._loop.time() - self._since) < _AWAY:
            self._asked, self._decoder = Question(), Decoder()
            self._known, self._beside = self._told.copy(), bool(command)
            try:
                found = await self.again(command)
            except ExecutorError:
                if away > _TOLD and not said:
                    said = True
                    self.tell(f"{self.label} cannot be heard now; its task goes on there")
                await asyncio.sleep(_SOON)
                continue
            if not found:
                break
            self._search = None
            self.put([self._asked.message])
            self.flush()
            return
        self._search = None
        self.gone()

    def _hear(self, message: Message) -> None:
        kind = message.kind
        if self._since and self._search is None:
            self._since = 0.0
            self.tell(f"the connection to {self.label} was lost, and is there again")
        if kind in _ONCE:
            if self._known[kind]:
                self._known[kind] -= 1
                return
            self._told[kind] += 1
        elif kind == TURNED:
            if message.tag != self._running:  # another job: nothing is known of it
                self._told.clear()
                self._known.clear()
            if not self.ready:  # what got lost with the connection
                self._heard(self, Message(0, READY, 0, []))
        super()._hear(message)
