"""Jobs on a Dask cluster that outlive their kernel: the scheduler holds them for the next one.

A scheduler lets go of what no client wants. So the jobs of a kernel have a second one that wants
them, which is only a name there, ``twingraph-kept-<topic>``. It is gone when its kernel has heard
all, and else some time after the kernel has died and the last of them is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from distributed import Future

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.base import Outcome, Report
from twingraph_nb.executors.dask_cluster import Cluster, Held
from twingraph_nb.executors.parcels import Load
from twingraph_nb.executors.recalled import Engine, Recalled, name_of, never_started, ticket_of
from twingraph_nb.executors.travel import Hearing, Travel
from twingraph_nb.executors.worker import BEGAN
from twingraph_nb.remote import FAILED, GAVE, RESULT, TURNED
from twingraph_nb.remote_dask import ASIDE, DIED, STAYED
from twingraph_nb.wire import Decoder, Message

__all__ = ["Keeping", "heard_out", "messages"]

_LINGER = 3600.0
_LAST = (RESULT, FAILED, STAYED, DIED, GAVE)
"""Kinds of messages about the end of a job, which is read from what it has left."""


class Keeping:
    """The jobs of one link that are to outlive its kernel."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._cluster, self._topic = cluster, topic
        self._linger = 0.0
        self._over: set[str] = set()

    def ticketed(self, load: Load) -> str:
        """Tell of a job that is sent alone by its ticket; gives its key, "" if it is not kept."""
        linger = float(load.job.component.options.get("linger", _LINGER))  # type: ignore[arg-type]
        if load.ticketed is None or not linger or self._cluster.own_pid:
            return ""  # a cluster of this kernel's own ends with it
        self._linger = max(self._linger, linger)
        address = self._cluster.address
        facts = {"address": address, "topic": self._topic, "tag": load.tag}
        load.ticketed(ticket_of(load.job, engine=Engine.by_address(address), **facts))
        return name_of(load.job)

    def keep(self, keys: Sequence[str]) -> None:
        """Have jobs that were sent held there; blocks."""
        if keys:
            client = self._cluster.client.id
            self._cluster.ask(_keeps(), list(keys), self._topic, self._linger, client)

    def drop(self, key: str, later: Callable[[Callable[[], None]], object]) -> None:
        """Let go of one that was heard.

        Args:
            later: has something done in the thread that may block.
        """
        if not self._over:
            later(self._let_go)
        self._over.add(key)

    def _let_go(self) -> None:
        keys = [self._over.pop() for _ in range(len(self._over))]
        try:
            self._cluster.ask(_releases(), keys, self._topic, False)
        except ExecutorError:
            pass  # the cluster is gone, or lets go of them when this kernel is


async def heard_out(cluster: Cluster, known: Recalled, report: Report, travel: Travel) -> Outcome:
    """Go on hearing the job of a ticket to its end; the cluster lets go of it then.

    Raises:
        NotStarted: the cluster does not know it.
        ExecutorError: it ended without an answer; says how.
    """
    key, topic, tag = (known.facts[word] for word in ("name", "topic", "tag"))
    told = _Told(known, report, travel)
    over = asyncio.Event()
    call = told.loop.call_soon_threadsafe
    future = cluster.expect(key, lambda: call(over.set))
    await asyncio.to_thread(cluster.hear, topic, lambda event: call(told.hear, event))
    try:
        past = await asyncio.to_thread(cluster.ask, _rejoins(), key, topic, cluster.client.id)
        if past is None:
            # The kernel may have died before the cluster was to hold it: it may still run there.
            await asyncio.to_thread(cluster.cancel, [], [tag], topic)
            raise never_started(known, "job")
        told.begin(past)
        await over.wait()
        return await told.outcome(await _left(cluster, future, known))
    except asyncio.CancelledError:
        await asyncio.to_thread(cluster.cancel, [future], [tag], topic)
        raise
    finally:
        await asyncio.to_thread(cluster.ask, _releases(), [key], topic, True)


async def _left(cluster: Cluster, future: Future, known: Recalled) -> Held:
    """What the job has left on the cluster."""
    try:
        (found,) = await asyncio.to_thread(cluster.gather, [future])
        return found[known.facts["tag"]]  # type: ignore[no-any-return]
    except Exception as exc:  # Dask raises what it likes for a task that failed or is lost
        why = f"{type(exc).__name__}: {exc}"
        raise ExecutorError(f"{known.job.name} ended on Dask without an answer ({why})") from exc


