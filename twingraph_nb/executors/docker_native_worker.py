"""A container in which a worker of another language runs: one component, one call at a time."""

from __future__ import annotations

import asyncio
import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from docker.errors import DockerException
from requests.exceptions import RequestException

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError, TwingraphError
from twingraph_nb.executors.crew import Place, Workman
from twingraph_nb.executors.docker_container import Container, Streams, is_missing, start_error
from twingraph_nb.languages import CHANNEL, MARKS, Garbled, Said, Speaker
from twingraph_nb.languages.base import compile_error
from twingraph_nb.languages.foreign import spoken_by

__all__ = ["ContainerWorker", "Program"]

_TAIL = 1 << 15  # characters of stderr that are kept: a compiler's errors may be many
_MARK = re.compile(rb"\0(\d{1,10})\0")
_HALF = re.compile(rb"\0\d{0,10}\Z")
_UNMARKED = 0.2  # seconds to wait for a mark; workers of manifests may not know of marks
_USED_TO_IT = 0.02  # seconds to wait for the rest of what such a worker prints
_NOT_FOUND = 127  # exit status of a shell that does not find the program
_REFUSAL = re.compile(
    r"^(?:error(?:\[\w+\])?: (?P<before>.*)\n\s*--> )?\S*\bcell\.\w+:(?P<line>\d+):\d+"
    r"(?:: (?:fatal )?error: (?P<after>.*))?$",
    re.MULTILINE,
)
_CURES = {"node": "image='node:22-slim'", "bash": "image='debian:stable-slim'"}


@dataclass(frozen=True)
class Program:
    """What a container runs.

    first: goes to its stdin before all else. needs: programs the image must have.
    refused: its exit status when a compiler in it refuses the code.
    """

    component: Component
    command: Sequence[str]
    environ: Mapping[str, str]
    first: str
    needs: Sequence[str]
    refused: int | None


