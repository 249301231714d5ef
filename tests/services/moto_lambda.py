"""Lambda inside moto as the real one does it: sandboxes that stay warm, limits that hold.

moto starts three containers a call, passes the event as an argument (128 KiB) and enforces neither
the timeout nor reserved concurrency. Here a call gets an idle sandbox of its function or a new one,
and a function takes one change after the other.
"""

from __future__ import annotations

import io
import json
import socket
import tarfile
import threading
import time
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import docker
from docker.models.containers import Container
from moto.awslambda import models
from moto.awslambda.exceptions import LambdaClientError

__all__ = ["Sandboxes"]

# Seconds for which a changed function takes no other change.
CHANGING = 0.2

# Containers at once; real accounts have 1,000, a laptop does not.
MOST = 6
# What an invocation may send and get back (AWS Lambda quotas): 6 MB.
LARGEST_EVENT = 6 * 1024 * 1024
# Seconds that a sandbox has to start and to load its function; the service gives it 10.
LOADING = 60.0
ENTRY = ("python3", "-u", "-m", "lambda_image.emulator")
# The tail of the log that an invocation may ask for (AWS Lambda API, LogType=Tail).
TAIL = 4096


class _RequestTooLarge(LambdaClientError):
    code = 413

    def __init__(self, size: int) -> None:
        text = f"Request must be smaller than {LARGEST_EVENT} bytes, and has {size}"
        super().__init__("RequestEntityTooLargeException", text)


class _TooManyRequests(LambdaClientError):
    code = 429

    def __init__(self) -> None:
        super().__init__("TooManyRequestsException", "Rate Exceeded.")


class _Conflict(LambdaClientError):
    code = 409

    def __init__(self, function: Any) -> None:
        text = "The operation cannot be performed at this time. An update is in progress for "
        super().__init__("ResourceConflictException", f"{text}resource: {function.function_arn}")


class _OtherRevision(LambdaClientError):
    code = 412

    def __init__(self) -> None:
        text = "The Revision Id provided does not match the latest Revision Id."
        super().__init__("PreconditionFailedException", text)


