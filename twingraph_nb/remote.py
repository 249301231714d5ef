"""The far side of a task: a worker's main loop, and how a function of any style is run there.

Standard library only: shipped to the far side as it is.

The near side sends components once and jobs as they come; everything a job says goes back on the
same socket while it runs. A second, control socket is read by a watching thread: it takes back
jobs that were sent ahead but have not begun, and its end means that the near side is gone.
"""

from __future__ import annotations

import contextvars
import ctypes
import faulthandler
import mmap
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import twingraph_nb
from twingraph_nb.context import current_report
from twingraph_nb.failure import pack_failure
from twingraph_nb.outlet import Output
from twingraph_nb.rebuild import Space, load
from twingraph_nb.wire import Decoder, Message, culprit, frame, freeze, send, thaw

__all__ = [
    "BUNDLE",
    "CHUNK",
    "ENVIRON",
    "FAILED",
    "FORGET",
    "GAVE",
    "JOB",
    "LOG",
    "PROGRESS",
    "READY",
    "RESULT",
    "SECONDS",
    "TAG",
    "work",
]

BUNDLE, JOB, FORGET, ENVIRON = 1, 2, 3, 4
"""Kinds of messages to a worker."""
READY, LOG, PROGRESS, CHUNK, RESULT, FAILED, GAVE = 11, 12, 13, 14, 15, 16, 17
"""Kinds of messages from a worker."""
SECONDS = struct.Struct("<d")
TAG = struct.Struct("<Q")

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, linux/prctl.h
_HIDDEN = (
    os.path.dirname(twingraph_nb.__file__) + os.sep,
    "<frozen ",
    os.path.join(os.path.dirname(threading.__file__), "asyncio") + os.sep,
)
"""Beginnings of the files whose frames a traceback of the user's code does not start with."""


class _Stopped(BaseException):
    """The near side asked this worker to end; `finally` clauses of the user still run."""


def work(jobs: int, control: int, mark: int, parent: int) -> None:
    """Work on jobs until the near side closes the socket.

    Args:
        jobs, control: sockets. mark: a file of 8 bytes that holds the tag of the running job,
            so that it is known even when this process is killed. parent: the process to die with.
    """
    _settle_in(parent)
    worker = _Worker(socket.socket(fileno=jobs), socket.socket(fileno=control), mark)
    try:
        worker.loop()
    except (_Stopped, BrokenPipeError, ConnectionResetError):
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
    raise _Stopped


