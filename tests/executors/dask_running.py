"""What the tests of platform `dask` share: clusters of programs, and small jobs."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable

from tests.executors.clusters import ROOT, job_on, started, until
from tests.services.base import free_port
from twingraph_nb.executors.base import Job

__all__ = ["cluster", "dask", "listens", "on", "same"]

_WITHOUT = """
import sys
sys.path[:] = [one for one in sys.path if one not in ("", {root!r})]
sys.meta_path[:] = [one for one in sys.meta_path if "editable" not in repr(one)]
from dask.__main__ import main
sys.argv[:] = ["dask", *{words!r}]
main()
"""


def on(function: Callable[..., object], *args: object, **options: object) -> Job:
    return job_on("dask", function, *args, **options)


def same(x: object) -> object:
    return x


def dask(*words: str, package: bool = True, **environ: str) -> subprocess.Popen[bytes]:
    """A scheduler or worker, with this package or without."""
    if package:
        return started("-m", "dask", *words, **environ)
    return started("-P", "-c", _WITHOUT.format(root=str(ROOT), words=list(words)))


async def cluster(
    package: bool = True, **environ: str
) -> tuple[str, subprocess.Popen[bytes], Callable[[], subprocess.Popen[bytes]]]:
    """A scheduler, and what starts a worker there."""
    port = free_port()
    place = f"tcp://127.0.0.1:{port}"
    options = ["--host", "127.0.0.1", "--no-dashboard"]
    scheduler = dask("scheduler", *options, "--port", str(port), package=package, **environ)

    def worker() -> subprocess.Popen[bytes]:
        more = ["--nthreads", "1", "--no-nanny", "--resources", "seat=1"]
        return dask("worker", place, *options, *more, package=package)

    await until(lambda: listens(port))
    return place, scheduler, worker


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
