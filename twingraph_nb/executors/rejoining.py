"""A worker whose job outlives its connection: it is reached again, and asked for the rest."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Sequence

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.lasting import BUSY, asking_at
from twingraph_nb.executors.recalled import AWAY, SOON, Question, Retold
from twingraph_nb.executors.stream_worker import StreamWorker
from twingraph_nb.executors.worker import Ending, Worker
from twingraph_nb.remote import GAVE, READY, TAG, TURNED
from twingraph_nb.wire import Decoder, Message

__all__ = ["RejoiningWorker"]

_TOLD = 5.0  # seconds without a connection after which it is said


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
        self._retold = Retold()
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
        while (away := self._loop.time() - self._since) < AWAY:
            self._asked, self._decoder = Question(), Decoder()
            self._retold.begin()
            self._beside = bool(command)
            try:
                found = await self.again(command)
            except ExecutorError:
                if away > _TOLD and not said:
                    said = True
                    self.tell(f"{self.label} cannot be heard now; its task goes on there")
                await asyncio.sleep(SOON)
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
        if self._since and self._search is None:
            self._since = 0.0
            self.tell(f"the connection to {self.label} was lost, and is there again")
        if not self._retold.is_new(message.kind):
            return
        if message.kind == TURNED:
            if message.tag != self._running:  # another job: nothing is known of it
                self._retold.clear()
            if not self.ready:  # what got lost with the connection
                self._heard(self, Message(0, READY, 0, []))
        super()._hear(message)
