"""A worker of another language whose kernel has died: hearing what it has left of its call."""

from __future__ import annotations

import asyncio
from typing import cast

from twingraph_nb.component import Component
from twingraph_nb.context import Stream
from twingraph_nb.errors import ExecutorError, ResultError, ToolchainMissing
from twingraph_nb.executors.base import Outcome, Report
from twingraph_nb.executors.recalled import Listener, Recalled
from twingraph_nb.languages import Garbled, Said, Speaker, cache_folder, language_of

__all__ = ["DOOR", "NativeEcho", "is_native"]

DOOR = "/tmp/.twingraph-told"
"""Where a worker leaves what its call has said; there is one worker in a container or pod."""


def is_native(known: Recalled) -> bool:
    """True if a ticket is of a worker of another language."""
    return "tag" in known.facts


class NativeEcho(Listener[Said]):
    """Hears what `lasting.asking` passes on: all that the call has said, once it is over."""

    def __init__(self, known: Recalled, report: Report) -> None:
        component = known.job.component
        self._tag = int(known.facts["tag"])
        self._speaker = Speaker(component, language_of(component.language).form)
        self._told: list[Said] = []
        super().__init__(known, report)
        self.question = b""

    def begin(self) -> None:
        super().begin()
        self._speaker.restart()
        self._told.clear()

    def reached(self, label: str) -> None:
        if not self.label:
            self._report.started(label)
        super().reached(label)

    def received(self, data: bytes | memoryview) -> None:
        try:
            for said in self._speaker.feed(data):
                self._hear(said)
        except Garbled as exc:
            self._lost_sense(exc)

    async def outcome(self) -> Outcome | None:
        last = await self.told
        if last is None:
            return None
        if last.tag != self._tag:
            raise ExecutorError(f"{self.label} has done another task since, and its answer is gone")
        report, chunks = self._report, []
        for said in self._told:
            if said.kind == "chunk":
                chunks.append(said.value)
                report.chunk(said.value)
            elif said.kind == "log":
                report.log(*cast("tuple[Stream, str]", said.value))
        if last.kind == "failed":
            return Outcome(error=await self._error(last.value))
        if self._known.job.component.style == "stream":
            return Outcome(chunks)
        try:
            value = await asyncio.to_thread(self._speaker.result, cast(bytes, last.value))
        except ResultError as exc:
            return Outcome(error=exc)
        return Outcome(value)

    def _hear(self, said: Said) -> None:
        self._hears()
        if said.kind not in ("result", "failed"):
            self._told.append(said)
        elif not self.told.done():
            self.told.set_result(said)

    async def _error(self, found: object) -> BaseException:
        if not isinstance(found, str):
            return cast(BaseException, found)
        return await asyncio.to_thread(_located, self._known.job.component, self._speaker, found)


def _located(component: Component, speaker: Speaker, text: str) -> BaseException:
    """Give an error whose lines are addresses in a program that was built on this machine."""
    try:
        built = language_of(component.language).build(
            component, cache=cache_folder(), where="static"
        )
    except ToolchainMissing:
        return speaker.error(text)
    return speaker.error(text, built.located)
