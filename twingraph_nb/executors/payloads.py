"""Large parts of inputs go by digest: each is stored once, and all jobs that need it share it.

| platform | how much goes with a call | how the rest goes |
|---|---|---|
| process, local | all of it | shared memory, or by reference |
| docker, kubernetes | all of it, on the stream | a part of 1 MiB or more once to each container or pod, which keeps up to 256 MiB (a quarter of its memory limit) for the next job; with `payloads` once to the store |
| lambda | 4.4 MiB (6 MB in base64, AWS Lambda quotas) | parts of 1 MiB or more once to the bucket |
| batch | nothing (a job's description has 30 KiB, AWS Batch quotas) | parts of 1 MiB or more once to the bucket, the rest with its array |
| celery | 64 KiB in the message | parts of 1 MiB or more once to Redis (350 MiB each), the rest to Redis; with `payloads` once to the store |
| dask | 64 KiB in the graph | scattered to the cluster, parts of 1 MiB or more once |

A Kubernetes object has at most 1 MiB, so none of ours holds a value.
"""  # noqa: E501 - a table

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.once import Once
from twingraph_nb.remote_payloads import Part, digest_of
from twingraph_nb.wire import Buffer

__all__ = ["LARGE", "Held", "Payloads", "Shelf", "Store", "parts_of"]

LARGE = 1 << 20
"""Bytes from which on a part of the inputs goes by its digest: below, a message is cheaper."""
_UNUSED = 4 << 30  # bytes that are kept in a store although no job needs them now


class Store(Protocol):
    """A place for payloads that the far side can read; its methods block.

    Raises only ExecutorError, which says what to do.
    """

    def open(self) -> None:
        """See that it can be used, and remove what kernels that are gone have left there."""
        ...

    def put(self, digest: str, content: Buffer) -> None: ...

    def where(self, digest: str) -> str:
        """Give a folder that is mounted there, or a URL: see `remote_payloads`."""
        ...

    def remove(self, digests: Sequence[str]) -> None: ...

    def close(self) -> None:
        """Remove all that was stored."""
        ...


class Shelf:
    """Which contents are stored, and who uses them. most: bytes to keep that nobody uses."""

    def __init__(self, most: int = _UNUSED) -> None:
        self._most = most
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._users: dict[str, int] = {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._sizes

    def use(self, digest: str, size: int) -> None:
        """Note one more user."""
        self._sizes[digest] = size
        self._sizes.move_to_end(digest)
        self._users[digest] = self._users.get(digest, 0) + 1

    def leave(self, digests: Iterable[str]) -> list[str]:
        """Note one user less of each; gives those that are to be removed now, oldest first."""
        for digest in digests:
            left = self._users[digest] - 1
            if left:
                self._users[digest] = left
            else:
                del self._users[digest]
        unused = [one for one in self._sizes if one not in self._users]
        surplus = sum(self._sizes[one] for one in unused) - self._most
        gone = []
        for digest in unused:
            if surplus <= 0:
                break
            surplus -= self._sizes.pop(digest)
            gone.append(digest)
        return gone


class Held:
    """The frames of a job, taken apart. rest: those that go with it. parts: of the others."""

    def __init__(
        self,
        frames: Sequence[Buffer],
        parts: Sequence[Part] = (),
        left: Callable[[Sequence[str]], object] | None = None,
    ) -> None:
        self.parts, self._left = tuple(parts), left
        places = {part[0] for part in parts}
        self.rest = [one for at, one in enumerate(frames) if at not in places]

    def release(self) -> None:
        """The job is over."""
        left, self._left = self._left, None
        if left is not None:
            left([digest for _, digest, _, _ in self.parts])


class Payloads:
    """What one session keeps in one store. most: bytes to keep that no job uses."""

    def __init__(self, store: Store, most: int = _UNUSED) -> None:
        self.store = store
        self._shelf = Shelf(most)
        self._once = Once()
        self._removing: dict[str, asyncio.Task[None]] = {}

    async def ready(self) -> None:
        """See that the store can be used.

        Raises:
            ExecutorError: it cannot; says what to do.
        """
        await self._once.get("", lambda: asyncio.to_thread(self.store.open))

    async def held(self, frames: Sequence[Buffer]) -> Held:
        """Store the large ones of some frames, those that are not there yet.

        Raises:
            ExecutorError: the store cannot be used; says what to do.
        """
        parts = await parts_of(frames)
        if not parts:
            return Held(frames)
        await self.ready()
        for _, digest, size, _ in parts:
            self._shelf.use(digest, size)
        held = Held(frames, parts, self._leave)
        try:
            for index, digest, _, _ in parts:
                await self._stored(digest, frames[index])
            named = [digest for _, digest, _, _ in parts]
            made = await asyncio.to_thread(lambda: list(map(self.store.where, named)))
        except BaseException:  # the job does not run: nothing of it may count as used
            held.release()
            raise
        held.parts = tuple((*p[:3], there) for p, there in zip(parts, made, strict=True))
        return held

    async def close(self) -> None:
        """Remove all that was stored."""
        if self._removing:
            await asyncio.wait(set(self._removing.values()))
        if await self._once.settle():
            try:
                await asyncio.to_thread(self.store.close)
            except ExecutorError:
                pass  # the next session finds whose it was

    async def _stored(self, digest: str, content: Buffer) -> None:
        going = self._removing.get(digest)
        if going is not None:
            await asyncio.wait([going])
        await self._once.get(digest, lambda: asyncio.to_thread(self.store.put, digest, content))

    def _leave(self, digests: Sequence[str]) -> None:
        gone = self._shelf.leave(digests)
        if gone:
            task = asyncio.ensure_future(self._removed(gone))
            for digest in gone:
                self._once.forget(digest)
                self._removing[digest] = task

    async def _removed(self, digests: Sequence[str]) -> None:
        try:
            await asyncio.to_thread(self.store.remove, digests)
        except ExecutorError:
            pass  # closing the store removes all
        for digest in digests:
            del self._removing[digest]


async def parts_of(frames: Sequence[Buffer]) -> tuple[Part, ...]:
    """Give the parts of some frames that go by digest; they are nowhere yet."""
    large = [at for at, one in enumerate(frames) if memoryview(one).nbytes >= LARGE]
    if not large:
        return ()
    digests = await asyncio.to_thread(lambda: [digest_of([frames[at]]) for at in large])
    return tuple(
        (at, digest, memoryview(frames[at]).nbytes, "")
        for at, digest in zip(large, digests, strict=True)
    )
