"""A worker process of another language: one component, one call at a time."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from functools import lru_cache
from typing import cast

from twingraph_nb.context import Stream
from twingraph_nb.errors import TwingraphError
from twingraph_nb.executors.crew import Place, Workman
from twingraph_nb.languages import CHANNEL, Built, Garbled, Said, Speaker

__all__ = ["NativeWorker"]

_CHUNK = 1 << 18
_TAIL = 4096  # characters of stderr that are kept for a sentence about a death
_GRACE = 0.5  # seconds between the end of its channel and the end of the process


class NativeWorker(Workman):
    """A process, its channel and its output; all on one asyncio loop.

    heard: gets what the worker says. printed: gets what it prints. ended: gets the rest of the
    sentence "the worker ..." once it is gone.
    """

    def __init__(self, built: Built, speaker: Speaker, place: Place, *, spoken: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._speaker, self._spoken = speaker, spoken
        self.place = place
        self.heard: Callable[[Said], None]
        self.printed: Callable[[Stream, str], None]
        self.ended: Callable[[str | TwingraphError], None]
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._tail = self._garbled = ""
        self._unsent = memoryview(b"")
        self._over = False
        ours, theirs = socket.socketpair()
        with theirs:
            own = {**built.environ, CHANNEL: str(theirs.fileno())}
            environ = {**place[1], **{k.encode(): v.encode() for k, v in own.items()}}
            try:
                self._process = subprocess.Popen(
                    [*_leash(), *built.started_in(built.folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=place[0] or None,
                    env=environ,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self._channel = ours
        self._listen()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The last line that it printed to stderr, without what came before the running call."""
        lines = self._tail.strip().splitlines()
        return lines[-1].strip() if lines else ""

    def call(self, message: bytes, started: Callable[[str], None]) -> None:
        """Send a call; it must be idle. `started` gets what to call the worker."""
        started(f"{self._spoken} {self.pid}")
        self._tail = ""
        self._unsent = memoryview(message)
        self._write()

    def kill(self) -> None:
        """End it and all that it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def dismiss(self) -> None:
        """Let it end when it has done what it does; it is killed if that takes long."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)
        self._loop.call_later(_GRACE, lambda: None if self._over else self.kill())

    def drain(self) -> None:
        """Hear all that it has printed so far."""
        for stream in tuple(self._pipes):
            self._read_pipe(stream, all_of_it=True)

    # -- inside ------------------------------------------------------------------------------

    def _listen(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        decoder = codecs.getincrementaldecoder("utf-8")
        self._pipes: dict[str, tuple[int, codecs.IncrementalDecoder]] = {
            "stdout": (self._process.stdout.fileno(), decoder("replace")),
            "stderr": (self._process.stderr.fileno(), decoder("replace")),
        }
        for stream, (fd, _) in self._pipes.items():
            os.set_blocking(fd, False)
            self._loop.add_reader(fd, self._read_pipe, stream)
        self._loop.add_reader(self._channel, self._read)
        self._watched = _watch(self.pid)
        if self._watched >= 0:  # else the end of its channel has to say that it is gone
            self._loop.add_reader(self._watched, self._end)

    def _write(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._channel.send(self._unsent) :]
        except BlockingIOError:
            self._loop.add_writer(self._channel, self._write_more)
        except OSError:  # it is gone; what it says last, and its exit code, tell why
            self._unsent = memoryview(b"")

    def _write_more(self) -> None:
        self._loop.remove_writer(self._channel)
        self._write()

    def _read(self) -> None:
        try:
            data = self._channel.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._channel)
            if self._watched < 0:
                self._end()
            else:  # it cannot answer any more
                self._loop.call_later(_GRACE, lambda: None if self._over else self.kill())
            return
        self._hear(data)

    def _hear(self, data: bytes) -> None:
        try:
            for said in self._speaker.feed(data):
                if said.kind in ("result", "failed"):
                    self.drain()
                self.heard(said)
        except Garbled as exc:
            self._garbled = self._garbled or f"sent what is no message of the protocol: {exc}"
            self._loop.remove_reader(self._channel)
            self.kill()

    def _read_pipe(self, stream: str, all_of_it: bool = False) -> None:
        fd, decoder = self._pipes[stream]
        try:
            while True:
                data = os.read(fd, _CHUNK)
                if not data:
                    self._loop.remove_reader(fd)
                    del self._pipes[stream]
                    return
                text = decoder.decode(data)
                if stream == "stderr":
                    self._tail = (self._tail + text)[-_TAIL:]
                if text:
                    self.printed(cast("Stream", stream), text)
                if not all_of_it:
                    return
        except BlockingIOError:
            return

    def _end(self) -> None:
        """The process is gone."""
        if self._over:
            return
        self._over = True
        self._read_rest()
        code = self._process.wait()
        self.kill()  # what is left of the processes it started
        self.drain()
        for fd, _ in self._pipes.values():
            self._loop.remove_reader(fd)
        self._pipes.clear()
        self._loop.remove_reader(self._channel)
        self._loop.remove_writer(self._channel)
        self._channel.close()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        if self._watched >= 0:
            self._loop.remove_reader(self._watched)
            os.close(self._watched)
        self.ended(self._garbled or _cause(code, self.last_words))
        if not self.gone.done():
            self.gone.set_result(None)

    def _read_rest(self) -> None:
        """Take an answer that came just before the end."""
        with contextlib.suppress(OSError):
            while not self._garbled and (data := self._channel.recv(_CHUNK)):
                self._hear(data)


def _watch(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or an old one
        return -1


@lru_cache(maxsize=1)
def _leash() -> tuple[str, ...]:
    """A command in front that ends the worker when the kernel dies, where there is one."""
    found = shutil.which("setpriv")
    if found is None:
        return ()
    said = subprocess.run([found, "--pdeathsig", "KILL", "true"], capture_output=True, check=False)
    return () if said.returncode else (found, "--pdeathsig", "KILL", "--")


def _cause(code: int, last_words: str) -> str:
    if code >= 0:
        said = f"ended with exit code {code} before the task was done"
    else:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        said = f"was killed by signal {name}"
        if -code == signal.SIGSEGV:
            said += " (it used memory that is not its own, or its stack was full)"
        elif -code == signal.SIGKILL:
            said += "; this is often the system's out-of-memory killer"
    return said + (f": {last_words}" if last_words else "")