class _Told:
    """What the workers have said of a job, and say; each thing is heard once."""

    def __init__(self, known: Recalled, report: Report, travel: Travel) -> None:
        self.loop = asyncio.get_running_loop()
        self._known, self._travel = known, travel
        self._hearing = Hearing(known.job, report, travel)
        self._early: list[tuple[float, bytes]] | None = []
        self._torn = False

    def begin(self, past: Sequence[tuple[float, bytes]]) -> None:
        """Take what was said until now; some of it may have come as news too."""
        early, self._early = self._early or [], None
        known = set(past)
        for event in (*past, *(one for one in early if one not in known)):
            self.hear(event)

    def hear(self, event: tuple[float, bytes]) -> None:
        """Take an event."""
        if self._early is not None:
            self._early.append(event)
            return
        for message in messages(event[1]):
            if message.tag != self._known.facts["tag"] or message.kind in _LAST:
                continue
            if message.kind == TURNED:
                self._hearing.chunks.clear()
                label = f"Dask worker {bytes(message.frames[0]).decode()}"
                self._hearing.hear(BEGAN, [label])
            elif message.kind == ASIDE:  # too large for an event; the other kernel may have it
                self._torn = True
            else:
                self._hearing.hear(message.kind, message.frames)

    async def outcome(self, left: Held) -> Outcome:
        """Give the outcome that what the job has left tells.

        Raises:
            ExecutorError: a part of a stream is lost.
        """
        if self._torn and self._known.job.component.style in ("stream", "async_stream"):
            said = f"some of what {self._known.job.name} gave went to the kernel that has died"
            raise ExecutorError(said)
        (message,) = messages(bytes(left.blob))
        kind, frames = left.kind, message.frames
        return await self._travel.outcome(self._known.job, kind, frames, self._hearing)


def messages(said: bytes) -> list[Message]:
    """Give the messages of an event."""
    return list(Decoder().feed(said))


# -- on the scheduler: functions that are sent by their code ---------------------------------------


def _keeps() -> Callable[..., Any]:
    async def keep(keys, topic, linger, client, dask_scheduler=None):  # type: ignore[no-untyped-def]
        import asyncio
        import time

        there, name = dask_scheduler, f"twingraph-kept-{topic}"
        for _ in range(500):  # they come over another connection than this
            if all(key in there.tasks for key in keys):
                break
            await asyncio.sleep(0.01)
        new = name not in there.clients
        there.client_desires_keys([key for key in keys if key in there.tasks], name)
        if not hasattr(there, "twingraph_kept"):
            there.twingraph_kept = {}
        there.twingraph_kept.setdefault(topic, {}).update(client=client, linger=linger)

        async def watch():  # type: ignore[no-untyped-def]
            since = None
            while name in there.clients:
                kept = there.twingraph_kept[topic]
                wanted = list(there.clients[name].wants_what)
                busy = any(one.state not in ("memory", "erred") for one in wanted)
                if busy or kept["client"] in there.clients:
                    since = None
                elif since is None:
                    since = time.monotonic()
                elif time.monotonic() - since > kept["linger"]:
                    there.client_releases_keys([one.key for one in wanted], name)
                    there.clients.pop(name)
                    there._broker._topics.pop(topic, None)
                await asyncio.sleep(min(5.0, kept["linger"] / 4))
            there.twingraph_kept.pop(topic, None)

        if new:
            there.twingraph_kept[topic]["watch"] = asyncio.create_task(watch())  # type: ignore[no-untyped-call]

    return keep


def _rejoins() -> Callable[..., Any]:
    def rejoin(key, topic, client, dask_scheduler=None):  # type: ignore[no-untyped-def]
        if key not in dask_scheduler.tasks:
            return None
        kept = getattr(dask_scheduler, "twingraph_kept", {}).get(topic)
        if kept is not None:
            kept["client"] = client
        dask_scheduler.client_desires_keys([key], client)
        return list(dask_scheduler.get_events(topic))

    return rejoin


def _releases() -> Callable[..., Any]:
    def release(keys, topic, alone, dask_scheduler=None):  # type: ignore[no-untyped-def]
        name = f"twingraph-kept-{topic}"
        if name in dask_scheduler.clients:
            dask_scheduler.client_releases_keys(list(keys), name)
            if alone and not dask_scheduler.clients[name].wants_what:
                dask_scheduler.clients.pop(name)
                alone = "over"
        else:
            alone = alone and "over"
        if alone == "over":
            dask_scheduler._broker._topics.pop(topic, None)

    return release
