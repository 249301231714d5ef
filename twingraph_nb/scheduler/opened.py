"""The platforms of a session, each opened when its first task begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from twingraph_nb.component import Component
from twingraph_nb.executors.base import Executor, HandsOver
from twingraph_nb.scheduler.places import Places

__all__ = ["Opened"]


class Opened:
    """Gives the executors of platforms, ready to be used.

    executor: makes one by its name. executors: those that are open. handing: those of them that run
    tasks without a coroutine.
    """

    def __init__(self, executor: Callable[[str], Executor], places: Places) -> None:
        self._executor, self._places = executor, places
        self.handing: dict[str, HandsOver] = {}
        self.executors: dict[str, Executor] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    async def of(self, component: Component) -> Executor:
        """Give the component's platform, opened if it is not yet.

        Raises:
            BreakerOpen: it was not tried.
            Exception: it cannot be opened.
        """
        found = self.executors.get(component.platform)
        return found or await self._places.guarded(component, self._opened)

    async def _opened(self, platform: str) -> Executor:
        async with self._opening.setdefault(platform, asyncio.Lock()):
            executor = self.executors.get(platform)
            if executor is None:
                executor = self._executor(platform)
                await executor.open()
                self.executors[platform] = executor
                if isinstance(executor, HandsOver):
                    self.handing[platform] = executor
            return executor
