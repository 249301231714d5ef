"""S3 as the place for values of jobs: one folder of a bucket a session, and a look at what came."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.aws_clients import Services, Where, asking
from twingraph_nb.executors.aws_values import Kept
from twingraph_nb.executors.once import Once
from twingraph_nb.executors.owner import is_orphan, owner_label
from twingraph_nb.executors.payload_stores import FOLDER
from twingraph_nb.executors.payloads import Payloads
from twingraph_nb.executors.recalled import Engine
from twingraph_nb.wire import Buffer

__all__ = ["EXPIRES", "Bucket", "BucketStore", "Mail"]

EXPIRES = 7 * 24 * 3600
"""Seconds a job may wait in a queue and run: so long its presigned URLs are good. The most that
AWS allows; less where the credentials themselves are temporary."""
_FORGOTTEN = 2 * EXPIRES  # seconds after which nothing can need an object of a kernel that died
_SIGNED = 600.0  # seconds a URL is given again: signing costs more than a small job's letter
_PACE = 0.2, 2.0  # seconds between two looks: after news, and at the most
_SLOWER = 1.3
_PATIENCE = 300.0  # seconds without an answer of S3 until jobs are given up
_TOGETHER = 32  # objects that are read at a time
_DELETED = 1000  # objects per call; the most S3 takes


class Bucket:
    """A session's folder in a bucket; its methods block.

    name: of the bucket, perhaps with a folder: "my-bucket/data". root: the session's folder,
    ``twingraph/<kernel>/<platform>-<random>/``. payloads: inputs that its tasks share. kept:
    results that stay there. closed: the folder is removed.
    """

    def __init__(
        self, services: Services, where: Where, name: str, platform: str, root: str = ""
    ) -> None:
        name, _, folder = (name, "", "") if "://" in name else name.partition("/")
        self._services, self.where, self.name, self._platform = services, where, name, platform
        self._base = f"{folder.strip('/')}/{FOLDER}/".lstrip("/")
        self.root = root or f"{self._base}{owner_label()}/{platform}-{uuid.uuid4().hex[:12]}/"
        self.closed = False
        self.payloads = Payloads(_InFolder(self))
        self.kept = Kept(self)
        self._shared = Once()
        self._signed: dict[str, tuple[float, str]] = {}

    @property
    def engine(self) -> Engine:
        """Which AWS it is; the account shows in who may use the bucket."""
        with self._asking("use"):
            return Engine(str(self._s3.meta.region_name), str(self.where))

    def check(self) -> None:
        """See that the bucket can be used, and remove what dead kernels have left there.

        Raises:
            ExecutorError: it is not there, elsewhere, or not ours.
        """
        with self._asking("use"):
            found = self._s3.list_objects_v2(Bucket=self.name, Prefix=self._base)
            before = time.time() - _FORGOTTEN
            objects: Sequence[Mapping[str, Any]] = found.get("Contents", ())
            self.delete([o["Key"] for o in objects if o["LastModified"].timestamp() < before])
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self._base, Delimiter="/"
            )
            owners = [one["Prefix"] for page in pages for one in page.get("CommonPrefixes", ())]
        for owner in owners:
            if is_orphan(owner.removeprefix(self._base).rstrip("/")):
                self.delete(_over(owner, self._keys(owner)))

    def leave(self) -> None:
        """Remove the folder of a kernel that is gone, unless jobs of it may still run."""
        owner = self.root.rstrip("/").rpartition("/")[0]
        if is_orphan(owner.rpartition("/")[2]):
            self.delete(_over(f"{owner}/", self.keys()))

    def put(self, key: str, buffers: Sequence[Buffer]) -> None:
        """Store an object."""
        with self._asking("write to"):
            body = buffers[0] if len(buffers) == 1 else b"".join(buffers)
            if not isinstance(body, (bytes, bytearray)):
                body = bytes(body)
            self._s3.put_object(Bucket=self.name, Key=self.root + key, Body=body)

    def get(self, key: str) -> bytes:
        """Give an object, by its full key."""
        with self._asking("read from"):
            answer = self._s3.get_object(Bucket=self.name, Key=key)
            return bytes(answer["Body"].read())

    def url(self, key: str) -> str:
        """Give a URL by which whoever has it can read the object for `EXPIRES` seconds."""
        with self._asking("sign URLs for"):
            params = {"Bucket": self.name, "Key": self.root + key}
            found = self._s3.generate_presigned_url("get_object", Params=params, ExpiresIn=EXPIRES)
            return str(found)

    def form(self, prefix: str) -> dict[str, Any]:
        """Give a form by which whoever has it can store objects below the prefix."""
        start = self.root + prefix
        with self._asking("sign forms for"):
            made = self._s3.generate_presigned_post(
                self.name,
                start + "${filename}",
                Conditions=[["starts-with", "$key", start]],
                ExpiresIn=EXPIRES,
            )
        return {**made, "prefix": start}

    def keys(self, prefix: str = "") -> list[str]:
        """Give the full keys of the objects below a prefix, in order."""
        return self._keys(self.root + prefix)

    def clear(self, prefix: str = "", but: Container[str] = ()) -> None:
        """Remove the objects below a prefix, but for some full keys."""
        self.delete([key for key in self.keys(prefix) if key not in but])

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects by their full keys."""
        with self._asking("delete objects of"):
            for at in range(0, len(keys), _DELETED):
                objects = [{"Key": key} for key in keys[at : at + _DELETED]]
                self._s3.delete_objects(Bucket=self.name, Delete={"Objects": objects})

    async def shared(self, kind: str, digest: str, make: Callable[[], Sequence[Buffer]]) -> str:
        """Give the URL of an object that many jobs read; it is stored once."""
        key = f"{kind}/{hashlib.sha256(digest.encode()).hexdigest()[:32]}"

        async def put() -> None:
            await asyncio.to_thread(self.put, key, make())

        await self._shared.get(key, put)
        return self.signed(self.root + key)

    def signed(self, key: str) -> str:
        """Give the URL of an object by its full key, the same one for a while."""
        signed, url = self._signed.get(key, (0.0, ""))
        if time.time() - signed > _SIGNED:
            signed, url = self._signed[key] = time.time(), self.url(key.removeprefix(self.root))
        return url

    async def close(self) -> None:
        """Remove the folder."""
        self.closed = True
        await self._shared.settle()
        await self.payloads.close()
        await self.kept.close()
        await asyncio.to_thread(self.clear)

    def _keys(self, prefix: str) -> list[str]:
        with self._asking("list"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix
            )
            return [one["Key"] for page in pages for one in page.get("Contents", ())]

    @property
    def _s3(self) -> Any:
        return self._services.client("s3", self.where)

    def _asking(self, doing: str) -> Any:
        name = self.name
        cures = {
            "NoSuchBucket": f"there is no bucket of that name: create it, or name another: "
            f"bucket= of the component (now {name!r})",
            "PermanentRedirect": "it is in another region: name that one: region= of the component",
            "IllegalLocationConstraintException": "it is in another region: name that one: "
            "region= of the component",
            "InvalidBucketName": "that is not a bucket's name: bucket= wants a name such as "
            "'my-bucket', without 's3://' and folders",
        }
        doing = f"{doing} the bucket {name!r}"
        return asking(self._platform, doing, self.where, "s3", cures)


