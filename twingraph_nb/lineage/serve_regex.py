"""Regular expressions of clients: searched with a time limit.

What can only take little time is searched here; all else by a process that ends itself when its
time is up (`serve_regex_far`). A subset that is known to be harmless would refuse too much of what
people write, and another engine would be one more dependency with answers of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from twingraph_nb.lineage import serve_regex_far as far
from twingraph_nb.lineage.problems import TimeLimit, TraversalError

__all__ = ["Bounded", "Searchers"]

_PLAIN = re.compile(r"[^*+?{|()]*(?:[*+][^*+?{|()]*)?")
"""At most one repetition and no alternatives: what it costs grows with the square of the text."""
_SHORT = 2000
"""Characters of a text, or of an expression, for which that square is some milliseconds."""


class Searchers:
    """The processes that search; one for each query that needs it, kept for the next."""

    def __init__(self) -> None:
        self._idle: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._closed = False

    def taken(self) -> subprocess.Popen[bytes]:
        """Give one that nobody else uses."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        script = str(Path(far.__file__))
        return subprocess.Popen(
            [sys.executable, "-I", "-S", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
        )

    def given_back(self, process: subprocess.Popen[bytes]) -> None:
        """Take one back, for the next who asks."""
        with self._lock:
            if not self._closed and process.poll() is None:
                self._idle.append(process)
                return
        end(process)

    def close(self) -> None:
        """End those that wait; the others end when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a searcher and let go of its pipes."""
    process.kill()
    process.communicate()


class Search:
    """The searches of one query. It has a process from the first that wants one until `close`.

    seconds: gives how long a search may still take.
    """

    def __init__(self, searchers: Searchers, seconds: float | None) -> None:
        self._searchers = searchers
        self._until = None if seconds is None else time.monotonic() + seconds
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._pattern: str | None = None

    def found(self, pattern: str, text: str) -> bool:
        """Whether the pattern is anywhere in the text.

        Raises:
            TimeLimit: it took too long.
            TraversalError: it is no regular expression.
        """
        if self._process is None:
            self._process, self._pattern = self._searchers.taken(), None
        if self._pattern != pattern:
            if self._asked(far.PATTERN, pattern) == far.ERROR:
                raise TraversalError(f"{pattern!r} is not a regular expression")
            self._pattern = pattern
        return self._asked(far.TEXT, text) == far.FOUND

    def close(self) -> None:
        """Give the process back."""
        if self._process is not None:
            self._searchers.given_back(self._process)
            self._process = None

    def _asked(self, kind: bytes, text: str) -> bytes:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        left = 3600.0 if self._until is None else self._until - time.monotonic()
        raw = text.encode("utf-8", "surrogatepass")
        answer = b""
        if left > 0:
            try:
                process.stdin.write(far.HEAD.pack(kind, left, len(raw)) + raw)
                process.stdin.flush()
                answer = process.stdout.read(1)
            except BrokenPipeError:
                pass
            finally:
                if not answer:  # nor when this is interrupted: the next would get this answer
                    self._process = None
                    end(process)
        if not answer:
            raise TimeLimit(
                "a regular expression took too long",
                f"{self._seconds:g} s",
                "repetitions inside of repetitions, as in (a+)+, take exponential time",
            )
        return answer


class Bounded:
    """A regular expression of a client, in the place of a compiled one."""

    def __init__(self, pattern: str, search: Callable[[str, str], bool]) -> None:
        """Take the text of a pattern.

        Raises:
            TraversalError: it is no regular expression.
        """
        self._pattern, self._search = pattern, search
        self._plain: re.Pattern[str] | None = None
        if len(pattern) <= _SHORT and _PLAIN.fullmatch(pattern):
            try:
                self._plain = re.compile(pattern)
            except re.error as exc:
                raise TraversalError(f"{pattern!r} is not a regular expression: {exc}") from exc

    def search(self, text: str) -> object | None:
        """Give something where the pattern is anywhere in the text, else None."""
        if self._plain is not None and len(text) <= _SHORT:
            return self._plain.search(text)
        return self._search(self._pattern, text) or None

    def __repr__(self) -> str:
        return repr(self._pattern)
