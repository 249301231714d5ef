"""The Celery worker of this package: `twingraph worker celery --broker redis://...`.

Imports nothing of the notebook's side, so that a worker needs only the wheel and its extra.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import redis
from celery import Celery, Task, bootsteps, signals
from celery.exceptions import Reject
from celery.utils.log import get_logger
from celery.worker.request import Request
from redis.exceptions import RedisError

from twingraph_nb.executors.celery_child import Child, Order
from twingraph_nb.executors.celery_protocol import (
    ABOUT,
    KEEP,
    LATEST,
    QUEUE,
    REVOKED,
    TASK,
    WORKERS,
    Names,
    Refused,
    Seal,
    hidden,
    reached,
    redis_at,
    transport,
    unreachable,
)

__all__ = ["make_worker", "serve"]

_ENDING = 5.0  # seconds that a killed process may take to be gone; it gives its memory back first
_POLL = 0.001  # seconds

_log = get_logger("twingraph_nb.worker")


class _Site:
    """What this worker is, in its main process and in each process of its pool."""

    def __init__(self, answers: str, secret: bytes, lease: float) -> None:
        self.answers, self.secret, self.lease = answers, secret, lease
        self.redis = redis.Redis.from_url(answers, **reached(lease))
        self.orders = Seal(secret, "orders")
        self.child: Child | None = None

    def orders_of(self, session: str, message: str, token: str) -> tuple[list[Order], list[Any]]:
        """Give the jobs of a message, once it is known to be meant for us, and their frames.

        Raises:
            Refused: wrong signature, too old, or made for another message.
        """
        (found,) = self.orders.open(token, LATEST)
        about, who, orders = pickle.loads(found.frames[0])
        why = ABOUT.refusal(about)
        if why:
            raise Refused(why)
        if who != (session, message):
            raise Refused("it was signed for another session")
        return [Order(*one) for one in orders], found.frames[1:]

    def refuse(self, session: str, tags: Sequence[int], why: str) -> None:
        """Say in the log and to the kernel that jobs are refused; not signed: it may not share
        the secret."""
        who = f"{socket.gethostname()}, process {os.getpid()}"
        _log.error("refused %d jobs of session %s: %s", len(tags), session, why)
        said = json.dumps({"tags": list(tags), "why": f"the worker on {who} refused it: {why}"})
        names = Names(session)
        self.redis.xadd(names.answers, {"r": said})
        self.redis.expire(names.answers, KEEP)

    def say_revoked(self, message: str) -> None:
        """Tell the kernel that what ran of a message is gone."""
        session, _, number = message.partition(".")
        seal = Seal(self.secret, f"answers {session}")
        token = seal.close([(REVOKED, int(number), [])])
        self.redis.xadd(Names(session).answers, {"t": token})


class _OwnRequest(Request):  # type: ignore[misc]
    """A message in the main process; ending it ends all that its jobs have started."""

    site: ClassVar[_Site]

    def terminate(self, pool: Any, signal: Any = None) -> None:
        began = bool(self.time_start)
        super().terminate(pool, signal)
        if began:
            _end_group(self.worker_pid)
            try:
                self.site.say_revoked(self.id)
            except RedisError as exc:
                _log.error("the kernel cannot be told of a cancelled job: %s", exc)


def _end_group(pid: int) -> None:
    """Kill a process of the pool with all it started; return once it is gone, or after a while."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    until = time.monotonic() + _ENDING
    with contextlib.suppress(ChildProcessError, AttributeError):  # waited for; no such call here
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if time.monotonic() > until:
                break
            time.sleep(_POLL)


