"""Containers of kernels that have died: hearing the task of one to its end."""

from __future__ import annotations

import asyncio
from typing import Any

from docker.errors import DockerException, NotFound
from requests.exceptions import RequestException

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.base import Outcome, Report
from twingraph_nb.executors.docker_container import Container, Streams
from twingraph_nb.executors.docker_setup import Setup
from twingraph_nb.executors.recalled import Echo, Recalled, never_started
from twingraph_nb.executors.travel import Travel

__all__ = ["ended", "heard_out"]

_GRACE = 1.0  # seconds a task has to tidy up of which only the ticket is known


async def heard_out(api: Any, known: Recalled, report: Report, travel: Travel) -> Outcome:
    """Go on hearing the container of a ticket, to the end of its task; it is removed then.

    Raises:
        NotStarted: there is none, or it was never started.
        ExecutorError: it ended without an answer; says how.
    """
    echo = Echo(known, report, travel)
    container = Container(api, Setup(image=""), "", str(known.facts["name"]))
    streams = Streams(echo.told.get_loop(), echo.received, echo.heard_error, echo.gone)
    grace = 0.0
    try:
        joining = asyncio.ensure_future(asyncio.to_thread(container.rejoin, echo.question))
        try:
            sock = await asyncio.shield(joining)
        except asyncio.CancelledError:
            await asyncio.wait([joining])
            raise
        outcome = None
        if sock is not None:
            echo.label = container.label
            streams.open(sock)
            outcome = await echo.outcome()
        if outcome is None:
            raise ExecutorError(await asyncio.to_thread(_cause, container, echo.tail))
        return outcome
    except NotFound:
        raise never_started(known, "container") from None
    except (DockerException, RequestException, OSError) as exc:
        raise ExecutorError(f"container {container.name} cannot be reached: {exc}") from exc
    except asyncio.CancelledError:
        grace = _GRACE
        raise
    finally:
        await ended(container, streams, grace)


def _cause(container: Container, tail: str) -> str:
    if container.state().get("ExitCode") == 0:
        return f"{container.label} has ended: its answer waits as long as linger= says"
    return f"{container.label} {container.cause(tail)}"


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
