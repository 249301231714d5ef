"""Platform `process`: tasks in worker processes of this machine, values by pickle."""

from __future__ import annotations

import asyncio
import os
import pickle
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from twingraph_nb.component import Component
from twingraph_nb.errors import (
    ExecutorError,
    PortabilityError,
    ResultError,
    TaskError,
    TwingraphError,
)
from twingraph_nb.executors.base import Capabilities, Job, Outcome, Report
from twingraph_nb.executors.pool import Pool
from twingraph_nb.executors.worker import BEGAN, Ticket
from twingraph_nb.failure import restore_failure
from twingraph_nb.remote import CHUNK, LOG, RESULT, SECONDS
from twingraph_nb.source.bundle import Bundle, bundle
from twingraph_nb.source.packer import homeless
from twingraph_nb.wire import Buffer, culprit, freeze, thaw

__all__ = ["ProcessExecutor"]

_BUNDLES = 256
_BULKY_ITEMS = 5_000
_BULKY_BYTES = 1 << 18  # above, pickling is left to a thread: the loop must not wait for it
_STREAMS = {b"o": "stdout", b"e": "stderr", b"s": "system"}


class ProcessExecutor:
    """Runs tasks in a pool of worker processes, which outlive the tasks and may die alone."""

    name: ClassVar[str] = "process"
    capabilities: ClassVar[Capabilities] = Capabilities(isolated=True, stops=True)

    def __init__(self, processes: int = 2) -> None:
        self._processes = processes
        self._pool: Pool | None = None
        self._bundles: OrderedDict[object, Bundle] = OrderedDict()
        self._extra: dict[object, tuple[object, ...]] = {}
        self._bulky: set[object] = set()

    @property
    def pids(self) -> tuple[int, ...]:
        """The worker processes there are now."""
        return self._pool.pids if self._pool else ()

    async def open(self) -> None:
        self._pool = Pool(self._processes)

    async def run(self, job: Job, report: Report) -> Outcome:
        assert self._pool is not None, "open() comes first"
        try:
            sent, frames = await self._packed(job)
        except TwingraphError as exc:
            return Outcome(error=exc)
        answer: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()
        hearing = _Hearing(job, report)
        meta = (job.hash, job.name, job.attempt, _folder())
        ticket = Ticket(sent, job.component.function, meta, frames, hearing.hear, _settling(answer))
        self._pool.submit(ticket)
        try:
            kind, said = await answer
        except asyncio.CancelledError:
            await self._pool.cancel(ticket)
            raise
        if kind == RESULT:
            return await self._result(job, said, hearing)
        if isinstance(said, ExecutorError):
            raise said
        return Outcome(error=said if isinstance(said, BaseException) else _error_of(job, said[0]))

    async def attach(self, ticket: str, report: Report) -> Outcome:
        raise NotImplementedError("a task in a worker process ends with the kernel")

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None
        self._bundles.clear()

    async def _packed(self, job: Job) -> tuple[Bundle, list[Buffer]]:
        """The component, and the frames of the arguments, as they will travel."""
        component = job.component
        called = component.spread(job.arguments)
        if component.function in self._bulky or _is_bulky(job.arguments):
            frames = await asyncio.to_thread(_frozen, job, called)
        else:
            frames = _frozen(job, called)
            if memoryview(frames[0]).nbytes > _BULKY_BYTES:
                self._bulky.add(component.function)
        sent = self._bundle(component)
        stream = frames[0]
        assert isinstance(stream, bytes)
        home = component.function.__module__ or "__main__"
        if b"__main__" in stream or home.encode() in stream:
            missing = [t for t in _homeless_in(called) if not sent.has(t)]
            if missing:
                known = self._extra.get(component.function, ())
                self._extra[component.function] = (*known, *missing)
                sent = self._bundle(component, anew=True)
        return sent, frames

    def _bundle(self, component: Component, *, anew: bool = False) -> Bundle:
        """What travels of the component; made again only when something of it has changed."""
        function = component.function
        found = self._bundles.get(function)
        if found is not None and not anew and found.fresh():
            self._bundles.move_to_end(function)
            return found
        made = bundle(
            function,
            component.source,
            name=component.name,
            style=component.style,
            extra=self._extra.get(function, ()),
        )
        self._bundles[function] = made
        if len(self._bundles) > _BUNDLES:
            old, _ = self._bundles.popitem(last=False)
            self._extra.pop(old, None)
            self._bulky.discard(old)
        return made

    async def _result(self, job: Job, frames: list[Any], hearing: _Hearing) -> Outcome:
        if job.component.style in ("stream", "async_stream"):
            if hearing.trouble is not None:
                return Outcome(error=hearing.trouble)
            return Outcome(hearing.chunks)
        try:
            if memoryview(frames[0]).nbytes > _BULKY_BYTES:
                return Outcome(await asyncio.to_thread(thaw, frames))
            return Outcome(thaw(frames))
        except Exception as exc:  # what unpickling raises when a class is not here
            return Outcome(error=_unreadable(job, "result", exc))


