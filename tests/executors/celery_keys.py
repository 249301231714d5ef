"""What a run leaves in Redis. Apart from `celery_running`, which needs no client library."""

from __future__ import annotations

import redis

from twingraph_nb.executors.celery_protocol import WORKERS

__all__ = ["keys_in"]


def keys_in(there: redis.Redis) -> set[str]:
    """What is in Redis beside the living workers and what Celery keeps about a queue.

    A worker holds the mutex for a moment, each time that it looks for what another had taken.
    """
    found = {key.decode() for key in there.scan_iter()} - {WORKERS, "twingraph:unacked_mutex"}
    return {key for key in found if not key.startswith("_kombu.")}
