"""The far side of a platform that hands over one job as a whole: a Lambda event, a Batch job.

Standard library only, and Python 3.9 or later: shipped to the far side as it is. A job comes as
two letters, the component and the arguments; an answer is one letter or several. A letter is
messages of `wire`, one after the other. With a post box (a presigned form of S3), what the job
says is posted while it runs; nothing here needs a client library or credentials.
"""

from __future__ import annotations

import base64
import os
import pickle
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twingraph_nb.remote import FAILED, LOG, RESULT, STAYS, TAG, TURNED, Codec, Runner, Stopped
from twingraph_nb.remote_payloads import ROOM, Payloads, ask, digest_of, fetch, messages
from twingraph_nb.wire import frame

__all__ = ["Office", "PostBox", "answer_event", "letter", "serve_array"]

_PIPE = 1 << 16
_PACE = 0.5, 5.0  # seconds between two posts of a running job: at first, and at the most
_KNOWN = 16  # components a warm function keeps
_SHARE = 4  # of its memory that a warm function may fill with inputs
_STANDARD = {b"o": 1, b"e": 2, b"s": 1}


def letter(parts: Sequence[tuple[int, Sequence[Any]]]) -> list[Any]:
    """Give the buffers of messages, each a kind and its frames, with full checksums."""
    return [b for kind, frames in parts for b in frame(frames, kind=kind, tag=1, checked=True)]


class Office:
    """Runs jobs that come by post, one after the other; keeps the components it has loaded.

    trust: results may hold pickles. room: bytes of inputs to keep for later jobs.
    """

    def __init__(self, trust: bool = False, room: int = -1) -> None:
        self._lock = threading.Lock()
        self._said: list[Any] = []
        self._known: dict[str, int] = {}
        self._echo = _STANDARD
        payloads = Payloads(_room() if room < 0 else room)
        self._runner = Runner(self._say, Codec(plain=True, trust=trust), payloads)
        self._last: tuple[int, Sequence[Any]] = (FAILED, [])
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._runner.leave)

    def work(
        self,
        key: str,
        component: Callable[[], bytes],
        job: bytes,
        box: PostBox | None = None,
        most: int = -1,
    ) -> tuple[list[Any], bool]:
        """Run a job.

        Args:
            key: the component's digest; `component` gives its letter, if it is not known here.
            box: takes what was said so far, while the job runs, and a result of more than `most`
                bytes, which stays there.
        Returns:
            The buffers of the rest of the answer, and whether the job succeeded.
        """
        number = self._number(key, component)
        (message,) = messages(job)
        meta, *arguments = message.frames
        head = pickle.dumps((number, *pickle.loads(meta)), 5)
        self._said = []
        with _Taken(self._heard) as taken, _Posting(self._said_so_far, box.post if box else None):
            self._echo = taken.real
            self._say(TURNED, 1, [])
            self._runner.run(1, [head, *arguments], taken.drain)
        self._echo = _STANDARD
        (kind, frames), succeeded = self._last, self._last[0] == RESULT
        if succeeded and box is not None and _size(frames) > most >= 0:
            kind, frames = STAYS, [frames[0], *box.keep(letter([self._last]))]
        return [*self._said, *frame(frames, kind=kind, tag=1, checked=True)], succeeded

    def _number(self, key: str, component: Callable[[], bytes]) -> int:
        number = self._known.get(key)
        if number is None:
            number = max(self._known.values(), default=0) + 1
            (message,) = messages(component())
            self._runner.load(number, message.frames)
            self._known[key] = number
            if len(self._known) > _KNOWN:
                self._runner.forget(self._known.pop(next(iter(self._known))))
        return number

    def _say(self, kind: int, tag: int, frames: Sequence[Any]) -> None:
        if kind == LOG:
            self._tee(bytes(frames[0][:1]), frames[0][1:])
        with self._lock:
            if kind in (RESULT, FAILED):
                self._last = kind, frames
            else:
                self._said += frame(frames, kind=kind, tag=tag, checked=True)

    def _heard(self, stream: bytes, body: bytes) -> None:
        self._say(LOG, 1, [stream + body])

    def _tee(self, stream: bytes, body: Any) -> None:
        """Write it to the platform's own log too, where it is found when no answer comes."""
        left = memoryview(body)
        while len(left):
            left = left[os.write(self._echo.get(stream, 1), left) :]

    def _said_so_far(self, post: Callable[[list[Any]], object]) -> None:
        """Post what is said; it counts as posted when that has gone well."""
        with self._lock:
            said = list(self._said)
        if said:
            post(said)
            with self._lock:
                del self._said[: len(said)]