class ContainerWorker(Workman):
    """A container, its streams, and what is said over them; see `Workman`."""

    def __init__(
        self, container: Container, speaker: Speaker, place: Place, program: Program
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._container, self._speaker, self.place = container, speaker, place
        self._program = program
        self.heard: Callable[[Said], None]
        self.printed: Callable[[Literal["stdout", "stderr"], str], None]
        self.ended: Callable[[str | TwingraphError], None]
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._streams = Streams(self._loop, self._hear, self._hear_print, self._end)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._unsent = memoryview(program.first.encode())
        self._tail = self._garbled = ""
        self._half = b""
        self._open = self._ready = self._spoke = False
        self._marked = ""
        self._last: Said | None = None  # an answer that waits for what was printed before it
        self._settling: asyncio.TimerHandle | None = None
        self._patience = _UNMARKED
        self._started: Callable[[str], None] | None = None
        self._burying: asyncio.Task[None] | None = None
        self._starting = self._loop.create_task(self._start())

    @property
    def last_words(self) -> str:
        """The last line that it printed, without what came before the running call."""
        lines = self._tail.strip().splitlines()
        return lines[-1].strip() if lines else ""

    def call(self, message: bytes, started: Callable[[str], None]) -> None:
        """Send a call; it must be idle. `started` gets its label once it runs."""
        self._tail = self._marked = ""
        self._unsent = memoryview(bytes(self._unsent) + message if self._unsent else message)
        self._started = started
        if self._open:
            self._begin()

    def kill(self) -> None:
        """Remove the container with all that runs in it."""
        self._bury("was removed")

    def dismiss(self) -> None:
        """Remove the container; it has nothing to do."""
        self._bury("was removed")

    # -- starting and sending ------------------------------------------------------------------

    async def _start(self) -> None:
        environ = {**self._program.environ, CHANNEL: "stdio", MARKS: "1"}
        making = asyncio.ensure_future(
            asyncio.to_thread(self._container.start, self._program.command, environ)
        )
        try:
            sock = await asyncio.shield(making)
        except asyncio.CancelledError:
            await asyncio.wait([making])  # so that the container can be removed
            if not making.exception():
                making.result().close()
            raise
        except (DockerException, RequestException, OSError) as exc:
            missing = next((one for one in self._program.needs if is_missing(exc, one)), None)
            self._bury(self._lacks(missing) if missing else start_error(self._container.image, exc))
            return
        self._open = True
        self._streams.open(sock)
        if self._started is not None:
            self._begin()

    def _begin(self) -> None:
        assert self._started is not None
        self._started(self._container.label)
        self._started = None
        self._write()

    def _write(self) -> None:
        try:
            while self._unsent:
                count = self._streams.write([self._unsent], self._write)
                if not count:
                    return
                self._unsent = self._unsent[count:]
        except OSError:  # it is gone; what it says last, and its exit code, tell why
            self._unsent = memoryview(b"")

    # -- hearing -------------------------------------------------------------------------------

    def _hear(self, data: memoryview) -> None:
        try:
            for said in self._speaker.feed(data):
                self._spoke = True
                if said.kind not in ("result", "failed") or self._marked == str(said.tag):
                    self.heard(said)
                else:
                    self._last = said
                    self._settling = self._loop.call_later(self._patience, self._settled, False)
        except Garbled as exc:
            self._garbled = f"sent what is no message of the protocol: {exc}"
            self._bury(self._garbled)

    def _settled(self, marked: bool) -> None:
        """All that the call printed is there, as far as can be known: its answer counts."""
        said, self._last = self._last, None
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        self._patience = _UNMARKED if marked else _USED_TO_IT
        if said is not None:
            self.heard(said)

    def _hear_print(self, data: bytes) -> None:
        data, self._half = self._half + data, b""
        while found := _MARK.search(data):
            self._print(data[: found.start()])
            self._marked = found[1].decode()
            self._ready = True
            data = data[found.end() :]
            if self._last is not None and str(self._last.tag) == self._marked:
                self._settled(True)
        half = _HALF.search(data)
        if half is not None:
            data, self._half = data[: half.start()], half[0]
        self._print(data)

    def _print(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        self._tail = (self._tail + text)[-_TAIL:]
        if text:
            self.printed("stderr", text)

    # -- ending --------------------------------------------------------------------------------

    def _end(self) -> None:
        """The streams are at their end."""
        self._settled(True)
        self._bury("")

    def _bury(self, cause: str | TwingraphError) -> None:
        if self._burying is None:
            self._burying = self._loop.create_task(self._buried(cause))

    async def _buried(self, cause: str | TwingraphError) -> None:
        """Remove what there is, then tell."""
        if cause and not self._starting.done():
            self._starting.cancel()
        await asyncio.wait([self._starting])
        self._streams.close()
        if not cause:
            cause = await asyncio.to_thread(self._cause)
        self._container.disconnect()
        await asyncio.to_thread(self._container.remove)
        if self._settling is not None:
            self._settling.cancel()
        self.ended(cause)
        if not self.gone.done():
            self.gone.set_result(None)

    def _cause(self) -> str | TwingraphError:
        """How it ended; in a thread."""
        try:
            code = self._container.state().get("ExitCode")
            if not self._ready and code == self._program.refused:
                found = [
                    (int(one["line"]), one["after"] or one["before"])
                    for one in _REFUSAL.finditer(self._tail)
                    if one["after"] or one["before"]
                ]
                return compile_error(self._program.component, found, self._tail)
            if code == _NOT_FOUND and not self._spoke and "sh" in self._program.needs:
                return self._lacks(self._program.needs[-1])
            return self._container.cause(self.last_words)
        except (DockerException, RequestException, ExecutorError) as exc:
            return f"is gone ({exc})"

    def _lacks(self, program: str) -> ExecutorError:
        component = self._program.component
        cure = _CURES.get(program)
        return ExecutorError(
            f"image {self._container.image!r} has no {program!r} on its PATH, which "
            f"{spoken_by(component)} component {component.name} needs there: take an image that "
            "has it" + (f", for example {cure}" if cure else "")
        )
