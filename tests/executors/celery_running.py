"""What the tests of platform `celery` share: a worker of theirs, and small jobs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from tests.executors.clusters import job_on, started
from twingraph_nb.executors.base import Job

__all__ = ["SECRET", "on", "same", "worker"]

SECRET = "a secret of the tests, long enough"


def worker(url: str, *more: str, secret: str = SECRET) -> subprocess.Popen[bytes]:
    command = ("-m", "twingraph_nb.runs.cli", "worker", "celery", "--broker", url)
    return started(*command, "--lease", "3s", "--concurrency", "2", *more, TWINGRAPH_SECRET=secret)


def on(function: Callable[..., object], *args: object, **options: object) -> Job:
    return job_on("celery", function, *args, **options)


def same(x: object) -> object:
    return x
