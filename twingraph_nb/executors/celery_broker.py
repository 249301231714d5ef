"""Redis and Celery as a kernel uses them: blocking calls, made in threads of `celery_link`."""

from __future__ import annotations

import contextlib
import functools
import json
import pickle
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import redis
from celery import Celery
from celery import __version__ as celery_version
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as TooSlow

from twingraph_nb.errors import ExecutorError, Unreachable
from twingraph_nb.executors.celery_protocol import (
    ABOUT,
    ASIDE,
    ELSEWHERE,
    KEEP,
    RECALL,
    TASK,
    WITHDRAW,
    WORKERS,
    Names,
    Refused,
    Seal,
    hidden,
    priority_of,
    transport,
    unreachable,
)
from twingraph_nb.executors.parcels import Load, Parcel
from twingraph_nb.remote import BUNDLE, JOB, PAYLOAD
from twingraph_nb.wire import Message

__all__ = ["PATIENCE", "Broker", "reading_again"]

PATIENCE = 30.0  # seconds that are waited for a broker which was there before
_ANSWER = 30.0  # seconds for an answer
_RETRY = 0.25  # seconds
_BLOCK = 2_000  # milliseconds one read waits for answers
_AT_ONCE = 500  # answers
_RENEW = KEEP / 4  # seconds after which a component is sent again, lest it expires
_PRIORITIES = range(10)
_TAKEN = "unacked"  # a hash with the messages that workers have taken and not yet done
_AWAY = (Disconnected, TooSlow, OperationalError)

Heard = Callable[[list[Message]], object]
_OPEN: Counter[str] = Counter()
"""How many of this process use a broker: kombu keeps the connections of all of them together."""


