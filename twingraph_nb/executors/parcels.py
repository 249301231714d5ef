"""Small jobs that travel together: which, and how many, where a message costs more than they do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twingraph_nb.executors.base import Job
from twingraph_nb.executors.travel import Hearing
from twingraph_nb.source.bundle import Bundle
from twingraph_nb.wire import Buffer

__all__ = ["Load", "Paces", "Parcel", "parcels_of"]

_SHORT = 0.002  # seconds; longer jobs travel alone
_LONG = 0.5  # seconds; what takes less is soon done again
_SECONDS = 0.02  # of work in one parcel
_MOST = 50  # jobs in one parcel
_COMPONENTS = 1000


class Load:
    """A job on its way.

    frames: those that go with it. shared: others, by digest, that its platform keeps for several
    jobs. lane: jobs of the same lane may travel together. settle: called once with the kind of
    the last message and its frames, or with an error. began: how often it has begun. sending: which
    sending of it counts.
    """

    __slots__ = (
        "began",
        "bundle",
        "cancelled",
        "frames",
        "gone",
        "hearing",
        "job",
        "lane",
        "meta",
        "parcel",
        "place",
        "sending",
        "settle",
        "shared",
        "since",
        "tag",
        "ticketed",
        "warned",
    )

    def __init__(
        self,
        job: Job,
        bundle: Bundle,
        meta: tuple[Any, ...],
        frames: Sequence[Buffer],
        hearing: Hearing,
        settle: Callable[[int, Any], None],
        *,
        lane: Any = None,
        shared: Mapping[str, Buffer] | None = None,
        ticketed: Callable[[str], object] | None = None,
    ) -> None:
        self.job, self.bundle, self.meta, self.frames = job, bundle, meta, frames
        self.hearing, self.settle, self.lane, self.ticketed = hearing, settle, lane, ticketed
        self.shared = shared or {}
        self.tag = self.began = 0
        self.sending = 1
        self.parcel: Parcel | None = None
        self.place = ""
        self.cancelled = self.warned = False
        self.since = 0.0
        self.gone: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        """Bytes of its inputs."""
        return sum(memoryview(one).nbytes for one in self.frames)

    @property
    def pace(self) -> object:
        """Jobs of the same pace take about as long."""
        return self.job.component.function


class Parcel:
    """Jobs that travel in one message, run one after the other.

    number: of the message. key: under which a kernel finds the only job that comes after this one.
    """

    __slots__ = ("key", "loads", "number")

    def __init__(self, number: int, loads: Sequence[Load]) -> None:
        self.number, self.loads, self.key = number, list(loads), ""
        for load in loads:
            load.parcel = self


class Paces:
    """How long jobs take, by their function."""

    def __init__(self) -> None:
        self._known: dict[object, float] = {}

    def note(self, pace: object, seconds: float) -> None:
        """Learn from a job that has ended; a long one counts at once, and is forgotten slowly."""
        before = self._known.get(pace)
        if before is None and len(self._known) >= _COMPONENTS:
            self._known.clear()
        self._known[pace] = (
            seconds if before is None else max(0.9 * before + 0.1 * seconds, 0.5 * seconds)
        )

    def known(self, pace: object) -> bool:
        """True if one has ended before."""
        return pace in self._known

    def long(self, pace: object) -> bool:
        """True if one may take so long that it is worth a ticket: that costs a write to disk."""
        return self._known.get(pace, 1.0) > _LONG

    def most(self, pace: object) -> int:
        """Give how many may travel together."""
        seconds = self._known.get(pace, 1.0)
        return 1 if seconds > _SHORT else max(1, min(_MOST, int(_SECONDS / max(seconds, 1e-5))))


def parcels_of(loads: Iterable[Load], paces: Paces, places: int) -> list[list[Load]]:
    """Give the jobs in groups that travel together, in their order.

    Args:
        places: how many can run at once; short jobs are spread over them first.
    """
    lanes: dict[tuple[object, object], list[Load]] = {}
    for load in loads:
        lanes.setdefault((load.lane, load.pace), []).append(load)
    found: list[list[Load]] = []
    for (_, pace), members in lanes.items():
        most = min(paces.most(pace), -(-len(members) // max(1, places)))
        found += [members[at : at + most] for at in range(0, len(members), most)]
    return found
