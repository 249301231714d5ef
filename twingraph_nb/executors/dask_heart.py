"""Whether a Dask scheduler still answers: asked now and then while jobs wait for it.

A client hears of a connection that ends, but not of a network that swallows what is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.dask_cluster import Cluster

__all__ = ["watched"]

_BEAT = 20.0  # seconds between two questions
_MISSED = 2  # questions in vain, each as long as the cluster's patience, and it is gone


async def watched(
    cluster: Cluster, busy: Callable[[], object], lost: Callable[[ExecutorError], object]
) -> None:
    """Ask until the cluster is silent, and say so once.

    Args:
        busy: true while anybody waits for the cluster. lost: told why nothing more will come.
    """
    missed = 0
    while True:
        await asyncio.sleep(_BEAT)
        if not busy():
            continue
        try:
            await asyncio.to_thread(cluster.greet)
            missed = 0
        except ExecutorError as exc:
            missed += 1
            if missed == _MISSED:
                lost(exc)
                await asyncio.to_thread(cluster.abandon)
                return
