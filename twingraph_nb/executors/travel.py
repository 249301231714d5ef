"""How a job travels: its component as source, its arguments and result as frames."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twingraph_nb import values
from twingraph_nb.component import Component
from twingraph_nb.errors import PortabilityError, ResultError
from twingraph_nb.executors.base import Job, Outcome, Report
from twingraph_nb.executors.failures import error_for, unreadable
from twingraph_nb.executors.lacking import lacking, note_cure, unfit
from twingraph_nb.executors.payload_stores import Stores
from twingraph_nb.executors.payloads import LARGE, Held, parts_of
from twingraph_nb.executors.worker import BEGAN, Ticket
from twingraph_nb.failure import restore_failure
from twingraph_nb.remote import CHECKPOINT, CHUNK, LOG, PROGRESS, RESULT, SECONDS
from twingraph_nb.remote_payloads import Part
from twingraph_nb.source.bundle import Bundle, bundle
from twingraph_nb.source.local import local_modules
from twingraph_nb.source.pickled import pickled_bundle
from twingraph_nb.wire import Buffer, culprit, freeze, thaw

__all__ = ["Hearing", "Travel", "environ_of", "settling", "ticket_of"]

_BUNDLES = 256
_BULKY_ITEMS = 5_000
_BULKY_BYTES = 1 << 18  # above, pickling is left to a thread: the loop must not wait for it
_STREAMS = {b"o": "stdout", b"e": "stderr", b"s": "system"}


class Travel:
    """Packs the jobs of one platform and reads their answers.

    plain: values travel by `values` and what comes back is not unpickled, unless the component
    says `trust`; else by pickle both ways. far: the user's own modules are not there.
    trust: what comes back is trusted in any case. path: folders of modules that are there too;
    None = all of this process. stores: where large parts of inputs go; None = with their jobs.
    """

    def __init__(
        self,
        platform: str,
        *,
        plain: bool = True,
        far: bool = True,
        trust: bool = False,
        path: Sequence[str] | None = None,
        stores: Stores | None = None,
    ) -> None:
        self.platform, self.plain, self.far, self._stores = platform, plain, far, stores
        self._trust, self._path = trust, path
        self._modules: dict[object, frozenset[str]] = {}
        self._bundles: OrderedDict[object, Bundle] = OrderedDict()
        self._extra: dict[object, tuple[object, ...]] = {}
        self._bulky: set[object] = set()
        self._checked: set[object] = set()

    def clear(self) -> None:
        """Forget all components."""
        self._bundles.clear()

    async def packed(self, job: Job) -> tuple[Bundle, list[Buffer]]:
        """Give the component, and the frames of the arguments, as they will travel.

        Raises:
            PortabilityError: something cannot travel; names it and the cure.
        """
        found = self.packed_now(job)
        if found is not None:
            return found
        called = _called(job)
        return self._with_bundle(job, called, await asyncio.to_thread(self._frozen, job, called))

    def packed_now(self, job: Job) -> tuple[Bundle, list[Buffer]] | None:
        """Give the same at once, or None if packing takes so long that a loop must not wait.

        Raises:
            PortabilityError: something cannot travel; names it and the cure.
        """
        component = job.component
        if component.function in self._bulky or _is_bulky(job.arguments):
            return None
        called = _called(job)
        frames = self._frozen(job, called)
        if memoryview(frames[0]).nbytes > _BULKY_BYTES:
            self._bulky.add(component.function)
        return self._with_bundle(job, called, frames)

    def _with_bundle(
        self,
        job: Job,
        called: tuple[object, ...],
        frames: list[Buffer],
    ) -> tuple[Bundle, list[Buffer]]:
        sent = self._bundle(job.component)
        stream = frames[0] if type(frames[0]) is bytes else bytes(frames[0])
        if self._learnt(job.component, called, stream, sent):
            sent = self._bundle(job.component, anew=True)
        return sent, frames

    async def held(self, job: Job, frames: Sequence[Buffer]) -> Held:
        """Give the frames of a job with the large ones apart, stored if the component says where.

        Raises:
            ExecutorError: they cannot be stored; says what to do.
        """
        if self._stores is None:
            return Held(frames)
        payloads = self._stores.of(job.component)
        if payloads is None:
            return Held(frames, await parts_of(frames))
        return await payloads.held(frames)

    def is_large(self, frames: Sequence[Buffer]) -> bool:
        """True if some of the frames may go apart from their job."""
        return self._stores is not None and any(memoryview(f).nbytes >= LARGE for f in frames)

    async def outcome(
        self, job: Job, kind: int, frames: Sequence[Any], hearing: Hearing
    ) -> Outcome:
        """Give the outcome that the last message of a job tells.

        Args:
            kind: RESULT or FAILED. frames: without the seconds. hearing: what was said before.
        """
        found = self.outcome_now(job, kind, frames, hearing)
        if found is not None:
            return found
        return await asyncio.to_thread(self._outcome_read, job, frames)

    def outcome_now(
        self, job: Job, kind: int, frames: Sequence[Any], hearing: Hearing
    ) -> Outcome | None:
        """Give the same at once, or None if reading takes so long that a loop must not wait."""
        if kind != RESULT:
            return Outcome(error=self.error_of(job, frames))
        if job.component.style in ("stream", "async_stream"):
            if hearing.trouble is not None:
                return Outcome(error=hearing.trouble)
            return Outcome(hearing.chunks)
        if frames and memoryview(frames[0]).nbytes > _BULKY_BYTES:
            return None
        return self._outcome_read(job, frames)

    def _outcome_read(self, job: Job, frames: Sequence[Any]) -> Outcome:
        try:
            return Outcome(self.read(job, frames))
        except Exception as exc:  # what unpickling raises when a class is not here
            return Outcome(error=unreadable(job, "result", exc))

    def read(self, job: Job, frames: Sequence[Any]) -> object:
        """Give a value that came back; raises what its codec raises."""
        return values.decode(frames, trust=self.trusts(job)) if self.plain else thaw(frames)

    def trusts(self, job: Job) -> bool:
        """True if what comes back may be unpickled."""
        return not self.plain or self._trust or bool(job.component.options.get("trust"))

    def error_of(self, job: Job, frames: Sequence[Any]) -> BaseException:
        """Give the error that a failed job ends with."""
        trust = self.trusts(job)
        try:
            said = values.decode(frames) if self.plain else pickle.loads(frames[0])
            kind, what, failure = said
            error = restore_failure(failure, trust=trust)
        except Exception as exc:  # an answer from elsewhere may be anything
            return unreadable(job, "error", exc)
        if kind == "user":
            if isinstance(error, ModuleNotFoundError):
                note_cure(job.component, error)
            return error
        says = {"load": lacking, "argument": unfit}.get(str(kind))
        told = says(job.component, error) if says is not None else ""
        if told:
            stays = PortabilityError(job.name, self.platform, [told])
            stays.__cause__ = error
            return stays
        made = error_for(job, self.platform, str(kind), str(what), failure)
        made.__cause__ = error
        return made

    def _learnt(
        self,
        component: Component,
        called: tuple[object, ...],
        stream: bytes,
        sent: Bundle,
    ) -> bool:
        """See to what the arguments need there; True if that is more than was known before."""
        function = component.function
        learnt = False
        home = function.__module__ or "__main__"
        if b"__main__" in stream or home.encode() in stream:
            missing = [t for t in _homeless_in(called, sent.is_part) if not sent.has(t)]
            if missing:
                self._extra[function] = (*self._extra.get(function, ()), *missing)
                learnt = True
        if self.far:
            known = self._modules.get(function, frozenset())
            new = {n for n in local_modules() if n not in known and n.encode() in stream} - {home}
            if new:
                self._modules[function] = known | new
                learnt = True
        return learnt

    def _frozen(self, job: Job, called: tuple[object, ...]) -> list[Buffer]:
        freezing: Callable[[object], list[Buffer]] = _plain_frames if self.plain else freeze
        try:
            return freezing(called)
        except Exception as exc:  # a value's own pickling may raise anything
            for name, value in job.arguments.items():
                try:
                    freezing(value)
                except Exception as inner:  # the one to blame
                    who = culprit(value, name, attempt=freezing)
                    said = f"input {who}, cannot be pickled ({inner}): {_CURE}"
                    raise PortabilityError(job.name, self.platform, [said]) from exc
            said = f"its inputs cannot be pickled together ({exc})"
            raise PortabilityError(job.name, self.platform, [said]) from exc

    def _made(self, component: Component) -> Bundle:
        function = component.function
        if component.options.get("ship") == "pickle":
            folders = () if self.far else self._path or sys.path
            return pickled_bundle(
                function,
                name=component.name,
                style=component.style,
                platform=self.platform,
                path=tuple(map(str, folders)),
            )
        return bundle(
            function,
            component.source,
            name=component.name,
            style=component.style,
            platform=self.platform,
            extra=self._extra.get(function, ()),
            far=self.far,
            modules=tuple(self._modules.get(function, ())),
            path=self._path,
        )

    def _bundle(self, component: Component, *, anew: bool = False) -> Bundle:
        """What travels of the component; made again only when something of it has changed."""
        function = component.function
        found = self._bundles.get(function)
        if found is not None and not anew:
            if function in self._checked:
                return found
            if found.fresh():
                if not self._checked:  # once in a turn of the loop, however many jobs it packs
                    asyncio.get_running_loop().call_soon(self._checked.clear)
                self._checked.add(function)
                self._bundles.move_to_end(function)
                return found
        made = self._made(component)
        self._bundles[function] = made
        if len(self._bundles) > _BUNDLES:
            old, _ = self._bundles.popitem(last=False)
            self._checked.discard(old)
            self._extra.pop(old, None)
            self._modules.pop(old, None)
            self._bulky.discard(old)
        return made


class Hearing:
    """Passes on what a running job says, and keeps the chunks of a stream."""

    def __init__(self, job: Job, report: Report, travel: Travel) -> None:
        self._job, self._report, self._travel = job, report, travel
        self.chunks: list[object] = []
        self.trouble: ResultError | None = None

    def hear(self, kind: int, frames: Sequence[Any]) -> None:
        """Take a message that is not the last one. What is malformed is passed over."""
        if kind == BEGAN:
            self._report.started(str(frames[0]))
        elif kind == LOG and frames:
            body = bytes(frames[0])
            stream = _STREAMS.get(body[:1], "system")
            self._report.log(stream, body[1:].decode("utf-8", "replace"))  # type: ignore[arg-type]
        elif kind == CHUNK:
            try:
                chunk = self._travel.read(self._job, frames)
            except Exception as exc:  # what unpickling raises when a class is not here
                self.trouble = unreadable(self._job, "chunk", exc)
                return
            self.chunks.append(chunk)
            self._report.chunk(chunk)
        elif kind == CHECKPOINT:
            try:
                state = self._travel.read(self._job, frames)
                self._report.checkpoint(state)
            except Exception as exc:  # what unpickling raises when a class is not here; a full disk
                self._report.log("system", f"a checkpoint is lost: {exc}\n")
        elif kind == PROGRESS and frames and len(frames[0]) >= SECONDS.size:
            body = bytes(frames[0])
            message = body[SECONDS.size :].decode("utf-8", "replace")
            (fraction,) = SECONDS.unpack_from(body)
            if 0 <= fraction <= 1:
                self._report.progress(fraction, message)


def _called(job: Job) -> tuple[object, ...]:
    """What the far side calls with: args, kwargs, and what an earlier attempt had saved."""
    return (*job.component.spread(job.arguments), *job.restored)


def ticket_of(
    job: Job,
    sent: Bundle,
    frames: Sequence[Any],
    hearing: Hearing,
    settle: Callable[[int, Any], None],
    *,
    folder: str = "",
    parts: Sequence[Part] = (),
) -> Ticket:
    """Give the job as a pool takes it.

    Args:
        folder: the working folder the task finds; "" leaves it. parts: frames that may go apart.
    Raises:
        PortabilityError: a secret it asks for is not there.
    """
    meta = (job.hash, job.name, job.attempt, folder, environ_of(job))
    ticket = Ticket(sent, job.component.function, meta, frames, hearing.hear, settle, parts)
    ticket.grace = job.component.policy.grace
    return ticket


def environ_of(job: Job) -> dict[str, str]:
    """Give the environment variables a task asks for: plain ones, and secrets of the kernel.

    Raises:
        PortabilityError: a secret is not set here.
    """
    options = job.component.options
    found: dict[str, str] = dict(options.get("env") or {})  # type: ignore[call-overload]
    for name in options.get("secrets") or ():  # type: ignore[attr-defined]
        if name not in os.environ:
            said = f"the secret {name!r} is not set in this kernel's environment: set it first"
            raise PortabilityError(job.name, job.component.platform, [said])
        found[name] = os.environ[name]
    return found


def settling(answer: asyncio.Future[tuple[int, Any]]) -> Callable[[int, Any], None]:
    """Give what a pool calls with a job's last message."""

    def settle(kind: int, said: Any) -> None:
        if not answer.done():
            answer.set_result((kind, said))

    return settle


def _plain_frames(value: object) -> list[Buffer]:
    return values.encode(value, pickles=True)


def _is_bulky(arguments: Mapping[str, object]) -> bool:
    for value in arguments.values():
        if isinstance(value, (list, tuple, dict, set, frozenset)) and len(value) > _BULKY_ITEMS:
            return True
        if isinstance(value, (str, bytes)) and len(value) > _BULKY_BYTES:
            return True
    return False


_CURE = "pass what it is made of and make it inside the component, or use platform='local'"


class _Finder(pickle.Pickler):
    """Notes the functions and classes of the notebook that a value's pickle names."""

    found: dict[int, object]
    is_part: Callable[[object], bool]

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, (type, types.FunctionType)) and self.is_part(thing):
            self.found[id(thing)] = thing
        return NotImplemented


class _Nowhere:
    def write(self, body: bytes) -> int:
        return len(body)


def _homeless_in(value: object, is_part: Callable[[object], bool]) -> list[object]:
    finder = _Finder(_Nowhere(), 5, buffer_callback=lambda buffer: False)
    finder.found, finder.is_part = {}, is_part
    finder.dump(value)
    return list(finder.found.values())
