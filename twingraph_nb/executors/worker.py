"""One worker process as the kernel sees it: how it is started, talked to and mourned."""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twingraph_nb.remote import BUNDLE, FORGET, LOG, TAG
from twingraph_nb.source.bundle import Bundle
from twingraph_nb.wire import Buffer, Decoder, Message, WireError, frame

__all__ = ["Ending", "Ticket", "Worker", "cause_of"]

_KNOWN = 32  # components a worker keeps; each may hold captured data
_READS = 16  # per turn of the loop, so that one that prints a flood does not starve the others
_VECTOR = 512
_FEW, _SMALL = 8, 1 << 12  # buffers and bytes that are cheaper sent as one
_PIPE = 1 << 16
_TAIL = 4000  # characters of stderr kept for the message about a death
_POLL = 0.005  # seconds
_HANG_UP = 0.2  # seconds a process may live on without its socket


class Ending(NamedTuple):
    """How a worker ended.

    cause: the rest of a sentence. running: tag of the job it ran, 0 if it was idle.
    """

    cause: str
    running: int


BEGAN = -1
"""Told to a job's listener, with the worker's pid, when the worker turns to it."""


class Ticket:
    """A job in the pool.

    meta: hash, name, attempt, folder. frames: the frozen arguments. listener: told what it says.
    settle: called once with the kind of the last message and its frames, or with an error.
    """

    __slots__ = (
        "bundle",
        "cancelled",
        "frames",
        "gone",
        "listener",
        "meta",
        "pace",
        "settle",
        "starts",
        "tag",
        "worker",
    )

    def __init__(
        self,
        bundle: Bundle,
        pace: object,
        meta: tuple[Any, ...],
        frames: Sequence[Any],
        listener: Callable[[int, list[Any]], None],
        settle: Callable[[int, Any], None],
    ) -> None:
        self.bundle, self.pace, self.meta, self.frames = bundle, pace, meta, frames
        self.listener, self.settle = listener, settle
        self.worker: Worker | None = None
        self.tag = self.starts = 0
        self.cancelled = False
        self.gone: asyncio.Future[None] | None = None

    @property
    def name(self) -> str:
        """The task's name, for messages."""
        return str(self.meta[1])


