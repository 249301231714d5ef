"""Containers of kernels that have died: hearing the task of one to its end."""

from __future__ import annotations

import asyncio
import functools
import socket
from typing import Any

from docker.errors import DockerException, NotFound
from requests.exceptions import RequestException

from twingraph_nb.errors import ExecutorError, Unreachable
from twingraph_nb.executors.base import Outcome, Report
from twingraph_nb.executors.docker_container import Container
from twingraph_nb.executors.docker_setup import Setup
from twingraph_nb.executors.docker_streams import Streams
from twingraph_nb.executors.lasting import BUSY, asking, is_lasting
from twingraph_nb.executors.native_recalled import NativeEcho, is_native
from twingraph_nb.executors.owner import is_alive
from twingraph_nb.executors.recalled import Echo, Listener, Recalled, never_started
from twingraph_nb.executors.travel import Travel

__all__ = ["ended", "heard_out"]

_GRACE = 1.0  # seconds a task has to tidy up of which only the ticket is known


async def heard_out(api: Any, known: Recalled, report: Report, travel: Travel) -> Outcome:
    """Go on hearing the container of a ticket, to the end of its task; it is removed then.

    Raises:
        NotStarted: there is none, or it was never started.
        Unreachable: the engine does not answer; it stays as it is.
        ExecutorError: it ended without an answer, or has left the task; says how.
    """
    visit = _Visit(api, known, report, travel)
    try:
        return await visit.echo.to_its_end(visit.outcome)
    except asyncio.CancelledError:
        visit.give_up()
        raise
    finally:
        await visit.end()


class _Visit:
    """One container of a kernel that has died, while its task is heard."""

    def __init__(self, api: Any, known: Recalled, report: Report, travel: Travel) -> None:
        self._known, self._lasting = known, is_lasting(known)
        self._native = is_native(known)
        self.echo: Listener[Any]
        self.echo = NativeEcho(known, report) if self._native else Echo(known, report, travel)
        self.name = str(known.facts["container" if self._lasting else "name"])
        self._container = Container(api, Setup(image=""), "", "" if self._lasting else self.name)
        self._streams = self._ears()
        self._grace = 0.0
        self._leave = False

    async def outcome(self) -> Outcome:
        """Hear it to its end, or till the connection is lost.

        Raises:
            ExecutorError: as `heard_out`.
        """
        self._leave = False
        try:
            return await self._heard()
        except NotFound:
            raise self._nobody() from None
        except DockerException as exc:
            raise ExecutorError(f"container {self.name} cannot be reached: {exc}") from exc
        except (RequestException, OSError) as exc:
            raise self._away(str(exc)) from exc

    def give_up(self) -> None:
        """Nobody wants its answer: it is to be asked to end."""
        self._grace, self._leave = _GRACE, False

    async def _heard(self) -> Outcome:
        self._streams.close()
        self._container.disconnect()
        sock = await self._reached()
        outcome = None
        if sock is not None:
            self.echo.reached(self._container.label)
            self._streams = self._ears()
            self._streams.open(sock)
            outcome = await self.echo.outcome()
        if outcome is None:
            raise await asyncio.to_thread(self._cause)
        return outcome

    def _ears(self) -> Streams:
        echo = self.echo
        return Streams(echo.told.get_loop(), echo.received, echo.heard_error, echo.gone)

    def _away(self, why: str) -> Unreachable:
        """Give the error for a container that may go on, but cannot be heard; it is let be."""
        self._leave = True
        tried = str(self._known.facts["host"]) or "the engine"
        return Unreachable("docker", tried, why, "See that the engine answers")

    async def end(self) -> None:
        """Remove the container, unless it works for somebody else."""
        if self._leave:
            self._streams.close()
            self._container.disconnect()
        else:
            await ended(self._container, self._streams, self._grace)

    def _nobody(self) -> ExecutorError:
        """Give the error for a container that is not there."""
        if self._lasting or self.echo.label:
            return ExecutorError(f"there is no container {self.name} any more")
        return never_started(self._known, "container")

    async def _reached(self) -> socket.socket | None:
        container, question = self._container, self.echo.question
        if self._native:
            await asyncio.to_thread(self._see_that_it_is_left)
        reach = functools.partial(container.rejoin, question)
        if self._lasting:
            reach = functools.partial(container.visit, self.name, asking(self._known), question)
        joining = asyncio.ensure_future(asyncio.to_thread(reach))
        try:
            return await asyncio.shield(joining)
        except asyncio.CancelledError:
            await asyncio.wait([joining])
            raise

    def _see_that_it_is_left(self) -> None:
        """A worker of another language leaves nothing as long as its kernel lives."""
        if is_alive(self._container.find(self.name)):
            self._leave = True
            raise ExecutorError(f"{self._container.label} is in use: its kernel is still there")

    def _cause(self) -> ExecutorError:
        """Say why there is no answer."""
        container, tail = self._container, self.echo.tail.strip()
        state = container.state()
        lost = not (self.echo.garbled or (self._lasting and tail))
        if state.get("Running") and lost:
            return self._away(f"{container.label} lost its connection to this kernel")
        if state.get("Running"):
            # Whose kernel lives is not ours to end; of a dead one nothing may run twice.
            self._leave = BUSY in tail or is_alive(container.find(container.id))
            return ExecutorError(f"{container.label}: {tail}")
        if state.get("ExitCode") == 0:
            said = "has ended: its answer waits as long as linger= says"
            return ExecutorError(f"{container.label} {said}")
        return ExecutorError(f"{container.label} {container.cause(tail)}")


async def ended(container: Container, streams: Streams, grace: float) -> None:
    """Remove a container, after it was asked to end and had some time for it."""
    loop = asyncio.get_running_loop()
    if grace and container.id:
        await asyncio.to_thread(container.ask_to_end)
        end = loop.time() + grace
        while not streams.over and loop.time() < end:
            await asyncio.sleep(0.01)
    streams.close()
    container.disconnect()
    await asyncio.to_thread(container.remove)
