"""What a task costs on Celery and Dask, against these engines' own calls in the same run."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import redis
from celery import Celery
from distributed import Client

from tests.bench.harness import ROOT, Row, compared
from tests.services.base import ensure
from twingraph_nb.component import make_component
from twingraph_nb.executors.celery_protocol import WORKERS
from twingraph_nb.executors.dask_local import LocalDask

__all__ = ["app", "celery", "celery_workers", "dask", "dask_workers"]

N = 1000
RUNS = 3
PROCESSES = 2
BROKER = "TWINGRAPH_BENCH_BROKER"

app = Celery("bench", set_as_current=False)
"""Celery by hand, as its documentation has it; its worker imports this module."""
app.conf.update(broker_url=os.environ.get(BROKER, ""), result_backend=os.environ.get(BROKER, ""))


@app.task(name="bench.same")  # type: ignore[untyped-decorator]
def by_hand(x: int) -> int:
    return x


def same(x: int) -> int:
    return x


def celery() -> Iterator[Row]:
    theirs = ("-m", "celery", "-A", "tests.bench.clusters", "worker")
    with celery_workers() as url:
        os.environ[BROKER] = url
        app.conf.update(broker_url=url, result_backend=url)
        with _process(*theirs, "--concurrency", str(PROCESSES)):
            mine, base = compared(_fan("celery"), _by_celery, RUNS)
    yield Row("1,000 no-ops on Celery", mine, base, N, at_most=1.1, note="delay and get")


@contextlib.contextmanager
def celery_workers() -> Iterator[str]:
    """Our workers, which the environment then names; gives their broker."""
    url = urlsplit(ensure("redis")["url"])._replace(path="/9").geturl()
    os.environ["TWINGRAPH_CELERY_BROKER"] = url
    os.environ["TWINGRAPH_SECRET"] = secrets.token_hex(32)
    ours = ("-m", "twingraph_nb.runs.cli", "worker", "celery", "--broker", url)
    with redis.Redis.from_url(url) as there:
        there.flushdb()
        with _process(*ours, "--concurrency", str(PROCESSES)):
            while not there.zcard(WORKERS):
                time.sleep(0.1)
            yield url
        there.flushdb()


def _by_celery() -> int:
    return sum(one.get() for one in [by_hand.delay(x) for x in range(N)])


def dask() -> Iterator[Row]:
    with dask_workers() as address, Client(address, set_as_default=False) as client:
        mine, base = compared(
            _fan("dask"),
            lambda: sum(client.gather(client.map(same, range(N), pure=False))),
            RUNS,
        )
        from twingraph_nb.session import close_session

        close_session()
    yield Row("1,000 no-ops on Dask", mine, base, N, at_most=1.1, note="map and gather")


@contextlib.contextmanager
def dask_workers() -> Iterator[str]:
    """A cluster, which the environment then names; gives its address."""
    cluster = LocalDask(PROCESSES)
    os.environ["TWINGRAPH_DASK_ADDRESS"] = cluster.address
    try:
        yield cluster.address
    finally:
        cluster.close()


def _fan(platform: str) -> Callable[[], int]:
    from twingraph_nb.session import get_session

    get_session()  # a component is called through it
    component = make_component(same, platform=platform, keep=False)
    return lambda: sum(task.result() for task in [component(x) for x in range(N)])


@contextlib.contextmanager
def _process(*command: str) -> Iterator[None]:
    environ = {**os.environ, "PYTHONPATH": str(Path(ROOT))}
    with subprocess.Popen(
        [sys.executable, *command],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