class Worker:
    """A process with two sockets, its outputs as pipes, and the jobs it was given in order."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[Worker, Message], None],
        ended: Callable[[Worker, Ending], None],
    ) -> None:
        self._loop, self._heard, self._ended = loop, heard, ended
        self.tickets: deque[Ticket] = deque()
        self.known: OrderedDict[str, int] = OrderedDict()
        self._refs: dict[str, float] = {}
        self.ready = self.ending = self._over = False
        self.alone = False  # no job may be sent ahead to it now
        self._numbers = 0
        self._decoder = Decoder()
        self.environ = dict(os.environ)
        self._unsent: deque[memoryview] = deque()
        self._writing = False
        self._tail = ""
        self._start()

    def _start(self) -> None:
        mark = _shared_file()
        self._jobs, jobs = socket.socketpair()
        self._control, control = socket.socketpair()
        try:
            far = (jobs.fileno(), control.fileno(), mark)
            self._process = subprocess.Popen(
                [*_python(), "-c", _bootstrap(far)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=far,
                start_new_session=True,
            )
            self._mark = mmap.mmap(mark, TAG.size)
        except BaseException:
            self._jobs.close()
            self._control.close()
            raise
        finally:
            jobs.close()
            control.close()
            os.close(mark)
        self.pid = self._process.pid
        self._jobs.setblocking(False)
        self._loop.add_reader(self._jobs, self._read)
        self._pipes: dict[int, str] = {}
        for stream, pipe in (("o", self._process.stdout), ("e", self._process.stderr)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._pipes[pipe.fileno()] = stream
            self._loop.add_reader(pipe.fileno(), self._read_pipe, pipe.fileno())
        # The socket may be held open by a process that the user's code forked: watch the
        # process itself as well, where the system can.
        self._pidfd = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else -1
        if self._pidfd >= 0:
            self._loop.add_reader(self._pidfd, self._died)

    # -- talking -------------------------------------------------------------------------------

    def teach(self, bundle: Bundle) -> int:
        """See to it that the worker knows the component; gives the number it has there."""
        number = self.known.get(bundle.key)
        if number is not None:
            self.known.move_to_end(bundle.key)
            return number
        self._numbers += 1
        self.known[bundle.key] = self._numbers
        if bundle.ref:
            self._refs[bundle.ref] = bundle.stamp
        self.put(frame(bundle.frames, kind=BUNDLE, tag=self._numbers))
        if len(self.known) > _KNOWN:
            _, old = self.known.popitem(last=False)
            self.put(frame([], kind=FORGET, tag=old))
        return self._numbers

    def outdated(self, bundle: Bundle) -> bool:
        """True if it has imported an older version of the component's module."""
        return self._refs.get(bundle.ref, bundle.stamp) != bundle.stamp

    def put(self, buffers: Sequence[Buffer]) -> None:
        """Queue a message; `flush` sends it."""
        if len(buffers) < _FEW and all(len(one) < _SMALL for one in buffers):
            self._unsent.append(memoryview(b"".join(buffers)))
        else:
            self._unsent.extend(memoryview(one).cast("B") for one in buffers if len(one))

    def flush(self) -> None:
        """Send what is queued, as far as the socket takes it; the rest when it takes more."""
        unsent = self._unsent
        try:
            while unsent:
                some = [unsent[at] for at in range(min(len(unsent), _VECTOR))]
                sent = self._jobs.sendmsg(some)
                while unsent and sent >= len(unsent[0]):
                    sent -= len(unsent.popleft())
                if sent:
                    unsent[0] = unsent[0][sent:]
        except BlockingIOError:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._jobs, self.flush)
            return
        except OSError:
            unsent.clear()  # it is dying: its end is noticed by the readers
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._jobs)

    def take_back(self, tags: Sequence[int]) -> None:
        """Ask for jobs that have not begun; it answers with those it gives."""
        try:
            self._control.send(b"".join(map(TAG.pack, tags)), socket.MSG_DONTWAIT)
        except OSError:
            pass  # it is dying, or so busy that it has not read what was asked before

    def find(self, tag: int) -> Ticket | None:
        """Give the job of that tag."""
        return next((t for t in self.tickets if t.tag == tag), None)

    def done(self, tag: int) -> Ticket | None:
        """Take the job of that tag off; all it wrote has been heard before."""
        for pipe in list(self._pipes):
            self._read_pipe(pipe)
        ticket = self.find(tag)
        if ticket is not None:
            self.tickets.remove(ticket)
        return ticket

    def _read(self) -> None:
        try:
            for _ in range(_READS):
                buffer = self._decoder.buffer()
                count = self._jobs.recv_into(buffer)
                if not count:
                    self._hung_up()
                    return
                for message in self._decoder.advance(count):
                    self._heard(self, message)
                if count < len(buffer):
                    return
        except BlockingIOError:
            pass
        except (OSError, WireError):
            self._hung_up()

    def _read_pipe(self, pipe: int) -> bool:
        """Hear what was written past Python: by C code, or a program the job started."""
        try:
            body = os.read(pipe, _PIPE)
        except BlockingIOError:
            return False
        if not body:
            self._loop.remove_reader(pipe)
            self._pipes.pop(pipe)
            return False
        stream = self._pipes[pipe]
        if stream == "e":
            self._tail = (self._tail + body.decode("utf-8", "replace"))[-_TAIL:]
        if self.tickets:
            said = Message(0, LOG, self.tickets[0].tag, [stream.encode() + body])
            self._heard(self, said)
        return True

    # -- ending --------------------------------------------------------------------------------

    async def end(self, grace: float) -> None:
        """Ask the process to end, and end it after `grace` seconds, with all it started."""
        if grace:
            self._signal(signal.SIGTERM)
            clock = self._loop.time
            until = clock() + grace
            while not self._over and clock() < until:
                await asyncio.sleep(_POLL)
        self._signal(signal.SIGKILL)
        while not self._over:
            self._died_by_now()
            await asyncio.sleep(_POLL)

    def _signal(self, number: int) -> None:
        if not self._over:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass

    def _hung_up(self) -> None:
        """Its socket ended, so it dies at this moment, or has lost the socket for good."""
        self._loop.remove_reader(self._jobs)
        self._loop.call_later(_HANG_UP, self._signal, signal.SIGKILL)
        if self._pidfd < 0:
            self._died_by_now(again=True)

    def _died_by_now(self, again: bool = False) -> None:
        if self._over:
            return
        try:
            gone = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        except ChildProcessError:  # somebody else in this process has waited for it
            gone = True
        if gone:
            self._died()
        elif again:
            self._loop.call_later(_POLL, self._died_by_now, True)

    def _died(self) -> None:
        """The process is at an end: hear its last words, and say how it ended."""
        if self._over:
            return
        self._signal(signal.SIGKILL)  # what is left of the processes it started
        self._over = True
        try:
            _, status, usage = os.wait4(self.pid, 0)
            code, peak = os.waitstatus_to_exitcode(status), usage.ru_maxrss
        except ChildProcessError:
            code, peak = 0, 0
        self._process.returncode = code
        self._last_words()
        (running,) = TAG.unpack_from(self._mark, 0)
        self._close()
        peak *= 1 if sys.platform == "darwin" else 1024  # KiB on Linux, bytes on macOS
        self._ended(self, Ending(cause_of(code, peak, self._tail), running))

    def _last_words(self) -> None:
        while True:
            try:
                count = self._jobs.recv_into(self._decoder.buffer())
                if not count:
                    break
                for message in self._decoder.advance(count):
                    self._heard(self, message)
            except (OSError, WireError):
                break
        for pipe in list(self._pipes):
            while self._read_pipe(pipe):
                pass

    def _close(self) -> None:
        self._loop.remove_reader(self._jobs)
        if self._writing:
            self._loop.remove_writer(self._jobs)
        for pipe in list(self._pipes):
            self._loop.remove_reader(pipe)
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        self._pipes.clear()
        self._unsent.clear()
        for one in (self._process.stdout, self._process.stderr, self._jobs, self._control):
            if one is not None:
                one.close()


