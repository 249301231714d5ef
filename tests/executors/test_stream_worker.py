"""A worker behind a stream tells its end in any case: whoever waits for that would hang."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.stream_worker import StreamWorker
from twingraph_nb.executors.worker import Ending


class Far(StreamWorker):
    """One that cannot be started, or whose removal goes wrong."""

    kind = "thing"

    def __init__(self, *, starts: bool = False, breaks: bool = False) -> None:
        self.endings: list[Ending] = []
        self.kills = asyncio.Event()
        self.free = asyncio.Event()
        self._starts, self._breaks = starts, breaks
        super().__init__(
            asyncio.get_running_loop(),
            lambda worker, message: None,
            lambda worker, ending: self.endings.append(ending),
        )

    async def connect(self) -> None:
        if not self._starts:
            raise ExecutorError("no such image")

    def write(self, data: Sequence[memoryview]) -> int:
        return sum(map(len, data))

    async def kill(self, grace: float) -> None:
        self.kills.set()
        if self._breaks:
            raise OSError("the engine broke")
        await self.free.wait()

    async def cause(self) -> str:
        return "ended"


async def test_it_can_be_ended_while_it_is_removed_that_could_not_be_started() -> None:
    far = Far()
    await far.kills.wait()
    ending = asyncio.create_task(far.end(0.0))
    await asyncio.sleep(0)
    far.free.set()
    async with asyncio.timeout(60):
        await ending
    assert [str(one.error) for one in far.endings] == ["no such image"]


async def test_one_whose_removal_goes_wrong_has_ended_and_says_why() -> None:
    far = Far(starts=True, breaks=True)
    async with asyncio.timeout(60):
        with pytest.raises(OSError, match="the engine broke"):
            await far.end(0.0)
    assert [one.cause for one in far.endings] == ["ended"]
