"""A container: made with the least rights, reached, ended and removed."""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import ssl
import tarfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import LogConfig
from requests.exceptions import ReadTimeout, RequestException

from twingraph_nb.errors import ExecutorError
from twingraph_nb.executors.docker_setup import Setup
from twingraph_nb.executors.owner import KEPT, OWNER, owner_label

__all__ = [
    "ALWAYS",
    "IF_MARKED",
    "MARKED",
    "SESSION",
    "Container",
    "ImageGone",
    "is_missing",
    "removed",
    "start_error",
]

_log = logging.getLogger(__name__)

_TAKEN = 409  # status of a name that there is already
_READ = 1 << 18
_PAUSES = (0.0, 0.1, 0.5, 2.0, 5.0, 10.0)
"""Seconds before each try to remove a container."""
_AWAY = 2  # tries to remove one for which the engine cannot be reached, and it is gone
_TMP = "rw,nosuid,nodev,exec,mode=1777"
_KEPT = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds of silence, between questions, and questions, until a connection counts as lost."""
_MISSING = ("executable file not found", "no such file or directory")
ALWAYS, IF_MARKED = "yes", "marked"
"""What the label of a container says that may outlive its kernel: in any case, or if so named."""
MARKED, _UNMARKED = "tg-kept-", "tg-"
"""How the name of one that is marked begins, and of one that is not any more."""
SESSION = "twingraph.session"
"""The label that names the executor that has made a container, to find what it has lost."""


class ImageGone(ExecutorError):
    """The engine has no such image, or not any more."""

    def __init__(self, image: str, said: str) -> None:
        self.image = image
        super().__init__(f"there is no image {image!r} on the Docker engine any more: {said}")


class Container:
    """One container of a setup; its methods wait for the engine, so they run in threads.

    id: "" before it is made and after it is removed. name: of one that outlives its kernel, which
    finds it again by that; "" for any other. kept: the label of one that may outlive its kernel
    without a name.
    """

    def __init__(
        self, api: Any, setup: Setup, image: str, name: str = "", *, kept: str = ""
    ) -> None:
        self._api, self._setup, self.image, self.name = api, setup, image, name
        self._kept = ALWAYS if name else kept
        self._response: Any = None
        self._refused = False  # the engine has long been asked to remove it
        self.id = ""

    @property
    def label(self) -> str:
        """What to call it."""
        return f"container {self.id[:12]}"

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> socket.socket:
        """Create it, reach its streams, start it; gives the engine's multiplexed stream."""
        self._create(command, environment)
        sock = self._attach()
        try:
            self._api.start(self.id)
        except BaseException:
            sock.close()
            raise
        sock.setblocking(False)
        return sock

    def rejoin(self, question: bytes) -> socket.socket | None:
        """Find one by its name and send it a question; gives its stream, None if it has ended.

        Raises:
            NotFound: there is none, or it was never started.
        """
        found = self._found(self.name)
        if found["State"]["Status"] == "created":
            raise NotFound(f"container {self.name} was not started")
        return self._asked(self._attach(), question) if found["State"]["Running"] else None

    def visit(self, id: str, command: Sequence[str], question: bytes) -> socket.socket | None:
        """Run a program in one, beside its own, and send it a question; gives the program's
        stream, None if the container has ended.

        Raises:
            NotFound: there is none.
        """
        if not self._found(id)["State"]["Running"]:
            return None
        made = self._api.exec_create(self.id, list(command), stdin=True)
        return self._asked(self._plain(self._api.exec_start(made["Id"], socket=True)), question)

    def find(self, id: str) -> str:
        """Be another's; gives the label that says which kernel has made it.

        Raises:
            NotFound: there is none.
        """
        return str(self._found(id)["Config"]["Labels"].get(OWNER, ""))

    def mark(self, kept: bool) -> None:
        """Say by its name, all that can be changed, whether it may outlive its kernel."""
        self._api.rename(self.id, f"{MARKED if kept else _UNMARKED}{self.id[:12]}")

    def state(self) -> Mapping[str, Any]:
        """Give what the engine knows about how it is."""
        found: Mapping[str, Any] = self._api.inspect_container(self.id)["State"]
        return found

    def answers(self) -> bool:
        """Tell whether the engine says something about it, be it that it is gone."""
        try:
            self.state()
        except DockerException:  # its answer, which is a RequestException too
            return True
        except RequestException:
            return False
        return True

    def cause(self, tail: str) -> str:
        """Say how it ended: the rest of a sentence.

        Args:
            tail: the last of what it wrote to its standard error.
        Raises:
            ExecutorError: the engine does not answer.
        """
        try:
            return _cause(self.state(), self._setup, tail)
        except NotFound:
            return "was removed by somebody else"
        except (DockerException, RequestException) as exc:
            raise ExecutorError(f"the Docker engine does not answer: {exc}") from exc

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        try:
            self._api.kill(self.id, signal=signal.SIGTERM)
        except (DockerException, RequestException):
            pass  # it is gone already, or the engine is: `remove` is next

    def disconnect(self) -> None:
        """Close what its streams came through."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def remove(self) -> None:
        """End it, if it runs, and remove it with its anonymous volumes."""
        if not self.id:
            return
        why = removed(self._api, self.id, 1 if self._refused else len(_PAUSES))
        self._refused = bool(why)
        if not why:
            self.id = ""

    # -- inside --------------------------------------------------------------------------------

    def _create(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        setup = self._setup
        labels = {OWNER: owner_label(), "twingraph.component": setup.component}
        labels |= {SESSION: setup.session} if setup.session else {}
        config = self._api.create_container_config(
            self.image,
            [],
            entrypoint=list(command),
            stdin_open=True,
            user=self._user(),
            working_dir="/tmp",
            environment={"HOME": "/tmp", **environment},
            labels={**labels, KEPT: self._kept} if self._kept else labels,
            volumes=sorted(_folders(setup.files)),
            host_config=self._host_config(),
        )
        if self.name:
            config["StdinOnce"] = False  # it does not end with the connection
        try:
            made = self._api.create_container_from_config(config, self.name or None)
        except APIError as exc:
            if not self.name or exc.status_code != _TAKEN:
                raise
            # A kernel died before it heard that it had made it: nothing has run in it.
            self._api.remove_container(self.name, force=True, v=True)
            made = self._api.create_container_from_config(config, self.name)
        self.id = made["Id"]
        for folder in _folders(setup.files):
            self._api.put_archive(self.id, folder, _archive(folder, setup.files))

    def _user(self) -> str:
        """Who the worker is: what the component says, else the image's own user if not root."""
        if self._setup.user:
            return self._setup.user
        own = str(self._api.inspect_image(self.image)["Config"].get("User") or "")
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
            # Values go over its output, which the engine would write to its log on disk too.
            log_config=LogConfig(type=LogConfig.types.NONE),
        )

    def _found(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._api.inspect_container(name)
        self.id = found["Id"]
        self._setup = replace(self._setup, memory=int(found["HostConfig"].get("Memory") or 0))
        return found

    def _asked(self, sock: socket.socket, question: bytes) -> socket.socket:
        sock.sendall(question)
        sock.setblocking(False)
        return sock

    def _attach(self) -> socket.socket:
        params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        return self._plain(self._api.attach_socket(self.id, params=params))

    def _plain(self, raw: Any) -> socket.socket:
        """The socket within what the client gives."""
        inner = getattr(raw, "_sock", raw)
        _keep_alive(inner)
        if not isinstance(inner, socket.socket) or isinstance(inner, ssl.SSLSocket):
            self._response = raw
            return _bridged(inner)
        ours = socket.socket(fileno=os.dup(inner.fileno()))
        raw.close()
        inner.close()
        return ours


def removed(api: Any, id: str, tries: int = len(_PAUSES)) -> str:
    """Remove a container with its anonymous volumes; gives why it is still there, "" if it is not.

    Tries again for a while: it may be just what somebody else removes, or take its time to end.
    """
    why, away = "", 0
    for seconds in _PAUSES[:tries]:
        time.sleep(seconds)
        try:
            api.remove_container(id, force=True, v=True)
            return ""
        except NotFound:
            return ""
        except (APIError, ReadTimeout) as exc:
            why = _said(exc)
        except (DockerException, RequestException) as exc:
            why, away = _said(exc), away + 1
            if away == _AWAY:
                return why  # the label lets the next session find it
    if tries == len(_PAUSES):
        _log.warning("container %s could not be removed: %s", id[:12], why)
    return why


def is_missing(exc: Exception, program: str) -> bool:
    """Tell whether a container did not start because its image has no such program."""
    said = _said(exc)
    return any(one in said for one in _MISSING) and program in said


def start_error(image: str, exc: Exception) -> ExecutorError:
    """Give the error for a container that could not be started."""
    if isinstance(exc, ImageNotFound):
        return ImageGone(image, _said(exc))
    if isinstance(exc, RequestException) and not isinstance(exc, APIError):
        return ExecutorError(f"the Docker engine does not answer: {_said(exc)}")
    said = _said(exc)
    if "capabilities: [[gpu]]" in said:
        said += ". The engine can give no GPUs: install the NVIDIA Container Toolkit, or drop gpus="
    return ExecutorError(f"a container of image {image!r} could not be started: {said}")


def _said(exc: Exception) -> str:
    return str(getattr(exc, "explanation", None) or exc)


def _keep_alive(sock: Any) -> None:
    """Have the system notice when a network has forgotten a connection."""
    if getattr(sock, "family", None) in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, number in _KEPT.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), number)


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
