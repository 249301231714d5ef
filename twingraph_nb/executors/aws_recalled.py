"""Calls of Lambda functions whose kernel has died: their answers are in the bucket.

Lambda has no way to ask for a call. A function that was called runs to its end all the same, and
posts its answer into the bucket, if the component has one.
"""

from __future__ import annotations

import asyncio
import time

from twingraph_nb.errors import ExecutorError, Unreachable
from twingraph_nb.executors.aws_bucket import Bucket, Mail
from twingraph_nb.executors.aws_clients import Ear
from twingraph_nb.executors.aws_values import BucketValue
from twingraph_nb.executors.base import Outcome, Report
from twingraph_nb.executors.recalled import Recalled, never_started
from twingraph_nb.executors.travel import Hearing, Travel
from twingraph_nb.remote import STAYS

__all__ = ["clear", "heard_out", "seen"]

_STARTS = 60.0  # seconds after its call in which a function that runs has posted something
_SPARE = 10.0  # seconds after its time limit in which its last words may still come
_LOOK = 1.0
_CURE = "Resume with the region and the account that it was started with"


async def heard_out(bucket: Bucket, known: Recalled, report: Report, travel: Travel) -> Outcome:
    """Go on hearing the call of a ticket to its end.

    Raises:
        NotStarted: nothing was ever heard of it.
        ExecutorError: its time is over, and there is no answer.
    """
    ear = Ear(known.job, Hearing(known.job, report, travel))
    box, called = str(known.facts["box"]), float(known.facts["at"])
    mail, lost = Mail(bucket), _Lost()

    def hear(data: bytes) -> None:
        try:
            ear.hear(data)
        except ExecutorError as exc:
            lost.tell(exc)
        if ear.turned:
            report.started(str(known.facts["function"]))

    mail.expect(box, hear, lost.tell)
    try:
        await mail.look()
        while ear.last is None:
            wait = float(known.facts["timeout"]) + _SPARE if ear.turned else _STARTS
            if time.time() > called + wait:
                raise _unheard(known, ear.turned)
            await asyncio.sleep(_LOOK)
            if lost.error is not None:
                raise lost.error
    finally:
        mail.forget(box)
    kind, frames = ear.last
    if kind != STAYS:
        return await travel.outcome(known.job, kind, frames, ear.hearing)
    value = bucket.kept.value(known.job, box, frames)
    found = await value.fetch() if isinstance(value, BucketValue) else value
    bucket.kept.leave()
    return Outcome(found)


async def seen(known: Recalled, bucket: Bucket) -> None:
    """See that the region and the account are those of a ticket: others know nothing of its job.

    Raises:
        Unreachable: they are not, or nobody answers.
    """

    def look() -> None:
        known.see_that_it_is_there(bucket.engine, _CURE)
        bucket.check()

    try:
        await asyncio.to_thread(look)
    except Unreachable:
        raise
    except ExecutorError as exc:
        platform = known.job.component.platform
        raise Unreachable(platform, str(bucket.where), str(exc).rstrip("."), _CURE) from exc


def clear(bucket: Bucket, box: str, marker: str) -> None:
    """Remove what was stored for a call of a kernel that has died; blocks."""
    try:
        bucket.clear(box)
        bucket.clear(marker)
        bucket.leave()
    except ExecutorError:
        pass  # it is removed when nothing can need it any more


class _Lost:
    """Why nothing can be heard any more."""

    error: ExecutorError | None = None

    def tell(self, error: ExecutorError) -> None:
        self.error = error


def _unheard(known: Recalled, ran: bool) -> ExecutorError:
    if not ran:
        return never_started(known, "call of Lambda for")
    return ExecutorError(f"the function that ran {known.job.name} ended without an answer")