def _install_changes() -> None:
    """One change of a function at a time, and none of another revision than was seen."""
    described: Callable[..., dict[str, Any]] = models.LambdaFunction.get_configuration
    lock = threading.Lock()
    # By function: what its revision is called, and until when it is being changed.
    known: dict[str, tuple[str, float]] = {}

    def get_configuration(function: Any, on_create: bool = False) -> dict[str, Any]:
        revision, until = known.setdefault(function.function_arn, (str(uuid.uuid4()), 0.0))
        found = {**described(function, on_create), "RevisionId": revision}
        if time.monotonic() < until:
            found["LastUpdateStatus"] = "InProgress"
        return found

    def one_at_a_time(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(backend: Any, name: str, qualifier: str | None, body: dict[str, Any]) -> Any:
            function = backend.get_function(name, qualifier)
            with lock:
                now = function.get_configuration()
                if now["LastUpdateStatus"] == "InProgress":
                    raise _Conflict(function)
                if body.get("RevisionId", now["RevisionId"]) != now["RevisionId"]:
                    raise _OtherRevision
                change(backend, name, qualifier, body)
                known[function.function_arn] = str(uuid.uuid4()), time.monotonic() + CHANGING
                return function.get_configuration()

        return changed

    backend = models.LambdaBackend
    models.LambdaFunction.get_configuration = get_configuration
    for name in ("update_function_code", "update_function_configuration"):
        setattr(backend, name, one_at_a_time(getattr(backend, name)))


class _Sandbox:
    """One container of one function, which takes one event after the other."""

    def __init__(self, container: Container, stream: socket.socket) -> None:
        self.container, self._stream = container, stream
        self._pending = bytearray()
        self.printed = bytearray()

    def call(self, envelope: dict[str, object], timeout: float) -> tuple[bytes, bytes, bytes]:
        """The kind of the answer, the answer, and what was printed.

        Raises:
            TimeoutError: the function had its event for longer than `timeout` seconds.
        """
        message = json.dumps(envelope).encode()
        until = time.monotonic() + LOADING
        self._stream.settimeout(LOADING)
        self._stream.sendall(len(message).to_bytes(4, "big") + message)
        while True:
            kind, payload = self._frame(until)
            if kind == b"S":
                until = time.monotonic() + timeout
            elif kind == b"L":
                self.printed += payload
            else:
                printed, self.printed = bytes(self.printed), bytearray()
                return kind, payload, printed

    def _frame(self, until: float) -> tuple[bytes, bytes]:
        while len(self._pending) < 5 or len(self._pending) < 5 + self._size():
            self._stream.settimeout(max(until - time.monotonic(), 0.001))
            received = self._stream.recv(1 << 20)
            if not received:
                return b"X", b"137"
            self._pending += received
        size = self._size()
        kind, payload = bytes(self._pending[:1]), bytes(self._pending[5 : 5 + size])
        del self._pending[: 5 + size]
        return kind, payload

    def _size(self) -> int:
        return int.from_bytes(self._pending[1:5], "big")

    def close(self) -> None:
        self._stream.close()
        self.container.remove(force=True)


@dataclass
class Sandboxes:
    """All sandboxes of this moto, by function and configuration.

    `image` is what functions run in, `endpoint` where their AWS clients find moto, `labels` go on
    every container.
    """

    image: str
    endpoint: str
    labels: dict[str, str]
    client: docker.DockerClient = field(default_factory=docker.from_env)
    _idle: dict[tuple[str, str], list[_Sandbox]] = field(default_factory=dict)
    _running: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MOST))

    def install(self) -> None:
        """Put these sandboxes in the place of moto's own way to run a function."""
        delete: Callable[..., None] = models.LambdaBackend.delete_function

        def delete_function(backend: Any, name: str, qualifier: str | None = None) -> None:
            function = backend.get_function(name, qualifier)
            delete(backend, name, qualifier)
            self.forget(function.function_name)

        _install_changes()
        models.LambdaBackend.delete_function = delete_function
        models.LambdaFunction._invoke_lambda = lambda function, event=None: self.invoke(
            function, {} if event is None else event
        )

    def forget(self, name: str, but: str = "") -> None:
        """Close the idle sandboxes of a function, but for those of one configuration."""
        with self._lock:
            keys = [key for key in self._idle if key[0] == name and key[1] != but]
            found = [each for key in keys for each in self._idle.pop(key)]
        for sandbox in found:
            sandbox.close()

    def invoke(self, function: Any, event: object) -> tuple[str, bool, str]:
        """The answer as text, whether it is an error, and the tail of the log."""
        text = json.dumps(event)
        if len(text) > LARGEST_EVENT:
            raise _RequestTooLarge(len(text))
        function.logs_backend.ensure_log_group(function.logs_group_name)
        name = function.function_name
        self._enter(name, function.reserved_concurrency)
        try:
            with self._places:
                return self._invoked(function, text)
        finally:
            with self._lock:
                self._running[name] -= 1

    def _enter(self, name: str, most: str | int | None) -> None:
        with self._lock:
            if most is not None and self._running.get(name, 0) >= int(most):
                raise _TooManyRequests
            self._running[name] = self._running.get(name, 0) + 1

    def _invoked(self, function: Any, event: str) -> tuple[str, bool, str]:
        request, timeout = str(uuid.uuid4()), float(function.timeout)
        key = (function.function_name, _fingerprint(function))
        self.forget(*key)
        with self._lock:
            idle = self._idle.get(key)
            sandbox = idle.pop() if idle else None
        sandbox = sandbox or self._started(function)
        envelope: dict[str, object] = {"id": request, "arn": function.function_arn, "event": event}
        envelope["timeout"] = timeout
        began = time.monotonic()
        try:
            kind, answer, printed = sandbox.call(envelope, timeout)
        except TimeoutError:
            kind, answer, printed = b"T", b"", bytes(sandbox.printed)
        if kind in b"RE":
            with self._lock:
                self._idle.setdefault(key, []).append(sandbox)
        else:
            sandbox.close()
            answer = answer if kind == b"I" else _accident(kind, answer, request, timeout)
        took = (time.monotonic() - began) * 1000
        log = f"START RequestId: {request} Version: {function.version}\n"
        log += printed.decode(errors="replace")
        log += f"END RequestId: {request}\nREPORT RequestId: {request}\tDuration: {took:.2f} ms\n"
        function.save_logs(log)
        return answer.decode(), kind != b"R", log[-TAIL:]

    def _started(self, function: Any) -> _Sandbox:
        container = self.client.containers.create(
            self.image,
            [*ENTRY, function.handler],
            environment=self._environment(function),
            mem_limit=f"{function.memory_size}m",
            memswap_limit=f"{function.memory_size}m",
            stdin_open=True,
            labels=self.labels,
            # A frame is an answer, not a log line: the engine need not keep a copy.
            log_config={"type": "none"},
        )
        container.put_archive("/", _tar(function.code_bytes, "var/task"))
        backend = models.lambda_backends[function.account_id][function.region]
        for layer in function.layers:
            code = backend.layers_versions_by_arn(layer["Arn"]).code_bytes
            container.put_archive("/", _tar(code, "opt"))
        # A terminal's stream would mangle bytes; without one the engine frames stdout, see _Plain.
        stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        container.start()
        return _Sandbox(container, _Plain(stream._sock, stream))

    def _environment(self, function: Any) -> dict[str, str]:
        return {
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.run_time}",
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_LAMBDA_FUNCTION_VERSION": str(function.version),
            "AWS_LAMBDA_LOG_GROUP_NAME": function.logs_group_name,
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_SESSION_TOKEN": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            **function.environment_vars,
            "AWS_ENDPOINT_URL": self.endpoint,
        }


