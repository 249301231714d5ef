"""Platform `lambda`: tasks as calls of AWS Lambda functions, with boto3.

A function holds our far side and the component's `packages`; components come with each call, so
that all components of equal settings share one function. It is called ``twingraph-<digest>``, or
as `function_name` says, is made when it is missing and brought up to date when it differs, and
stays: an unused function costs nothing, and the next session finds it by its digest. Environment
variables and secrets go with the call, never into the function's settings.

Up to about 4 MB travel in the call itself. With `bucket`, larger values go through S3 by URLs
that are good for a week, and what a task says is heard while it runs. An input that several tasks
share is stored once, and a result that is too large for an answer stays there until somebody
looks; the next task there gets it from there. What belongs to one task is removed after it, or
when the function of a call that was given up has ended.

Lambda has no way to end a call: a cancelled task is given up at once, and its function runs on
until it is done or its own time limit, which follows the component's timeout.
"""

from __future__ import annotations

import asyncio
import base64
import random
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any, ClassVar

from twingraph_nb.component import Component
from twingraph_nb.errors import (
    ExecutorError,
    PortabilityError,
    ResultError,
    TwingraphError,
    Unreachable,
)
from twingraph_nb.executors.aws_bucket import Bucket, Mail
from twingraph_nb.executors.aws_clients import (
    Ear,
    Services,
    Where,
    component_letter,
    job_letter,
)
from twingraph_nb.executors.aws_function import Busy, Functions, Gone, accident, printed
from twingraph_nb.executors.aws_package import MIB, FunctionSetup, setup_of
from twingraph_nb.executors.aws_recalled import clear, heard_out, seen
from twingraph_nb.executors.aws_values import is_there, with_places
from twingraph_nb.executors.base import Capabilities, Job, Outcome, RemoteValue, Report
from twingraph_nb.executors.once import Once
from twingraph_nb.executors.parcels import Paces
from twingraph_nb.executors.payloads import Held
from twingraph_nb.executors.recalled import Recalled, ticket_of
from twingraph_nb.executors.travel import Hearing, Travel, environ_of
from twingraph_nb.remote import STAYS
from twingraph_nb.settings import Settings
from twingraph_nb.source.bundle import Bundle
from twingraph_nb.wire import Buffer

__all__ = ["LambdaExecutor"]

_EVENT = 6 * MIB
"""Bytes of an event and of an answer (AWS Lambda quotas)."""
_MOST = (_EVENT - 64 * 1024) // 4 * 3  # of them in base64
_SHARED = 256 * 1024  # bytes of a component that is rather stored once than sent each time
_AT_ONCE = 50  # calls of a function, unless `workers` says so
_WAITS = 0.2, 20.0  # seconds before a call that was refused is tried again: first, at the most


