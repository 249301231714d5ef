"""A worker elsewhere, reached over one duplex stream of bytes: a container, a pod."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.kit import kit_bytes
from twingraph_nb.executors.worker import Ending, Ticket, Worker
from twingraph_nb.remote import DROP, GIVE, KEEP, PAYLOAD, SECONDS, TAG, TURNED
from twingraph_nb.remote_payloads import ROOM, Part
from twingraph_nb.wire import Buffer, Decoder, Message, WireError, frame

__all__ = ["StreamWorker", "room_of"]

_SHARE = 4  # of its memory that a far side may fill with inputs for the next job
_TAIL = 4000  # characters of stderr kept for the message about a death


class StreamWorker(Worker):
    """What all workers behind a stream have in common; a subclass knows how to reach one.

    A subclass starts the far side in `connect`, sends with `write`, and calls `received`,
    `heard_error` and `gone` as bytes come and when it is over. All on the loop's thread.

    room: bytes of inputs that the far side keeps for the next job.
    """

    room = ROOM

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[Worker, Message], None],
        ended: Callable[[Worker, Ending], None],
    ) -> None:
        super().__init__(loop, heard, ended)
        self._decoder = Decoder()
        self._held: OrderedDict[str, int] = OrderedDict()  # bytes by digest, as kept there
        self._running = 0
        self._over = False
        self._open = False
        self._tail = self._why = ""
        self._finished = asyncio.Event()
        self._starting = loop.create_task(self._connected())

    @abstractmethod
    async def connect(self) -> None:
        """Start the far side with `kit.bootstrap` and reach its streams.

        Raises:
            ExecutorError: it cannot be started; no other worker would fare better.
        """

    @abstractmethod
    def write(self, data: Sequence[memoryview]) -> int:
        """Send some of the bytes without waiting; gives how many. Calls `flush` when it can more.

        Raises:
            OSError: the far side is gone.
        """

    @abstractmethod
    async def kill(self, grace: float) -> None:
        """End the far side with all it started, after `grace` seconds; waits until it is gone."""

    @abstractmethod
    async def cause(self) -> str:
        """Say how the far side ended: the rest of a sentence about it."""

    # -- for subclasses ------------------------------------------------------------------------

    def received(self, data: bytes | memoryview) -> None:
        """Take bytes of the protocol; none after what is not to be understood."""
        if self._why:
            return
        try:
            for message in self._decoder.feed(data):
                self._hear(message)
        except WireError as exc:
            self._why = f"gave an answer that is not to be understood ({exc})"
            if not self.ready:
                self._why += ": what starts it there must not write to its standard output"
            self.gone()

    def heard_error(self, data: bytes) -> None:
        """Take what the far side wrote to its own standard error: why it cannot go on."""
        self._tail = (self._tail + data.decode("utf-8", "replace"))[-_TAIL:]
        self.hear_output("e", data)

    @property
    def tail(self) -> str:
        """The last of what it wrote to standard error."""
        return self._tail

    def gone(self) -> None:
        """Say that the streams have ended; call it once or more."""
        if not self._over:
            self._over = True
            self._loop.create_task(self._buried())

    # -- for those who find it again -----------------------------------------------------------

    @property
    def whereabouts(self) -> Mapping[str, str]:
        """What a ticket says, by which another kernel finds it."""
        return {}

    def keep(self, tag: int, door: str, linger: float, limit: float) -> None:
        """Have a job go on when this kernel dies; see `remote_orphan.Will`."""
        seconds = SECONDS.pack(linger), SECONDS.pack(limit)
        self.send([door.encode(), *seconds], kind=KEEP, tag=tag)
        self.flush()

    # -- Worker --------------------------------------------------------------------------------

    def flush(self) -> None:
        if not self._open or self._over:
            return
        try:
            while self._unsent:
                count = self.write([self._unsent[at] for at in range(min(len(self._unsent), 64))])
                if not count:
                    return
                self.sent(count)
        except OSError:
            self._unsent.clear()
            self.gone()

    def take_back(self, tags: Sequence[int]) -> None:
        self.put(frame([b"".join(map(TAG.pack, tags))], kind=GIVE))
        self.flush()

    def apart(self, ticket: Ticket) -> Sequence[Part]:
        needed = {digest for _, digest, _, _ in ticket.parts}
        return [
            part
            for part in ticket.parts
            if part[3] or self._keeps(part[1], part[2], ticket.frames[part[0]], needed)
        ]

    async def end(self, grace: float) -> None:
        if not self._over:  # else it is being removed, and tells when that is done
            self._starting.cancel()
        await asyncio.wait([self._starting])
        try:
            await self.kill(grace)
        finally:
            self.gone()
            await self._finished.wait()

    # -- inside --------------------------------------------------------------------------------

    def _keeps(self, digest: str, size: int, content: Buffer, needed: set[str]) -> bool:
        """See to it that the far side has a part of a job's inputs; False if it has no room."""
        if digest in self._held:
            self._held.move_to_end(digest)
            return True
        if size + sum(n for one, n in self._held.items() if one in needed) > self.room:
            return False
        for one in [one for one in self._held if one not in needed]:
            if size + sum(self._held.values()) <= self.room:
                break
            del self._held[one]
            self.send([one.encode()], kind=DROP)
        self._held[digest] = size
        self.send([digest.encode(), content], kind=PAYLOAD)
        return True

    async def _connected(self) -> None:
        try:
            await self.connect()
        except asyncio.CancelledError:
            raise
        except Exception as exc:  # a client library may raise anything, and jobs wait for this
            self._over = True
            if not isinstance(exc, ExecutorError):
                exc = ExecutorError(f"a {self.kind} could not be started: {exc!r}")
            try:
                await self.kill(0.0)
            finally:
                self._report(Ending("could not be started", 0, exc))
            return
        self._open = True
        self._unsent.appendleft(memoryview(kit_bytes()))
        self.flush()

    def _hear(self, message: Message) -> None:
        if message.kind == TURNED:
            self._running = message.tag
        else:
            self._heard(self, message)

    def done(self, tag: int) -> Ticket | None:
        if tag == self._running:
            self._running = 0
        return super().done(tag)

    async def _buried(self) -> None:
        """The far side is at an end: find out how, and tell."""
        running = self._running
        try:
            cause = self._why or await self.cause()
        except ExecutorError as exc:
            cause = f"is gone ({exc})"
        try:
            await self.kill(0.0)
        finally:
            self._report(Ending(cause, running))

    def _report(self, ending: Ending) -> None:
        self._finished.set()
        self._unsent.clear()
        self._ended(self, ending)


def room_of(memory: int) -> int:
    """Give how much of its memory (bytes, 0 = no limit) a far side may keep inputs in."""
    return min(ROOM, memory // _SHARE) if memory else ROOM
