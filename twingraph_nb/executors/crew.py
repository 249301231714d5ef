"""The workers of one component in another language, wherever they are, and their calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Generic, Protocol, TypeVar, cast

from twingraph_nb.component import Component
from twingraph_nb.context import Stream
from twingraph_nb.errors import ExecutorError, ResultError, TwingraphError, WorkerDied
from twingraph_nb.executors.base import Job, Outcome, Report
from twingraph_nb.languages import Built, ForeignError, Said, Speaker, language_of
from twingraph_nb.languages.foreign import spoken_by

__all__ = ["Call", "Crew", "Done", "Place", "Workman", "carried_out"]

_BULKY = 1 << 18  # bytes (or items) that are written and read in a thread, not on the loop
_SLOW = 0.2  # seconds of building after which tasks say what they wait for
_LASTS = 1.0  # seconds after which a call is one that lasts
Done = Callable[[Outcome], None]
Place = tuple[str, dict[bytes, bytes]]
"""The folder and environment that a worker was started in."""


class Workman(Protocol):
    """A worker of a crew; all on one asyncio loop.

    heard: gets what the worker says. printed: gets what it prints. ended: gets the rest of the
    sentence "the worker ..." once it is gone, or the error that kept it from working.
    gone: done when nothing is left of it.
    """

    place: Place
    gone: asyncio.Future[None]
    heard: Callable[[Said], None]
    printed: Callable[[Stream, str], None]
    ended: Callable[[str | TwingraphError], None]

    @property
    def last_words(self) -> str:
        """The last line that it printed to stderr, without what came before the running call."""
        ...

    def call(self, message: bytes, started: Callable[[str], None]) -> None:
        """Send a call; it must be idle. `started` gets its label when it can work on it."""
        ...

    def kill(self) -> None:
        """End it and all that it started, at once."""
        ...

    def dismiss(self) -> None:
        """Let it end; it has nothing to do."""
        ...


W = TypeVar("W", bound=Workman)


async def carried_out(crew: Crew[W], job: Job, report: Report) -> Outcome:
    """Run a job in a crew, to its outcome; cancelling this ends the worker that runs it.

    Raises:
        ExecutorError: no worker could be started.
    """
    over: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    call = Call(crew, job, report, over.set_result)
    crew.submit(call)
    try:
        outcome = await over
    except asyncio.CancelledError:
        worker = call.worker
        call.cancel()
        if worker is not None:
            await asyncio.shield(worker.gone)
        raise
    if isinstance(outcome.error, ExecutorError):
        raise outcome.error
    return outcome


class Call(Generic[W]):
    """A job on its way; stands for it when it is to be stopped."""

    __slots__ = (
        *("cancelled", "chunks", "crew", "done", "ending", "job", "lasting", "message"),
        *("report", "tag", "worker"),
    )

    def __init__(self, crew: Crew[W], job: Job, report: Report, done: Done) -> None:
        self.crew, self.job, self.report, self.done = crew, job, report, done
        self.message: bytes | None = None
        self.chunks: list[object] = []
        self.worker: W | None = None
        self.lasting: asyncio.TimerHandle | None = None
        self.ending: asyncio.Event | None = None
        self.cancelled = False
        self.tag = 0

    def begun(self, label: str) -> None:
        """Its worker works on it."""
        self.report.started(label)
        self.lasting = self.crew.when_it_lasts(self)

    async def over(self) -> None:
        """Wait until no worker works on it."""
        while self.worker is not None:
            self.ending = self.ending or asyncio.Event()
            await self.ending.wait()

    def cancel(self, why: str = "") -> None:
        """Take it off the queue, or end the worker that runs it and all that it started."""
        self.cancelled = True
        if self.worker is not None:
            self.worker.kill()

    def end(self, outcome: Outcome) -> None:
        self.worker = None
        if self.lasting is not None:
            self.lasting.cancel()
        if self.ending is not None:
            self.ending.set()
        if not self.cancelled:
            self.done(outcome)


class Crew(Generic[W]):
    """The workers of one component, and the calls that wait for them.

    build: gives what runs it. start: makes a worker. here: says where one
    is to be; one that was started elsewhere is not used again. idle: seconds after which one
    without a call ends. kind: what a worker is, in sentences. single: one ends after one call.
    lasts: called with a call that has been worked on for a second.
    """

    def __init__(
        self,
        component: Component,
        size: int,
        idle: float,
        *,
        build: Callable[[], Awaitable[Built]],
        start: Callable[[Built, Speaker, Place], W],
        here: Callable[[], Place],
        kind: str,
        single: bool = False,
        lasts: Callable[[Call[W]], None] | None = None,
    ) -> None:
        self._component, self._size, self._idle = component, size, idle
        self._how, self._start, self._here = build, start, here
        self._kind, self._single, self._lasts = kind, single, lasts
        self._spoken = spoken_by(component)
        self._loop = asyncio.get_running_loop()
        self._built: Built | None = None
        self._building: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: deque[Call[W]] = deque()
        self._free: dict[W, float] = {}  # since when; the latest last
        self._busy: dict[W, Call[W]] = {}
        self._speakers: dict[W, Speaker] = {}
        self._tags = 0
        self._sweeping = self._closed = False

    @property
    def workers(self) -> tuple[W, ...]:
        return tuple(self._speakers)

    @property
    def resting(self) -> bool:
        """True when there is nothing to lose with it."""
        return not (self._speakers or self._queue or self._building or self._tasks)

    def submit(self, call: Call[W]) -> None:
        self._queue.append(call)
        if self._built is not None:
            self._loop.call_soon(self._pump)
        elif self._building is None:
            self._building = self._loop.create_task(self._build())

    def when_it_lasts(self, call: Call[W]) -> asyncio.TimerHandle | None:
        """Begin to wait for that; None if nobody wants to know."""
        return self._loop.call_later(_LASTS, self._lasts, call) if self._lasts else None

    def close(self) -> None:
        self._closed = True
        for task in (self._building, *self._tasks):
            if task is not None:
                task.cancel()
        waiting, self._queue = self._queue, deque()
        for call in waiting:
            said = f"the session was closed before {call.job.name} could begin"
            call.end(Outcome(error=ExecutorError(said)))
        for worker in self._speakers:
            worker.kill()

    # -- building ----------------------------------------------------------------------------

    async def _build(self) -> None:
        """Build the component, then start what waits; the next call tries again if it fails."""
        component = self._component
        telling = self._loop.call_later(_SLOW, self._tell, f"compiling {self._spoken}")
        try:
            self._form = language_of(component.language).form
            self._built = await self._how()
        except Exception as exc:  # of a compiler, a disk, a language of another package
            waiting, self._queue = self._queue, deque()
            for call in waiting:
                call.end(Outcome(error=_own(exc, component)))
        finally:
            self._building = None
            if telling.when() < self._loop.time():
                self._tell("")
            telling.cancel()
        self._pump()

    def _tell(self, message: str) -> None:
        for call in self._queue:
            call.report.progress(0.0, message)

    # -- sending -----------------------------------------------------------------------------

    def _pump(self) -> None:
        """Give calls to workers as long as there are both."""
        place: Place | None = None
        while self._queue and self._built is not None and not self._closed:
            if self._queue[0].cancelled:
                self._queue.popleft()
                continue
            place = place or self._here()
            try:
                worker = self._worker(self._built, place)
            except OSError as exc:
                call = self._queue.popleft()
                said = f"a worker for {call.job.name} could not be started: {exc}"
                call.end(Outcome(error=ExecutorError(said)))
                continue
            if worker is None:
                return
            self._give(worker, self._queue.popleft())

    def _worker(self, built: Built, place: Place) -> W | None:
        """An idle worker that was started where we are now, or a new one; None if all are busy."""
        while self._free:
            worker, _ = self._free.popitem()
            if worker.place == place:
                return worker
            worker.dismiss()
        if len(self._busy) >= self._size:
            return None
        speaker = Speaker(self._component, self._form)
        worker = self._start(built, speaker, place)
        worker.heard = lambda said: self._heard(worker, said)
        worker.printed = lambda stream, text: self._printed(worker, stream, text)
        worker.ended = lambda cause: self._ended(worker, cause)
        self._speakers[worker] = speaker
        return worker

    def _give(self, worker: W, call: Call[W]) -> None:
        self._tags = self._tags % 0xFFFFFFF + 1
        call.tag, call.worker = self._tags, worker
        self._busy[worker] = call
        if _is_bulky(call.job.arguments):
            self._later(self._send_bulky(worker, call))
            return
        try:
            message = self._speakers[worker].call(call.tag, call.job.arguments)
        except TwingraphError as exc:
            self._finish(worker, call, Outcome(error=exc))
        else:
            worker.call(message, call.begun)

    async def _send_bulky(self, worker: W, call: Call[W]) -> None:
        speaker = self._speakers[worker]
        try:
            message = await asyncio.to_thread(speaker.call, call.tag, call.job.arguments)
        except TwingraphError as exc:
            self._finish(worker, call, Outcome(error=exc))
            return
        if call.worker is worker:
            worker.call(message, call.begun)

    # -- hearing -----------------------------------------------------------------------------

    def _heard(self, worker: W, said: Said) -> None:
        call = self._busy.get(worker)
        if call is None or said.tag != call.tag or call.cancelled:
            return
        if said.kind == "result":
            body = cast(bytes, said.value)
            if len(body) > _BULKY:
                self._later(self._read_bulky(worker, call, body))
            else:
                self._finish(worker, call, self._outcome(worker, call, body))
        elif said.kind == "failed":
            if isinstance(said.value, str):
                self._later(self._look_up(worker, call, said.value))
                return
            error = cast(BaseException, said.value)
            if isinstance(error, ForeignError) and self._form == "fields" and worker.last_words:
                error.args = (f"{error}: {worker.last_words}",)
            self._finish(worker, call, Outcome(error=error))
        elif said.kind == "chunk":
            call.chunks.append(said.value)
            call.report.chunk(said.value)
        elif said.kind == "progress":
            call.report.progress(*cast("tuple[float, str]", said.value))
        else:
            call.report.log(*cast("tuple[Stream, str]", said.value))

    async def _look_up(self, worker: W, call: Call[W], text: str) -> None:
        """An error whose lines are addresses yet: another program knows them."""
        assert self._built is not None
        error = self._speakers[worker].error
        made = await asyncio.to_thread(error, text, self._built.located)
        self._finish(worker, call, Outcome(error=made))

    async def _read_bulky(self, worker: W, call: Call[W], body: bytes) -> None:
        self._finish(worker, call, await asyncio.to_thread(self._outcome, worker, call, body))

    def _outcome(self, worker: W, call: Call[W], body: bytes) -> Outcome:
        if self._component.style == "stream":
            return Outcome(call.chunks)
        try:
            return Outcome(self._speakers[worker].result(body))
        except ResultError as exc:
            return Outcome(error=exc)

    def _printed(self, worker: W, stream: Stream, text: str) -> None:
        call = self._busy.get(worker)
        if call is not None and not call.cancelled:
            call.report.log(stream, text)

    def _finish(self, worker: W, call: Call[W], outcome: Outcome) -> None:
        """A call is over; its worker takes the next one."""
        if self._busy.get(worker) is not call:
            return  # the worker died meanwhile
        del self._busy[worker]
        if self._single:
            worker.dismiss()
        elif not call.cancelled and not self._closed:
            self._free[worker] = self._loop.time()
            self._pump()
            if not self._sweeping:
                self._sweeping = True
                self._loop.call_later(self._idle, self._sweep)
        call.end(outcome)

    def _ended(self, worker: W, cause: str | TwingraphError) -> None:
        """A worker is gone; the call it ran fails."""
        self._speakers.pop(worker, None)
        self._free.pop(worker, None)
        call = self._busy.pop(worker, None)
        if call is not None:
            if isinstance(cause, str):
                cause = WorkerDied(call.job.name, cause, self._kind)
            call.end(Outcome(error=cause))
        self._pump()

    def _sweep(self) -> None:
        """Let workers go that have had nothing to do for long."""
        now = self._loop.time()
        for worker, since in list(self._free.items()):
            if now - since >= self._idle:
                del self._free[worker]
                worker.dismiss()
        self._sweeping = bool(self._free) and not self._closed
        if self._sweeping:
            self._loop.call_later(self._idle, self._sweep)

    def _later(self, work: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _own(exc: Exception, component: Component) -> Exception:
    if isinstance(exc, TwingraphError):
        return exc
    made = ExecutorError(f"{component.name} cannot be built: {type(exc).__name__}: {exc}")
    made.__cause__ = exc
    return made


def _is_bulky(arguments: Mapping[str, object]) -> bool:
    for value in arguments.values():
        size = getattr(value, "nbytes", None)
        if isinstance(size, int) and size > _BULKY:
            return True
        if isinstance(value, (list, tuple, dict)) and len(value) > _BULKY // 64:
            return True
        if isinstance(value, (str, bytes)) and len(value) > _BULKY:
            return True
    return False
