"""A result that stays where it was made until somebody looks at it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import Self

__all__ = ["RemoteParts", "RemoteValue", "brought"]

_TOGETHER = 1000
"""Values that are asked for at a time."""


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

    @classmethod
    async def fetch_all(cls, values: Sequence[Self]) -> Sequence[object]:
        """Give several values of this kind, brought here together; see `fetch`."""
        return await asyncio.gather(*[value.fetch() for value in values])

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
        found = iter(await brought([p for p in self.parts if isinstance(p, RemoteValue)]))
        return [next(found) if isinstance(p, RemoteValue) else p for p in self.parts]


async def brought(values: Sequence[RemoteValue]) -> list[object]:
    """Give values that are elsewhere, brought here; neighbours of one kind together."""
    found: list[object] = []
    for _, some in groupby(values, type):
        group = list(some)
        for at in range(0, len(group), _TOGETHER):
            found += await group[0].fetch_all(group[at : at + _TOGETHER])
    return found