class LambdaExecutor:
    """Runs tasks as calls of Lambda functions."""

    name: ClassVar[str] = "lambda"
    capabilities: ClassVar[Capabilities] = Capabilities(isolated=True, attaches=True)

    def __init__(self, settings: Settings) -> None:
        self._services, self._payloads = Services(), settings.payloads
        self._functions = Functions(self._services, settings.home / "lambda")
        self._travel = Travel(self.name)
        self._once = Once()
        self._places: dict[object, asyncio.Semaphore] = {}
        self._mails: dict[Bucket, Mail] = {}
        self._clearing: set[asyncio.Task[None]] = set()
        self._paces = Paces()

    async def open(self) -> None:
        pass

    async def run(self, job: Job, report: Report) -> Outcome:
        try:
            setup = setup_of(job, self._payloads)
            sent, frames = await self._travel.packed(with_places(job))
            environ_of(job)  # what is missing is said before anything is stored
            bucket = await self._bucket(setup)
            await self._ensure(setup, bucket)
        except ExecutorError:
            raise
        except TwingraphError as exc:
            return Outcome(error=exc)
        held = await bucket.payloads.held(frames) if bucket else Held(frames)
        long = self._paces.long(job.component.function)
        call = _Call(job, setup, bucket, Hearing(job, report, self._travel), kept=long)
        try:
            event = await call.event(sent, job_letter(job, held))
            async with self._place(setup):
                await call.mark()
                return await self._called(call, event, report)
        except PortabilityError as exc:
            return Outcome(error=exc)
        finally:
            held.release()
            call.over()
            self._later(call.clear())

    def takes(self, value: RemoteValue, component: Component) -> bool:
        return is_there(value, component, self._payloads)

    async def attach(self, ticket: str, job: Job, report: Report) -> Outcome:
        """Go on hearing a call that a kernel which died had made; its answer is in the bucket."""
        known = Recalled.read(job, ticket)
        facts = known.facts
        name, root, box = str(facts["bucket"]), str(facts["root"]), str(facts["box"])
        bucket = Bucket(self._services, Where(**facts["where"]), name, self.name, root)
        over = True
        try:
            await seen(known, bucket)
            return await heard_out(bucket, known, report, self._travel)
        except Unreachable:  # it may go on, and is asked for again
            over = False
            raise
        finally:
            if over:
                self._later(asyncio.to_thread(clear, bucket, box, str(facts["marker"])))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._clearing, return_exceptions=True)
        for made in await self._once.settle():
            if isinstance(made, Bucket):
                await made.close()
        self._mails.clear()
        self._travel.clear()
        await asyncio.to_thread(self._services.close)

    async def probe(self) -> str:
        """Give the version of the client and who is asking; see `Probes`."""
        return await asyncio.to_thread(self._services.versions, self.name)

    async def _ensure(self, setup: FunctionSetup, bucket: Bucket | None) -> None:
        async def make() -> None:
            await asyncio.to_thread(self._functions.ensure, setup, bucket)

        await self._once.get(_key(setup), make)

    async def _bucket(self, setup: FunctionSetup) -> Bucket | None:
        if not setup.bucket:
            return None

        async def make() -> Bucket:
            made = Bucket(self._services, setup.where, setup.bucket, self.name)
            await asyncio.to_thread(made.check)
            self._mails[made] = Mail(made)
            return made

        return await self._once.get((setup.where, setup.bucket), make)

    def _place(self, setup: FunctionSetup) -> asyncio.Semaphore:
        key = (setup.where, setup.name, setup.workers)
        return self._places.setdefault(key, asyncio.Semaphore(setup.workers or _AT_ONCE))

    async def _called(self, call: _Call, event: dict[str, object], report: Report) -> Outcome:
        job, setup = call.job, call.setup
        report.started(setup.name)
        call.made = True
        mail = self._mails.get(call.bucket) if call.bucket else None
        if mail is not None:
            mail.expect(call.box, call.hear, lambda error: None)
        if call.kept:
            report.ticket(call.ticket())
        began = time.monotonic()
        try:
            answer = await self._answer(call, event, report)
            self._paces.note(job.component.function, time.monotonic() - began)
            said = answer["Payload"]
            if answer.get("FunctionError") or not isinstance(said, dict):
                if mail is not None:
                    await mail.look()
                call.hear_rest(printed(answer), report)
                error = accident(job, setup, said if isinstance(said, dict) else {})
                if isinstance(error, ExecutorError):
                    raise error
                return Outcome(error=error)
            if mail is not None and said.get("parts"):
                await mail.look()
        finally:
            if mail is not None:
                mail.forget(call.box)
        return await self._outcome(call, said)

    async def _answer(
        self, call: _Call, event: dict[str, object], report: Report
    ) -> dict[str, Any]:
        """The answer of the function, asked again as long as Lambda is busy."""
        wait, most = _WAITS
        made = False
        while True:
            try:
                found: dict[str, Any] = await in_thread(
                    lambda: self._functions.invoke(call.setup, event), call.given_up
                )
                return found
            except Gone:
                if made:
                    raise
                made = True
                self._once.forget(_key(call.setup))
                await self._ensure(call.setup, call.bucket)
            except Busy as exc:
                if wait == _WAITS[0]:
                    report.log("system", f"Lambda is busy ({exc}): the call waits\n")
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))
                if call.kept:
                    report.ticket(call.ticket())
                wait = min(2 * wait, most)

    async def _outcome(self, call: _Call, said: dict[str, Any]) -> Outcome:
        if "large" in said:
            return Outcome(error=too_large(call.job, int(said["large"])))
        try:
            call.hear(base64.b64decode(said.get("body", "")))
        except (TypeError, ValueError) as exc:
            raise ExecutorError(f"the answer of {call.job.name} is none of ours: {exc}") from exc
        if call.trouble is not None:
            raise call.trouble
        if call.ear.last is None:
            raise ExecutorError(f"the answer of {call.job.name} is not whole")
        kind, frames = call.ear.last
        if kind == STAYS and call.bucket is not None:
            return Outcome(call.bucket.kept.value(call.job, call.box, frames))
        return await self._travel.outcome(call.job, kind, frames, call.ear.hearing)


