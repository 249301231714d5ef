"""A far side for many jobs goes on with one that is to be kept when its kernel has died."""

from __future__ import annotations

import asyncio
import pickle
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.executors.running import Memory, job_of
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.kit import bootstrap, kit_bytes
from twingraph_nb.executors.recalled import Echo, Recalled, ticket_of
from twingraph_nb.executors.travel import Travel
from twingraph_nb.remote import BUNDLE, JOB, KEEP, SECONDS, TURNED
from twingraph_nb.wire import Decoder, frame

WAIT = 60


def slow(folder: str, name: str) -> str:
    import os
    import time

    with open(f"{folder}/began", "a") as file:
        file.write(f"{name} ")
    print("one of", name, flush=True)
    while not os.path.exists(f"{folder}/go"):
        time.sleep(0.01)
    print("two of", name, flush=True)
    return name


class Far:
    """A far side, and what it is sent. door: where it is asked when its streams have ended."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder, self.door = folder, str(folder / "door")
        self.travel = Travel("docker")
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def job(self, name: str) -> Job:
        return job_of(slow, str(self.folder), name)

    async def send(self, *names: str) -> None:
        """Send all it needs for jobs at once, and wait until the first has begun."""
        said = [kit_bytes()]
        for tag, name in enumerate(names, 1):
            job = self.job(name)
            sent, frames = await self.travel.packed(job)
            if tag == 1:
                said += frame(sent.frames, kind=BUNDLE, tag=1)
            head = pickle.dumps((1, job.hash, job.name, job.attempt, "", {}), 5)
            said += frame([head, *frames], kind=JOB, tag=tag)
        self.tell(b"".join(said))
        assert self.process.stdout is not None
        decoder = Decoder()
        while True:
            part = await asyncio.to_thread(self.process.stdout.read1, 1 << 16)  # type: ignore[attr-defined]
            assert part, "it has ended"
            if any(message.kind == TURNED for message in decoder.feed(part)):
                return

    def keep(self, linger: float = 600.0, limit: float = 0.0) -> None:
        seconds = SECONDS.pack(linger), SECONDS.pack(limit)
        self.tell(b"".join(frame([self.door.encode(), *seconds], kind=KEEP, tag=1)))

    def tell(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def die(self) -> None:
        """What the far side hears of the death of its kernel: an engine still takes its output."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def heir(self, name: str) -> Heir:
        found = Heir(Recalled.read(self.job(name), ticket_of(self.job(name))), self.travel)
        while found.sock.connect_ex(self.door):
            assert self.process.poll() is None
            await asyncio.sleep(0.01)
        found.sock.sendall(found.echo.question)
        return found

    async def end(self) -> int:
        return await asyncio.to_thread(self.process.wait, WAIT)


class Heir:
    """A kernel that comes after the one that has died."""

    def __init__(self, known: Recalled, travel: Travel) -> None:
        self.report = Memory()
        self.echo = Echo(known, self.report, travel)
        self.sock = socket.socket(socket.AF_UNIX)

    async def hear(self, text: str = "") -> object:
        """Hear it until it has printed a text, or else to its end."""
        self.sock.setblocking(False)
        loop = asyncio.get_running_loop()
        while not self.echo.told.done() and not (text and text in self.report.text()):
            part = await asyncio.wait_for(loop.sock_recv(self.sock, 1 << 16), WAIT)
            assert part, "it has hung up"
            self.echo.received(part)
        if text:
            return None
        outcome = await self.echo.outcome()
        assert outcome is not None
        return outcome.value


@asynccontextmanager
async def far_side(folder: Path, program: str = "") -> AsyncIterator[Far]:
    made = Far(folder, program or bootstrap())
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()
        for stream in (made.process.stdin, made.process.stdout):
            if stream is not None:
                stream.close()


async def test_each_kernel_that_comes_hears_all_and_what_waited_behind_never_begins(
    tmp_path: Path,
) -> None:
    async with far_side(tmp_path) as far:
        await far.send("a", "b")
        far.keep()
        far.die()
        first = await far.heir("a")
        await first.hear("one of a")
        first.sock.close()
        second = await far.heir("a")
        await second.hear("one of a")
        third = await far.heir("a")  # the one before is not closed, but counts no more
        (tmp_path / "go").touch()
        assert await third.hear() == "a"
        second.sock.close()
        third.sock.close()
        fourth = await far.heir("a")
        assert await fourth.hear() == "a"
        fourth.sock.close()
        assert third.report.text() == fourth.report.text() == "one of a\ntwo of a\n"
        assert (tmp_path / "began").read_text().split() == ["a"]


async def test_a_kernel_that_comes_before_the_end_of_the_one_before_is_seen_hears_all(
    tmp_path: Path,
) -> None:
    async with far_side(tmp_path) as far:
        await far.send("a", "b")
        far.keep()
        heir = await far.heir("a")
        await heir.hear("one of a")
        (tmp_path / "go").touch()
        assert await heir.hear() == "a"
        far.die()  # is seen late
        heir.sock.close()
        late = await far.heir("a")
        assert await late.hear() == "a"
        late.sock.close()
        assert (tmp_path / "began").read_text().split() == ["a"]


async def test_a_door_is_closed_when_the_next_job_begins(tmp_path: Path) -> None:
    async with far_side(tmp_path) as far:
        await far.send("a", "b")
        far.keep()
        while not (tmp_path / "door").exists():
            assert far.process.poll() is None
            await asyncio.sleep(0.01)
        (tmp_path / "go").touch()
        while (tmp_path / "began").read_text().split() != ["a", "b"]:
            assert far.process.poll() is None
            await asyncio.sleep(0.01)
        assert not (tmp_path / "door").exists()


async def test_one_that_hears_no_word_for_long_ends_unless_it_works_or_its_answer_waits(
    tmp_path: Path,
) -> None:
    program = bootstrap(idle=1)
    assert "quiet=62.0" in program
    async with far_side(tmp_path, program.replace("quiet=62.0", "quiet=0.001")) as far:
        await far.send("a")
        far.keep(linger=0.2)
        heir = await far.heir("a")
        await heir.hear("one of a")
        (tmp_path / "go").touch()  # not before: its answer waits no longer than that
        assert await heir.hear() == "a"
        heir.sock.close()
        assert await far.end() == 0  # though its standard input has not ended


async def test_a_job_that_is_not_to_be_kept_ends_with_its_kernel(tmp_path: Path) -> None:
    async with far_side(tmp_path) as far:
        await far.send("a")
        far.die()
        assert await far.end() == 0


async def test_a_job_that_cannot_be_asked_for_ends_with_its_kernel(tmp_path: Path) -> None:
    async with far_side(tmp_path) as far:
        (tmp_path / "door").mkdir()
        await far.send("a")
        far.keep()
        far.die()
        assert await far.end() == 0


async def test_an_answer_waits_no_longer_than_it_is_to(tmp_path: Path) -> None:
    async with far_side(tmp_path) as far:
        await far.send("a")
        far.keep(linger=0.1)
        far.die()
        (tmp_path / "go").touch()
        assert await far.end() == 0


async def test_a_job_goes_on_no_longer_than_it_may(tmp_path: Path) -> None:
    async with far_side(tmp_path) as far:
        await far.send("a")
        far.keep(limit=0.1)
        far.die()
        assert await far.end() == 124
