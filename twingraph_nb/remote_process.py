"""The loop of a worker process of this machine: jobs come over one socket, asks over another.

Everything a job says goes back on the first socket while it runs. The second is read by a
watching thread: it takes back jobs that were sent ahead but have not begun, and its end means
that the near side is gone.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import pickle
import resource
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any

from twingraph_nb.remote import (
    BUNDLE,
    ENVIRON,
    FORGET,
    GAVE,
    JOB,
    READY,
    TAG,
    Codec,
    Runner,
    Stopped,
)
from twingraph_nb.segments import Arrivals, Segments, has_large
from twingraph_nb.wire import Message, frame, send

__all__ = ["work"]

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, linux/prctl.h


def work(jobs: int, control: int, mark: int, parent: int, plain: bool = False) -> None:
    """Work on jobs until the near side closes the socket.

    Args:
        jobs, control: sockets. mark: a file of 8 bytes that holds the tag of the running job,
            so that it is known even when this process is killed. parent: the process to die with.
        plain: values travel by `values`: the near side has another Python or other packages.
    """
    _settle_in(parent)
    sockets = socket.socket(fileno=jobs), socket.socket(fileno=control)
    worker = _Worker(*sockets, mark, Codec(plain, trust=True))
    try:
        worker.loop()
    except (Stopped, BrokenPipeError, ConnectionResetError):
        pass
    os._exit(0)  # threads the user left behind must not keep it alive


def _settle_in(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the kernel: it decides
    signal.signal(signal.SIGTERM, _stop)
    faulthandler.enable(2, all_threads=False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        # The watching thread cannot run while C code of the user holds the interpreter.
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


def _stop(signum: int, step: object) -> None:
    raise Stopped


class _Worker:
    """The two sockets, and the job that runs."""

    def __init__(
        self, jobs: socket.socket, control: socket.socket, mark: int, codec: Codec
    ) -> None:
        self._jobs, self._control = jobs, control
        self._mark = mmap.mmap(mark, TAG.size)
        self._sending = threading.Lock()
        self._turn = threading.Lock()  # held to begin a job, and to give jobs back
        self._began = 0
        self._given: set[int] = set()
        self._runner = Runner(self.say, codec)
        os.register_at_fork(after_in_child=self._forked)

    def loop(self) -> None:
        """Read and run jobs until the socket ends."""
        threading.Thread(target=self._watch, name="twingraph-watch", daemon=True).start()
        self.say(READY, 0, [])
        arrivals = Arrivals(self._jobs)
        while (messages := arrivals.receive()) is not None:
            while messages:
                self._take(messages.pop(0))  # held by nobody else: it may be large

    def say(self, kind: int, tag: int, frames: Sequence[Any]) -> None:
        """Send a message; from any thread."""
        if has_large(frames):
            try:
                segments = Segments(frames, kind=kind, tag=tag)
            except OSError:  # no memory for a copy: it goes piece by piece
                pass
            else:
                with self._sending:
                    send(self._jobs, [segments.send(self._jobs), *segments.rest])
                return
        with self._sending:
            send(self._jobs, frame(frames, kind=kind, tag=tag))

    def _take(self, message: Message) -> None:
        if message.kind == JOB:
            with self._turn:
                if message.tag in self._given:
                    self._given.discard(message.tag)
                    return
                self._began = message.tag
                TAG.pack_into(self._mark, 0, message.tag)
            self._runner.run(message.tag, message.frames)
            TAG.pack_into(self._mark, 0, 0)
        elif message.kind == BUNDLE:
            self._runner.load(message.tag, message.frames)
        elif message.kind == FORGET:
            self._runner.forget(message.tag)
        elif message.kind == ENVIRON:
            wanted = pickle.loads(message.frames[0])
            for name in os.environ.keys() - wanted.keys():
                del os.environ[name]
            os.environ.update(wanted)

    def _watch(self) -> None:
        """Give back jobs that have not begun; end with the near side."""
        while True:
            try:
                asked = self._control.recv(TAG.size * 512)
            except OSError:
                asked = b""
            if not asked:
                os.killpg(0, signal.SIGKILL)  # and what the user's code started
            with self._turn:
                given = [t for (t,) in TAG.iter_unpack(asked) if t > self._began]
                self._given.update(given)
            self.say(GAVE, 0, [asked, b"".join(map(TAG.pack, given))])

    def _forked(self) -> None:
        """In a child that the user's code forked: the sockets belong to the parent alone."""
        self._runner.leave()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for mine in (self._jobs, self._control):
            mine.close()
