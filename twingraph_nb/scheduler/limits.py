"""Which of the tasks that are ready may start now: places, cores, memory and limits by name.

Pure: the clock is passed in.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from twingraph_nb.limit import Limit

__all__ = ["Admission", "Claim"]

_Bucket = tuple[str, str, str, float, int, tuple[Limit, ...]]


@dataclass(slots=True, eq=False)
class Claim:
    """What one attempt needs in order to start.

    lane: the pool it runs in. run, run_limit and component, component_limit: at most so many of
    them at once, 0 = no limit. cpus in cores, memory in bytes. limits: those by name. until: when
    it gives up if it has not started, 0 = never.
    """

    item: object
    lane: str
    run: str
    run_limit: int = 0
    component: str = ""
    component_limit: int = 0
    cpus: float = 0.0
    memory: int = 0
    priority: int = 0
    limits: tuple[Limit, ...] = ()
    until: float = 0.0

    @property
    def bucket(self) -> _Bucket:
        """Claims of one bucket are held up by the same limits."""
        return (
            self.lane,
            self.run if self.run_limit else "",
            self.component if self.component_limit else "",
            self.cpus,
            self.memory,
            self.limits,
        )


class Admission:
    """Hands out places. Larger priority first, then first come first served.

    A claim held up by a limit of its run, its component or by name lets others pass; one held up
    by cores or memory does not let later claims on cores or memory pass, so that large tasks get
    their turn.

    A limit such as 60 a minute is a bucket of 60 tokens, each of which comes back a minute after
    it was taken: never more than 60 start in any minute. (A bucket that fills up steadily lets up
    to twice as many through.)

    Times are seconds of any clock that does not go backwards. wanted: whether a claim that waits
    may still start; asked of those with limits by name, so that they do not cost a token.
    """

    def __init__(self, lanes: Mapping[str, int], cpus: float, memory: int) -> None:
        self.lanes, self.cpus, self.memory = dict(lanes), cpus, memory
        self.wanted: Callable[[Claim], bool] = lambda claim: True
        self._used: dict[str, int] = {}
        self._starts: dict[str, deque[float]] = {}  # by name, of limits with a period
        self._changed: dict[Limit, Limit] = {}  # what holds instead of what components say
        self._free_cpus, self._free_memory = cpus, memory
        self._waiting: dict[_Bucket, list[tuple[int, int, Claim]]] = {}
        self._count = 0
        self._limited = 0  # how many of those that wait have limits by name
        self._now = 0.0

    @property
    def waiting(self) -> int:
        """How many claims wait for a place."""
        return sum(len(heap) for heap in self._waiting.values())

    def ask(self, claim: Claim, now: float = 0.0) -> bool:
        """Tell whether it may start now; if not it is kept, and `free` or `tick` gives it later."""
        if not self._waiting:
            self._now = now
            if self._fits(claim):
                self._take(claim, now)
                return True
        self._count += 1
        self._limited += bool(claim.limits)
        entry, heap = (-claim.priority, self._count, claim), self._waiting.get(claim.bucket)
        if heap is None:
            self._waiting[claim.bucket] = [entry]
        else:
            heapq.heappush(heap, entry)
            if not (claim.cpus or claim.memory):  # all of its bucket are held up by one limit
                return False
        # At the time of the last look at all who wait, when none of the others could start.
        return claim in self._admit(now)

    def free(self, claim: Claim, now: float = 0.0) -> list[Claim]:
        """Give a place back; returns the claims that may start now."""
        if len(self._waiting) == 1 and not claim.limits:
            bucket = claim.bucket
            if bucket in self._waiting:  # one that needs just the same takes its place
                return [self._popped(bucket)]
        self._count_down(f"lane {claim.lane}")
        if claim.run_limit:
            self._count_down(f"run {claim.run}")
        if claim.component_limit:
            self._count_down(f"component {claim.component}")
        for limit in claim.limits:
            if not limit.period:
                self._count_down(f"limit {limit.name}")
        self._free_cpus += claim.cpus
        self._free_memory += claim.memory
        return self.tick(now) if self._waiting else []

    def tick(self, now: float) -> list[Claim]:
        """Give the claims that may start because time has passed."""
        self._now = now
        if self._limited:
            self._forget_unwanted()
        return self._admit(now)

    def change(self, said: Limit, now: Limit) -> None:
        """Let another number hold for a name than components say; as long as they say that."""
        self._changed[said] = now

    def drop(self, claims: Iterable[Claim]) -> list[Claim]:
        """Take claims off those that wait; gives those that did. `tick` gives who gains by it."""
        buckets: dict[_Bucket, set[Claim]] = {}
        for claim in claims:
            buckets.setdefault(claim.bucket, set()).add(claim)
        return [c for bucket, ours in buckets.items() for c in self._taken_off(bucket, ours)]

    def _taken_off(self, bucket: _Bucket, claims: Container[Claim]) -> list[Claim]:
        heap = self._waiting.get(bucket, [])
        found = [entry[2] for entry in heap if entry[2] in claims]
        if found:
            left = [entry for entry in heap if entry[2] not in claims]
            heapq.heapify(left)
            self._waiting[bucket] = left
            self._limited -= sum(bool(claim.limits) for claim in found)
            if not left:
                del self._waiting[bucket]
        return found

    def drop_run(self, run: str) -> list[Claim]:
        """Take all claims of a run off those that wait; gives them in their order."""
        found: list[tuple[int, int, Claim]] = []
        for bucket, heap in list(self._waiting.items()):
            ours = [entry for entry in heap if entry[2].run == run]
            if not ours:
                continue
            found.extend(ours)
            left = [entry for entry in heap if entry[2].run != run]
            heapq.heapify(left)
            self._waiting[bucket] = left
            if not left:
                del self._waiting[bucket]
        claims = [entry[2] for entry in sorted(found, key=lambda entry: entry[:2])]
        self._limited -= sum(bool(claim.limits) for claim in claims)
        return claims

    def wake(self) -> float | None:
        """Give the time from which a `tick` may let a claim in; None if time alone never does."""
        times = [self._free_from(heap[0][2]) for heap in self._waiting.values() if self._limited]
        return min((at for at in times if at is not None), default=None)

    def _free_from(self, claim: Claim) -> float | None:
        """When the tokens that it needs have come back, if it waits for any."""
        latest = None
        for said in claim.limits:
            limit = self._changed.get(said, said)
            starts = self._starts.get(limit.name, ()) if limit.period else ()
            if len(starts) >= limit.most:
                back = starts[len(starts) - limit.most] + limit.period
                latest = back if latest is None else max(latest, back)
        return latest

    def _admit(self, now: float) -> list[Claim]:
        admitted: list[Claim] = []
        while claim := self._next():
            self._take(claim, now)
            admitted.append(claim)
        return admitted

    def _next(self) -> Claim | None:
        held_up = False
        first = [heap[0] for heap in self._waiting.values()]
        if len(first) > 1:
            first.sort(key=lambda entry: entry[:2])
        for _, _, claim in first:
            scarce = bool(claim.cpus or claim.memory)
            if scarce and held_up:
                continue
            if self._fits(claim):
                return self._popped(claim.bucket)
            held_up = held_up or (scarce and not self._fits_machine(claim))
        return None

    def _popped(self, bucket: _Bucket) -> Claim:
        heap = self._waiting[bucket]
        claim = heapq.heappop(heap)[2]
        self._limited -= bool(claim.limits)
        if not heap:
            del self._waiting[bucket]
        return claim

    def _forget_unwanted(self) -> None:
        for bucket, heap in list(self._waiting.items()):
            while heap and heap[0][2].limits and not self.wanted(heap[0][2]):
                self._popped(bucket)

    def _fits_machine(self, claim: Claim) -> bool:
        return claim.cpus <= self._free_cpus + 1e-9 and claim.memory <= self._free_memory

    def _fits(self, claim: Claim) -> bool:
        used, lane = self._used, self.lanes.get(claim.lane, 0)
        if lane and used.get(f"lane {claim.lane}", 0) >= lane:
            return False
        if claim.run_limit and used.get(f"run {claim.run}", 0) >= claim.run_limit:
            return False
        if claim.component_limit:
            key = f"component {claim.component}"
            if used.get(key, 0) >= claim.component_limit:
                return False
        if claim.limits and not all(map(self._within, claim.limits)):
            return False
        return self._fits_machine(claim)

    def _within(self, said: Limit) -> bool:
        limit = self._changed.get(said, said) if self._changed else said
        if not limit.period:
            return self._used.get(f"limit {limit.name}", 0) < limit.most
        starts = self._starts.get(limit.name)
        while starts and starts[0] + limit.period <= self._now:
            starts.popleft()
        return not starts or len(starts) < limit.most

    def _take(self, claim: Claim, now: float) -> None:
        used = self._used
        key = f"lane {claim.lane}"
        used[key] = used.get(key, 0) + 1
        if claim.run_limit:
            key = f"run {claim.run}"
            used[key] = used.get(key, 0) + 1
        if claim.component_limit:
            key = f"component {claim.component}"
            used[key] = used.get(key, 0) + 1
        for limit in claim.limits:
            if limit.period:
                self._starts.setdefault(limit.name, deque()).append(now)
            else:
                key = f"limit {limit.name}"
                used[key] = used.get(key, 0) + 1
        self._free_cpus -= claim.cpus
        self._free_memory -= claim.memory

    def _count_down(self, key: str) -> None:
        left = self._used.get(key, 1) - 1
        if left:
            self._used[key] = left
        else:
            self._used.pop(key, None)
