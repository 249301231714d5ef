"""Large inputs on a Dask cluster: put there once for all jobs that need them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from distributed import Future

from twingraph_nb.executors.payloads import LARGE
from twingraph_nb.remote_payloads import ROOM, digest_of

__all__ = ["Inputs"]


class Inputs:
    """What is kept there by digest, up to 256 MiB beside what jobs need at the moment.

    hold: puts bytes onto the cluster.
    """

    def __init__(self, hold: Callable[[bytes], Future]) -> None:
        self._hold = hold
        self._known: OrderedDict[str, tuple[Future, int]] = OrderedDict()

    def future(self, content: memoryview) -> Future:
        """Give what stands for a content on the cluster; blocks."""
        if content.nbytes < LARGE:
            return self._hold(bytes(content))
        digest = digest_of([content])
        known = self._known.pop(digest, None)
        if known is None or known[0].status not in ("pending", "finished"):  # lost with a worker
            known = self._hold(bytes(content)), content.nbytes
        self._known[digest] = known
        while sum(size for _, size in self._known.values()) > ROOM and len(self._known) > 1:
            self._known.popitem(last=False)
        return known[0]

    def clear(self) -> None:
        """Let go of all."""
        self._known.clear()
