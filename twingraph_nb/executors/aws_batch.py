"""Platform `batch`: tasks as jobs of AWS Batch, with boto3.

The image needs Python 3.9 or later and nothing of ours: the job's command fetches our far side,
its component and its inputs from the component's `bucket`, and posts what it says and its result
there while it runs. Equal components that are called within one turn become one array job. A
large result stays in the bucket until somebody looks; the next task there gets it from there.

What a job's description shows is one presigned URL, good for a week, of a manifest with more such
URLs: who may describe jobs could read the inputs, with environment and secrets, until the objects
are removed after the task. Nothing else of a task is in a description. With credentials that are
temporary themselves, URLs end with these: a job that waits and runs longer cannot answer.

Job definitions are named by their content, are registered when missing, and stay. Lines that a
job printed before it died are completed from its log in CloudWatch, when that may be read.
`attempts` repeats a job whose machine was lost; all other retries are the scheduler's.

Emulators such as moto leave out what is decided here and tested apart: the least timeout (60 s),
the sizes of Fargate, retry strategies, and the reasons of an end as Batch words them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError, TwingraphError
from twingraph_nb.executors.aws_arrays import Arrays, Entry, Kind, Mark
from twingraph_nb.executors.aws_bucket import Bucket, Mail
from twingraph_nb.executors.aws_clients import (
    Ear,
    Services,
    component_letter,
    job_letter,
)
from twingraph_nb.executors.aws_jobs import Jobs, JobSetup, fate, setup_of, unheard
from twingraph_nb.executors.aws_recalled import seen
from twingraph_nb.executors.aws_values import BucketValue, is_there, with_places
from twingraph_nb.executors.aws_watch import OVER, Watch
from twingraph_nb.executors.base import Capabilities, Job, Outcome, RemoteValue, Report
from twingraph_nb.executors.kit import kit_zip
from twingraph_nb.executors.once import Once
from twingraph_nb.executors.payloads import Held
from twingraph_nb.executors.recalled import Recalled, never_started, ticket_of
from twingraph_nb.executors.travel import Hearing, Travel, environ_of
from twingraph_nb.remote import STAYS
from twingraph_nb.settings import Settings

__all__ = ["BatchExecutor"]

_LOOKS = 1.0, 2.0  # seconds before Batch is asked again for a job that it does not list
_ENDING = 60.0  # seconds until a job that was told to end is left to itself


class BatchExecutor:
    """Runs tasks as jobs of AWS Batch."""

    name: ClassVar[str] = "batch"
    capabilities: ClassVar[Capabilities] = Capabilities(isolated=True, stops=True, attaches=True)

    def __init__(self, settings: Settings) -> None:
        self._services, self._payloads = Services(), settings.payloads
        self._jobs = Jobs(self._services)
        self._travel = Travel(self.name)
        self._once = Once()
        self._mails: dict[Bucket, Mail] = {}
        self._arrays = Arrays(self._jobs)
        self._watch = Watch(self._jobs)
        self._clearing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        pass

    async def run(self, job: Job, report: Report) -> Outcome:
        try:
            with self._arrays.coming(job.component):
                entry, bucket, held = await self._joined(job, report)
        except ExecutorError:
            raise
        except TwingraphError as exc:
            return Outcome(error=exc)
        try:
            mark = await asyncio.shield(entry.mark)
            if mark.size == 1:  # who may not list jobs needs the id; of many, that is too slow
                report.ticket(_ticket(job, mark, bucket))
            return await self._waited(job, mark, bucket, report)
        except asyncio.CancelledError:
            if not self._arrays.withdraw(entry):
                await asyncio.shield(self._stopped(entry))
            raise
        except ExecutorError:
            await self._stopped(entry)  # it may still run, and is going to be tried again
            raise
        finally:
            held.release()
            self._over(entry, bucket)

    def takes(self, value: RemoteValue, component: Component) -> bool:
        return is_there(value, component, self._payloads)

    async def attach(self, ticket: str, job: Job, report: Report) -> Outcome:
        known = Recalled.read(job, ticket)
        mark = Mark.read(known.facts["mark"])
        name, root = str(known.facts["bucket"]), str(known.facts["root"])
        bucket = Bucket(self._services, mark.where, name, self.name, root)
        await seen(known, bucket)
        if not mark.id:
            key = ("named", mark.where, mark.queue, mark.name)
            id = await self._once.get(key, lambda: self._looked_up(mark))
            if not id:
                self._later(asyncio.to_thread(_clear, bucket, mark, leave=True))
                raise never_started(known, "job of AWS Batch for")
            mark = mark.submitted(id)
        self._mails[bucket] = Mail(bucket)
        try:
            outcome = await self._waited(known.job, mark, bucket, report)
            if isinstance(outcome.value, BucketValue):  # it is removed with the rest, below
                outcome = Outcome(await outcome.value.fetch())
                bucket.kept.leave()
        finally:
            del self._mails[bucket]
        alone = ":" not in mark.id  # others of an array may still need what they share
        if alone:
            self._later(asyncio.to_thread(_clear, bucket, mark, leave=True))
        else:
            self._later(asyncio.to_thread(bucket.clear, mark.box))
        return outcome

    async def close(self) -> None:
        await self._arrays.close()
        await asyncio.gather(*self._clearing, return_exceptions=True)
        await self._watch.close()
        for made in await self._once.settle():
            if isinstance(made, Bucket):
                await made.close()
        self._mails.clear()
        self._travel.clear()
        await asyncio.to_thread(self._services.close)

    async def probe(self) -> str:
        """Give the version of the client and who is asking; see `Probes`."""
        return await asyncio.to_thread(self._services.versions, self.name)

    async def _joined(self, job: Job, report: Report) -> tuple[Entry, Bucket, Held]:
        """Store what the job needs, and put it among those that are submitted soon."""
        setup = setup_of(job, self._payloads)
        sent, frames = await self._travel.packed(with_places(job))
        environ_of(job)  # what is missing is said before anything is stored
        bucket = await self._bucket(setup)
        definition = await self._definition(setup)
        kit = await bucket.shared("kit", "kit", lambda: [kit_zip({})])
        component = component_letter(sent)
        place = await bucket.shared("component", sent.key, lambda: component)
        kind = Kind(setup, definition, bucket, sent.key, place, kit)
        held = await bucket.payloads.held(frames)

        def planned(mark: Mark) -> None:
            report.ticket(_ticket(job, mark, bucket))

        return self._arrays.join(kind, job, job_letter(job, held), planned), bucket, held

    async def _bucket(self, setup: JobSetup) -> Bucket:
        async def make() -> Bucket:
            made = Bucket(self._services, setup.where, setup.bucket, self.name)
            await asyncio.to_thread(made.check)
            self._mails[made] = Mail(made)
            return made

        return await self._once.get((setup.where, setup.bucket), make)

    async def _definition(self, setup: JobSetup) -> str:
        return await self._once.get(setup, lambda: asyncio.to_thread(self._jobs.definition, setup))

    async def _looked_up(self, mark: Mark) -> str:
        """The id of a job that was to be submitted, "" if it was not."""
        for pause in (*_LOOKS, None):
            id = await asyncio.to_thread(self._jobs.named, mark.where, mark.queue, mark.name)
            if id or pause is None:
                return id
            await asyncio.sleep(pause)  # Batch lists a new job a moment later
        raise AssertionError("unreachable")

    async def _waited(self, job: Job, mark: Mark, bucket: Bucket, report: Report) -> Outcome:
        """Hear what the job says, to its end."""
        call = _Call(job, mark, Hearing(job, report, self._travel), report)
        mail = self._mails[bucket]
        mail.expect(mark.box, call.hear, call.lost)
        self._watch.expect(mark.where, mark.id, call.changed)
        try:
            detail = await call.end
            if detail is not None:  # it has ended, so its last words are there by now
                await mail.look()
        finally:
            mail.forget(mark.box)
            self._watch.forget(mark.where, mark.id)
        if call.ear.last is not None:
            kind, frames = call.ear.last
            if kind == STAYS:
                return Outcome(bucket.kept.value(job, mark.box, frames))
            return await self._travel.outcome(job, kind, frames, call.ear.hearing)
        assert detail is not None
        lines = await asyncio.to_thread(self._jobs.tail, mark.where, detail)
        rest = unheard(lines, call.ear.text)
        if rest:
            report.log("stdout", rest)
        error = fate(job, detail)
        if isinstance(error, ExecutorError):
            raise error
        return Outcome(error=error)

    async def _stopped(self, entry: Entry) -> None:
        """End the job; returns when it has ended."""
        try:
            mark = await entry.mark
            await asyncio.to_thread(self._jobs.terminate, mark.where, mark.id)
        except ExecutorError:
            return  # it never began, or AWS does not answer
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def changed(detail: dict[str, Any]) -> None:
            if detail["status"] in OVER and not ended.done():
                ended.set_result(None)

        self._watch.expect(mark.where, mark.id, changed)
        try:
            await asyncio.wait_for(ended, _ENDING)
        except TimeoutError:
            pass
        finally:
            self._watch.forget(mark.where, mark.id)

    def _over(self, entry: Entry, bucket: Bucket) -> None:
        """Remove what a group of jobs has left in the bucket, after the last of them."""
        if not entry.mark.done() or entry.mark.cancelled() or entry.mark.exception():
            return
        mark = entry.mark.result()
        if self._arrays.over(mark):
            self._later(asyncio.to_thread(_clear, bucket, mark))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)


class _Call:
    """A job that runs, and what was heard of it. end: how it ended, None with an answer."""

    def __init__(self, job: Job, mark: Mark, hearing: Hearing, report: Report) -> None:
        self._mark, self._report, self.ear = mark, report, Ear(job, hearing)
        self.end: asyncio.Future[dict[str, Any] | None] = asyncio.Future()
        self._runs = False

    def hear(self, data: bytes) -> None:
        """Take a part of the answer."""
        try:
            self.ear.hear(data)
        except ExecutorError as exc:
            self.lost(exc)
            return
        if self.ear.turned:
            self._started()
        if self.ear.last is not None and not self.end.done():
            self.end.set_result(None)

    def changed(self, detail: dict[str, Any]) -> None:
        """Take note of the job's state."""
        state, why = detail["status"], detail.get("statusReason", "")
        if state == "RUNNING":
            self._started()
        elif state == "RUNNABLE" and why:
            self._report.log("system", f"the job waits in its queue: {why}\n")
        elif state in OVER and not self.end.done():
            self.end.set_result(detail)

    def _started(self) -> None:
        if not self._runs:
            self._runs = True
            self._report.started(f"job {self._mark.id}")

    def lost(self, error: ExecutorError) -> None:
        """It cannot be heard any more."""
        if not self.end.done():
            self.end.set_exception(error)


def _ticket(job: Job, mark: Mark, bucket: Bucket) -> str:
    facts = {"bucket": bucket.name, "root": bucket.root, "engine": bucket.engine}
    return ticket_of(job, mark=mark.told(), **facts)


def _clear(bucket: Bucket, mark: Mark, leave: bool = False) -> None:
    try:
        bucket.clear(f"jobs/{mark.group}/", but=bucket.kept.keys)
        bucket.clear(f"in/{mark.group}/")
        if leave:
            bucket.leave()
    except ExecutorError:
        pass  # the session's folder is removed at its end
