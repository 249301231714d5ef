"""The loop of a worker that has only its standard streams: in a container, a pod, far away.

Messages come on what was its standard input and go out on what was its standard output; both
are taken away from the user's code, whose own output is read from pipes and sent as log lines.
Standard library only: shipped to the far side as it is.
"""

from __future__ import annotations

import faulthandler
import fcntl
import itertools
import os
import queue
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from twingraph_nb.remote import (
    AGAIN,
    BUNDLE,
    CHECKPOINT,
    DROP,
    FAILED,
    FORGET,
    GAVE,
    GIVE,
    JOB,
    KEEP,
    LOG,
    PAYLOAD,
    READY,
    RESULT,
    TAG,
    TURNED,
    Codec,
    Runner,
    Stopped,
)
from twingraph_nb.remote_kept import Kept, Story
from twingraph_nb.remote_orphan import Orphan, Will
from twingraph_nb.wire import Decoder, Message, WireError, frame

__all__ = ["serve"]

_PIPE = 1 << 16
_TOGETHER = 512  # buffers that go in one call; IOV_MAX is 1024 on Linux
_RECENT = 2.0  # seconds in which a kernel has kept an answer it has heard
_CHUNKS = 64 << 20  # bytes that are kept of a job among many, beside the memory of the job
_SET_PIPE_SIZE, _WIDE = 1031, 1 << 20  # F_SETPIPE_SZ, linux/fcntl.h; its default upper limit


