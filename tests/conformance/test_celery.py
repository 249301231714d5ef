"""Platform `celery` keeps the promises of all platforms, on real workers behind a real Redis."""

from __future__ import annotations

import base64
import functools
import os
import re
from urllib.parse import urlsplit

import pytest
import redis

from tests.conformance import steps
from tests.conformance.suite import PATIENCE, Conformance, Place, until
from tests.executors.celery_keys import keys_in
from tests.executors.clusters import ended, started
from twingraph_nb.executors import celery_broker
from twingraph_nb.executors.celery_protocol import WORKERS

NUMBER = 11 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5
"""The database of Redis that is this process's alone: it is emptied. Other tests have 7 and 9."""
SHARED = "a secret that workers and kernel of the suite share"


class TestCelery(Conformance):
    # Workers have no limit of memory of their own: it is said where they are started.
    test_a_task_out_of_memory_says_so = None  # type: ignore[assignment]

    def test_a_message_is_among_what_is_looked_at(self) -> None:
        """Else that no secret is seen would say nothing."""
        task = self.start(steps.environment, "PATH", "PATH", 1.0)
        until(lambda: "looking" in task.logs)
        assert "twingraph_nb.run" in self.place.visible()
        task.result(PATIENCE)

    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        whole = request.getfixturevalue("redis_url")
        url = urlsplit(whole)._replace(path=f"/{NUMBER}").geturl()
        patch.setenv("TWINGRAPH_CELERY_BROKER", url)
        patch.setenv("TWINGRAPH_SECRET", SHARED)
        there = redis.Redis.from_url(url)
        request.addfinalizer(there.close)
        there.flushdb()
        request.addfinalizer(there.flushdb)
        words = ("-m", "twingraph_nb.runs.cli", "worker", "celery", "--broker", url)
        with pytest.MonkeyPatch.context() as theirs:
            theirs.delenv("SUITE_SECRET")  # workers do not have the kernel's environment
            for queue, processes in (("many", 4), ("one", 1)):
                more = ("--lease", "2s", "--concurrency", str(processes), "--queue", queue)
                process = started(*words, *more, TWINGRAPH_SECRET=SHARED)
                request.addfinalizer(functools.partial(ended, process))
        until(lambda: there.zcard(WORKERS) == 2)
        return Place(
            "celery",
            {"queue": "many"},
            left=lambda: left(there),
            visible=lambda: said(there),
            again=True,
            cure="pip install kernel_only",
            about=celery_broker,
            trusted=True,
            one={"queue": "one"},
            queued=lambda: any(map(there.llen, there.scan_iter("*one*", _type="list"))),
        )


def left(there: redis.Redis) -> list[str]:
    """The keys of a run that are still there.

    A worker acknowledges a message after it has answered it: for that alone is waited.
    """
    until(lambda: not there.exists("twingraph:unacked", "twingraph:unacked_index"))
    return sorted(keys_in(there))


def said(there: redis.Redis) -> str:
    """All that Redis holds: messages that wait or run, with what is inside them, and answers."""
    reads = {
        "string": there.get,
        "list": lambda key: there.lrange(key, 0, -1),
        "hash": there.hgetall,
        "set": there.smembers,
        "zset": lambda key: there.zrange(key, 0, -1),
        "stream": there.xrange,
    }
    text = "".join(
        repr((key, reads[kind](key)))
        for key in there.scan_iter()
        if (kind := there.type(key).decode()) in reads  # else it is gone already
    )
    for _ in range(2):  # Celery's own coat around a message, and ours inside
        coats = re.findall(r"[\w+/-]{40,}={0,2}", text)
        text += "".join(repr(base64.urlsafe_b64decode(standard(one))) for one in coats)
    return text


def standard(coat: str) -> str:
    """Base64 of either alphabet, whole groups of it, as the safe one."""
    kept = coat.rstrip("=")
    return kept[: len(kept) // 4 * 4].replace("+", "-").replace("/", "_")