class _Plain(socket.socket):
    """An attached container's stream without the engine's frames of 8 bytes."""

    def __init__(self, inner: socket.socket, keeper: object) -> None:
        super().__init__(fileno=inner.dup().detach())
        self._keeper = keeper
        self._left = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not self._left:
            head = b""
            while len(head) < 8:
                received = super().recv(8 - len(head), flags)
                if not received:
                    return b""
                head += received
            self._left = int.from_bytes(head[4:], "big")
        received = super().recv(min(size, self._left), flags)
        self._left -= len(received)
        return received


def _tar(archive: bytes, folder: str) -> bytes:
    """A zip file's files as a tar, below a folder."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as files,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        place = tarfile.TarInfo(folder)
        place.type, place.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(place)
        for each in files.infolist():
            if not each.is_dir():
                entry = tarfile.TarInfo(f"{folder}/{each.filename}")
                entry.size, entry.mode = each.file_size, (each.external_attr >> 16) & 0o777 or 0o644
                tar.addfile(entry, files.open(each))
    return packed.getvalue()


def _fingerprint(function: Any) -> str:
    facts = [function.code_digest, function.handler, function.memory_size, function.timeout]
    facts += [function.environment_vars, [layer["Arn"] for layer in function.layers]]
    return json.dumps(facts, sort_keys=True, default=str)


def _accident(kind: bytes, status: bytes, request: str, timeout: float) -> bytes:
    """What the service says of a function that did not answer."""
    error = f"RequestId: {request} Error:"
    if kind == b"T":
        said = {
            "errorType": "Sandbox.Timedout",
            "errorMessage": f"{error} Task timed out after {timeout:.2f} seconds",
        }
    else:
        code = int(status)
        how = "signal: killed" if code in (-9, 137) else f"exit status {code}"
        said = {
            "errorType": "Runtime.ExitError",
            "errorMessage": f"{error} Runtime exited with error: {how}",
        }
    return json.dumps(said).encode()
