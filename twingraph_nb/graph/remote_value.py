"""A result that stays where it was made until somebody looks at it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

__all__ = ["RemoteParts", "RemoteValue"]


class RemoteValue:
    """Stands for a value that is elsewhere: on a cluster, in a bucket.

    place: where; a platform that works there takes it as it is. about: a short text of it.
    An executor derives its own class and gives it as the value of an `Outcome`.
    """

    __slots__ = ("about", "place")

    def __init__(self, place: str, about: str = "") -> None:
        self.place, self.about = place, about or f"a value that is kept by {place}"

    async def fetch(self) -> object:
        """Give the value, brought here. On the scheduler's loop.

        Raises:
            ExecutorError: it is not there any more.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self.about}>"


class RemoteParts(RemoteValue):
    """A list some of whose items are elsewhere."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[object]) -> None:
        places = {part.place for part in parts if isinstance(part, RemoteValue)}
        super().__init__(places.pop() if len(places) == 1 else "", f"{len(parts)} items elsewhere")
        self.parts = tuple(parts)

    async def fetch(self) -> object:
        remote = [part for part in self.parts if isinstance(part, RemoteValue)]
        found = iter(await asyncio.gather(*[part.fetch() for part in remote]))
        return [next(found) if isinstance(p, RemoteValue) else p for p in self.parts]
