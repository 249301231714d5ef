"""Jobs of AWS Batch that are submitted together: equal ones of one turn become an array."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from twingraph_nb.component import Component
from twingraph_nb.executors.aws_bucket import Bucket
from twingraph_nb.executors.aws_clients import Where
from twingraph_nb.executors.aws_jobs import Jobs, JobSetup, job_name
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.payloads import LARGE
from twingraph_nb.remote import TAG
from twingraph_nb.wire import Buffer

__all__ = ["Arrays", "Entry", "Mark"]

TURN = 0.05
"""Seconds to wait for more jobs of the same kind."""
_LONGEST = 5.0
"""Seconds to wait for those that are being prepared: a map's inputs may have to be stored first."""
MOST = 10_000
"""Jobs of an array (AWS Batch user guide)."""
_LARGEST = 64 << 20  # bytes of all inputs of an array, which are one object


@dataclass(frozen=True)
class Mark:
    """Where a job is found. id: as Batch knows it, "" before it is submitted. group: its folder in
    the bucket. index: of `size` jobs. queue, name: by which Batch is asked for the id."""

    where: Where
    id: str
    group: str
    index: int
    size: int = 1
    queue: str = ""
    name: str = ""

    @property
    def box(self) -> str:
        """Where the job posts what it says."""
        return f"jobs/{self.group}/{self.index}/"

    def told(self) -> dict[str, Any]:
        """Give it as plain data."""
        return asdict(self)

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Mark:
        """Give it back."""
        return cls(**{**told, "where": Where(**told["where"])})

    def submitted(self, id: str) -> Mark:
        """Give the same once its array, or it alone, has an id."""
        return replace(self, id=f"{id}:{self.index}" if self.size > 1 else id)


class Entry:
    """A job that waits to be submitted. mark: comes true with that. planned: told before."""

    def __init__(self, job: Job, letter: list[Buffer], planned: Callable[[Mark], None]) -> None:
        self.job, self.letter, self.planned = job, letter, planned
        self.size = sum(memoryview(one).nbytes for one in letter)
        self.mark: asyncio.Future[Mark] = asyncio.get_running_loop().create_future()


@dataclass(frozen=True)
class Kind:
    """What jobs of one array have in common. key: of their component."""

    setup: JobSetup
    definition: str
    bucket: Bucket
    key: str
    component: str
    kit: str


class Arrays:
    """Gathers jobs and submits them."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._open: dict[tuple[Any, ...], tuple[Kind, list[Entry]]] = {}
        self._coming: Counter[str] = Counter()
        self._left: dict[str, int] = {}
        self._sending: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def coming(self, component: Component) -> Iterator[None]:
        """Say that a job of a component is being prepared: the others wait for it a while."""
        self._coming[component.digest] += 1
        try:
            yield
        finally:
            self._coming[component.digest] -= 1
            if not self._coming[component.digest]:
                del self._coming[component.digest]

    def join(
        self, kind: Kind, job: Job, letter: list[Buffer], planned: Callable[[Mark], None]
    ) -> Entry:
        """Submit a job soon; the entry's mark says as what.

        Args:
            planned: told how the job is found, just before it is submitted.
        """
        entry = Entry(job, letter, planned)
        key = (kind.setup, kind.definition, kind.bucket, kind.key)
        if key not in self._open:
            self._open[key] = kind, []
            self._later(key, self._open[key][1], job.component.digest, 0.0)
        entries = self._open[key][1]
        entries.append(entry)
        if len(entries) == MOST or sum(one.size for one in entries) > _LARGEST:
            self._flush(key, entries)
        return entry

    def withdraw(self, entry: Entry) -> bool:
        """Take a job back; False if it is being submitted."""
        for _, entries in self._open.values():
            if entry in entries:
                entries.remove(entry)
                return True
        return False

    def over(self, mark: Mark) -> bool:
        """Say that a job is done with; True if it was the last of its group."""
        left = self._left.get(mark.group, 1) - 1
        self._left[mark.group] = left
        if not left:
            del self._left[mark.group]
        return not left

    async def close(self) -> None:
        """Wait for what is being submitted."""
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _later(
        self, key: tuple[Any, ...], entries: list[Entry], digest: str, waited: float
    ) -> None:
        """Submit after a turn, and no sooner than all that are coming have joined."""

        def due() -> None:
            if self._coming[digest] and waited + TURN < _LONGEST:
                self._later(key, entries, digest, waited + TURN)
            else:
                self._flush(key, entries)

        asyncio.get_running_loop().call_later(TURN, due)

    def _flush(self, key: tuple[Any, ...], entries: list[Entry]) -> None:
        known = self._open.get(key)
        if known is None or known[1] is not entries:
            return  # it was full before its turn was over
        del self._open[key]
        if entries:
            task = asyncio.create_task(self._send(known[0], entries))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, kind: Kind, entries: list[Entry]) -> None:
        group, name, size = uuid.uuid4().hex, job_name(entries[0].job), len(entries)
        where, queue = kind.setup.where, kind.setup.queue
        marks = [Mark(where, "", group, index, size, queue, name) for index in range(size)]
        try:
            await asyncio.to_thread(self._store, kind, group, entries)
            for entry, mark in zip(entries, marks, strict=True):
                entry.planned(mark)
            id = await asyncio.to_thread(self._submitted, kind, marks[0])
        except Exception as exc:  # told to each of them
            for entry in entries:
                if not entry.mark.cancelled():
                    entry.mark.set_exception(exc)
            return
        self._left[group] = size
        for entry, mark in zip(entries, marks, strict=True):
            entry.mark.set_result(mark.submitted(id))

    def _store(self, kind: Kind, group: str, entries: list[Entry]) -> None:
        """Store inputs and manifest. Blocks."""
        bucket, size = kind.bucket, len(entries)
        offsets = [TAG.size * (size + 1)]
        for entry in entries:
            offsets.append(offsets[-1] + entry.size)
        table = b"".join(map(TAG.pack, offsets))
        bucket.put(f"in/{group}/jobs", [table, *(b for one in entries for b in one.letter)])
        manifest = {
            "key": kind.key,
            "kit": kind.kit,
            "component": kind.component,
            "jobs": bucket.url(f"in/{group}/jobs"),
            "post": bucket.form(f"jobs/{group}/"),
            "most": LARGE,
            "trust": kind.setup.trust,
        }
        bucket.put(f"in/{group}/manifest", [json.dumps(manifest).encode()])

    def _submitted(self, kind: Kind, mark: Mark) -> str:
        """Submit; gives the job's id. Blocks."""
        url = kind.bucket.url(f"in/{mark.group}/manifest")
        return self._jobs.submit(kind.setup, kind.definition, mark.name, mark.size, url)