class _Taken:
    """Hears what is written to descriptors 1 and 2 past Python while a job runs.

    real: where the two led before, by stream.
    """

    def __init__(self, heard: Callable[[bytes, bytes], None]) -> None:
        self._heard = heard
        self._lock = threading.Lock()
        self.real: dict[bytes, int] = {}
        self._pipes: dict[int, bytes] = {}

    def __enter__(self) -> _Taken:
        for number, stream in ((1, b"o"), (2, b"e")):
            self.real[stream] = os.dup(number)
            ours, theirs = os.pipe()
            os.dup2(theirs, number)
            os.close(theirs)
            self._pipes[ours] = stream
        self.real[b"s"] = self.real[b"o"]
        self._end, self._ending = os.pipe()
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()
        return self

    def drain(self) -> None:
        """Hear all that is there now."""
        with self._lock:
            for pipe, stream in list(self._pipes.items()):
                while select.select([pipe], [], [], 0)[0]:
                    body = os.read(pipe, _PIPE)
                    if not body:  # the job has closed its own end
                        del self._pipes[pipe]
                        os.close(pipe)
                        break
                    self._heard(stream, body)

    def __exit__(self, *_: object) -> None:
        for number, stream in ((1, b"o"), (2, b"e")):
            os.dup2(self.real[stream], number)
        os.write(self._ending, b".")
        self._thread.join()
        for each in (self._end, self._ending, *self._pipes, *{*self.real.values()}):
            os.close(each)

    def _hear(self) -> None:
        while True:
            ready = select.select([self._end, *self._pipes], [], [])[0]
            if self._end in ready:
                return
            self.drain()


class _Posting:
    """Posts what a job has said, at a pace that slows down."""

    def __init__(
        self,
        said: Callable[[Callable[[list[Any]], object]], None],
        post: Callable[[list[Any]], object] | None,
    ) -> None:
        self._said, self._post = said, post
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> None:
        if self._post is not None:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._post is not None:
            self._thread.join()

    def _loop(self) -> None:
        assert self._post is not None
        pace, slowest = _PACE
        while not self._over.wait(pace):
            try:
                self._said(self._post)
            except OSError:  # all that is left is posted with the answer, or that fails
                return
            pace = min(pace * 1.2, slowest)


class PostBox:
    """A presigned form of S3: takes objects whose names begin with `prefix`.

    form: "url", "fields" and "prefix". count: how many were posted.
    """

    def __init__(self, form: Mapping[str, Any], prefix: str = "") -> None:
        self._url, self._fields = form["url"], dict(form["fields"])
        self._prefix = form["prefix"] + prefix
        self.count = 0

    def post(self, buffers: Sequence[Any]) -> None:
        """Store the buffers as the next object.

        Raises:
            OSError: the store does not take it.
        """
        self._store(f"{self._prefix}{self.count:08d}", buffers)
        self.count += 1

    def keep(self, buffers: Sequence[Any]) -> list[bytes]:
        """Store buffers where they stay; gives name, digest and size in bytes, as frames.

        Raises:
            OSError: the store does not take it.
        """
        folder, _, start = self._prefix.rpartition("/")
        name = f"kept/{start}result"
        self._store(f"{folder}/{name}", buffers)
        return [name.encode(), digest_of(buffers).encode(), TAG.pack(_size(buffers))]

    def _store(self, key: str, buffers: Sequence[Any]) -> None:
        fields = {**self._fields, "key": key}
        mark = os.urandom(16).hex()
        parts: list[Any] = [_FIELD.format(mark=mark, k=k, v=v).encode() for k, v in fields.items()]
        parts += [_FILE.format(mark=mark).encode(), *buffers, f"\r\n--{mark}--\r\n".encode()]
        parts = [memoryview(part).cast("B") for part in parts if len(part)]
        headers = {
            "Content-Type": f"multipart/form-data; boundary={mark}",
            "Content-Length": str(sum(map(len, parts))),
        }
        ask(self._url, parts, headers)


