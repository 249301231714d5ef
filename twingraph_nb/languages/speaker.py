"""The protocol that a worker of another language speaks, over any two-way stream of bytes.

A message is one line of ASCII and a body:

    kind SPACE tag SPACE length NEWLINE body (that many bytes)

We send `call`: the arguments. The worker sends, with the tag of the call,

    result      the value                                       ends the call
    failed      name of the error, NEWLINE, numbers of the code's lines separated by commas,
                innermost first, or nothing, NEWLINE, message   ends the call; in place of lines
                there may be addresses in a program that was built for it, such as 0x4010a3
    chunk       one value of a stream; `result` follows with any value
    progress    a number from 0 to 1, SPACE, a message
    log         `stdout`, `stderr` or `system`, SPACE, text

A worker answers one call after the other and ends when its input ends. It may be asked, while a
call runs, to outlive us:

    keep        seconds, with the tag of that call; there is no answer to this

Where TWINGRAPH_TOLD names a path, it notes what the running call says and has printed to stdout:
`log` (of stdout, tag 0 may stand for that of the call), `chunk` and what ends it. If its input ends
after `keep`, with or at most 2 s after the answer to that call, these messages appear at the path
at once as a whole, and it waits beside them for so many seconds. It does not if they are too many
to be noted (16 MiB beside the answer).

The environment variable TWINGRAPH_CHANNEL says where to speak: the number of a file descriptor for
both ways, or `stdio` for stdin and stdout, where a worker then sees to it that what the user's code
prints goes to stderr.

Where TWINGRAPH_MARKS is set, only stderr is left for both, and it should tell them apart there:

    NUL > text NUL     what the code printed to stdout, as it comes, in one write of at most 4096
                       bytes, between which no other process can write. In the text NUL and DLE
                       (16) are DLE and `@` or `P`; so may be LF, as DLE and `J`
    NUL tag NUL        that call has printed all it does: this and the answer may go ways of
                       different speed
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from twingraph_nb.component import Component
from twingraph_nb.context import Stream
from twingraph_nb.errors import ResultError
from twingraph_nb.languages.codec import Codec, Form
from twingraph_nb.languages.foreign import ForeignError, foreign_error

__all__ = ["CHANNEL", "MARKS", "TOLD", "Garbled", "Said", "Speaker", "head"]

CHANNEL = "TWINGRAPH_CHANNEL"
"""The environment variable that tells a worker where to speak."""
MARKS = "TWINGRAPH_MARKS"
"""The environment variable that asks a worker to mark the end of what a call prints."""
TOLD = "TWINGRAPH_TOLD"
"""The environment variable that tells a worker where to leave what a call said when we are gone."""
_HEAD = re.compile(rb"([a-z]+) (\d{1,10}) (\d{1,12})\n")
_ADDRESS = re.compile(r"0x[0-9a-f]{1,16}")
_LONGEST_HEAD = 40  # bytes
_LARGEST = 2**34  # bytes of a body, 16 GiB; memory is taken only as they come
_STREAMS: Mapping[str, Stream] = {"stdout": "stdout", "stderr": "stderr", "system": "system"}


Located = Callable[[tuple[str, ...]], tuple[int, ...]]


class Garbled(Exception):
    """What came is not the protocol: the worker is to be ended."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a worker said about the call of that tag.

    kind: `result` and `failed` end it; the others are `chunk`, `progress`, `log`.
    value: the body of the result, for `Speaker.result`; the exception, or the text for
    `Speaker.error` if its lines have to be looked up; the chunk; (fraction, message); (stream,
    text).
    """

    kind: Literal["result", "failed", "chunk", "progress", "log"]
    tag: int
    value: object


def head(kind: str, tag: int, length: int) -> bytes:
    """Give the line before a body."""
    return b"%s %d %d\n" % (kind.encode(), tag, length)


class Speaker:
    """One end of the protocol for one component; it does no input or output itself."""

    def __init__(self, component: Component, form: Form) -> None:
        self._component, self._codec = component, Codec(component, form)
        self._held = bytearray()
        self._need: tuple[str, int, int] | None = None

    def call(self, tag: int, arguments: Mapping[str, object]) -> bytes:
        """Give the bytes of a call.

        Args:
            tag: names it in the answers; below 2**32.
        Raises:
            PortTypeError: an argument does not fit its port.
        """
        body = self._codec.arguments(arguments)
        return head("call", tag, len(body)) + body

    def keep(self, tag: int, seconds: float) -> bytes:
        """Give the bytes that ask a worker to outlive us with what that call says."""
        body = b"%d" % math.ceil(seconds)
        return head("keep", tag, len(body)) + body

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Said]:
        """Give what is said in these bytes and those before them that were no whole message.

        Raises:
            Garbled: they are not the protocol.
        """
        self._held += data
        while True:
            if self._need is None:
                self._need = self._read_head()
                if self._need is None:
                    return
            kind, tag, length = self._need
            if len(self._held) < length:
                return
            body = bytes(memoryview(self._held)[:length])
            del self._held[:length]
            self._need = None
            yield self._said(kind, tag, body)

    def result(self, body: bytes) -> object:
        """Give the value of a `result`; it may be called in a thread, for a large one.

        Raises:
            ResultError: it does not fit the output ports.
        """
        return self._codec.result(body)

    def restart(self) -> None:
        """Forget what is held: another worker speaks from now on."""
        self._held.clear()
        self._need = None

    def _read_head(self) -> tuple[str, int, int] | None:
        end = self._held.find(b"\n", 0, _LONGEST_HEAD)
        if end < 0:
            if len(self._held) >= _LONGEST_HEAD:
                raise Garbled(f"{bytes(self._held[:_LONGEST_HEAD])!r} is no head of a message")
            return None
        line = bytes(self._held[: end + 1])
        found = _HEAD.fullmatch(line)
        if found is None or int(found[3]) > _LARGEST:
            raise Garbled(f"{line!r} is no head of a message")
        del self._held[: end + 1]
        return found[1].decode(), int(found[2]), int(found[3])

    def _said(self, kind: str, tag: int, body: bytes) -> Said:
        if kind == "result":
            return Said("result", tag, body)
        if kind == "chunk":
            try:
                return Said("chunk", tag, self._codec.chunk(body))
            except ResultError as exc:
                return Said("failed", tag, exc)
        text = body.decode("utf-8", "replace")
        if kind == "failed":
            unplaced = _addresses(text.partition("\n")[2].partition("\n")[0])
            return Said("failed", tag, text if unplaced else self.error(text))
        first, _, rest = text.partition(" ")
        if kind == "log" and first in _STREAMS:
            return Said("log", tag, (_STREAMS[first], rest))
        if kind == "progress":
            try:
                return Said("progress", tag, (min(1.0, max(0.0, float(first))), rest))
            except ValueError:
                raise Garbled(f"{first[:20]!r} is no progress") from None
        raise Garbled(f"no message is called {kind!r}")

    def error(self, text: str, located: Located | None = None) -> ForeignError:
        """Give the error of a `failed` that is a text; in a thread, if lines are looked up."""
        name, _, rest = text.partition("\n")
        lines, _, message = rest.partition("\n")
        numbers = [int(one) for one in lines.split(",") if one.strip().isdigit()]
        addresses = _addresses(lines)
        if addresses and located is not None:
            numbers += located(addresses)
        return foreign_error(self._component, name.strip() or "Error", message, numbers)


def _addresses(lines: str) -> tuple[str, ...]:
    return tuple(one for one in lines.split(",") if _ADDRESS.fullmatch(one))
