"""One worker process of this machine: how it is started, talked to and mourned."""

from __future__ import annotations

import asyncio
import mmap
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twingraph_nb.executors.process_large import Large
from twingraph_nb.executors.worker import Ending, Worker
from twingraph_nb.remote import ENVIRON, TAG
from twingraph_nb.segments import Arrivals, has_large
from twingraph_nb.wire import Buffer, Message, WireError, frame

__all__ = ["Foreign", "ProcessWorker", "cause_of"]

_READS = 16  # per turn of the loop, so that one that prints a flood does not starve the others
_VECTOR = 512
_SMALL = 1 << 12  # bytes of a message that are sent as one with those beside it
_PIPE = 1 << 16
_TAIL = 4000  # characters of stderr kept for the message about a death
_POLL = 0.005  # seconds
_HANG_UP = 0.2  # seconds a process may live on without its socket


class Foreign(NamedTuple):
    """Another interpreter than the kernel's. kit: the folder with what it needs of this package."""

    python: str
    kit: str


class ProcessWorker(Worker):
    """A process with two sockets, and its outputs as pipes. foreign: None = as the kernel is."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[Worker, Message], None],
        ended: Callable[[Worker, Ending], None],
        foreign: Foreign | None = None,
    ) -> None:
        super().__init__(loop, heard, ended)
        self._foreign = foreign
        self._over = False
        self._environ = _variables()
        self._writing = False
        self._later: deque[Large] = deque()
        self._small: list[bytes] = []
        self._quiet = False
        self._tail = self._why = ""
        self._garbled = 0  # tag of the job whose answer could not be read
        self._start()
        self.label = f"process {self.pid}"

    def _start(self) -> None:
        mark = _shared_file()
        self._jobs, jobs = socket.socketpair()
        self._control, control = socket.socketpair()
        try:
            far = (jobs.fileno(), control.fileno(), mark)
            self._process = subprocess.Popen(
                [*_python(self._foreign), "-c", _bootstrap(far, self._foreign)],
                env=_environ(self._foreign),
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
        self._arrivals = Arrivals(self._jobs)
        self._loop.add_reader(self._jobs, self._read)
        self._pipes: dict[int, str] = {}
        self._outputs = select.poll()
        for stream, pipe in (("o", self._process.stdout), ("e", self._process.stderr)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._pipes[pipe.fileno()] = stream
            self._loop.add_reader(pipe.fileno(), self._read_pipe, pipe.fileno())
            self._outputs.register(pipe.fileno(), select.POLLIN)
        # The socket may be held open by a process that the user's code forked: watch the
        # process itself as well, where the system can.
        self._pidfd = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else -1
        if self._pidfd >= 0:
            self._loop.add_reader(self._pidfd, self._died)

    # -- talking -------------------------------------------------------------------------------

    def prepare(self) -> None:
        environ = _variables()  # a cell may have changed it since the worker was started
        if environ != self._environ:
            self._environ = environ
            self.put(frame([pickle.dumps(dict(os.environ), 5)], kind=ENVIRON))

    def send(self, frames: Sequence[Buffer], *, kind: int, tag: int = 0) -> None:
        if has_large(frames):
            # What is put from now on waits for it: messages keep their order.
            self._later.append(Large(frames, kind, tag, self._loop, self.flush))
        else:
            super().send(frames, kind=kind, tag=tag)

    def put(self, buffers: Sequence[Buffer]) -> None:
        if self._later:
            self._later[-1].behind.append(buffers)
        elif _are_small(buffers):
            self._small.extend(buffers)  # type: ignore[arg-type]
        else:
            self._join_small()
            super().put(buffers)

    def _join_small(self) -> None:
        if self._small:
            self._unsent.append(memoryview(b"".join(self._small)))
            self._small.clear()

    def flush(self) -> None:
        unsent = self._unsent
        self._join_small()
        try:
            while unsent or self._next_large():
                some = [unsent[at] for at in range(min(len(unsent), _VECTOR))]
                self.sent(self._jobs.sendmsg(some))
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

    def _next_large(self) -> bool:
        """Hand over the next large message, and queue the rest of it and what is behind it."""
        if not self._later or not self._later[0].ready:
            return False
        large = self._later[0]
        for buffers in (large.hand_over(self._jobs), *large.behind):
            super().put(buffers)
        self._later.popleft()
        return True

    def take_back(self, tags: Sequence[int]) -> None:
        try:
            self._control.send(b"".join(map(TAG.pack, tags)), socket.MSG_DONTWAIT)
        except OSError:
            pass  # it is dying, or so busy that it has not read what was asked before

    def drain(self) -> None:
        if self._quiet:
            return
        for pipe in list(self._pipes):
            self._read_pipe(pipe)

    def _read(self) -> None:
        try:
            for _ in range(_READS):
                messages = self._arrivals.receive()
                if messages is None:
                    self._hung_up()
                    return
                # What these jobs wrote was written before their messages were: it is there now.
                self._quiet = not self._outputs.poll(0)
                for message in messages:
                    self._heard(self, message)
                self._quiet = False
                if not self._arrivals.full:
                    return
        except BlockingIOError:
            pass
        except WireError as exc:
            self._why = f"was ended, since its answer could not be read: {exc}"
            self._garbled = self.tickets[0].tag if self.tickets else 0
            self._hung_up()
        except OSError:
            self._hung_up()

    def _read_pipe(self, pipe: int) -> bool:
        """Hear what was written past Python: by C code, or a program the job started."""
        try:
            body = os.read(pipe, _PIPE)
        except BlockingIOError:
            return False
        if not body:
            self._loop.remove_reader(pipe)
            self._outputs.unregister(pipe)
            self._pipes.pop(pipe)
            return False
        stream = self._pipes[pipe]
        if stream == "e":
            self._tail = (self._tail + body.decode("utf-8", "replace"))[-_TAIL:]
        self.hear_output(stream, body)
        return True

    # -- ending --------------------------------------------------------------------------------

    async def end(self, grace: float) -> None:
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
        running = self._garbled or running  # one that has ended is not to be begun again
        self._close()
        peak *= 1 if sys.platform == "darwin" else 1024  # KiB on Linux, bytes on macOS
        self._ended(self, Ending(self._why or cause_of(code, peak, self._tail), running))

    def _last_words(self) -> None:
        while True:
            try:
                messages = self._arrivals.receive()
                if messages is None:
                    break
                for message in messages:
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
        self._small.clear()
        self._arrivals.close()
        while self._later:
            self._later.popleft().drop()
        for one in (self._process.stdout, self._process.stderr, self._jobs, self._control):
            if one is not None:
                one.close()


def _are_small(buffers: Sequence[Buffer]) -> bool:
    size = 0
    for one in buffers:
        if type(one) is not bytes:
            return False
        size += len(one)
    return size < _SMALL


def _variables() -> dict[Any, Any]:
    # To copy `os.environ` decodes each name and value; the dict behind it is enough to compare.
    return dict(getattr(os.environ, "_data", os.environ))


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


def _python(foreign: Foreign | None) -> list[str]:
    if foreign is not None:
        return [foreign.python]
    # -P: a file in the notebook's folder must not shadow the standard library.
    return [sys.executable, "-P", *(f"-W{one}" for one in sys.warnoptions)]


def _environ(foreign: Foreign | None) -> dict[str, str] | None:
    if foreign is None:
        return None
    # They name places with packages for the kernel's own interpreter.
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")}


def _bootstrap(far: tuple[int, int, int], foreign: Foreign | None) -> str:
    if foreign is not None:
        return (
            f"import sys; sys.path[:] = [{foreign.kit!r}, *filter(None, sys.path)]\n"
            "sys.argv[:] = ['']\n"
            "from twingraph_nb.remote_process import work\n"
            f"work({', '.join(map(str, far))}, {os.getpid()}, plain=True)"
        )
    path = [folder for folder in sys.path if isinstance(folder, str)]
    return (
        f"import sys; sys.path[:] = {path!r}; sys.argv[:] = ['']\n"
        "from twingraph_nb.remote_process import work\n"
        f"work({', '.join(map(str, far))}, {os.getpid()})"
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
