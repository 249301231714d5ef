"""A job that was started by a kernel which has died: its ticket, and hearing it to its end."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from twingraph_nb.errors import ExecutorError, NotStarted, Unreachable
from twingraph_nb.executors.base import Job, Outcome, Report
from twingraph_nb.executors.owner import this_machine
from twingraph_nb.executors.travel import Hearing, Travel
from twingraph_nb.executors.worker import BEGAN
from twingraph_nb.remote import AGAIN, CHUNK, FAILED, LOG, READY, RESULT, TURNED
from twingraph_nb.wire import Decoder, Message, WireError, frame

__all__ = [
    "AWAY",
    "SOON",
    "Echo",
    "Engine",
    "Listener",
    "Question",
    "Recalled",
    "Retold",
    "name_of",
    "never_started",
    "ticket_of",
]

AWAY = 300.0
"""Seconds for a far side to be reached again while a task goes on there."""
SOON = 0.5
"""Seconds between attempts."""

T = TypeVar("T")

_HERE = "localhost"
_MARK = 32  # bytes
_WORD = 20  # characters of the component's name in the name of a job


def name_of(job: Job) -> str:
    """Give the name under which a job is started: the same however often it is tried.

    Small letters, digits and hyphens, at most 52: what engines and clusters take. It follows from
    the task's hash and the attempt; a run that resumes another takes the name of the ticket, if
    nothing was started under it.
    """
    if job.ticket:
        return str(Recalled.read(job, job.ticket).facts["name"])
    said = re.sub(r"[^a-z0-9]+", "-", job.component.name.lower()).strip("-")[:_WORD].strip("-")
    task = re.sub(r"[^a-z0-9]", "", job.hash.lower())[-24:] or "0"
    return "-".join(part for part in ("tg", said, task, str(job.attempt)) if part)


def ticket_of(job: Job, **facts: object) -> str:
    """Give the ticket of a job: what it takes to find it; `engine=` says where it is not."""
    about = {"platform": job.component.platform, "name": name_of(job)}
    return json.dumps({**about, **facts})


class Engine(NamedTuple):
    """Which engine, cluster or account it is: one that is asked for another's job knows nothing
    of it, and that must not pass for an end.

    id: its own, the same from everywhere; "" if it does not say. at: where it is reached from
    here. seal: something that others do not have, such as a certificate; "" if there is nothing.
    """

    id: str
    at: str
    seal: str = ""

    def is_other(self, other: Engine) -> bool:
        """True if both are not the same, as far as they say."""
        if self.id and other.id:
            return self.id != other.id
        return bool(self.seal and other.seal and self.seal != other.seal and self.at != other.at)

    @classmethod
    def by_address(cls, address: str) -> Engine:
        """Give the one at a URL: what this machine calls its own is another one elsewhere."""
        host = urlsplit(address).hostname or _HERE
        is_here = host in (_HERE, "::1") or host.startswith("127.")
        return cls(this_machine() if is_here else "", address)

    def __str__(self) -> str:
        name = self.id or self.seal
        return f"{name} (at {self.at})" if name else self.at


class Recalled(NamedTuple):
    """A job that was started before: the same work in this run, and what its ticket says."""

    job: Job
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, job: Job, ticket: str) -> Recalled:
        """Give what a ticket says.

        Raises:
            ExecutorError: it is not one of the platform's.
        """
        platform = job.component.platform
        try:
            facts = json.loads(ticket)
            if facts["platform"] == platform:
                return cls(job, facts)
        except (ValueError, KeyError, TypeError):
            pass
        raise ExecutorError(f"{ticket!r} is no ticket of platform {platform!r}")

    def see_that_it_is_there(self, here: Engine, cure: str) -> None:
        """Compare the engine that would be asked with that of the ticket.

        Args:
            cure: how to reach another one.
        Raises:
            Unreachable: it is another, and knows nothing of the job.
        """
        there = Engine(*self.facts.get("engine", here))
        if there.is_other(here):
            why = f"that is {here}, and the job was started on {there}"
            raise Unreachable(self.job.component.platform, here.at, why, cure)


class Question:
    """Asks a worker for all it has said since its job began, and finds that in what comes."""

    def __init__(self) -> None:
        self._mark = secrets.token_bytes(_MARK)
        self._before: bytes | None = b""

    @property
    def message(self) -> bytes:
        """What to send."""
        return b"".join(frame([self._mark], kind=AGAIN, checked=True))

    def answer(self, data: bytes | memoryview) -> bytes | memoryview:
        """Give what of the bytes belongs to the answer; what was on its way before does not."""
        if self._before is None:
            return data
        self._before += bytes(data)
        at = self._before.find(self._mark)
        if at < 0:
            self._before = self._before[-_MARK:]
            return b""
        data, self._before = self._before[at + _MARK :], None
        return data


class Retold:
    """What was heard of a story before, when it is told from its beginning once more."""

    _ONCE = (LOG, CHUNK)
    """What is told in its order and must not be heard twice; of all else the newest counts."""

    def __init__(self) -> None:
        self._told: Counter[int] = Counter()
        self._known: Counter[int] = Counter()

    def begin(self) -> None:
        """It is told from its beginning now."""
        self._known = self._told.copy()

    def clear(self) -> None:
        """It is another story from now on."""
        self._told.clear()
        self._known.clear()

    def is_new(self, kind: int) -> bool:
        """Take note of a message; False if it was heard before."""
        if kind in self._ONCE:
            if self._known[kind]:
                self._known[kind] -= 1
                return False
            self._told[kind] += 1
        return True


class Listener(ABC, Generic[T]):
    """Hears a worker behind a stream to the end of its job, as often as it has to be reached.

    question: what to send first. told: comes true with how it ended, or None when the stream ended
    without that. garbled: it ended because what came made no sense. label: what it is called, ""
    until it was reached.
    """

    question: bytes

    def __init__(self, known: Recalled, report: Report) -> None:
        self._known, self._report = known, report
        self._since = 0.0  # when the connection was lost, until something is heard again
        self._heard = False  # something, since it was lost or ever
        self.label = ""
        self.begin()

    def begin(self) -> None:
        """Be ready to hear it from its beginning."""
        self.told: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self.tail = ""
        self.garbled = False

    async def to_its_end(self, hear: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Hear it once, and again when the connection is lost after something was heard.

        Args:
            hear: reaches it, sends the question and gives how it ended.
        Raises:
            Unreachable: nothing could be heard, at first or for some minutes after.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await hear()
            except Unreachable:
                if self._heard:
                    self._heard, self._since = False, loop.time()
                if not self._since or loop.time() - self._since > AWAY:
                    raise
            await asyncio.sleep(SOON)
            self.begin()

    def reached(self, label: str) -> None:
        """Take note that its streams are there."""
        self.label = label

    @abstractmethod
    def received(self, data: bytes | memoryview) -> None:
        """Take bytes of its standard output."""

    def heard_error(self, data: bytes) -> None:
        """Take bytes of its standard error."""
        self.tail = (self.tail + data.decode("utf-8", "replace"))[-4000:]

    def gone(self) -> None:
        """The stream has ended."""
        if not self.told.done():
            self.told.set_result(None)

    @abstractmethod
    async def outcome(self) -> Outcome | None:
        """Wait for its end, and give how that was; None if it ended without an answer."""

    def _lost_sense(self, exc: Exception) -> None:
        self.tail = f"its answer is not to be understood: {exc}"
        self.garbled = True
        self.gone()

    def _hears(self) -> None:
        """Take note that it is heard."""
        if self._since and not self._heard:
            said = f"the connection to {self.label} was lost, and is there again\n"
            self._report.log("system", said)
        self._heard = True


class Echo(Listener[Message]):
    """Hears a Python worker from the beginning of its job, whatever was on its way."""

    def __init__(self, known: Recalled, report: Report, travel: Travel) -> None:
        self._travel = travel
        self.hearing = Hearing(known.job, report, travel)
        self._retold = Retold()
        super().__init__(known, report)

    def begin(self) -> None:
        super().begin()
        self._asked, self._decoder = Question(), Decoder()
        self.question = self._asked.message
        self._retold.begin()

    def received(self, data: bytes | memoryview) -> None:
        try:
            for message in self._decoder.feed(self._asked.answer(data)):
                self._hear(message)
        except WireError as exc:
            self._lost_sense(exc)

    async def outcome(self) -> Outcome | None:
        message = await self.told
        if message is None:
            return None
        kind, frames = message.kind, message.frames[1:]
        return await self._travel.outcome(self._known.job, kind, frames, self.hearing)

    def _hear(self, message: Message) -> None:
        self._hears()
        if not self._retold.is_new(message.kind):
            return
        if message.kind in (RESULT, FAILED):
            if not self.told.done():
                self.told.set_result(message)
        elif message.kind == TURNED:
            self.hearing.hear(BEGAN, [self.label])
        elif message.kind != READY:
            self.hearing.hear(message.kind, message.frames)


def never_started(known: Recalled, place: str) -> NotStarted:
    """Give the error for a job that its kernel did not come to start."""
    return NotStarted(f"there is no {place} {known.facts['name']}: its kernel died before")