class _Worker:
    """The two sockets, and the job that runs."""

    def __init__(self, jobs: socket.socket, control: socket.socket, mark: int) -> None:
        self._jobs, self._control = jobs, control
        self._mark = mmap.mmap(mark, TAG.size)
        self._spaces: dict[int, Space | dict[str, Any]] = {}
        self._sending = threading.Lock()
        self._turn = threading.Lock()  # held to begin a job, and to give jobs back
        self._began = 0
        self._given: set[int] = set()
        self._runner: Any = None
        self._out = Output(lambda tag, body: self.say(LOG, tag, [body]))
        self._real = sys.stdout, sys.stderr
        sys.stdout = self._out.stream("stdout", 1, self._real[0])
        sys.stderr = self._out.stream("stderr", 2, self._real[1])
        os.register_at_fork(after_in_child=self._forked)

    def loop(self) -> None:
        """Read and run jobs until the socket ends."""
        threading.Thread(target=self._watch, name="twingraph-watch", daemon=True).start()
        self.say(READY, 0, [])
        decoder = Decoder()
        while True:
            count = self._jobs.recv_into(decoder.buffer())
            if not count:
                return
            for message in decoder.advance(count):
                self._take(message)

    def say(self, kind: int, tag: int, frames: Sequence[Any]) -> None:
        """Send a message; from any thread."""
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
            self._run(message.tag, message.frames)
            TAG.pack_into(self._mark, 0, 0)
        elif message.kind == BUNDLE:
            self._spaces[message.tag] = self._load(message.frames)
        elif message.kind == FORGET:
            self._spaces.pop(message.tag, None)
        elif message.kind == ENVIRON:
            wanted = pickle.loads(message.frames[0])
            for name in os.environ.keys() - wanted.keys():
                del os.environ[name]
            os.environ.update(wanted)

    def _load(self, frames: list[Any]) -> Space | dict[str, Any]:
        """A component, or why it cannot be loaded; each of its jobs is told."""
        try:
            early = pickle.loads(frames[0])
            return load(early[0], frames[1 : 1 + early[1]], frames[1 + early[1] :])
        except _Stopped:
            raise
        except BaseException as exc:  # the user's module may raise anything when imported
            return pack_failure(exc, _HIDDEN)

    def _run(self, tag: int, frames: list[Any]) -> None:
        bundle, hash, name, attempt, folder = pickle.loads(frames[0])
        began = time.perf_counter()
        report = _Report(self, self._out, tag, hash, name, attempt)
        self._out.begin(tag)
        said: tuple[int, list[Any]]
        try:
            if folder and os.getcwd() != folder:
                os.chdir(folder)
            said = self._outcome(self._spaces[bundle], frames[1:], report)
        finally:
            self._out.end()
            for real in self._real:
                real.flush()
        took = SECONDS.pack(time.perf_counter() - began)
        self.say(said[0], tag, [took, *said[1]])

    def _outcome(
        self, space: Space | dict[str, Any], frames: list[Any], report: _Report
    ) -> tuple[int, list[Any]]:
        if isinstance(space, dict):
            return _failed("load", space)
        space.enter()
        try:
            args, kwargs = thaw(frames)
        except Exception as exc:  # a class of an argument may not be importable here
            return _failed("argument", pack_failure(exc, _HIDDEN))
        try:
            value = contextvars.copy_context().run(self._call, space, args, kwargs, report)
        except _Stopped:
            raise
        except SystemExit as exc:
            return _failed("exit", pack_failure(exc, _HIDDEN), str(exc.code))
        except _Unsendable as exc:
            return _failed("result", pack_failure(exc.why, _HIDDEN), exc.what)
        except BaseException as exc:  # the user's own error travels to the near side
            kind = "user" if isinstance(exc, Exception) else "base"
            return _failed(kind, pack_failure(exc, _HIDDEN))
        try:
            return RESULT, _sendable(value, "the result")
        except _Unsendable as exc:
            return _failed("result", pack_failure(exc.why, _HIDDEN), exc.what)

    def _call(self, space: Space, args: Any, kwargs: Any, report: _Report) -> Any:
        current_report.set(report)
        if space.style == "sync":
            return space.function(*args, **kwargs)
        if space.style == "stream":
            for chunk in space.function(*args, **kwargs):
                report.chunk(chunk)
            return None
        return self._drive(_awaited(space, args, kwargs, report))

    def _drive(self, coroutine: Any) -> Any:
        """Run on one event loop for all jobs; what a job leaves behind on it is cancelled."""
        import asyncio  # only here: it doubles the time a worker takes to start

        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            return self._runner.run(coroutine, context=contextvars.copy_context())
        finally:
            loop = self._runner.get_loop()
            left = asyncio.all_tasks(loop)
            if left:
                for one in left:
                    one.cancel()
                self._runner.run(_gone(left))

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
        sys.stdout, sys.stderr = self._real
        current_report.set(None)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for mine in (self._jobs, self._control):
            mine.close()


async def _awaited(space: Space, args: Any, kwargs: Any, report: _Report) -> Any:
    if space.style == "async":
        return await space.function(*args, **kwargs)
    async for chunk in space.function(*args, **kwargs):
        report.chunk(chunk)
    return None


async def _gone(tasks: set[Any]) -> None:
    import asyncio

    await asyncio.gather(*tasks, return_exceptions=True)


class _Unsendable(BaseException):
    """A value that cannot be pickled; not an Exception, so that user code lets it pass."""

    def __init__(self, what: str, why: BaseException) -> None:
        self.what, self.why = what, why


def _sendable(value: object, name: str) -> list[Any]:
    try:
        return freeze(value)
    except Exception as exc:  # a user's __reduce__ may raise anything
        try:
            what = culprit(value, name)
        except RecursionError:
            what = f"{name}, a {type(value).__qualname__} nested too deeply"
        raise _Unsendable(what, exc) from exc


def _failed(kind: str, failure: dict[str, Any], what: str = "") -> tuple[int, list[Any]]:
    return FAILED, [pickle.dumps((kind, what, failure), 5)]


class _Report:
    """What `ctx` talks to in a worker."""

    def __init__(
        self, worker: _Worker, out: Output, tag: int, hash: str, name: str, attempt: int
    ) -> None:
        self._worker, self._out, self._tag = worker, out, tag
        self.hash, self.name, self.attempt = hash, name, attempt

    def log(self, stream: str, text: str) -> None:
        self._out.write(stream, text)

    def progress(self, fraction: float, message: str = "") -> None:
        body = SECONDS.pack(fraction) + message.encode("utf-8", "replace")
        self._out.flush()
        self._worker.say(PROGRESS, self._tag, [body])

    def chunk(self, value: object) -> None:
        self._out.flush()
        self._worker.say(CHUNK, self._tag, _sendable(value, "a chunk"))
