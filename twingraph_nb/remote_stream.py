"""The loop of a worker that has only its standard streams: in a container, a pod, far away.

Messages come on what was its standard input and go out on what was its standard output; both
are taken away from the user's code, whose own output is read from pipes and sent as log lines.
Standard library only: shipped to the far side as it is.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import queue
import select
import signal
import threading
from collections.abc import Sequence
from typing import Any

from twingraph_nb.remote import (
    BUNDLE,
    DROP,
    FORGET,
    GAVE,
    GIVE,
    JOB,
    LOG,
    PAYLOAD,
    READY,
    TAG,
    TURNED,
    Codec,
    Runner,
    Stopped,
)
from twingraph_nb.wire import Decoder, Message, frame

__all__ = ["serve"]

_PIPE = 1 << 16
_SET_PIPE_SIZE, _WIDE = 1031, 1 << 20  # F_SETPIPE_SZ, linux/fcntl.h; its default upper limit


def serve(trust: bool = False, plain: bool = True) -> None:
    """Work on jobs until standard input ends.

    Args:
        trust: results may hold pickles. plain: values travel without pickle otherwise.
    """
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    come, go, said = os.dup(0), os.dup(1), os.dup(2)
    faulthandler.enable(said, all_threads=False)
    for stream in (come, go):
        _widen(stream)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    worker = _Worker(come, go, Codec(plain, trust))
    try:
        worker.loop()
    except (Stopped, BrokenPipeError):
        pass
    os._exit(0)  # threads the user left behind must not keep it alive


def _widen(stream: int) -> None:
    """Let a pipe hold more, so that a large value takes fewer turns."""
    try:
        fcntl.fcntl(stream, _SET_PIPE_SIZE, _WIDE)
    except OSError:
        pass  # no pipe, or more than this user may have


def _stop(signum: int, step: object) -> None:
    raise Stopped


class _Worker:
    def __init__(self, come: int, go: int, codec: Codec) -> None:
        self._come, self._go = come, go
        self._sending = threading.Lock()
        self._turn = threading.Lock()  # held to begin a job, and to give jobs back
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._began = self._running = 0
        self._given: set[int] = set()
        self._pipes = {_taken(1): b"o", _taken(2): b"e"}
        self._hearing = threading.Lock()
        self._runner = Runner(self.say, codec)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def loop(self) -> None:
        for work in (self._read, self._hear):
            threading.Thread(target=work, name="twingraph-watch", daemon=True).start()
        self.say(READY, 0, [])
        while True:
            self._take(self._queue.get())

    def say(self, kind: int, tag: int, frames: Sequence[Any]) -> None:
        """Send a message; from any thread."""
        with self._sending:
            for buffer in frame(frames, kind=kind, tag=tag, checked=True):
                left = memoryview(buffer).cast("B")
                while len(left):
                    left = left[os.write(self._go, left) :]

    def _read(self) -> None:
        """Queue what comes; the end of the near side is the end of this process."""
        decoder = Decoder()
        while True:
            buffer = decoder.buffer()
            count = os.readv(self._come, [buffer])
            if not count:
                os._exit(0)
            for message in decoder.advance(count):
                if message.kind == GIVE:
                    self._give(bytes(message.frames[0]))
                else:
                    self._queue.put(message)

    def _take(self, message: Message) -> None:
        if message.kind == JOB:
            with self._turn:
                if message.tag in self._given:
                    self._given.discard(message.tag)
                    return
                self._began = self._running = message.tag
            self.say(TURNED, message.tag, [])
            self._runner.run(message.tag, message.frames, self._drain)
            self._running = 0
        elif message.kind == BUNDLE:
            self._runner.load(message.tag, message.frames)
        elif message.kind == FORGET:
            self._runner.forget(message.tag)
        elif message.kind == PAYLOAD:
            digest, memory = message.frames
            self._runner.payloads.put(digest.decode(), memory)
        elif message.kind == DROP:
            self._runner.payloads.drop(message.frames[0].decode())

    def _give(self, asked: bytes) -> None:
        with self._turn:
            given = [t for (t,) in TAG.iter_unpack(asked) if t > self._began]
            self._given.update(given)
        self.say(GAVE, 0, [asked, b"".join(map(TAG.pack, given))])

    def _hear(self) -> None:
        """Send what is written past Python: by C code, or a program the job started."""
        while True:
            select.select(list(self._pipes), [], [])
            self._drain()

    def _drain(self) -> None:
        with self._hearing:
            for pipe, stream in self._pipes.items():
                while select.select([pipe], [], [], 0)[0]:
                    body = os.read(pipe, _PIPE)
                    if self._running:
                        self._runner.out.flush()  # what Python wrote before this
                        self.say(LOG, self._running, [stream + body])

    def _forked(self) -> None:
        """In a child that the user's code forked: the streams belong to the parent alone."""
        self._runner.leave()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for mine in (self._come, self._go):
            os.close(mine)


def _taken(number: int) -> int:
    """Put a pipe in place of a standard stream; gives the end to read from."""
    ours, theirs = os.pipe()
    os.dup2(theirs, number)
    os.close(theirs)
    return ours