_FIELD = '--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'
_FILE = (
    '--{mark}\r\nContent-Disposition: form-data; name="file"; filename="part"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
)


def answer_event(office: Office, event: Mapping[str, Any]) -> dict[str, Any]:
    """Give the answer of a Lambda function to an event.

    Args:
        event: "key", "component" and "job" (each with "body" in base64, or "get", a URL), "most"
            (bytes that may be given back), and "post" (a form) where there is a bucket; "keep", if
            the whole answer is to go there, where another kernel finds it.
    Returns:
        "parts", how many were posted, and "body", or "large": bytes that may not be given back.
    """
    box = PostBox(event["post"]) if event.get("post") else None
    said, _ = office.work(
        event["key"],
        lambda: _opened(event["component"]),
        _opened(event["job"]),
        box,
        event["most"],
    )
    size = _size(said)
    if size <= event["most"] and not (box and event.get("keep")):
        body = base64.b64encode(b"".join(said)).decode()
        return {"parts": box.count if box else 0, "body": body}
    if box is None:
        return {"parts": 0, "large": size}
    box.post(said)
    return {"parts": box.count}


def _room() -> int:
    """Bytes of inputs that this function's memory has room for."""
    memory = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")  # MiB
    return min(ROOM, (int(memory) << 20) // _SHARE) if memory.isdigit() else ROOM


def _size(buffers: Sequence[Any]) -> int:
    return sum(memoryview(one).nbytes for one in buffers)


def _opened(where: Mapping[str, str]) -> bytes:
    return base64.b64decode(where["body"]) if "body" in where else fetch(where["get"])


def serve_array(manifest: Mapping[str, Any]) -> None:
    """Run the job of this container, a child of an array, and end with 0 if it succeeds, else 1.

    Args:
        manifest: "key" and "component" (a URL) as above, "jobs" (the URL of all jobs: a table of
            offsets, 8 bytes each and one more than there are jobs, then their letters), "post",
            "most" (bytes above which a result stays in the store), and "trust".
    """
    signal.signal(signal.SIGTERM, _stop)
    index = int(os.environ.get("AWS_BATCH_JOB_ARRAY_INDEX") or 0)
    attempt = os.environ.get("AWS_BATCH_JOB_ATTEMPT") or "1"
    size = TAG.size
    table = fetch(manifest["jobs"], index * size, index * size + 2 * size)
    start, stop = (at for (at,) in TAG.iter_unpack(table))
    box = PostBox(manifest["post"], f"{index}/{int(attempt):03d}-")
    worker = Office(bool(manifest["trust"]), room=0)
    try:
        said, succeeded = worker.work(
            manifest["key"],
            lambda: fetch(manifest["component"]),
            fetch(manifest["jobs"], start, stop),
            box,
            manifest["most"],
        )
        box.post(said)
    except Stopped:
        os._exit(128 + signal.SIGTERM)
    sys.stdout.flush()
    os._exit(0 if succeeded else 1)  # threads the user left behind must not keep it alive


def _stop(signum: int, step: object) -> None:
    raise Stopped
