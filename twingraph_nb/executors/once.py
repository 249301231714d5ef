"""Things that many tasks need and one makes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

__all__ = ["Once"]

T = TypeVar("T")


class Once:
    """Things that are made once for all who need them; one that failed is tried again."""

    def __init__(self) -> None:
        self._made: dict[object, asyncio.Future[Any]] = {}

    async def get(self, key: object, make: Callable[[], Awaitable[T]]) -> T:
        """Give the thing of that key."""
        known = self._made.get(key)
        if known is None or (known.done() and (known.cancelled() or known.exception())):
            known = asyncio.ensure_future(make())
            self._made[key] = known
        found: T = await asyncio.shield(known)
        return found

    def forget(self, key: object) -> None:
        """Make it again next time."""
        self._made.pop(key, None)

    async def settle(self) -> list[Any]:
        """Wait for all that is being made; gives all that was, and forgets it."""
        made = list(self._made.values())
        self._made.clear()
        found = await asyncio.gather(*made, return_exceptions=True)
        return [one for one in found if not isinstance(one, BaseException)]
