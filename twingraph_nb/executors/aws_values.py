"""Results of Lambda functions and Batch jobs that stay in their bucket until somebody looks."""

from __future__ import annotations

import asyncio
import re
import struct
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twingraph_nb import values
from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError, ResultError
from twingraph_nb.executors.aws_clients import bucket_of, where_of
from twingraph_nb.executors.base import Job, RemoteParts, RemoteValue
from twingraph_nb.remote import TAG
from twingraph_nb.remote_payloads import digest_of, messages, value_at
from twingraph_nb.wire import WireError

if TYPE_CHECKING:
    from twingraph_nb.executors.aws_bucket import Bucket

__all__ = ["BucketValue", "Kept", "is_there", "with_places"]

_NAME = re.compile(r"kept/(?:[0-9]{1,6}-)?result")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BucketValue(RemoteValue):
    """A result in a bucket. task: whose. trust: pickles in it may be read."""

    __slots__ = ("__weakref__", "bucket", "digest", "key", "size", "task", "trust")

    def __init__(
        self, bucket: Bucket, key: str, digest: str, size: int, task: str, trust: bool
    ) -> None:
        place = f"the bucket {bucket.name!r}"
        super().__init__(place, f"{size:,} bytes in {place}")
        self.bucket, self.key, self.digest, self.size = bucket, key, digest, size
        self.task, self.trust = task, trust

    async def fetch(self) -> object:
        return await asyncio.to_thread(self._fetched)

    def _fetched(self) -> object:
        if self.bucket.closed:
            raise ExecutorError(
                f"the result of {self.task} is gone: it stayed in {self.place}, and was removed "
                "there with its session; look at it before that, or keep it with cache="
            )
        data = bytearray(self.bucket.get(self.key))
        if len(data) != self.size or digest_of([data]) != self.digest:
            raise ExecutorError(f"the result of {self.task} was changed in {self.place}")
        try:
            (message,) = messages(data)
            found: object = values.decode(message.frames[1:], trust=self.trust)
        except (WireError, ValueError, values.ValuesError) as exc:
            raise ResultError(f"the result of {self.task} cannot be read here: {exc}") from exc
        return found


class Kept:
    """The results that stay in the folder of one session; each is removed when nobody has it."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.keys: set[str] = set()
        self._alone = False
        self._removing: set[asyncio.Task[None]] = set()

    def value(self, job: Job, box: str, frames: Sequence[Any]) -> BucketValue:
        """Give the value that stands for a result of a job.

        Args:
            box: where the job posts, below the session's folder. frames: name below it, digest
                and size, as the far side says.
        Raises:
            ExecutorError: that is malformed.
        """
        try:
            name, digest = (bytes(one).decode() for one in frames[:2])
            (size,) = TAG.unpack(frames[2])
        except (ValueError, IndexError, TypeError, struct.error) as exc:
            raise ExecutorError(f"the answer of {job.name} cannot be read: {exc}") from exc
        if not _NAME.fullmatch(name) or not _DIGEST.fullmatch(digest):
            raise ExecutorError(f"the answer of {job.name} cannot be read: it names {name!r:.100}")
        key = f"{self._bucket.root}{box}{name}"
        trust = bool(job.component.options.get("trust"))
        made = BucketValue(self._bucket, key, digest, size, job.name, trust)
        self.keys.add(key)
        loop = asyncio.get_running_loop()
        weakref.finalize(made, self._released, loop, key).atexit = False
        return made

    def leave(self) -> None:
        """Somebody else removes them."""
        self.keys.clear()
        self._alone = True

    async def close(self) -> None:
        """Wait for what is being removed."""
        if self._removing:
            await asyncio.wait(set(self._removing))

    def _released(self, loop: asyncio.AbstractEventLoop, key: str) -> None:
        """Nobody has the value any more; called in whatever thread that happens."""
        try:
            loop.call_soon_threadsafe(self._remove, key)
        except RuntimeError:
            pass  # the loop is closed, and the folder was removed before

    def _remove(self, key: str) -> None:
        self.keys.discard(key)
        if self._bucket.closed or self._alone:
            return
        task = asyncio.ensure_future(self._removed(key))
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)

    async def _removed(self, key: str) -> None:
        try:
            await asyncio.to_thread(self._bucket.delete, [key])
        except ExecutorError:
            pass  # the session's folder is removed at its end


def is_there(value: RemoteValue, component: Component, payloads: str = "") -> bool:
    """True if tasks of a component on AWS can get the value from their bucket.

    Args:
        payloads: where its values go if it names no bucket.
    """
    parts = value.parts if isinstance(value, RemoteParts) else (value,)
    remote = [part for part in parts if isinstance(part, RemoteValue)]
    bucket = bucket_of(component, payloads).partition("/")[0]
    return all(
        isinstance(part, BucketValue)
        and not part.bucket.closed
        and (part.bucket.where, part.bucket.name) == (where_of(component), bucket)
        for part in remote
    )


def with_places(job: Job) -> Job:
    """Give the job with a note in place of each input that stays in a bucket: where to get it."""
    if not any(isinstance(value, RemoteValue) for value in job.arguments.values()):
        return job
    noted = {name: _noted(value) for name, value in job.arguments.items()}
    return Job(job.hash, job.name, job.component, noted, job.attempt)


def _noted(value: object) -> object:
    if isinstance(value, BucketValue):
        return _Note(value)
    if isinstance(value, RemoteParts):
        return [_noted(part) for part in value.parts]
    return value


class _Note:
    """Pickled as the call by which the far side gets a value."""

    def __init__(self, value: BucketValue) -> None:
        self._value = value

    def __reduce_ex__(self, protocol: Any) -> Any:
        value = self._value
        url = value.bucket.signed(value.key)
        return value_at, (url, value.digest, value.size, value.trust)
