"""Searches texts for regular expressions in a process of its own; run as a script.

Python's `re` takes exponential time for some expressions, holds the interpreter's lock meanwhile
and cannot be interrupted from another thread. Here it is killed by its own alarm, which also ends
it when its parent is gone. It reads (flag, size, text) and answers one byte a text.
"""

from __future__ import annotations

import re
import signal
import struct
import sys

__all__ = ["ERROR", "FOUND", "HEAD", "NOT_FOUND", "PATTERN", "TEXT"]

HEAD = struct.Struct(">cdI")
"""What comes: `PATTERN` or `TEXT`, the seconds it may take, its size in bytes."""
PATTERN, TEXT = b"p", b"t"
FOUND, NOT_FOUND, ERROR = b"1", b"0", b"e"


def main() -> None:
    """Answer until nobody asks any more."""
    ask, tell = sys.stdin.buffer, sys.stdout.buffer
    pattern = re.compile("")
    while head := ask.read(HEAD.size):
        kind, seconds, size = HEAD.unpack(head)
        text = ask.read(size).decode("utf-8", "surrogatepass")
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
        if kind == PATTERN:
            try:
                pattern = re.compile(text)
                answer = FOUND
            except (re.error, OverflowError, RecursionError):
                answer = ERROR
        else:
            answer = FOUND if pattern.search(text) else NOT_FOUND
        signal.setitimer(signal.ITIMER_REAL, 0)
        tell.write(answer)
        tell.flush()


if __name__ == "__main__":
    main()
