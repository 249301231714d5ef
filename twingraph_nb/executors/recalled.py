"""A job that was started by a kernel which has died: its ticket, and hearing it to its end."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from twingraph_nb.errors import ExecutorError, NotStarted
from twingraph_nb.executors.base import Job, Outcome, Report
from twingraph_nb.executors.travel import Hearing, Travel
from twingraph_nb.executors.worker import BEGAN
from twingraph_nb.remote import AGAIN, FAILED, READY, RESULT, TURNED
from twingraph_nb.wire import Decoder, Message, WireError, frame

__all__ = ["Echo", "Question", "Recalled", "name_of", "never_started", "ticket_of"]

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
    """Give the ticket of a job: what it takes to find it."""
    about = {"platform": job.component.platform, "name": name_of(job)}
    return json.dumps({**about, **facts})


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


class Echo:
    """Hears a worker behind a stream from the beginning of its job, whatever was on its way.

    question: what to send first. told: comes true with the last message, or None when the stream
    ended without one. garbled: it ended because what came made no sense.
    """

    def __init__(self, known: Recalled, report: Report, travel: Travel) -> None:
        self._known, self._travel = known, travel
        self.hearing = Hearing(known.job, report, travel)
        self._asked = Question()
        self.question = self._asked.message
        self._decoder = Decoder()
        self.told: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()
        self.label = self.tail = ""
        self.garbled = False

    def received(self, data: bytes | memoryview) -> None:
        """Take bytes of its standard output."""
        try:
            for message in self._decoder.feed(self._asked.answer(data)):
                self._hear(message)
        except WireError as exc:
            self.tail = f"its answer is not to be understood: {exc}"
            self.garbled = True
            self.gone()

    def heard_error(self, data: bytes) -> None:
        """Take bytes of its standard error."""
        self.tail = (self.tail + data.decode("utf-8", "replace"))[-4000:]

    def gone(self) -> None:
        """The stream has ended."""
        if not self.told.done():
            self.told.set_result(None)

    async def outcome(self) -> Outcome | None:
        """Wait for its end, and give how that was; None if it ended without an answer."""
        message = await self.told
        if message is None:
            return None
        kind, frames = message.kind, message.frames[1:]
        return await self._travel.outcome(self._known.job, kind, frames, self.hearing)

    def _hear(self, message: Message) -> None:
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