class _Life(bootsteps.StartStopStep):  # type: ignore[misc]
    """Signs of life: of the worker itself, and of the jobs it has not answered yet."""

    requires: ClassVar[set[str]] = {"celery.worker.consumer.tasks:Tasks"}
    site: ClassVar[_Site]
    queue: ClassVar[str]

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        self._timer: Any = None
        self._said = b""

    def start(self, consumer: Any) -> None:
        self._said = json.dumps(
            {
                "name": consumer.hostname,
                "queue": self.queue,
                "about": ABOUT,
                "processes": consumer.controller.concurrency,
            }
        ).encode()
        every = max(0.2, self.site.lease / 5)
        self._timer = consumer.timer.call_repeatedly(every, self._live, (consumer,))
        self._live(consumer)

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            self.site.redis.zrem(WORKERS, self._said)
        except RedisError as exc:
            _log.warning("Redis is not there to say goodbye to: %s", exc)

    def _live(self, consumer: Any) -> None:
        now = time.time()
        qos = consumer.task_consumer.channel.qos
        mine = dict.fromkeys(list(qos._delivered), now)
        try:
            with self.site.redis.pipeline(transaction=False) as pipe:
                pipe.zadd(WORKERS, {self._said: now + self.site.lease})
                pipe.zremrangebyscore(WORKERS, 0, now)
                pipe.execute()
            if mine:  # else others would take jobs that take longer than the lease
                with consumer.task_consumer.channel.conn_or_acquire() as client:
                    client.zadd(qos.unacked_index_key, mine, xx=True)
        except (RedisError, OSError) as exc:
            _log.warning("no sign of life can be given: %s", exc)


def make_worker(
    broker: str, answers: str, secret: bytes, *, queue: str = QUEUE, lease: float = 30.0
) -> Celery:
    """Give the Celery application of a worker.

    Args:
        broker: where jobs come from. answers: the Redis where they are answered.
        lease: seconds without a sign of life after which others take a worker's jobs.
    """
    app = Celery("twingraph_nb", set_as_current=False)
    app.conf.update(
        broker_url=broker,
        broker_transport_options={**transport(lease), **reached(lease)},
        broker_connection_retry_on_startup=True,
        task_default_queue=queue,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_redirect_stdouts=False,
        worker_hijack_root_logger=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        accept_content=["json"],
        task_serializer="json",
    )
    site = _Site(answers, secret, lease)

    class Life(_Life):
        pass

    class OwnRequest(_OwnRequest):
        pass

    Life.site = OwnRequest.site = site
    Life.queue = queue
    app.steps["consumer"].add(Life)
    signals.worker_process_init.connect(lambda **_: _begin_child(site), weak=False)

    class Run(Task):  # type: ignore[misc]
        name = TASK
        Request = OwnRequest

        def run(self, about: Mapping[str, Any], token: str) -> None:
            _run(site, self.request.id, about, token)

    app.register_task(Run())
    return app


def _begin_child(site: _Site) -> None:
    site.redis.connection_pool.reset()
    site.child = Child(site.answers, site.secret, site.lease)


def _run(site: _Site, message: str, about: Mapping[str, Any], token: str) -> None:
    session, tags = str(about["session"]), [int(tag) for tag in about["tags"]]
    assert site.child is not None, "made in each process of the pool"
    why = ABOUT.refusal(about["about"])
    try:
        if why:
            raise Refused(why)
        orders, frames = site.orders_of(session, message, token)
        site.child.run(session, orders, frames)
    except Refused as exc:
        site.refuse(session, tags, str(exc))
    except RedisError as exc:
        _log.error("Redis is gone, the jobs go back to the queue: %s", exc)
        raise Reject(str(exc), requeue=True) from exc


def serve(
    broker: str,
    answers: str,
    secret: bytes,
    *,
    queue: str = QUEUE,
    concurrency: int | None = None,
    lease: float = 30.0,
    log: str = "WARNING",
) -> int:
    """Run a worker until it is asked to end; gives the exit code.

    Raises:
        Unreachable: no Redis answers there.
        ExecutorError: an address is none of a Redis.
    """
    for place in dict.fromkeys((redis_at(broker), redis_at(answers))):
        try:
            redis.Redis.from_url(place).ping()
        except RedisError as exc:
            raise unreachable(place, exc, "--broker and --backend") from exc
    app = make_worker(broker, answers, secret, queue=queue, lease=lease)
    worker = app.Worker(
        hostname=f"twingraph-{os.getpid()}@{socket.gethostname()}",
        pool="prefork",
        concurrency=concurrency,
        queues=[queue],
        loglevel=log,
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
        quiet=True,
    )
    sys.stderr.write(f"twingraph: worker for queue {queue!r} of {hidden(broker)}\n")
    worker.start()
    return int(worker.exitcode or 0)