class _Call:
    """One call of a function, and what was heard of it.

    kept: its answer goes to the bucket, where another kernel finds it.
    """

    def __init__(
        self,
        job: Job,
        setup: FunctionSetup,
        bucket: Bucket | None,
        hearing: Hearing,
        *,
        kept: bool,
    ) -> None:
        self.job, self.setup, self.bucket = job, setup, bucket
        self.kept = kept and bucket is not None
        self.ear = Ear(job, hearing)
        self.trouble: ExecutorError | None = None
        self._id = uuid.uuid4().hex
        self.box = f"jobs/{self._id}/"
        self._stored = self._over = self.made = False

    async def event(self, sent: Bundle, letter: list[Buffer]) -> dict[str, object]:
        """Give the event to call with; what is too large for it is stored.

        Raises:
            PortabilityError: it is too large, and there is no bucket.
        """
        component: list[Buffer] = component_letter(sent)
        place: dict[str, str] = {}
        if self.bucket is not None and _size(component) > _SHARED:
            place["get"] = await self.bucket.shared("component", sent.key, lambda: component)
        else:
            place["body"] = _text(component)
        room = _MOST - len(place.get("body", "")) * 3 // 4
        event: dict[str, object] = {"key": sent.key, "component": place, "most": _MOST}
        if _size(letter) <= room:
            event["job"] = {"body": _text(letter)}
        elif self.bucket is None:
            raise PortabilityError(self.job.name, "lambda", [_too_much(_size(letter))])
        else:
            self._stored = True
            await asyncio.to_thread(self.bucket.put, f"in/{self._id}", letter)
            event["job"] = {"get": self.bucket.url(f"in/{self._id}")}
        if self.bucket is not None:
            event["post"] = self.bucket.form(self.box)
            event["keep"] = self.kept
        return event

    async def mark(self) -> None:
        """Say in the bucket that its folder is still needed; not before the call has its place."""
        if self.bucket is not None and self.kept and not self._stored:
            self._stored = True
            await asyncio.to_thread(self.bucket.put, f"in/{self._id}", [b""])

    def ticket(self) -> str:
        """Give what it takes to find its answer, just before it is called."""
        assert self.bucket is not None
        return ticket_of(
            self.job,
            engine=self.bucket.engine,
            where=asdict(self.setup.where),
            bucket=self.bucket.name,
            root=self.bucket.root,
            box=self.box,
            marker=f"in/{self._id}",
            function=self.setup.name,
            timeout=self.setup.timeout,
            at=time.time(),
        )

    def hear(self, data: bytes) -> None:
        """Take a part of the answer; one that is malformed counts when the call has ended."""
        try:
            self.ear.hear(data)
        except ExecutorError as exc:
            self.trouble = exc

    def hear_rest(self, text: str, report: Report) -> None:
        """Take the end of Lambda's own log, where nothing else was heard."""
        if text and not self.ear.text:
            report.log("stdout", text)

    def over(self) -> None:
        """Nobody waits any more."""
        self._over = True

    def given_up(self) -> None:
        """The function has ended after nobody waited any more; called in a thread."""
        if self.bucket is not None and self._over:
            self._clear()

    async def clear(self) -> None:
        """Remove what was stored for the call."""
        if self.bucket is not None and (self.made or self._stored):
            await asyncio.to_thread(self._clear)

    def _clear(self) -> None:
        assert self.bucket is not None
        try:
            if self.made:
                self.bucket.clear(self.box, but=self.bucket.kept.keys)
            if self._stored:
                self.bucket.clear(f"in/{self._id}")
        except ExecutorError:
            pass  # the session's folder is removed at its end


async def in_thread(work: Callable[[], Any], late: Callable[[], None]) -> Any:
    """Give what `work` gives in a thread that nobody waits for at exit.

    Cancelling this leaves the thread alone; `late` is called there when it ends after that.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)

    def body() -> None:
        value, error = None, None
        try:
            value = work()
        except BaseException as exc:  # passed on to who waits
            error = exc
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:
            pass  # the loop is closed
        late()

    threading.Thread(target=body, name="twingraph-lambda", daemon=True).start()
    return await answer


def _key(setup: FunctionSetup) -> object:
    return setup.where, setup.name, setup.digest


def too_large(job: Job, size: int) -> ResultError:
    """Give the error about a result that Lambda does not give back."""
    return ResultError(
        f"{job.name} gave a result of {size / MIB:,.1f} MiB, and Lambda gives back up to "
        f"{_MOST / MIB:.1f} MiB: name a bucket for large values, bucket='my-bucket'"
    )


def _too_much(size: int) -> str:
    return (
        f"its inputs have {size / MIB:,.1f} MiB, and Lambda takes up to {_MOST / MIB:.1f} MiB "
        "with a call: name a bucket for large values, bucket='my-bucket'"
    )


def _size(buffers: list[Buffer]) -> int:
    return sum(memoryview(one).nbytes for one in buffers)


def _text(buffers: list[Buffer]) -> str:
    return base64.b64encode(b"".join(buffers)).decode()
