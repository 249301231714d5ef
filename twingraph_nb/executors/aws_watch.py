"""How jobs of AWS Batch are: one question for all of them, often after news, else seldom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.aws_clients import Where
from twingraph_nb.executors.aws_jobs import Jobs

__all__ = ["OVER", "Watch"]

OVER = ("SUCCEEDED", "FAILED")
"""The states of a job that has ended."""
_PACE = 0.3, 5.0  # seconds between two questions: after news, and at the most
_SLOWER = 1.3

Heard = Callable[[dict[str, Any]], None]


class Watch:
    """Tells of changes in the state of jobs."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._heard: dict[tuple[Where, str], Heard] = {}
        self._states: dict[tuple[Where, str], tuple[str, str]] = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def expect(self, where: Where, id: str, heard: Heard) -> None:
        """Call `heard` with the job as Batch describes it, each time its state has changed."""
        self._heard[where, id] = heard
        self._news.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())

    def forget(self, where: Where, id: str) -> None:
        """Nobody wants to know any more."""
        self._heard.pop((where, id), None)
        self._states.pop((where, id), None)

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        pace = _PACE[0]
        while self._heard:
            try:
                news = await self._look()
            except ExecutorError:  # AWS may be silent for a while; the jobs go on
                news = False
            pace = _PACE[0] if news else min(pace * _SLOWER, _PACE[1])
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), pace)
                pace = _PACE[0]
            except TimeoutError:
                pass

    async def _look(self) -> bool:
        news = False
        for where in {where for where, _ in self._heard}:
            ids = [id for each, id in self._heard if each == where]
            found = await asyncio.to_thread(self._jobs.describe, where, ids)
            for id, detail in found.items():
                heard = self._heard.get((where, id))
                state = str(detail.get("status")), str(detail.get("statusReason", ""))
                if heard is not None and self._states.get((where, id)) != state:
                    self._states[where, id] = state
                    news = True
                    heard(detail)
        return news
