"""A worker as the kernel sees it, wherever it runs: what it was given, knows and says."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twingraph_nb.errors import ExecutorError
from twingraph_nb.remote import BUNDLE, FORGET, LOG
from twingraph_nb.remote_payloads import Part
from twingraph_nb.source.bundle import Bundle
from twingraph_nb.wire import Buffer, Message, frame

__all__ = ["BEGAN", "LASTS", "Ending", "Ticket", "Worker"]

_KNOWN = 32  # components a worker keeps; each may hold captured data
_FEW, _SMALL = 8, 1 << 12  # buffers and bytes that are cheaper sent as one


class Ending(NamedTuple):
    """How a worker ended.

    cause: the rest of a sentence. running: tag of the job it ran, 0 if it was idle.
    error: set when no other worker would fare better, such as an image that is not there.
    """

    cause: str
    running: int
    error: ExecutorError | None = None


BEGAN = -1
"""Told to a job's listener, with the worker's label, when the worker turns to it."""
LASTS = -2
"""Told to it, with the worker and the job's tag, when it has run for about a second."""


class Ticket:
    """A job in the pool.

    pace: jobs of the same pace take about as long. meta: hash, name, attempt, folder, variables
    of the environment. frames: the arguments as they travel. parts: those of them that may go
    apart from the job, and where they are already. listener: told what the job says.
    settle: called once with the kind of the last message and its frames, or with an error.
    """

    __slots__ = (
        "bundle",
        "cancelled",
        "frames",
        "gone",
        "grace",
        "listener",
        "meta",
        "pace",
        "parts",
        "settle",
        "starts",
        "tag",
        "worker",
    )

    def __init__(
        self,
        bundle: Bundle,
        pace: object,
        meta: tuple[Any, ...],
        frames: Sequence[Any],
        listener: Callable[[int, list[Any]], None],
        settle: Callable[[int, Any], None],
        parts: Sequence[Part] = (),
    ) -> None:
        self.bundle, self.pace, self.meta, self.frames = bundle, pace, meta, frames
        self.parts = parts
        self.grace: float | None = None  # seconds from asking to killing; None = the pool's own
        self.listener, self.settle = listener, settle
        self.worker: Worker | None = None
        self.tag = self.starts = 0
        self.cancelled = False
        self.gone: asyncio.Future[None] | None = None

    @property
    def name(self) -> str:
        """The task's name, for messages."""
        return str(self.meta[1])


class Worker(ABC):
    """The jobs a worker was given in order, and the components it knows.

    label: what to call it, such as "process 4711". kind: what it is, such as "worker process".
    ready: it has said that it can work. ending: it is being ended. alone: no job may be sent
    ahead to it now. single: it ends after one job. checked: what is sent has a full checksum.
    """

    kind = "worker process"
    single = checked = False

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[Worker, Message], None],
        ended: Callable[[Worker, Ending], None],
    ) -> None:
        self._loop, self._heard, self._ended = loop, heard, ended
        self.label = ""
        self.tickets: deque[Ticket] = deque()
        self.known: OrderedDict[str, int] = OrderedDict()
        self.ready = self.ending = self.alone = False
        self.idle_since = loop.time()
        self._refs: dict[str, float] = {}
        self._numbers = 0
        self._unsent: deque[memoryview] = deque()

    @abstractmethod
    def flush(self) -> None:
        """Send what is queued, as far as the way to it takes it; the rest when it takes more."""

    @abstractmethod
    def take_back(self, tags: Sequence[int]) -> None:
        """Ask for jobs that have not begun; it answers with those it gives."""

    @abstractmethod
    async def end(self, grace: float) -> None:
        """Ask it to end, and end it after `grace` seconds, with all it started."""

    def prepare(self) -> None:  # noqa: B027 - most have nothing to do
        """Send what every job there should find; called before a job is sent."""

    def drain(self) -> None:  # noqa: B027
        """Hear all that a job has written before its result counts as heard."""

    def teach(self, bundle: Bundle) -> int:
        """See to it that the worker knows the component; gives the number it has there."""
        number = self.known.get(bundle.key)
        if number is not None:
            self.known.move_to_end(bundle.key)
            return number
        self._numbers += 1
        self.known[bundle.key] = self._numbers
        if bundle.ref:
            self._refs[bundle.ref] = bundle.stamp
        self.send(bundle.frames, kind=BUNDLE, tag=self._numbers)
        if len(self.known) > _KNOWN:
            _, old = self.known.popitem(last=False)
            self.send([], kind=FORGET, tag=old)
        return self._numbers

    def apart(self, ticket: Ticket) -> Sequence[Part]:
        """Give the parts of the inputs that the worker finds without the job's message."""
        return [part for part in ticket.parts if part[3]]

    def outdated(self, bundle: Bundle) -> bool:
        """True if it has imported an older version of the component's module."""
        return self._refs.get(bundle.ref, bundle.stamp) != bundle.stamp

    def send(self, frames: Sequence[Buffer], *, kind: int, tag: int = 0) -> None:
        """Queue a message; `flush` sends it."""
        self.put(frame(frames, kind=kind, tag=tag, checked=self.checked))

    def put(self, buffers: Sequence[Buffer]) -> None:
        """Queue the buffers of a message."""
        if len(buffers) < _FEW and all(len(one) < _SMALL for one in buffers):
            self._unsent.append(memoryview(b"".join(buffers)))
        else:
            self._unsent.extend(memoryview(one).cast("B") for one in buffers if len(one))

    def sent(self, count: int) -> None:
        """Take that many bytes off what is queued."""
        unsent = self._unsent
        while unsent and count >= len(unsent[0]):
            count -= len(unsent.popleft())
        if count:
            unsent[0] = unsent[0][count:]

    def find(self, tag: int) -> Ticket | None:
        """Give the job of that tag."""
        return next((t for t in self.tickets if t.tag == tag), None)

    def done(self, tag: int) -> Ticket | None:
        """Take the job of that tag off; all it wrote has been heard before."""
        self.drain()
        tickets = self.tickets
        if tickets and tickets[0].tag == tag:
            ticket: Ticket | None = tickets.popleft()
        else:
            ticket = self.find(tag)
            if ticket is not None:
                tickets.remove(ticket)
        if ticket is not None and not tickets:
            self.idle_since = self._loop.time()
        return ticket

    def tell(self, text: str) -> None:
        """Put a line of the system's into the log of the job that waits for it or runs."""
        self.hear_output("s", text.encode() + b"\n")

    def hear_output(self, stream: str, body: bytes) -> None:
        """Put what was written past the protocol into the log of the job that runs."""
        if self.tickets:
            said = Message(0, LOG, self.tickets[0].tag, [stream.encode() + body])
            self._heard(self, said)
