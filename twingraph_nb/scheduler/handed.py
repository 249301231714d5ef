"""An attempt that an executor runs without a coroutine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from twingraph_nb.executors.base import Outcome, Stop
from twingraph_nb.graph.task import Task
from twingraph_nb.scheduler.limits import Claim
from twingraph_nb.scheduler.live import LiveRun, TaskReport

if TYPE_CHECKING:
    from twingraph_nb.scheduler.attempts import Attempts

__all__ = ["Handed"]


class Handed(TaskReport):
    """What such an attempt says, and what stands where the task of its coroutine would.

    Its place is given back when it has ended. One object, as each costs a small task some time.
    """

    __slots__ = ("_asked", "_attempts", "_claim", "_ended", "stop")

    def __init__(
        self, attempts: Attempts, run: LiveRun, task: Task, attempt: int, claim: Claim | None
    ) -> None:
        super().__init__(run, task, attempt)
        self._attempts, self._claim = attempts, claim
        self._asked = self._ended = False
        self.stop: Stop | None = None

    def __call__(self, outcome: Outcome) -> None:
        """Take how it ended."""
        self._ended = True
        self.stop = None  # it leads back here: a cycle would be left to the garbage collector
        self._attempts.handed_back(self, outcome)
        if self._claim is not None:
            self._attempts.release(self._claim)

    def cancel(self, why: str = "") -> None:
        """Stop it, and say so when it really has ended."""
        if self._ended:
            return
        gone = None if self.stop is None else self.stop.cancel(why)
        if self._asked:
            return
        self._asked = True
        if isinstance(gone, asyncio.Future):
            gone.add_done_callback(lambda _: self._cancelled(why))
        else:
            self._cancelled(why)

    def _cancelled(self, why: str) -> None:
        if self._ended:  # in its own way all the same
            return
        self._ended = True
        self.stop = None
        self.link.driver.write_log(self)
        self._attempts.cancelled(self.link, self.task, why)
        if self._claim is not None:
            self._attempts.release(self._claim)
