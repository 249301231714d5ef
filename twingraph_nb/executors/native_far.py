"""A worker of another language elsewhere: one component, one call at a time, over streams.

Where that is, a container or a pod, is its vessel's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from twingraph_nb.context import Stream
from twingraph_nb.errors import ExecutorError, TwingraphError
from twingraph_nb.executors.crew import Place, Workman
from twingraph_nb.executors.native_prints import Prints
from twingraph_nb.executors.native_program import LACKS, Program, lacking
from twingraph_nb.languages import CHANNEL, MARKS, TOLD, Garbled, Said, Speaker
from twingraph_nb.languages.registry import BUILT_LANGUAGES

__all__ = ["Ears", "End", "FarWorker", "Lacking", "Vessel"]

_OVERDUE = 10.0  # seconds without anything printed in which a mark must have come
_UNMARKED = 0.2  # seconds to wait for one where workers, of manifests, may not know of marks
_USED_TO_IT = 0.02  # seconds to wait for the rest of what such a worker prints
_NOT_FOUND = 127  # exit status of a shell that does not find the program


class Lacking(ExecutorError):
    """What was to be started is not in the image."""

    def __init__(self, program: str) -> None:
        self.program = program
        super().__init__(f"there is no {program!r}")


class End(NamedTuple):
    """How a vessel ended: the exit code if it is known, and the rest of a sentence about it."""

    code: int | None
    cause: str


@dataclass(frozen=True)
class Ears:
    """Who hears what a vessel does; all on the loop's thread.

    out, error: get what comes on its streams. more: called when it takes more, after a `write`
    that gave 0. over: called once when its streams have ended. tell: gets why it does not start.
    """

    out: Callable[[memoryview], None]
    error: Callable[[bytes], None]
    more: Callable[[], None]
    over: Callable[[], None]
    tell: Callable[[str], None]


class Vessel(Protocol):
    """What a worker elsewhere runs in."""

    @property
    def image(self) -> str: ...
    @property
    def label(self) -> str:
        """What to call it, once it runs."""
        ...

    async def start(self, program: Program, environ: dict[str, str], ears: Ears) -> None:
        """Start the program with least rights and reach its streams.

        Raises:
            Lacking: the image has not what the program needs.
            ExecutorError: it cannot be started.
        """
        ...

    def write(self, data: memoryview) -> int:
        """Send some bytes without waiting; gives how many.

        Raises:
            OSError: it is gone.
        """
        ...

    def hush(self) -> None:
        """Close its streams; `over` is not called."""
        ...

    async def end(self, last_words: str, *, worked: bool) -> End:
        """Say how it ended.

        Raises:
            ExecutorError: that cannot be found out.
        """
        ...

    @property
    def whereabouts(self) -> dict[str, str]:
        """What tells it from others, for a ticket."""
        ...

    async def mark(self, kept: bool) -> None:
        """Say where others see it that it may outlive this kernel, or not any more.

        Raises:
            ExecutorError: that cannot be said.
        """
        ...

    async def remove(self) -> None:
        """End it with all that runs in it, and wait until nothing is left."""
        ...


class FarWorker(Workman):
    """A vessel, its streams, and what is said over them; see `Workman`."""

    def __init__(
        self, vessel: Vessel, speaker: Speaker, place: Place, program: Program, *, told: str = ""
    ) -> None:
        """Start it.

        Args:
            told: path where it is to leave what it has said when it outlives us, see `keep`.
        """
        self._loop = asyncio.get_running_loop()
        self._vessel, self._speaker, self.place = vessel, speaker, place
        self._program, self._told = program, told
        self.heard: Callable[[Said], None]
        self.printed: Callable[[Stream, str], None]
        self.ended: Callable[[str | TwingraphError], None]
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._prints = Prints(self._print, self._mark)
        self._unsent = memoryview(program.first)
        self._garbled = ""
        self._open = self._ready = self._spoke = False
        self._marked = ""
        self._last: Said | None = None  # an answer that waits for what was printed before it
        self._settling: asyncio.TimerHandle | None = None
        self._marks = program.component.language in BUILT_LANGUAGES
        self._patience, self._news = _UNMARKED, False
        self._started: Callable[[str], None] | None = None
        self._burying: asyncio.Task[None] | None = None
        self._starting = self._loop.create_task(self._start())

    @property
    def last_words(self) -> str:
        """The last line that it printed, without what came before the running call."""
        lines = self._prints.tail.strip().splitlines()
        return lines[-1].strip() if lines else ""

    def call(self, message: bytes, started: Callable[[str], None]) -> None:
        """Send a call; it must be idle. `started` gets its label once it runs."""
        self._prints.tail = self._marked = ""
        self._put(message)
        self._started = started
        if self._open:
            self._begin()

    @property
    def vessel(self) -> Vessel:
        return self._vessel

    def keep(self, tag: int, seconds: float) -> None:
        """Have it outlive us, and what the running call has said wait for so long."""
        self._put(self._speaker.keep(tag, seconds))
        self._write()

    def kill(self) -> None:
        """Remove the vessel with all that runs in it."""
        self._bury("was removed")

    def dismiss(self) -> None:
        """Remove the vessel; it has nothing to do."""
        self._bury("was removed")

    # -- starting and sending ------------------------------------------------------------------

    async def _start(self) -> None:
        environ = {**self._program.built.environ, CHANNEL: "stdio", MARKS: "1"}
        environ |= {TOLD: self._told} if self._told else {}
        ears = Ears(self._hear, self._hear_print, self._write, self._end, self._tell)
        try:
            await self._vessel.start(self._program, environ, ears)
        except Lacking as exc:
            self._bury(self._lacks(exc.program))
        except ExecutorError as exc:
            self._bury(exc)
        except Exception as exc:  # a client library may raise anything, and a call waits for this
            error = ExecutorError(f"a worker of {self._program.component.name} was not started")
            error.__cause__ = exc
            self._bury(error)
        else:
            self._open = True
            if self._started is not None:
                self._begin()

    def _put(self, message: bytes) -> None:
        self._unsent = memoryview(bytes(self._unsent) + message if self._unsent else message)

    def _tell(self, text: str) -> None:
        self.printed("system", f"{text}\n")

    def _begin(self) -> None:
        assert self._started is not None
        self._started(self._vessel.label)
        self._started = None
        self._write()

    def _write(self) -> None:
        try:
            while self._unsent:
                count = self._vessel.write(self._unsent)
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
                    self._wait()
        except Garbled as exc:
            self._garbled = f"sent what is no message of the protocol: {exc}"
            self._bury(self._garbled)

    def _wait(self) -> None:
        """Wait for the mark of the answer that is held back."""
        self._news = False
        seconds = _OVERDUE if self._marks else self._patience
        self._settling = self._loop.call_later(seconds, self._waited)

    def _waited(self) -> None:
        if self._marks and self._news:  # a slow one, that prints much
            self._wait()
        else:
            self._settled(False)

    def _hear_print(self, data: bytes) -> None:
        self._news = True
        self._prints.feed(data)

    def _print(self, stream: Stream, text: str) -> None:
        if self._ready or self._program.refused is None:  # what a compiler says is in its error
            self.printed(stream, text)

    def _mark(self, tag: str) -> None:
        """The worker has printed all that the call of that tag does; 0: it is ready."""
        self._marked, self._ready = tag, True
        self._marks = self._marks or tag != "0"
        if self._last is not None and str(self._last.tag) == tag:
            self._settled(True)

    def _settled(self, marked: bool) -> None:
        """All that the call printed is there, as far as can be known: its answer counts."""
        said, self._last = self._last, None
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        self._patience = _UNMARKED if marked else _USED_TO_IT
        if said is not None:
            self.heard(said)

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
        self._vessel.hush()
        try:
            if not cause:
                cause = await self._cause()
            await self._vessel.remove()
        finally:  # whatever happens there: a call and the end of the session wait for this
            if self._settling is not None:
                self._settling.cancel()
            self.ended(cause or "is gone")
            if not self.gone.done():
                self.gone.set_result(None)

    async def _cause(self) -> str | TwingraphError:
        """How it ended."""
        program, said = self._program, self._prints.tail
        try:
            end = await self._vessel.end(self.last_words, worked=self._spoke or self._ready)
        except ExecutorError as exc:
            return f"is gone ({exc})"
        if not self._ready and program.refused is not None and end.code == program.refused:
            refused = program.built.refused
            return refused(said) if refused else f"could not be made ready: {self.last_words}"
        if not self._spoke and end.code == LACKS:
            return self._lacks(self.last_words)
        if not self._spoke and end.code == _NOT_FOUND and program.needs[0] == "sh":
            return self._lacks(program.needs[-1])
        return end.cause

    def _lacks(self, program: str) -> ExecutorError:
        return ExecutorError(lacking(self._program.component, self._vessel.image, program))
