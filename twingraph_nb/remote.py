"""The far side of a task: how a function of any style is run there, and what is said of it.

Standard library only, and Python 3.9 or later: shipped to the far side as it is. How messages
come and go is the business of the loops, `remote_process.py` and `remote_stream.py`.
"""

from __future__ import annotations

import contextvars
import os
import pickle
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import twingraph_nb
from twingraph_nb import values
from twingraph_nb.context import current_report
from twingraph_nb.failure import pack_failure
from twingraph_nb.outlet import Output
from twingraph_nb.rebuild import Space, load
from twingraph_nb.remote_payloads import Part, PayloadError, Payloads
from twingraph_nb.wire import culprit, freeze, thaw

__all__ = [
    "AGAIN",
    "BUNDLE",
    "CHECKPOINT",
    "CHUNK",
    "DROP",
    "ENVIRON",
    "FAILED",
    "FORGET",
    "GAVE",
    "GIVE",
    "JOB",
    "KEEP",
    "LOG",
    "PAYLOAD",
    "PROGRESS",
    "READY",
    "RESULT",
    "SECONDS",
    "STAYS",
    "TAG",
    "TURNED",
    "Codec",
    "Runner",
    "Stopped",
    "Unsendable",
]

BUNDLE, JOB, FORGET, ENVIRON, GIVE, PAYLOAD, DROP, AGAIN, KEEP = 1, 2, 3, 4, 5, 6, 7, 8, 9
"""Kinds of messages to a worker; GIVE asks for jobs back that have not begun, PAYLOAD is a part
of inputs with its digest, DROP says that one is not needed again, AGAIN that another kernel has
come to hear all from the beginning, KEEP what is to become of the job if this kernel dies."""
READY, LOG, PROGRESS, CHUNK, RESULT, FAILED, GAVE, TURNED = 11, 12, 13, 14, 15, 16, 17, 18
STAYS = 19
CHECKPOINT = 20
"""Kinds of messages from a worker; TURNED says that it begins a job, STAYS stands for a result
that stays where it is, CHECKPOINT is a state to go on from."""
SECONDS = struct.Struct("<d")
TAG = struct.Struct("<Q")

Say = Callable[[int, int, Sequence[Any]], None]

_HIDDEN = (
    os.path.dirname(twingraph_nb.__file__) + os.sep,
    "<frozen ",
    os.path.join(os.path.dirname(threading.__file__), "asyncio") + os.sep,
)
"""Beginnings of the files whose frames a traceback of the user's code does not start with."""


class Stopped(BaseException):
    """The near side asked this worker to end; `finally` clauses of the user still run."""


class Codec:
    """How values of a job travel.

    plain: by `values`, not pickled; then `trust` says whether what goes back may hold pickles.
    """

    def __init__(self, plain: bool = False, trust: bool = False) -> None:
        self.plain, self.trust = plain, trust

    def read(self, frames: Sequence[Any]) -> Any:
        """Give the value that the near side sent, which is trusted here."""
        return values.decode(frames, trust=True) if self.plain else thaw(frames)

    def sendable(self, value: object, name: str) -> list[Any]:
        """Give the frames of a value that goes back.

        Raises:
            Unsendable: it cannot travel; names the part that is to blame.
        """
        try:
            return values.encode(value, pickles=self.trust) if self.plain else freeze(value)
        except values.NotPlain as exc:
            raise Unsendable(exc.what.replace("value", name, 1), exc) from exc
        except Exception as exc:  # a user's __reduce__ may raise anything
            try:
                what = culprit(value, name)
            except RecursionError:
                what = f"{name}, a {type(value).__qualname__} nested too deeply"
            raise Unsendable(what, exc) from exc

    def failed(self, kind: str, error: BaseException, what: str = "") -> tuple[int, list[Any]]:
        """Give the message about a failure: its kind, what was to blame, and the exception."""
        pickles = not self.plain or self.trust
        said = (kind, what, pack_failure(error, _HIDDEN, pickles=pickles))
        frames = values.encode(said) if self.plain else [pickle.dumps(said, 5)]
        return FAILED, list(frames)


class Unsendable(BaseException):
    """A value that cannot travel; not an Exception, so that user code lets it pass."""

    def __init__(self, what: str, why: BaseException) -> None:
        self.what, self.why = what, why


