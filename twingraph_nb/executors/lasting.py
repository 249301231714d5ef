"""A job that lasts, in a worker that stays: how it is made to outlive its kernel, and asked then.

Most jobs of such a worker are short, and a ticket would cost more than they do. So there is none
before a job has run for a while.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from twingraph_nb.executors.base import Job, NamesLate, Report
from twingraph_nb.executors.native_recalled import is_native
from twingraph_nb.executors.recalled import Engine, Recalled, ticket_of
from twingraph_nb.executors.stream_worker import StreamWorker
from twingraph_nb.executors.travel import Hearing, Travel
from twingraph_nb.executors.worker import LASTS

__all__ = ["BUSY", "NOBODY", "Lasting", "asking", "asking_at", "is_lasting"]

NOBODY, BUSY = "nobody answers at the door", "there is the door of another task"
"""What `asking` says on its standard error when it cannot ask."""
_DOOR = "/tmp/.twingraph-"
_SPARE = 60.0  # seconds above its timeout after which a task ends that no kernel watches
_PATIENCE = 20.0  # seconds for a worker to hear that its kernel has died
_ASKING = f"""\
import glob, os, socket, sys, threading, time
end = time.monotonic() + {_PATIENCE}
far = socket.socket(socket.AF_UNIX)
while far.connect_ex(sys.argv[1]):
    if not os.path.exists(sys.argv[1]) and glob.glob("{_DOOR}*"):
        sys.exit("{BUSY}")
    if time.monotonic() > end:
        sys.exit("{NOBODY}")
    time.sleep(0.02)
def ask():
    while part := os.read(0, 1 << 16):
        far.sendall(part)
    os._exit(0)
threading.Thread(target=ask, daemon=True).start()
while part := far.recv(1 << 18):
    part = memoryview(part)
    while part:
        part = part[os.write(1, part):]
"""
_WAITING = 'until [ -e "$1" ]; do sleep 0.2; done; exec cat "$1"'


class Lasting(Hearing):
    """Hears a job in a worker that stays, and has it kept once it lasts.

    linger: seconds its answer waits when its kernel has died. engine: asks which one it is.
    facts: for its ticket.
    """

    def __init__(
        self,
        job: Job,
        report: Report,
        travel: Travel,
        linger: float,
        *,
        engine: Callable[[], Awaitable[Engine]],
        facts: Mapping[str, object],
    ) -> None:
        super().__init__(job, report, travel)
        self._linger, self._engine, self._facts = linger, engine, facts
        self._keeping: asyncio.Task[None] | None = None

    def hear(self, kind: int, frames: Sequence[Any]) -> None:
        if kind == LASTS:
            self._keeping = asyncio.ensure_future(self._keep(*frames))
        else:
            super().hear(kind, frames)

    async def _keep(self, worker: StreamWorker, tag: int) -> None:
        """Write the ticket, then tell the worker: what no ticket tells of must end with us."""
        engine = await self._engine()
        if not isinstance(self._report, NamesLate) or not await self._report.named():
            return
        job, door = self._job, f"{_DOOR}{secrets.token_hex(8)}"
        facts = {**self._facts, **worker.whereabouts}
        ticket = ticket_of(job, engine=engine, door=door, **facts)
        if self._report.ticket(ticket):
            timeout = job.component.policy.timeout
            limit = timeout + _SPARE if timeout else 0.0
            worker.keep(tag, door, self._linger, limit)


def is_lasting(known: Recalled) -> bool:
    """True if a ticket is of a job in a worker that stays."""
    return "door" in known.facts


def asking(known: Recalled) -> list[str]:
    """Give the command that passes on, beside an orphan, what its standard streams carry.

    Of a worker in another language it waits for what that leaves in the end.
    """
    if is_native(known):
        return ["sh", "-c", _WAITING, "sh", str(known.facts["door"])]
    return asking_at(str(known.facts["door"]))


def asking_at(door: str) -> list[str]:
    """Give the same for the worker that has, or soon will have, this door."""
    return ["python3", "-I", "-c", _ASKING, door]
