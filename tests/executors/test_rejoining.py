"""A worker that is reached again tells its job anew; what was heard before is passed over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from twingraph_nb.executors.rejoining import RejoiningWorker
from twingraph_nb.executors.worker import Ending, Ticket, Worker
from twingraph_nb.remote import AGAIN, CHUNK, LOG, READY, RESULT, TURNED
from twingraph_nb.source.bundle import Bundle
from twingraph_nb.wire import Decoder, Message, frame

JOB = 7


def sent(kind: int, *frames: bytes) -> bytes:
    return b"".join(frame(frames, kind=kind, tag=JOB, checked=True))


class Far(RejoiningWorker):
    """Its far side is the test: what comes is kept in `written`."""

    def __init__(self, *, there: bool = True) -> None:
        self.heard: list[tuple[int, bytes]] = []
        self.endings: list[Ending] = []
        self.over = asyncio.Event()
        self.written, self.there = b"", there
        super().__init__(asyncio.get_running_loop(), self._keep, self._end)
        self.checked = True

    async def connect(self) -> None:
        pass

    async def again(self, command: Sequence[str]) -> bool:
        return self.there

    def write(self, data: Sequence[memoryview]) -> int:
        self.written += b"".join(data)
        return sum(map(len, data))

    async def kill(self, grace: float) -> None:
        pass

    async def cause(self) -> str:
        return "is gone"

    def _keep(self, worker: Worker, message: Message) -> None:
        if message.kind == READY:
            self.ready = True
        if message.kind == LOG and bytes(message.frames[0])[:1] == b"s":
            return  # what this side tells about the connection
        self.heard.append((message.kind, b"".join(map(bytes, message.frames))))

    def _end(self, worker: Worker, ending: Ending) -> None:
        self.endings.append(ending)
        self.over.set()


async def working(**more: Any) -> Far:
    """One that has a job, all of which was sent."""
    made = Far(**more)
    await made._starting
    bundle = Bundle.__new__(Bundle)
    ticket = Ticket(bundle, None, (), [], lambda *_: None, lambda *_: None)
    ticket.tag = JOB
    made.tickets.append(ticket)
    made.written = b""
    return made


async def asked_again(worker: Far) -> bytes:
    """Lose the connection; gives the mark that the next question has."""
    worker.lost()
    while not worker.written:
        await asyncio.sleep(0)
    (message,) = Decoder().feed(worker.written)
    worker.written = b""
    assert message.kind == AGAIN
    return bytes(message.frames[0])


STORY = [(LOG, b"oone"), (CHUNK, b"first"), (LOG, b"otwo"), (CHUNK, b"second")]


@pytest.mark.parametrize("heard", range(len(STORY) + 1))
async def test_what_was_heard_before_is_not_heard_twice(heard: int) -> None:
    worker = await working()
    worker.received(sent(READY) + sent(TURNED))
    told = b"".join(sent(*one) for one in STORY[:heard])
    worker.received(told + sent(LOG, b"torn in the middle")[:-3])
    for _ in range(2):  # and lost once more, while it tells
        mark = await asked_again(worker)
        worker.received(sent(LOG, b"on its way before the question") + mark[:5])
        worker.received(mark[5:] + sent(TURNED) + b"".join(sent(*one) for one in STORY[:3]))
    worker.received(sent(*STORY[3]) + sent(RESULT, b"done"))
    assert [one for one in worker.heard if one[0] != READY] == [*STORY, (RESULT, b"done")]


async def test_a_beginning_that_nobody_heard_is_told() -> None:
    worker = await working()
    mark = await asked_again(worker)
    worker.received(mark + sent(TURNED) + sent(RESULT, b"done"))
    assert [kind for kind, _ in worker.heard] == [READY, RESULT]


async def test_one_that_cannot_be_reached_again_is_gone_with_its_job() -> None:
    worker = await working(there=False)
    worker.received(sent(READY) + sent(TURNED))
    worker.lost()
    await worker.over.wait()
    assert worker.endings == [Ending("is gone", JOB)]


async def test_half_of_a_job_is_not_asked_about() -> None:
    worker = await working()
    worker._unsent.append(memoryview(b"the rest of it"))
    worker.lost()
    await worker.over.wait()
    assert worker.endings == [Ending("is gone", 0)]


async def test_one_that_is_being_ended_is_not_looked_for() -> None:
    worker = await working()
    never = asyncio.Event()
    worker.again = lambda command: never.wait()  # type: ignore[method-assign, assignment, return-value]
    worker.lost()
    await worker.end(0.0)
    assert worker.endings == [Ending("is gone", 0)]