def _over(owner: str, keys: Sequence[str]) -> list[str]:
    """The keys of a kernel that is gone which nothing needs any more.

    Jobs of Batch and Celery, and calls of Lambda, outlive their kernel: their folders stay as long
    as there may be some.
    """
    folder_of = {key: key.removeprefix(owner).partition("/")[0] for key in keys}
    run = {one for one in folder_of.values() if one.startswith("celery-")}
    run |= {
        folder
        for key, folder in folder_of.items()
        if folder.startswith(("batch-", "lambda-")) and key.startswith(f"{owner}{folder}/in/")
    }
    return [key for key in keys if folder_of[key] not in run]


class _InFolder:
    """The payloads in a session's folder, which sees to the rest: see `Store`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def open(self) -> None:
        pass

    def put(self, digest: str, content: Buffer) -> None:
        self._bucket.put(f"payload/{digest}", [content])

    def where(self, digest: str) -> str:
        return self._bucket.signed(f"{self._bucket.root}payload/{digest}")

    def remove(self, digests: Sequence[str]) -> None:
        self._bucket.delete([f"{self._bucket.root}payload/{digest}" for digest in digests])

    def close(self) -> None:
        pass


class BucketStore(_InFolder):
    """A bucket as the store of a platform that is not on AWS; with the credentials of here."""

    def __init__(self, name: str, platform: str) -> None:
        self._services = Services()
        super().__init__(Bucket(self._services, Where(), name, platform))

    def open(self) -> None:
        self._bucket.check()

    def close(self) -> None:
        try:
            self._bucket.clear()
        finally:
            self._services.close()


class Mail:
    """What jobs post into the bucket while they run: one list call for all of them.

    Looks often after news, seldom otherwise, and not at all when nobody waits.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._boxes: dict[str, Callable[[bytes], None]] = {}
        self._seen: dict[str, set[str]] = {}
        self._lost: dict[str, Callable[[ExecutorError], None]] = {}
        self._looking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def expect(
        self,
        prefix: str,
        heard: Callable[[bytes], None],
        lost: Callable[[ExecutorError], None],
    ) -> None:
        """Call `heard` with each object below the prefix, in order; `lost` when S3 is silent."""
        prefix = self._bucket.root + prefix
        self._boxes[prefix], self._lost[prefix] = heard, lost
        self._seen[prefix] = set()
        self._news.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())

    def forget(self, prefix: str) -> None:
        """Nobody waits for these any more."""
        prefix = self._bucket.root + prefix
        for each in (self._boxes, self._lost, self._seen):
            each.pop(prefix, None)
        if not self._boxes and self._task is not None:
            self._task.cancel()
            self._task = None

    async def look(self) -> bool:
        """Hear all that has come since; True if there was something.

        Raises:
            ExecutorError: S3 does not answer.
        """
        async with self._looking:
            keys = await asyncio.to_thread(self._bucket.keys, "jobs/")
            new = [(k, box) for k in keys if (box := self._box_of(k)) and k not in self._seen[box]]
            for at in range(0, len(new), _TOGETHER):
                some = new[at : at + _TOGETHER]
                got = [asyncio.to_thread(self._bucket.get, key) for key, _ in some]
                for (key, box), body in zip(some, await asyncio.gather(*got), strict=True):
                    if box in self._boxes:  # it may have been left meanwhile
                        self._seen[box].add(key)
                        self._boxes[box](body)
            return bool(new)

    def _box_of(self, key: str) -> str:
        box = key[: key.rindex("/") + 1]
        return box if box in self._boxes else ""

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        pace, answered = _PACE[0], loop.time()
        while True:
            try:
                news = await self.look()
                answered = loop.time()
            except ExecutorError as exc:
                news = False
                if loop.time() - answered > _PATIENCE:
                    for lost in list(self._lost.values()):
                        lost(exc)
                    return
            pace = _PACE[0] if news else min(pace * _SLOWER, _PACE[1])
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), pace)
                pace = _PACE[0]
            except TimeoutError:
                pass