class Runner:
    """Runs jobs one after the other, and says what they say.

    say: sends a message of a kind, about a job's tag, with frames; from any thread.
    payloads: the large parts of inputs that are known here.
    """

    def __init__(
        self, say: Say, codec: Codec | None = None, payloads: Payloads | None = None
    ) -> None:
        self._say, self._codec = say, codec or Codec()
        self.payloads = payloads or Payloads()
        self._spaces: dict[int, Space | BaseException] = {}
        self._loop: Any = None
        self.out = Output(lambda tag, body: say(LOG, tag, [body]))
        self._real = sys.stdout, sys.stderr
        sys.stdout = self.out.stream("stdout", 1, self._real[0])
        sys.stderr = self.out.stream("stderr", 2, self._real[1])

    def load(self, number: int, frames: Sequence[Any]) -> None:
        """Take in a component; if it cannot be loaded each of its jobs is told why."""
        try:
            early = pickle.loads(frames[0])
            found = load(early[0], frames[1 : 1 + early[1]], frames[1 + early[1] :])
            self._spaces[number] = found
        except Stopped:
            raise
        except BaseException as exc:  # the user's module may raise anything when imported
            self._spaces[number] = exc

    def forget(self, number: int) -> None:
        """Drop a component."""
        self._spaces.pop(number, None)

    def run(self, tag: int, frames: Sequence[Any], drain: Callable[[], None] | None = None) -> None:
        """Run a job and say how it ended; `drain` hears what was written past Python."""
        bundle, hash, name, attempt, folder, environ, *more = pickle.loads(frames[0])
        parts: Sequence[Part] = more[0] if more else ()
        began = time.perf_counter()
        report = _Report(self._say, self._codec, self.out, tag, hash, name, attempt)
        self.out.begin(tag)
        before = {name: os.environ.get(name) for name in environ}
        said: tuple[int, list[Any]]
        try:
            os.environ.update(environ)
            if folder and os.getcwd() != folder:
                os.chdir(folder)
            said = self._outcome(self._spaces[bundle], frames[1:], parts, report)
        finally:
            _restore(before)
            self.out.end()
            for real in self._real:
                real.flush()
            if drain is not None:
                drain()
        took = SECONDS.pack(time.perf_counter() - began)
        self._say(said[0], tag, [took, *said[1]])

    def leave(self) -> None:
        """In a child that the user's code forked: be an ordinary process."""
        sys.stdout, sys.stderr = self._real
        current_report.set(None)

    def _outcome(
        self,
        space: Space | BaseException,
        frames: Sequence[Any],
        parts: Sequence[Part],
        report: _Report,
    ) -> tuple[int, list[Any]]:
        codec = self._codec
        if isinstance(space, BaseException):
            return codec.failed("load", space)
        space.enter()
        try:
            whole = self.payloads.whole(frames, parts) if parts else frames
            args, kwargs, *report.restored = codec.read(whole)
        except Exception as exc:  # a class of an argument may not be importable here
            lost = next((e for e in (exc, exc.__cause__) if isinstance(e, PayloadError)), None)
            return codec.failed("payload", lost) if lost else codec.failed("argument", exc)
        try:
            value = contextvars.copy_context().run(self._call, space, args, kwargs, report)
        except Stopped:
            raise
        except SystemExit as exc:
            return codec.failed("exit", exc, str(exc.code))
        except Unsendable as exc:
            return codec.failed("result", exc.why, exc.what)
        except BaseException as exc:  # the user's own error travels to the near side
            return codec.failed("user" if isinstance(exc, Exception) else "base", exc)
        try:
            return RESULT, codec.sendable(value, "the result")
        except Unsendable as exc:
            return codec.failed("result", exc.why, exc.what)

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

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        try:
            return self._loop.run_until_complete(coroutine)
        finally:
            left = asyncio.all_tasks(self._loop)
            if left:
                for one in left:
                    one.cancel()
                self._loop.run_until_complete(_gone(left))


def _restore(environ: dict[str, str | None]) -> None:
    for name, value in environ.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


async def _awaited(space: Space, args: Any, kwargs: Any, report: _Report) -> Any:
    if space.style == "async":
        return await space.function(*args, **kwargs)
    async for chunk in space.function(*args, **kwargs):
        report.chunk(chunk)
    return None


async def _gone(tasks: set[Any]) -> None:
    import asyncio

    await asyncio.gather(*tasks, return_exceptions=True)


class _Report:
    """What `ctx` talks to in a worker."""

    def __init__(
        self,
        say: Say,
        codec: Codec,
        out: Output,
        tag: int,
        hash: str,
        name: str,
        attempt: int,
    ) -> None:
        self._say, self._codec, self._out, self._tag = say, codec, out, tag
        self.hash, self.name, self.attempt = hash, name, attempt
        self.restored: list[object] = []

    def checkpoint(self, state: object) -> None:
        self._out.flush()
        self._say(CHECKPOINT, self._tag, self._codec.sendable(state, "a checkpoint"))

    def log(self, stream: str, text: str) -> None:
        self._out.write(stream, text)

    def progress(self, fraction: float, message: str = "") -> None:
        body = SECONDS.pack(fraction) + message.encode("utf-8", "replace")
        self._out.flush()
        self._say(PROGRESS, self._tag, [body])

    def chunk(self, value: object) -> None:
        self._out.flush()
        self._say(CHUNK, self._tag, self._codec.sendable(value, "a chunk"))
