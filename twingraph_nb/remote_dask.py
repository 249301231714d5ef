"""What runs on a Dask worker: jobs go on to processes of their own, which can be ended.

Dask runs a task in a thread, and a thread cannot be ended. So each job is run by a process that
stays for the next, speaks `remote_stream`, and is killed when its job is cancelled. Results stay
as bytes in the Dask worker; only the processes make values of them. Standard library, and
`distributed` of the worker it runs on: shipped to it as it is.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from twingraph_nb import __version__
from twingraph_nb.remote import BUNDLE, FAILED, FORGET, GAVE, JOB, READY, RESULT, TAG, TURNED
from twingraph_nb.remote_turns import Turns
from twingraph_nb.wire import PICKLE, Decoder, Message, WireError, frame

__all__ = [
    "ABOUT",
    "ASIDE",
    "DIED",
    "STAYED",
    "Held",
    "cancel",
    "prepare",
    "release",
    "run",
    "stashed",
]

STAYED, DIED, ASIDE = 51, 52, 53
"""Kinds of messages beside those of `remote`: a result that stays here; the process that ran a
job ended; a message too large for an event, to be fetched by `stashed`."""
ABOUT = (1, __version__, f"{sys.version_info[0]}.{sys.version_info[1]}")
"""Protocol, package and Python of this side; must be the same on the other."""
_STAYS = 1 << 14  # bytes; a smaller result goes to the kernel with the news that it is there
_SOON = 0.01  # seconds that the results of short jobs may wait for one another
_TAIL = 4000  # bytes of stderr in the message about a death
_KNOWN = 32  # components a process keeps
_REFUSED = 10_000


class Held:
    """Bytes that Dask keeps: a frame of an input, or the packed result of a job."""

    __slots__ = ("blob", "kind")

    def __init__(self, blob: Any, kind: int = RESULT) -> None:
        self.blob, self.kind = blob, kind

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Between some versions Dask still speaks protocol 4.
        blob = pickle.PickleBuffer(self.blob) if int(protocol) >= 5 else bytes(self.blob)
        return Held, (blob, self.kind)

    def __sizeof__(self) -> int:
        return 64 + memoryview(self.blob).nbytes


def prepare(boot: str, kit: bytes) -> None:
    """Take in what processes are started with."""
    global _site
    if _site is None:
        _site = _Site(boot, kit)


def release() -> None:
    """End all processes: the Dask worker leaves."""
    if _site is not None:
        _site.close()


def run(message: bytes, *held: Any) -> dict[int, Held]:
    """Run the jobs of a message; gives what stays here, by tag.

    Args:
        message: the pickle of a dict with about, topic, bundles by key as (module, its time,
            frames), and jobs as (tag, key, meta, frames). A frame that is a tuple (index, tag)
            stands for what is held at that index.
        held: what Dask brought: `Held`, or what an earlier `run` gave.
    """
    from distributed import get_worker

    order = pickle.loads(message)
    if tuple(order["about"]) != ABOUT:
        theirs = order["about"]
        raise RuntimeError(
            f"this Dask worker has twingraph_nb {ABOUT[1]} on Python {ABOUT[2]}, and the kernel "
            f"{theirs[1]} on Python {theirs[2]}: the two must be the same"
        )
    if _site is None:
        raise RuntimeError("this Dask worker was not prepared: it has lost the plugin 'twingraph'")
    return _Order(_site, get_worker(), order, held).run()


def cancel(tags: Iterable[int], topic: str) -> None:
    """End jobs, or see to it that they never begin here; they are gone when it returns."""
    if _site is not None:
        _site.cancel([(topic, tag) for tag in tags])


def stashed(number: int) -> bytes | None:
    """Give a large message, once."""
    return _site.stash.pop(number, None) if _site is not None else None


class _Site:
    """The processes of this Dask worker."""

    def __init__(self, boot: str, kit: bytes) -> None:
        self._boot, self._kit = boot, kit
        self.lock = threading.Lock()
        self._idle: list[_Process] = []
        self._running: dict[tuple[str, int], _Process | None] = {}
        self._refused: OrderedDict[tuple[str, int], None] = OrderedDict()
        self.stash: dict[int, bytes] = {}
        self.numbers = 0
        self.mouths: set[_Order] = set()
        self.turns = Turns(self._look)

    def begin(self, job: tuple[str, int], ref: str, stamp: float) -> _Process | None:
        """Give a process for a job, or None if it is not wanted.

        Args:
            ref, stamp: the module it imports; no process with another version of it will do.
        """
        found: _Process | None = None
        while True:
            with self.lock:
                if job in self._refused:
                    return None
                self._running[job] = None
                found = self._idle.pop() if self._idle else None
            if found is None or found.stamps.get(ref, stamp) == stamp:
                break
            found.kill()
        process = found or _Process(self._boot, self._kit)
        if ref:
            process.stamps[ref] = stamp
        with self.lock:
            if job not in self._refused:
                self._running[job] = process
                return process
            self._running.pop(job, None)
            self._idle.append(process)
            return None

    def end(self, job: tuple[str, int], process: _Process, sound: bool) -> bool:
        """A job is over; gives False if it was cancelled."""
        with self.lock:
            self._running.pop(job, None)
            wanted = job not in self._refused
            if sound:
                self._idle.append(process)
        if not sound:
            process.kill()
        return wanted

    def cancel(self, jobs: Sequence[tuple[str, int]]) -> None:
        with self.lock:
            for job in jobs:
                self._refused[job] = None
            while len(self._refused) > _REFUSED:
                self._refused.popitem(last=False)
            processes = [self._running.get(job) for job in jobs]
        for process in processes:
            if process is not None:
                process.kill()

    def close(self) -> None:
        """End all processes."""
        with self.lock:
            processes = [*self._idle, *(p for p in self._running.values() if p is not None)]
            self._idle.clear()
        for process in processes:
            process.kill()

    def _look(self) -> None:
        for mouth in list(self.mouths):
            mouth.flush()


_site: _Site | None = None


class _Order:
    """One message with its jobs, and what is said of them."""

    def __init__(
        self, site: _Site, worker: Any, order: dict[str, Any], held: Sequence[Any]
    ) -> None:
        self._site, self._worker, self._held = site, worker, held
        self._topic, self._jobs = order["topic"], order["jobs"]
        self._bundles = order["bundles"]
        self._label = f"{worker.address}".encode()
        self._saying = threading.RLock()
        self._kept: list[Any] = []
        self._flushed = 0.0

    def run(self) -> dict[int, Held]:
        found: dict[int, Held] = {}
        turn = self._site.turns.begin(self._jobs, self._give)
        self._site.mouths.add(self)
        try:
            while (job := turn.next()) is not None:
                self._one(job, found)
        finally:
            self._site.turns.end(turn)
            self._site.mouths.discard(self)
            self.flush()
        return found

    def flush(self) -> None:
        """Send what was kept back."""
        with self._saying:
            kept, self._kept = self._kept, []
            self._flushed = time.monotonic()
            if kept:
                self._worker.log_event(self._topic, b"".join(kept))

    def _one(self, job: tuple[Any, ...], found: dict[int, Held]) -> None:
        tag, key, meta, frames = job
        ref, stamp, component = self._bundles[key]
        process = self._site.begin((self._topic, tag), ref, stamp)
        if process is None:
            return
        alone = len(self._jobs) == 1
        self._say(TURNED, tag, [self._label], at_once=alone)
        sound, last = False, None
        try:
            bundle = [self._frame(one) for one in component]
            process.send(tag, key, bundle, meta, [self._frame(one) for one in frames])
            last = process.hear(tag, self._say)
            sound = True
        except (OSError, WireError, EOFError):
            pass  # it ended: `last` is not there
        wanted = self._site.end((self._topic, tag), process, sound)
        if last is None:
            if wanted:
                self._say(DIED, tag, [pickle.dumps(process.ending(), 5)])
            return
        packed = b"".join(frame(last.frames[1:], codec=PICKLE, checked=True))
        found[tag] = Held(packed, last.kind)
        if len(packed) < _STAYS or last.kind == FAILED:
            self._say(last.kind, tag, last.frames)
        else:
            size = str(len(packed)).encode()
            self._say(STAYED, tag, [bytes(last.frames[0]), size])

    def _frame(self, one: Any) -> Any:
        if not isinstance(one, tuple):
            return one
        found = self._held[one[0]]
        return (found[one[1]] if isinstance(found, dict) else found).blob

    def _give(self, jobs: Sequence[tuple[Any, ...]]) -> None:
        self._say(GAVE, jobs[0][0], [b"".join(TAG.pack(job[0]) for job in jobs)])

    def _say(self, kind: int, tag: int, frames: Sequence[Any], at_once: bool = False) -> None:
        said = b"".join(frame(frames, kind=kind, tag=tag))
        if len(said) > 4 * _STAYS:
            said = self._aside(said, tag)
        with self._saying:
            self._kept.append(said)
            late = time.monotonic() - self._flushed > _SOON
            if at_once or late or kind not in (TURNED, RESULT, FAILED, STAYED):
                self.flush()

    def _aside(self, said: bytes, tag: int) -> bytes:
        with self._site.lock:
            self._site.numbers += 1
            number = self._site.numbers
        self._site.stash[number] = said
        return b"".join(frame([self._label, str(number).encode()], kind=ASIDE, tag=tag))


class _Process:
    """A process that runs one job at a time."""

    def __init__(self, boot: str, kit: bytes) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-c", boot],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self._decoder = Decoder()
        self._known: OrderedDict[str, int] = OrderedDict()
        self.stamps: dict[str, float] = {}
        self._numbers = 0
        self._write([kit])

    def send(self, tag: int, key: str, bundle: list[Any], meta: Any, frames: list[Any]) -> None:
        """Give it a job."""
        number = self._known.get(key)
        if number is None:
            self._numbers += 1
            number = self._known[key] = self._numbers
            self._write(frame(bundle, kind=BUNDLE, tag=number, checked=True))
            if len(self._known) > _KNOWN:
                _, old = self._known.popitem(last=False)
                self._write(frame([], kind=FORGET, tag=old, checked=True))
        head = pickle.dumps((number, *meta), 5)
        self._write(frame([head, *frames], kind=JOB, tag=tag, checked=True))

    def hear(self, tag: int, say: Any) -> Message:
        """Pass on what it says of the job; gives the last of it.

        Raises:
            EOFError: it ended.
        """
        assert self._process.stdout is not None
        number = self._process.stdout.fileno()
        while True:
            count = os.readv(number, [self._decoder.buffer()])
            if not count:
                raise EOFError
            last = None
            for message in self._decoder.advance(count):
                if message.kind in (RESULT, FAILED):
                    last = message
                elif message.kind not in (READY, TURNED):
                    say(message.kind, tag, message.frames)
            if last is not None:
                return last

    def kill(self) -> None:
        """End it with all it started, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def ending(self) -> tuple[int, str]:
        """Give its exit code and the last it wrote to standard error."""
        code = self._process.wait()
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _TAIL))
        return code, self._errors.read().decode("utf-8", "replace")

    def _write(self, buffers: Sequence[Any]) -> None:
        assert self._process.stdin is not None
        for one in buffers:
            self._process.stdin.write(one)
        self._process.stdin.flush()
