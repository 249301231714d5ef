"""What a worker elsewhere writes to its stderr, taken apart: see `languages.speaker`.

Its stdout carries the answers. So what the user's code prints to stdout comes on stderr too, in
frames between what it prints there; and marks say when a call has printed all it does.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import Literal

__all__ = ["Prints"]

_TAIL = 1 << 17  # characters of stderr that are kept: a compiler's errors may be many
_FRAME = re.compile(rb"\0(?:(\d{1,10})|>([^\0]*))\0")
_HALF = re.compile(rb"\0(?:\d{0,10}|>[^\0]{0,4096})\Z")
_ESCAPED = re.compile(rb"\x10(.)", re.DOTALL)
_FLIPPED = 0x40


class Prints:
    """Takes the bytes of a stderr as they come.

    printed: gets what the code prints, and where. marked: gets the tag of a call that has printed
    all it does. tail: the last characters of what went to stderr itself.
    """

    def __init__(
        self,
        printed: Callable[[Literal["stdout", "stderr"], str], None],
        marked: Callable[[str], None],
    ) -> None:
        self._printed, self._marked = printed, marked
        decoder = codecs.getincrementaldecoder("utf-8")
        self._out, self._err = decoder("replace"), decoder("replace")
        self._half = b""
        self.tail = ""

    def feed(self, data: bytes) -> None:
        """Take some bytes."""
        data, self._half = self._half + data, b""
        at = 0
        for found in _FRAME.finditer(data):
            self._error(data[at : found.start()])
            at = found.end()
            if found[1] is not None:
                self._marked(found[1].decode())
            else:
                text = self._out.decode(_ESCAPED.sub(_plain, found[2]))
                if text:
                    self._printed("stdout", text)
        half = _HALF.search(data, at)
        if half is not None:
            data, self._half = data[: half.start()], half[0]
        self._error(data[at:])

    def _error(self, data: bytes) -> None:
        text = self._err.decode(data)
        if text:
            self.tail += text
            if len(self.tail) > 2 * _TAIL:
                self.tail = self.tail[-_TAIL:]
            self._printed("stderr", text)


def _plain(found: re.Match[bytes]) -> bytes:
    return bytes((found[1][0] ^ _FLIPPED,))
