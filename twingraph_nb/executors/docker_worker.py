"""One container that works on jobs: how it is made, reached and ended."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import ssl
import struct
import tarfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from docker.errors import DockerException, ImageNotFound, NotFound
from requests.exceptions import RequestException

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.docker_setup import Setup
from twingraph_nb.executors.kit import bootstrap
from twingraph_nb.executors.owner import OWNER, owner_label
from twingraph_nb.executors.stream_worker import StreamWorker
from twingraph_nb.executors.worker import Ending, Worker
from twingraph_nb.wire import Message

__all__ = ["DockerWorker"]

_HEADER = struct.Struct(">BxxxI")  # stream, length; Docker Engine API, "Stream format"
_STDERR = 2
_READ = 1 << 18
_READS = 8
_TMP = "rw,nosuid,nodev,exec,mode=1777"
_NO_PYTHON = ("executable file not found", "no such file or directory")


class DockerWorker(StreamWorker):
    """A container whose standard streams carry jobs."""

    kind = "container"

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[Worker, Message], None],
        ended: Callable[[Worker, Ending], None],
        *,
        api: Any,
        setup: Setup,
        image: str,
    ) -> None:
        self._api, self._setup, self._image = api, setup, image
        self.single = setup.fresh
        self._id = ""
        self._sock: socket.socket | None = None
        self._response: Any = None
        self._demux = _Demux(self.received, self.heard_error)
        self._writing = False
        super().__init__(loop, heard, ended)

    async def connect(self) -> None:
        making = asyncio.ensure_future(asyncio.to_thread(self._make))
        try:
            sock = await asyncio.shield(making)
        except asyncio.CancelledError:
            await asyncio.wait([making])  # so that `kill` knows the container
            raise
        except (DockerException, RequestException, OSError) as exc:
            raise _start_error(self._image, exc) from exc
        self._sock = sock
        self.label = f"container {self._id[:12]}"
        self._loop.add_reader(sock, self._readable)

    def write(self, data: Sequence[memoryview]) -> int:
        assert self._sock is not None
        try:
            count = self._sock.sendmsg(data)
        except BlockingIOError:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._sock, self.flush)
            return 0
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock)
        return count

    async def kill(self, grace: float) -> None:
        if grace and self._id:
            await asyncio.to_thread(self._signal)
            end = self._loop.time() + grace
            while not self._demux.over and self._loop.time() < end:
                await asyncio.sleep(0.01)
        self._disconnect()
        if self._id:
            await asyncio.to_thread(self._remove)

    async def cause(self) -> str:
        try:
            state = await asyncio.to_thread(self._state)
        except NotFound:
            return "was removed by somebody else"
        except (DockerException, RequestException) as exc:
            raise ExecutorError(f"the Docker engine does not answer: {exc}") from exc
        return _cause(state, self._setup, self.tail)

    # -- streams -------------------------------------------------------------------------------

    def _readable(self) -> None:
        assert self._sock is not None
        try:
            for _ in range(_READS):
                data = self._sock.recv(_READ)
                if not data:
                    self._demux.over = True
                    self._disconnect()
                    self.gone()
                    return
                self._demux.feed(data)
                if len(data) < _READ:
                    return
        except BlockingIOError:
            pass
        except OSError:
            self._demux.over = True
            self._disconnect()
            self.gone()

    def _disconnect(self) -> None:
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
            self._sock = None
        if self._response is not None:
            self._response.close()
            self._response = None

    # -- the container, in threads -------------------------------------------------------------

    def _make(self) -> socket.socket:
        """Create the container, reach its streams, start it."""
        self._create()
        sock = self._attach()
        try:
            self._api.start(self._id)
        except BaseException:
            sock.close()
            raise
        sock.setblocking(False)
        return sock

    def _create(self) -> None:
        setup = self._setup
        made = self._api.create_container(
            self._image,
            entrypoint=["python3", "-u", "-c", bootstrap(trust=setup.trust)],
            command=[],
            stdin_open=True,
            user=self._user(),
            working_dir="/tmp",
            environment={"HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"},
            labels={OWNER: owner_label(), "twingraph.component": setup.component},
            volumes=sorted(_folders(setup.files)),
            host_config=self._host_config(),
        )
        self._id = made["Id"]
        for folder in _folders(setup.files):
            self._api.put_archive(self._id, folder, _archive(folder, setup.files))

    def _user(self) -> str:
        """Who the worker is: what the component says, else the image's own user if not root."""
        if self._setup.user:
            return self._setup.user
        own = str(self._api.inspect_image(self._image)["Config"].get("User") or "")
        return own if own.split(":")[0] not in ("", "0", "root") else "65534:65534"

    def _host_config(self) -> Any:
        # No init program: the engine's own may not fit the image, and our worker heeds signals.
        setup = self._setup
        return self._api.create_host_config(
            binds=[f"{here}:{there}" for here, there in setup.volumes.items()],
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            pids_limit=setup.pids,
            read_only=not setup.writable,
            tmpfs={"/tmp": _TMP},
            network_mode=setup.network,
            mem_limit=setup.memory or None,
            memswap_limit=setup.memory or None,
            nano_cpus=int(setup.cpus * 1e9) or None,
            device_requests=setup.device_requests(),
        )

    def _attach(self) -> socket.socket:
        params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        raw = self._api.attach_socket(self._id, params=params)
        inner = getattr(raw, "_sock", raw)
        if not isinstance(inner, socket.socket) or isinstance(inner, ssl.SSLSocket):
            self._response = raw
            return _bridged(inner)
        ours = socket.socket(fileno=os.dup(inner.fileno()))
        raw.close()
        inner.close()
        return ours

    def _state(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._api.inspect_container(self._id)["State"]
        return found

    def _signal(self) -> None:
        try:
            self._api.kill(self._id, signal=signal.SIGTERM)
        except (DockerException, RequestException):
            pass  # it is gone already, or the engine is: `_remove` is next

    def _remove(self) -> None:
        try:
            self._api.remove_container(self._id, force=True, v=True)
        except NotFound:
            pass
        except (DockerException, RequestException):
            return  # the label lets the next session find it
        self._id = ""


class _Demux:
    """Takes the engine's multiplexed stream apart."""

    def __init__(self, out: Callable[[memoryview], None], error: Callable[[bytes], None]) -> None:
        self._out, self._error = out, error
        self._head = b""
        self._left = self._stream = 0
        self.over = False

    def feed(self, data: bytes) -> None:
        """Take bytes as they come."""
        view = memoryview(data)
        while len(view):
            if not self._left:
                need = _HEADER.size - len(self._head)
                self._head += bytes(view[:need])
                view = view[need:]
                if len(self._head) < _HEADER.size:
                    return
                self._stream, self._left = _HEADER.unpack(self._head)
                self._head = b""
                continue
            part = view[: self._left]
            view = view[len(part) :]
            self._left -= len(part)
            if self._stream == _STDERR:
                self._error(bytes(part))
            else:
                self._out(part)


def _bridged(far: Any) -> socket.socket:
    """A plain socket in place of one that is not (TLS, SSH): two threads copy between them."""
    near, ours = socket.socketpair()

    def copy(take: Callable[[int], bytes], give: Callable[[bytes], object]) -> None:
        try:
            while data := take(_READ):
                give(data)
        except OSError:
            pass
        finally:
            ours.close()

    for pair in ((far.recv, ours.sendall), (ours.recv, far.sendall)):
        threading.Thread(target=copy, args=pair, name="twingraph-docker", daemon=True).start()
    return near


def _folders(files: Mapping[str, str]) -> list[str]:
    return sorted({str(PurePosixPath(path).parent) for path in files})


def _archive(folder: str, files: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for there, here in files.items():
            path = PurePosixPath(there)
            if str(path.parent) == folder:
                archive.add(here, path.name, filter=_readable_by_all)
    return out.getvalue()


def _readable_by_all(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode |= 0o555 if member.isdir() or member.mode & 0o100 else 0o444
    return member


def _start_error(image: str, exc: Exception) -> ExecutorError:
    said = str(getattr(exc, "explanation", None) or exc)
    if isinstance(exc, ImageNotFound):
        return ExecutorError(f"there is no image {image!r} on the Docker engine: {said}")
    if any(one in said for one in _NO_PYTHON) and "python3" in said:
        return ExecutorError(
            f"image {image!r} has no python3 on its PATH, which runs the component there: "
            "take an image with Python 3.9 or later"
        )
    return ExecutorError(f"a container of image {image!r} could not be started: {said}")


def _cause(state: Mapping[str, Any], setup: Setup, tail: str) -> str:
    if state.get("OOMKilled"):
        limit = f"{setup.memory / 2**20:,.0f} MiB" if setup.memory else "the engine's limit"
        return f"ran out of memory (the limit is {limit}); give it more with memory="
    if state.get("Running"):
        return "lost its connection to this kernel"
    code = int(state.get("ExitCode") or 0)
    last = tail.strip().splitlines()
    why = f": {last[-1]}" if last else ""
    if code > 128:
        try:
            return f"was killed by signal {signal.Signals(code - 128).name}{why}"
        except ValueError:
            pass
    return f"ended with exit code {code} before the task was done{why}"
