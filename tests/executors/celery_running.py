"""What the tests of platform `celery` share: a worker of theirs, and small jobs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import redis

from tests.executors.clusters import job_on, started
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.celery_protocol import WORKERS

__all__ = ["SECRET", "keys_in", "on", "same", "worker"]

SECRET = "a secret of the tests, long enough"


def worker(url: str, *more: str, secret: str = SECRET) -> subprocess.Popen[bytes]:
    command = ("-m", "twingraph_nb.runs.cli", "worker", "celery", "--broker", url)
    return started(*command, "--lease", "3s", "--concurrency", "2", *more, TWINGRAPH_SECRET=secret)


def keys_in(there: redis.Redis) -> set[str]:
    """What is in Redis beside the living workers and what Celery keeps about a queue.

    A worker holds the mutex for a moment, each time that it looks for what another had taken.
    """
    found = {key.decode() for key in there.scan_iter()} - {WORKERS, "twingraph:unacked_mutex"}
    return {key for key in found if not key.startswith("_kombu.")}


def on(function: Callable[..., object], *args: object, **options: object) -> Job:
    return job_on("celery", function, *args, **options)


def same(x: object) -> object:
    return x