class Broker:
    """One broker, and the session's keys there. Raises only ExecutorError."""

    def __init__(self, broker: str, answers: str, secret: bytes, session: str = "") -> None:
        self.url, self._answers, self._secret = broker, answers, secret
        self.session = session or secrets.token_hex(8)
        self.names = Names(self.session)
        patience = {"socket_connect_timeout": 5, "socket_timeout": _ANSWER}
        self._redis = redis.Redis.from_url(answers, **patience)
        self._queues = redis.Redis.from_url(broker, **patience)
        self._app = Celery("twingraph_nb", set_as_current=False)
        self._app.conf.update(
            broker_url=broker,
            broker_transport_options={**transport(), **patience},
            task_ignore_result=True,
            task_serializer="json",
        )
        self._orders = Seal(secret, "orders")
        self._bundles: dict[str, float] = {}
        self._payloads: dict[str, float] = {}
        _OPEN[broker] += 1
        self._heard = Seal(secret, f"answers {self.session}")
        self._patience = 0.0
        self.closed = threading.Event()

    def reach(self) -> str:
        """Give the versions of client and service.

        Raises:
            Unreachable: nobody answers there.
        """
        with self._told():
            info: Any = self._redis.info("server")
            if self._answers != self.url:
                self._queues.ping()
        self._patience = PATIENCE
        return f"client {celery_version}, server Redis {info['redis_version']}"

    def workers(self) -> list[Mapping[str, Any]]:
        """Give what the workers that are alive say about themselves."""
        with self._told():
            found: Any = self._redis.zrangebyscore(WORKERS, time.time(), "+inf")
        return [json.loads(one) for one in found]

    # -- jobs there ----------------------------------------------------------------------------

    def send(self, parcels: Sequence[Parcel]) -> None:
        """Put messages into their queues."""
        self._patiently(lambda: self._prepare([load for p in parcels for load in p.loads]))
        for parcel in parcels:
            self._patiently(functools.partial(self._send, parcel))

    def _prepare(self, loads: Sequence[Load]) -> None:
        """Write what the workers will look for: what is wanted, components, large inputs."""
        now = time.monotonic()
        with self._redis.pipeline() as pipe:
            wanted = {str(load.tag): f"{load.sending}:0" for load in loads if not load.cancelled}
            if wanted:
                pipe.hset(self.names.jobs, mapping=wanted)
                pipe.expire(self.names.jobs, KEEP)
            seal = Seal(self._secret, "bundles")
            for bundle in {load.bundle.key: load.bundle for load in loads}.values():
                if self._bundles.get(bundle.key, -KEEP) < now - _RENEW:
                    token = seal.close([(BUNDLE, 0, bundle.frames)])
                    pipe.set(self.names.bundle(bundle.key), token, ex=KEEP)
                    self._bundles[bundle.key] = now
            shared = {digest: one for load in loads for digest, one in load.shared.items()}
            for digest, content in shared.items():
                if self._payloads.get(digest, -KEEP) < now - _RENEW:
                    seal = Seal(self._secret, f"payload {self.session} {digest}")
                    token = seal.close([(PAYLOAD, 0, [content])])
                    pipe.set(self.names.payload(digest), token, ex=KEEP)
                    self._payloads[digest] = now
            for load in loads:
                if load.size > ASIDE:
                    purpose = f"arguments {self.session} {load.tag}"
                    token = Seal(self._secret, purpose).close([(JOB, load.tag, load.frames)])
                    pipe.set(self.names.arguments(load.tag), token, ex=KEEP)
            pipe.execute()

    def _send(self, parcel: Parcel) -> None:
        message = self._message(parcel.number)
        orders, frames = [], []
        for load in parcel.loads:
            inline = list(load.frames) if load.size <= ASIDE else []
            ref, stamp = load.bundle.ref, load.bundle.stamp
            size = len(inline) if load.size <= ASIDE else ELSEWHERE
            orders.append((load.tag, load.sending, load.bundle.key, ref, stamp, load.meta, size))
            frames += inline
        head = pickle.dumps((ABOUT, (self.session, message), orders), 5)
        token = self._orders.close([(JOB, 0, [head, *frames])])
        about = {"session": self.session, "tags": [o[0] for o in orders], "about": ABOUT}
        queue, priority = parcel.loads[0].lane
        self._app.send_task(
            TASK,
            args=(about, token.decode()),
            task_id=message,
            queue=queue,
            priority=priority_of(priority),
            ignore_result=True,
            argsrepr="(...)",
            kwargsrepr="{}",
            retry=False,
        )

    def withdraw(self, tags: Collection[int]) -> set[int]:
        """Want jobs no more; gives the tags of those that run now."""
        with self._told():
            found: Any = self._redis.eval(WITHDRAW, 1, self.names.jobs, *tags)
        return {int(tag) for tag in found}

    def recall(self, tag: int, number: int, queue: str) -> bool:
        """See to it that a job whose message was never sent is not taken; False if it was sent.

        Args:
            number: of its message.
        """
        message = self._message(number)
        with self._told():
            for step in _PRIORITIES:
                found: Any = self._queues.lrange(_at(queue, step), 0, -1)
                if any(json.loads(raw).get("headers", {}).get("id") == message for raw in found):
                    return False
            taken: Any = self._queues.hvals(_TAKEN)
            if any(message.encode() in raw for raw in taken):
                return False
            return bool(self._redis.eval(RECALL, 1, self.names.jobs, tag))

    def revoke(self, number: int) -> None:
        """Have the process that works on a message killed."""
        with self._told():
            self._app.control.revoke(self._message(number), terminate=True, signal="SIGKILL")

    def purge(self, queues: Collection[str], numbers: Collection[int]) -> None:
        """Remove messages from their queues, as far as they are still there."""
        ids = {self._message(number) for number in numbers}
        with self._told():
            for queue in queues:
                for step in _PRIORITIES:
                    key = _at(queue, step)
                    found: Any = self._queues.lrange(key, 0, -1)
                    for raw in found:
                        if json.loads(raw).get("headers", {}).get("id") in ids:
                            self._queues.lrem(key, 1, raw)

    def forget(self, tags: Collection[int], digests: Collection[str] = ()) -> None:
        """Remove the inputs of jobs that need them no more, and those that several shared."""
        keys = [self.names.arguments(tag) for tag in tags]
        keys += [self.names.payload(digest) for digest in digests]
        for digest in digests:
            self._payloads.pop(digest, None)
        with self._told():
            self._redis.unlink(*keys)

    def anew(self) -> None:
        """Send components and inputs again: the broker came back without what it had."""
        self._bundles.clear()
        self._payloads.clear()

    def pending(self) -> set[int]:
        """Give the tags of the jobs that wait or run."""
        with self._told():
            found: Any = self._redis.hkeys(self.names.jobs)
        return {int(tag) for tag in found}

    # -- answers -------------------------------------------------------------------------------

    def read(self, last: bytes = b"0") -> tuple[bytes, list[Message]]:
        """Wait a while for answers; gives the place to go on from, and the messages.

        Raises:
            Unreachable: the connection is lost.
        """
        names = self.names.answers
        with self._told():
            found: Any = self._redis.xread({names: last}, count=_AT_ONCE, block=_BLOCK)
        messages: list[Message] = []
        for _, entries in found or []:
            for last, fields in entries:  # noqa: B007 - the last one is used below
                messages += self._opened(fields)
        return last, messages

    def drop(self, last: bytes) -> None:
        """Remove the answers before that place."""
        with self._told():
            self._redis.xtrim(self.names.answers, minid=last, approximate=False)

    def _opened(self, fields: Mapping[bytes, bytes]) -> list[Message]:
        if b"t" in fields:
            try:
                return self._heard.open(fields[b"t"])
            except Refused as exc:
                return [Message(0, REFUSED, 0, [f"an answer was refused: {exc}"])]
        if b"r" in fields:
            try:
                said = json.loads(fields[b"r"])
                why = str(said["why"])
                return [Message(0, REFUSED, int(tag), [why]) for tag in said["tags"]]
            except (ValueError, KeyError, TypeError):
                return []
        return []

    # -- ending --------------------------------------------------------------------------------

    def wake(self) -> None:
        """Let a `read` return at once."""
        with contextlib.suppress(RedisError):
            self._redis.xadd(self.names.answers, {"w": ""})

    def close(self, tags: Collection[int] = (), *, leave: bool = False) -> None:
        """Remove the session's keys and end the connections; `leave` keeps the keys."""
        with contextlib.suppress(RedisError):
            keys = [self.names.answers, self.names.jobs]
            keys += [self.names.bundle(key) for key in self._bundles]
            keys += [self.names.payload(digest) for digest in self._payloads]
            keys += [self.names.arguments(tag) for tag in tags]
            if not leave:
                self._redis.unlink(*keys)
        self._redis.close()
        self._queues.close()
        _OPEN[self.url] -= 1
        with contextlib.suppress(*_AWAY):
            if not _OPEN[self.url]:
                for pool in (self._app.amqp.producer_pool, self._app.pool):
                    pool.resize(pool.limit, ignore_errors=True, reset=True)
            self._app.close()

    # -- inside --------------------------------------------------------------------------------

    def _message(self, number: int) -> str:
        return f"{self.session}.{number}"

    def _patiently(self, call: Callable[[], object]) -> None:
        """Make a call, again for a while when the broker is away."""
        until = time.monotonic() + self._patience
        while True:
            try:
                call()
                return
            except _AWAY as exc:
                self.anew()
                if time.monotonic() > until or self.closed.wait(_RETRY):
                    raise self._unreachable(exc) from exc
            except RedisError as exc:
                raise ExecutorError(f"Redis at {hidden(self._answers)} refused: {exc}") from exc

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (*_AWAY, RedisError) as exc:
            raise self._unreachable(exc) from exc

    def _unreachable(self, exc: Exception) -> Unreachable:
        return unreachable(self.url, exc, "the option broker= or in TWINGRAPH_CELERY_BROKER")


def _at(queue: str, step: int) -> str:
    """The list of a queue's messages of one priority."""
    return f"{queue}\x06\x16{step}" if step else queue


REFUSED = 43
"""Kind of a message made here: a job that a worker would not take, or tag 0."""


def reading_again(
    broker: Broker,
    heard: Heard,
    recovered: Callable[[Iterable[int]], object],
    lost: Callable[[ExecutorError], object],
    sent: Callable[[], set[int]],
) -> None:
    """Read answers until the broker is closed; runs in a thread of its own.

    Args:
        heard: told what comes. recovered: told which jobs are there no more after the broker was
            away. lost: told once it was away for too long. sent: gives the jobs that are there.
    """
    last, away, told = b"0", 0.0, False
    while not broker.closed.is_set():
        try:
            before = sent() if away else set()
            missing = before - broker.pending() if away else set()
            last, messages = broker.read(last)
            heard(messages)
            if messages:
                broker.drop(last)
            if away:
                recovered(missing)
            away, told = 0.0, False
        except ExecutorError as exc:
            away = away or time.monotonic()
            if time.monotonic() - away > PATIENCE and not told:
                told = True
                lost(exc)
            broker.closed.wait(_RETRY)
