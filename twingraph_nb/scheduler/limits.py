"""Which of the tasks that are ready may start now: places, cores and memory, by priority. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Admission", "Claim"]

_Bucket = tuple[str, str, str, float, int]


@dataclass(slots=True, eq=False)
class Claim:
    """What one attempt needs in order to start.

    lane: the pool it runs in. run, run_limit and component, component_limit: at most so many of
    them at once, 0 = no limit. cpus in cores, memory in bytes.
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

    @property
    def bucket(self) -> _Bucket:
        """Claims of one bucket are held up by the same limits."""
        return (
            self.lane,
            self.run if self.run_limit else "",
            self.component if self.component_limit else "",
            self.cpus,
            self.memory,
        )


class Admission:
    """Hands out places. Larger priority first, then first come first served.

    A claim held up by its own run's or component's limit lets others pass; one held up by cores
    or memory does not let later claims on cores or memory pass, so that large tasks get their turn.
    """

    def __init__(self, lanes: Mapping[str, int], cpus: float, memory: int) -> None:
        self.lanes, self.cpus, self.memory = dict(lanes), cpus, memory
        self._used: dict[str, int] = {}
        self._free_cpus, self._free_memory = cpus, memory
        self._waiting: dict[_Bucket, list[tuple[int, int, Claim]]] = {}
        self._count = 0

    @property
    def waiting(self) -> int:
        """How many claims wait for a place."""
        return sum(len(heap) for heap in self._waiting.values())

    def ask(self, claim: Claim) -> bool:
        """Tell whether it may start now; if not it is kept, and `free` gives it later."""
        if not self._waiting and self._fits(claim):
            self._take(claim)
            return True
        self._count += 1
        entry, heap = (-claim.priority, self._count, claim), self._waiting.get(claim.bucket)
        if heap is None:
            self._waiting[claim.bucket] = [entry]
        else:
            heapq.heappush(heap, entry)
            if not (claim.cpus or claim.memory):  # all of its bucket are held up by one limit
                return False
        return claim in self._admit()

    def free(self, claim: Claim) -> list[Claim]:
        """Give a place back; returns the claims that may start now."""
        if len(self._waiting) == 1:
            bucket = claim.bucket
            if bucket in self._waiting:  # one that needs just the same takes its place
                return [self._popped(bucket)]
        self._count_down(f"lane {claim.lane}")
        if claim.run_limit:
            self._count_down(f"run {claim.run}")
        if claim.component_limit:
            self._count_down(f"component {claim.component}")
        self._free_cpus += claim.cpus
        self._free_memory += claim.memory
        return self._admit() if self._waiting else []

    def _admit(self) -> list[Claim]:
        admitted: list[Claim] = []
        while claim := self._next():
            self._take(claim)
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
        if not heap:
            del self._waiting[bucket]
        return claim

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
        return self._fits_machine(claim)

    def _take(self, claim: Claim) -> None:
        used = self._used
        key = f"lane {claim.lane}"
        used[key] = used.get(key, 0) + 1
        if claim.run_limit:
            key = f"run {claim.run}"
            used[key] = used.get(key, 0) + 1
        if claim.component_limit:
            key = f"component {claim.component}"
            used[key] = used.get(key, 0) + 1
        self._free_cpus -= claim.cpus
        self._free_memory -= claim.memory

    def _count_down(self, key: str) -> None:
        left = self._used.get(key, 1) - 1
        if left:
            self._used[key] = left
        else:
            self._used.pop(key, None)
