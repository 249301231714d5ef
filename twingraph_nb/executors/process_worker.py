"""One worker process of this machine: how it is started, talked to and mourned."""

from __future__ import annotations

import asyncio
import mmap
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

from twingraph_nb.executors.worker import Ending, Worker
from twingraph_nb.remote import ENVIRON, TAG
from twingraph_nb.wire import Decoder, Message, WireError, frame

__all__ = ["ProcessWorker", "cause_of"]

_READS = 16  # per turn of the loop, so that one that prints a flood does not starve the others
_VECTOR = 512
_PIPE = 1 << 16
_TAIL = 4000  # characters of stderr kept for the message about a death
_POLL = 0.005  # seconds
_HANG_UP = 0.2  # seconds a process may live on without its socket


class ProcessWorker(Worker):
    """A process with two sockets, and its outputs as pipes."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[Worker, Message], None],
        ended: Callable[[Worker, Ending], None],
    ) -> None:
        super().__init__(loop, heard, ended)
        self._over = False
        self._decoder = Decoder()
        self._environ = dict(os.environ)
        self._writing = False
        self._tail = ""
        self._start()
        self.label = f"process {self.pid}"

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

    def prepare(self) -> None:
        environ = dict(os.environ)  # a cell may have changed it since the worker was started
        if environ != self._environ:
            self._environ = environ
            self.put(frame([pickle.dumps(environ, 5)], kind=ENVIRON))

    def flush(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
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

    def take_back(self, tags: Sequence[int]) -> None:
        try:
            self._control.send(b"".join(map(TAG.pack, tags)), socket.MSG_DONTWAIT)
        except OSError:
            pass  # it is dying, or so busy that it has not read what was asked before

    def drain(self) -> None:
        for pipe in list(self._pipes):
            self._read_pipe(pipe)

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
