"""Jobs of AWS Batch that are submitted together: equal ones of one turn become an array."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

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
MOST = 10_000
"""Jobs of an array (AWS Batch user guide)."""
_LARGEST = 64 << 20  # bytes of all inputs of an array, which are one object


@dataclass(frozen=True)
class Mark:
    """Where a submitted job is found. id: as Batch knows it. folder: of its group in the bucket."""

    where: Where
    id: str
    group: str
    index: int

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
        return cls(Where(**told["where"]), told["id"], told["group"], told["index"])


class Entry:
    """A job that waits to be submitted. mark: comes true with that."""

    def __init__(self, job: Job, letter: list[Buffer]) -> None:
        self.job, self.letter = job, letter
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
        self._left: dict[str, int] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def join(self, kind: Kind, job: Job, letter: list[Buffer]) -> Entry:
        """Submit a job soon; the entry's mark says as what."""
        entry = Entry(job, letter)
        key = (kind.setup, kind.definition, kind.bucket, kind.key)
        if key not in self._open:
            self._open[key] = kind, []
            asyncio.get_running_loop().call_later(TURN, self._flush, key, self._open[key][1])
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
        group = uuid.uuid4().hex
        try:
            id = await asyncio.to_thread(self._submitted, kind, group, entries)
        except Exception as exc:  # told to each of them
            for entry in entries:
                if not entry.mark.cancelled():
                    entry.mark.set_exception(exc)
            return
        self._left[group] = len(entries)
        where = kind.setup.where
        for index, entry in enumerate(entries):
            own = f"{id}:{index}" if len(entries) > 1 else id
            entry.mark.set_result(Mark(where, own, group, index))

    def _submitted(self, kind: Kind, group: str, entries: list[Entry]) -> str:
        """Store inputs and manifest, and submit; gives the job's id. Blocks."""
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
        url = bucket.url(f"in/{group}/manifest")
        name = job_name(entries[0].job)
        return self._jobs.submit(kind.setup, kind.definition, name, size, url)