def cause_of(code: int, peak: int, tail: str) -> str:
    """Give the sentence about a death: "died by signal SIGSEGV ...".

    Args:
        code: exit code, negative for a signal. peak: bytes of memory it had at most.
        tail: the last of its stderr.
    """
    if code >= 0:
        return f"ended with exit code {code} before the task was done: {_exit_hint(tail)}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    said = f"was killed by signal {name}"
    if -code == signal.SIGKILL:
        said += (
            f"; this is often the system's out-of-memory killer (it used up to "
            f"{peak / 2**20:,.0f} MiB)"
        )
    fault = tail[tail.rfind("Fatal Python error") :] if "Fatal Python error" in tail else ""
    return said + (f"\n{_user_lines(fault)}" if fault else "")


def _exit_hint(tail: str) -> str:
    last = tail.strip().splitlines()[-1:] or ["something called os._exit or ended the interpreter"]
    return last[0]


def _user_lines(fault: str) -> str:
    """The fault handler's report without this package's own frames."""
    own = os.path.dirname(os.path.dirname(__file__)) + os.sep
    hidden = (own, '"<string>"')
    lines = [line for line in fault.splitlines() if not any(name in line for name in hidden)]
    return "\n".join(lines).strip()


def _python() -> list[str]:
    # -P: a file in the notebook's folder must not shadow the standard library.
    return [sys.executable, "-P", *(f"-W{one}" for one in sys.warnoptions)]


def _bootstrap(far: tuple[int, int, int]) -> str:
    path = [folder for folder in sys.path if isinstance(folder, str)]
    return (
        f"import sys; sys.path[:] = {path!r}; sys.argv[:] = ['']\n"
        f"from twingraph_nb.remote import work; work({', '.join(map(str, far))}, {os.getpid()})"
    )


def _shared_file() -> int:
    """A file of a few bytes in memory; what a killed process wrote into it can still be read."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("twingraph-mark")
    else:
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    os.ftruncate(number, TAG.size)
    return number
