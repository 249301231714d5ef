"""What a kernel and a Celery worker say to each other, sealed with the secret both have.

Messages are Fernet tokens (AES-128-CBC and HMAC-SHA256): signed, compared in constant time, with
the time they were made, and not to be read in the broker. One key is used for each purpose, so
that a message cannot be passed off as another, or as one of another session.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from twingraph_nb import __version__
from twingraph_nb.errors import ExecutorError
from twingraph_nb.wire import Buffer, Decoder, Message, WireError, frame

__all__ = [
    "ABOUT",
    "CLAIM",
    "FAIR",
    "KEEP",
    "LARGEST",
    "LATEST",
    "LOST",
    "QUEUE",
    "REVOKED",
    "SECRET",
    "SECRET_FILE",
    "TAKE_BACK",
    "TASK",
    "WORKERS",
    "About",
    "Refused",
    "Seal",
    "Names",
    "hidden",
    "priority_of",
    "secret_of",
    "transport",
]

PROTOCOL = 1
TASK = "twingraph_nb.run"
QUEUE = "twingraph"
WORKERS = "twingraph:workers"
SECRET = "TWINGRAPH_SECRET"
SECRET_FILE = "secret"
REVOKED, LOST = 41, 42
"""Kinds of messages beside those of `remote`: a job was ended; it ended its worker too often."""
KEEP = 7 * 86_400  # seconds after which the broker drops what nobody asked for any more
LATEST = 86_400  # seconds; an older message is refused
LARGEST = 350 << 20  # bytes; Redis takes 512 MiB as one string, and a token is a third longer
_SHORTEST = 16  # characters of a secret
_PRIORITIES = tuple(range(10))
_MIDDLE = 5


class Refused(Exception):
    """A message that is not to be trusted, or not for this version; says why."""


class About(NamedTuple):
    """The versions that must be the same on both sides."""

    protocol: int
    package: str
    python: str

    def differs(self, other: Sequence[object]) -> str:
        """Give what differs, as a sentence about the other side; "" if nothing does."""
        theirs = About(*other) if len(other) == len(self) else None  # type: ignore[arg-type]
        if theirs == self:
            return ""
        if theirs is None or theirs.protocol != self.protocol:
            return f"speaks another protocol than this worker ({self.protocol})"
        return (
            f"has twingraph_nb {theirs.package} on Python {theirs.python}, "
            f"this worker has {self.package} on {self.python}"
        )


ABOUT = About(PROTOCOL, __version__, f"{sys.version_info[0]}.{sys.version_info[1]}")
"""Those of this side."""


class Names(NamedTuple):
    """What a session's keys in Redis are called."""

    session: str

    @property
    def answers(self) -> str:
        """A stream of what its jobs say."""
        return f"twingraph:{self.session}:answers"

    @property
    def jobs(self) -> str:
        """A hash: for each job that is wanted, which sending counts and how often it began."""
        return f"twingraph:{self.session}:jobs"

    def arguments(self, tag: int) -> str:
        """The inputs of a job, when they are large."""
        return f"twingraph:{self.session}:arguments:{tag}"

    @staticmethod
    def bundle(key: str) -> str:
        """The source of a component."""
        return f"twingraph:bundle:{key}"


class Seal:
    """Closes and opens messages of one purpose and session."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        import base64

        derived = HKDF(SHA256(), 32, None, b"twingraph_nb celery " + purpose.encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(derived.derive(secret)))

    def close(self, messages: Iterable[tuple[int, int, Sequence[Buffer]]]) -> bytes:
        """Give the token of messages: kind, tag and frames of each."""
        parts: list[Buffer] = []
        for kind, tag, frames in messages:
            parts += frame(frames, kind=kind, tag=tag)
        return self._fernet.encrypt(b"".join(parts))

    def open(self, token: bytes | str, latest: int | None = None) -> list[Message]:
        """Give the messages of a token; `latest` is the age in seconds it may have.

        Raises:
            Refused: wrong signature, or too old.
        """
        try:
            data = self._fernet.decrypt(token)
        except InvalidToken:
            raise Refused("its signature does not fit: the secrets differ") from None
        if latest is not None:
            try:
                self._fernet.decrypt(token, ttl=latest) if len(token) < 1 << 12 else None
                made = self._fernet.extract_timestamp(token)
            except InvalidToken:
                raise Refused(f"it is older than {latest:,} seconds") from None
            self._check_age(made, latest)
        return _messages(data)

    @staticmethod
    def _check_age(made: int, latest: int) -> None:
        import time

        if not -60 <= time.time() - made <= latest:
            raise Refused(f"it is older than {latest:,} seconds, or its clock is wrong")