class _Hearing:
    """Passes on what a running job says, and keeps the chunks of a stream."""

    def __init__(self, job: Job, report: Report) -> None:
        self._job, self._report = job, report
        self.chunks: list[object] = []
        self.trouble: ResultError | None = None

    def hear(self, kind: int, frames: list[Any]) -> None:
        if kind == BEGAN:
            self._report.started(f"process {frames[0]}")
        elif kind == LOG:
            body = bytes(frames[0])
            self._report.log(_STREAMS[body[:1]], body[1:].decode("utf-8", "replace"))  # type: ignore[arg-type]
        elif kind == CHUNK:
            try:
                chunk = thaw(frames)
            except Exception as exc:  # what unpickling raises when a class is not here
                self.trouble = _unreadable(self._job, "chunk", exc)
                return
            self.chunks.append(chunk)
            self._report.chunk(chunk)
        else:
            body = bytes(frames[0])
            message = body[SECONDS.size :].decode("utf-8", "replace")
            self._report.progress(SECONDS.unpack_from(body)[0], message)


def _settling(answer: asyncio.Future[tuple[int, Any]]) -> Callable[[int, Any], None]:
    def settle(kind: int, said: Any) -> None:
        if not answer.done():
            answer.set_result((kind, said))

    return settle


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed meanwhile
        return ""


def _is_bulky(arguments: Mapping[str, object]) -> bool:
    for value in arguments.values():
        if isinstance(value, (list, tuple, dict, set, frozenset)) and len(value) > _BULKY_ITEMS:
            return True
        if isinstance(value, (str, bytes)) and len(value) > _BULKY_BYTES:
            return True
    return False


def _frozen(job: Job, called: tuple[tuple[object, ...], dict[str, object]]) -> list[Buffer]:
    try:
        return freeze(called)
    except Exception as exc:  # a value's own pickling may raise anything
        for name, value in job.arguments.items():
            try:
                freeze(value)
            except Exception as inner:  # the one to blame
                said = f"input {culprit(value, name)}, cannot be pickled ({inner}): {_CURE}"
                raise PortabilityError(job.name, "process", [said]) from exc
        said = f"its inputs cannot be pickled together ({exc})"
        raise PortabilityError(job.name, "process", [said]) from exc


_CURE = "pass what it is made of and make it inside the component, or use platform='local'"


class _Finder(pickle.Pickler):
    """Notes the functions and classes of the notebook that a value's pickle names."""

    found: dict[int, object]

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, (type, types.FunctionType)) and homeless(thing):
            self.found[id(thing)] = thing
        return NotImplemented


class _Nowhere:
    def write(self, body: bytes) -> int:
        return len(body)


def _homeless_in(value: object) -> list[object]:
    finder = _Finder(_Nowhere(), 5, buffer_callback=lambda buffer: False)
    finder.found = {}
    finder.dump(value)
    return list(finder.found.values())


def _unreadable(job: Job, what: str, exc: Exception) -> ResultError:
    made = ResultError(
        f"the {what} of {job.name} cannot be read here ({type(exc).__name__}: {exc}): "
        "its class must be defined in the notebook or in a module, not inside a function"
    )
    made.__cause__ = exc
    return made


def _error_of(job: Job, body: bytes) -> BaseException:
    """The error that a failed job ends with."""
    kind, what, failure = pickle.loads(body)
    error = restore_failure(failure)
    made: BaseException
    if kind == "user":
        return error
    if kind == "exit":
        made = TaskError(
            f"{job.name} called sys.exit({what}): a component must return its result, "
            "or raise an exception to fail"
        )
    elif kind == "result":
        made = ResultError(
            f"{job.name} gave {what}, which cannot be pickled ({failure['message']}): "
            "return plain data, for example a dict, list, array or DataFrame, or a file's path"
        )
    elif kind == "load":
        said = f"{failure['type']} when it was loaded in the worker: {failure['message']}"
        made = PortabilityError(job.name, "process", [said])
    elif kind == "argument":
        said = f"{failure['type']} when its inputs were read in the worker: {failure['message']}"
        made = PortabilityError(job.name, "process", [said])
    else:
        made = TaskError(f"{job.name} raised {failure['type']} {failure['message']}".rstrip())
    made.__cause__ = error
    return made
