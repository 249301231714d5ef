"""A Lambda sandbox's inside: Amazon's runtime client on one side, frames on stdio on the other.

Started as `python -m lambda_image.emulator HANDLER`. It serves the runtime API that the runtime
client (`awslambdaric`) asks for its work, one event at a time, for as long as stdin stays open:
like the real thing, the handler's module is loaded once and stays loaded.

In:  frames of 4 bytes length + JSON {"id", "timeout" (seconds), "arn", "event" (text)}.
Out: frames of 1 byte kind + 4 bytes length + payload: S = the function has its event, L = what it
printed, R = its answer, E = its error, I = it could not be loaded, X = the runtime is gone (exit
status, as text).
"""

from __future__ import annotations

import http.server
import json
import os
import select
import subprocess
import sys
import threading
import time
from typing import BinaryIO


class Sandbox:
    """The events on their way in, and the frames on their way out."""

    def __init__(self, events: BinaryIO, frames: BinaryIO) -> None:
        self._events, self._frames = events, frames
        self._lock = threading.Lock()
        self._printed = -1

    def prints(self, descriptor: int) -> None:
        """Take what the function prints from here."""
        self._printed = descriptor

    def next_event(self) -> dict[str, object] | None:
        head = self._events.read(4)
        if len(head) < 4:
            return None
        found: dict[str, object] = json.loads(self._events.read(int.from_bytes(head, "big")))
        return found

    def say(self, kind: bytes, payload: bytes) -> None:
        with self._lock:
            # What was printed before an answer is told before it.
            while select.select([self._printed], [], [], 0)[0]:
                printed = os.read(self._printed, 65536)
                if not printed:
                    break
                self._write(b"L", printed)
            self._write(kind, payload)

    def tell_prints(self) -> None:
        """Pass prints on as they come, until the runtime closes its end."""
        while select.select([self._printed], [], [])[0]:
            with self._lock:
                if not select.select([self._printed], [], [], 0)[0]:
                    continue
                printed = os.read(self._printed, 65536)
                if not printed:
                    return
                self._write(b"L", printed)

    def _write(self, kind: bytes, payload: bytes) -> None:
        self._frames.write(kind + len(payload).to_bytes(4, "big") + payload)
        self._frames.flush()


class RuntimeApi(http.server.BaseHTTPRequestHandler):
    """The runtime API (AWS Lambda developer guide, "Using the Lambda runtime API")."""

    protocol_version = "HTTP/1.1"
    sandbox: Sandbox

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        event = self.sandbox.next_event()
        if event is None:
            os._exit(0)
        body = str(event["event"]).encode()
        deadline = int((time.time() + float(str(event["timeout"]))) * 1000)
        self.sandbox.say(b"S", b"")
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", str(event["id"]))
        self.send_header("Lambda-Runtime-Deadline-Ms", str(deadline))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", str(event["arn"]))
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1-0-0")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = b"R"
        if self.path.endswith("/error"):
            kind = b"I" if self.path.endswith("/init/error") else b"E"
        self.sandbox.say(kind, body)
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    handler = sys.argv[1]
    RuntimeApi.sandbox = Sandbox(sys.stdin.buffer, sys.stdout.buffer)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RuntimeApi)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environ = {
        **os.environ,
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
        "LAMBDA_TASK_ROOT": "/var/task",
        "PYTHONPATH": "/var/task:/opt/python",
        "_HANDLER": handler,
    }
    runtime = subprocess.Popen(
        [sys.executable, "-m", "awslambdaric", handler],
        env=environ,
        cwd="/var/task",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert runtime.stdout is not None
    RuntimeApi.sandbox.prints(runtime.stdout.fileno())
    RuntimeApi.sandbox.tell_prints()
    RuntimeApi.sandbox.say(b"X", str(runtime.wait()).encode())


if __name__ == "__main__":
    main()