def serve(
    trust: bool = False,
    plain: bool = True,
    linger: float = 0.0,
    limit: float = 0.0,
    quiet: float = 0.0,
) -> None:
    """Work on jobs until standard input ends.

    Args:
        trust: results may hold pickles. plain: values travel without pickle otherwise.
        linger: seconds the answer of the only job waits for a kernel to come; 0 = there are more
            jobs, which end with the kernel unless it has said otherwise. limit: seconds that only
            job may run, 0 for any. quiet: seconds without a job or a word after which its kernel
            must be gone, though its connection has not ended, 0 for any.
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
    worker = _Worker(come, go, Codec(plain, trust), Kept(linger, limit) if linger else None)
    worker.quiet = quiet
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
    quiet = 0.0

    def __init__(self, come: int, go: int, codec: Codec, kept: Kept | None) -> None:
        self._come, self._go, self._kept = come, go, kept
        self._story: Story = Story(_CHUNKS) if kept is None else kept
        self._door: Orphan | None = None  # of the job that runs, or ran last
        self._answered = 0.0
        self._orphan: Orphan | None = None  # set once the kernel has died
        self._sending = threading.Lock()
        self._turn = threading.RLock()  # held to begin a job, to end one, and to give jobs back
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._began = self._running = 0
        self._free = False  # nothing is to be done
        self._given: set[int] = set()
        self._late: list[Any] = []  # an answer that goes with the next message
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
            self._free = True
            message = self._queue.get()
            self._free = False
            if message.kind != JOB:
                self._flush()  # this may take long
            self._take(message)

    def say(self, kind: int, tag: int, frames: Sequence[Any]) -> None:
        """Send a message; from any thread.

        An answer goes together with the word that the next job has its turn, if that is here:
        each write wakes all the programs between this process and the near side.
        """
        with self._sending:
            buffers = frame(frames, kind=kind, tag=tag, checked=True)
            if kind != CHECKPOINT or self._kept is not None or self._orphan is not None:
                self._story.note(kind, buffers)  # else the kernel has the checkpoint
            if self._orphan is not None:
                self._orphan.say(buffers)
                return
            self._late.extend(buffers)
            if kind not in (RESULT, FAILED) or self._queue.empty():
                self._send()

    def _flush(self) -> None:
        if self._late:
            with self._sending:
                self._send()

    def _send(self) -> None:
        """Write what is there, with as few calls as may be."""
        late, self._late = self._late, []
        left = deque(memoryview(one).cast("B") for one in late)
        while left:
            count = os.writev(self._go, list(itertools.islice(left, _TOGETHER)))
            while left and count >= len(left[0]):
                count -= len(left.popleft())
            if count:
                left[0] = left[0][count:]

    def _write(self, buffer: Any) -> None:
        self._late.append(buffer)
        self._send()

    def _read(self) -> None:
        """Queue what comes, until the near side ends."""
        decoder = Decoder()
        while True:
            self._listen()
            buffer = decoder.buffer()
            count = os.readv(self._come, [buffer])
            if not count:
                self._outlive()
                return
            if self._kept is not None:
                self._kept.wait_on()
            try:
                messages = decoder.advance(count)
            except WireError:  # a kernel died in the middle of one, and another has come
                os._exit(1)
            for message in messages:
                if message.kind == GIVE:
                    self._give(bytes(message.frames[0]))
                elif message.kind == AGAIN:
                    self._tell_again(bytes(message.frames[0]))
                elif message.kind == KEEP:
                    with self._turn:
                        if message.tag == self._running:
                            self._open_door(Will.read(message))
                else:
                    if message.kind == JOB and self._kept is not None:
                        self._kept.begin()
                    self._queue.put(message)

    def _listen(self) -> None:
        """Wait for a byte; end when the kernel would have ended us long ago if it lived."""
        if not self.quiet or self._kept is not None:
            return
        while not select.select([self._come], [], [], self.quiet)[0]:
            door, since = self._door, time.monotonic() - self._answered
            waits = door is not None and since < door.will.linger
            if self._free and self._queue.empty() and self._orphan is None and not waits:
                os._exit(0)

    def _open_door(self, will: Will) -> None:
        """Let another kernel ask for the job; without a place for a door it ends with this one."""
        try:
            door = Orphan(will, self._story, self._sending)
            serving = threading.Thread(target=door.serve, args=[self._leave], daemon=True)
            serving.start()
        except (OSError, RuntimeError):
            return
        self._door = door

    def _leave(self, door: Orphan) -> bool:
        """Go on for another kernel; False if the door is of a job before."""
        with self._turn:
            if self._door is not door:
                return False
            if self._orphan is None:
                with self._sending:
                    self._orphan = door
                door.begin()
                if not self._running:
                    door.answered()
            return True

    def _outlive(self) -> None:
        """The kernel is gone: go on with a job that is to be found again; end with any other."""
        with self._turn:
            recent = self._running or time.monotonic() - self._answered < _RECENT
            door = self._door
            if self._orphan is None and (door is None or self._story.torn or not recent):
                os._exit(0)
            if door is not None:
                self._leave(door)

    def _tell_again(self, mark: bytes) -> None:
        """Another kernel has come: tell it all, behind a mark by which it finds the beginning."""
        with self._sending:
            if self._kept is None or not self._kept.tells:
                os._exit(1)
            self._write(mark)
            self._kept.tell(self._write)

    def _take(self, message: Message) -> None:
        if message.kind == JOB:
            with self._turn:
                if self._orphan is not None:  # another kernel starts it itself
                    return
                if message.tag in self._given:
                    self._given.discard(message.tag)
                    self._flush()
                    return
                self._began = self._running = message.tag
                if self._door is not None:
                    self._door.close()
                    self._door = None
                if self._kept is None:
                    self._story.clear()
            self.say(TURNED, message.tag, [])
            self._runner.run(message.tag, message.frames, self._drain)
            self._over()
        elif message.kind == BUNDLE:
            self._runner.load(message.tag, message.frames)
        elif message.kind == FORGET:
            self._runner.forget(message.tag)
        elif message.kind == PAYLOAD:
            digest, memory = message.frames
            self._runner.payloads.put(digest.decode(), memory)
        elif message.kind == DROP:
            self._runner.payloads.drop(message.frames[0].decode())

    def _over(self) -> None:
        """The answer of the job was given."""
        with self._turn:
            self._running = 0
            self._answered = time.monotonic()
            if self._kept is not None:
                self._kept.over()
            elif self._orphan is not None:
                self._orphan.answered()
            elif self._door is None:
                self._story.clear()

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
