"""A process of a Celery worker's pool: runs jobs, and says in Redis what they say.

Imports nothing of the notebook's side.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import select
import signal
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import redis
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as TooSlow

from twingraph_nb.executors.celery_protocol import (
    CLAIM,
    ELSEWHERE,
    KEEP,
    LARGEST,
    LATEST,
    LOST,
    Names,
    Refused,
    Seal,
    reached,
)
from twingraph_nb.failure import pack_failure
from twingraph_nb.remote import FAILED, GAVE, LOG, RESULT, SECONDS, TAG, TURNED, Runner
from twingraph_nb.remote_payloads import PayloadError, Payloads
from twingraph_nb.remote_turns import Turns

__all__ = ["Child", "Order"]

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, linux/prctl.h
_ROOM = 128 << 20  # bytes of inputs that each process keeps for the next job
_KNOWN = 32  # components kept; each may hold captured data
_STARTS = 3  # times a job may begin; more would let one that kills its worker do so for ever
_PATIENCE = 60.0  # seconds an answer waits for a Redis that is away
_RETRY = 0.25  # seconds
_SOON = 0.01  # seconds that the results of short jobs may wait for one another
_PIPE = 1 << 16


class Order(NamedTuple):
    """A job of a message. size: how many frames of it are in the message, or `ELSEWHERE`."""

    tag: int
    sending: int
    bundle: str
    ref: str
    stamp: float
    meta: tuple[Any, ...]
    size: int


class Child:
    """Made once in each process of the pool."""

    def __init__(self, url: str, secret: bytes, lease: float) -> None:
        _settle_in()
        self._redis = redis.Redis.from_url(url, **reached(lease))
        self._claim = self._redis.register_script(CLAIM)
        self._secret = secret
        self._bundles = Seal(secret, "bundles")
        self._seals: OrderedDict[str, Seal] = OrderedDict()
        self._known: OrderedDict[str, int] = OrderedDict()
        self._stamps: dict[str, float] = {}
        self._numbers = 0
        self._session = ""
        self._kept: list[tuple[int, int, Sequence[Any]]] = []
        self._sending = threading.RLock()
        self._flushed = 0.0
        self._turns = Turns(self._look)
        self._label = f"{socket.gethostname()}, process {os.getpid()}".encode()
        self._runner = Runner(self._say, payloads=Payloads(_ROOM, self._payload))
        self._spill = _Spill(self._say, self._runner.out.flush)
        os.register_at_fork(after_in_child=self._runner.leave)

    def run(self, session: str, orders: Sequence[Order], frames: Sequence[Any]) -> None:
        """Run the jobs of a message one after the other.

        Raises:
            Refused: an input or a component is not what was sent.
        """
        if any(self._stamps.get(one.ref, one.stamp) != one.stamp for one in orders):
            os._exit(0)  # it imported an older version; the message goes to a new process
        self._session, left = session, list(frames)
        inputs: dict[int, list[Any]] = {}
        for order in orders:
            count = max(0, order.size)
            inputs[order.tag], left = left[:count], left[count:]
        times = self._claimed(orders)
        often = {order.tag: count for order, count in zip(orders, times, strict=True)}
        turn = self._turns.begin([one for one in orders if often[one.tag]], self._give)
        while (order := turn.next()) is not None:
            if often[order.tag] > _STARTS:
                self._say(LOST, order.tag, [str(_STARTS).encode()])
            else:
                if order is not orders[0]:
                    self._begins(order)
                self._one(order, inputs[order.tag])
        self._turns.end(turn)
        self._flush()

    def _begins(self, order: Order) -> None:
        with self._sending:  # goes with what is said next, or soon
            self._kept.append((TURNED, order.tag, [self._label]))

    def _one(self, order: Order, frames: list[Any]) -> None:
        if order.size == ELSEWHERE:
            frames = self._arguments(order.tag)
        number = self._loaded(order)
        head = pickle.dumps((number, *order.meta), 5)
        self._spill.tag = order.tag
        try:
            self._runner.run(order.tag, [head, *frames], self._spill.drain)
        finally:
            self._spill.tag = 0
        if time.monotonic() - self._flushed > _SOON:
            self._flush()

    def _claimed(self, orders: Sequence[Order]) -> list[int]:
        """Take the jobs that are wanted; gives how often each was taken by a worker, 0 = not."""
        names = Names(self._session)
        token = self._seal().close([(TURNED, orders[0].tag, [self._label])])
        args = [token, KEEP, *(part for one in orders for part in (one.tag, one.sending))]
        keys = [names.jobs, names.answers]
        found: list[int] = _patiently(lambda: self._claim(keys=keys, args=args))
        return found

    def _give(self, orders: Sequence[Order]) -> None:
        with contextlib.suppress(RedisError):  # the job itself finds Redis gone too
            tags = b"".join(TAG.pack(order.tag) for order in orders)
            self._say(GAVE, orders[0].tag, [tags])

    def _look(self) -> None:
        with contextlib.suppress(RedisError):
            self._flush()

    def _loaded(self, order: Order) -> int:
        number = self._known.get(order.bundle)
        if number is not None:
            self._known.move_to_end(order.bundle)
            return number
        token = _patiently(lambda: self._redis.get(Names(self._session).bundle(order.bundle)))
        if token is None:
            raise Refused("the source of its component is not in Redis any more")
        (message,) = self._bundles.open(token)
        self._numbers += 1
        self._runner.load(self._numbers, message.frames)
        self._known[order.bundle] = self._numbers
        if order.ref:
            self._stamps[order.ref] = order.stamp
        if len(self._known) > _KNOWN:
            self._runner.forget(self._known.popitem(last=False)[1])
        return self._numbers

    def _arguments(self, tag: int) -> list[Any]:
        session = self._session
        token = _patiently(lambda: self._redis.get(Names(session).arguments(tag)))
        if token is None:
            raise Refused("its inputs are not in Redis any more")
        (message,) = Seal(self._secret, f"arguments {session} {tag}").open(token, LATEST)
        return message.frames

    def _payload(self, digest: str, where: str) -> Any:
        session = self._session
        token = _patiently(lambda: self._redis.get(Names(session).payload(digest)))
        if token is None:
            raise PayloadError("a part of its inputs is not in Redis any more")
        try:
            (message,) = Seal(self._secret, f"payload {session} {digest}").open(token)
        except Refused as exc:
            raise PayloadError(f"a part of its inputs was refused: {exc}") from exc
        return message.frames[0]

    def _seal(self) -> Seal:
        session = self._session
        found = self._seals.get(session)
        if found is None:
            found = self._seals[session] = Seal(self._secret, f"answers {session}")
            if len(self._seals) > _KNOWN:
                self._seals.popitem(last=False)
        return found

    def _say(self, kind: int, tag: int, frames: Sequence[Any]) -> None:
        """Say something of a job, from any thread; the last of it goes with the next message."""
        with self._sending:
            kind, frames = _within(kind, frames)
            self._kept.append((kind, tag, frames))
            if kind not in (RESULT, FAILED, LOST):
                self._flush()

    def _flush(self) -> None:
        with self._sending:
            self._flushed = time.monotonic()
            kept, self._kept = self._kept, []
            if not kept:
                return
            names = Names(self._session)
            token = self._seal().close(kept)
            over = [tag for kind, tag, _ in kept if kind in (RESULT, FAILED, LOST)]
            with self._redis.pipeline(transaction=bool(over)) as pipe:
                pipe.xadd(names.answers, {"t": token})
                if over:
                    pipe.hdel(names.jobs, *map(str, over))
                _patiently(pipe.execute, pipe)


def _within(kind: int, frames: Sequence[Any]) -> tuple[int, Sequence[Any]]:
    """Give the message as it is, or an error in its place when Redis cannot take it.

    Raises:
        ValueError: it is a part of a stream; whoever gives it hears that.
    """
    size = sum(memoryview(one).nbytes for one in frames)
    if size <= LARGEST:
        return kind, frames
    error = ValueError(f"{LARGEST:,} bytes are the most that goes through Redis")
    if kind not in (RESULT, FAILED):
        raise error
    said = ("result", f"a result of {size:,} bytes", pack_failure(error, ()))
    return FAILED, [SECONDS.pack(0.0), pickle.dumps(said, 5)]


def _patiently(call: Any, pipe: Any = None) -> Any:
    """The answer of Redis, waiting for one that is away for a while."""
    queued = list(pipe.command_stack) if pipe is not None else []
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return call()
        except (Disconnected, TooSlow):
            if time.monotonic() > until:
                raise
            time.sleep(_RETRY)
            if pipe is not None:
                pipe.command_stack = list(queued)


def _settle_in() -> None:
    os.setpgid(0, 0)  # what a job started ends with it
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


class _Spill:
    """What is written past Python, by C code or a program a job started, as lines of its log."""

    def __init__(self, say: Any, before: Any) -> None:
        self._say, self._before = say, before
        self.tag = 0
        self._hearing = threading.Lock()
        self._pipes: dict[int, tuple[bytes, int]] = {}
        for number, letter in ((1, b"o"), (2, b"e")):
            real, (ours, theirs) = os.dup(number), os.pipe()
            os.dup2(theirs, number)
            os.close(theirs)
            self._pipes[ours] = (letter, real)
        threading.Thread(target=self._hear, name="twingraph-watch", daemon=True).start()

    def drain(self) -> None:
        """Hear all that was written so far."""
        with self._hearing:
            for pipe, (letter, real) in self._pipes.items():
                while select.select([pipe], [], [], 0)[0]:
                    body = os.read(pipe, _PIPE)
                    if self.tag:
                        self._before()  # what Python wrote before this
                        self._say(LOG, self.tag, [letter + body])
                    else:
                        os.write(real, body)

    def _hear(self) -> None:
        while True:
            select.select(list(self._pipes), [], [])
            with contextlib.suppress(RedisError):  # the job itself finds Redis gone too
                self.drain()
