"""What a kernel and a Celery worker say to each other, sealed with the secret both have.

Messages are Fernet tokens (AES-128-CBC with HMAC-SHA256): signed, compared in constant time, with
the time they were made, and not readable in the broker. Each purpose has a key of its own, so
that a message cannot be passed off as another, or as one of another session. Imports nothing of
the notebook's side.
"""

from __future__ import annotations

import base64
import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from twingraph_nb import __version__
from twingraph_nb.errors import ExecutorError, Unreachable
from twingraph_nb.wire import Buffer, Decoder, Message, WireError, frame

__all__ = [
    "ABOUT",
    "ASIDE",
    "CLAIM",
    "ELSEWHERE",
    "KEEP",
    "LARGEST",
    "LATEST",
    "LOST",
    "QUEUE",
    "RECALL",
    "REVOKED",
    "SECRET",
    "TASK",
    "WITHDRAW",
    "WORKERS",
    "About",
    "Names",
    "Refused",
    "Seal",
    "hidden",
    "priority_of",
    "reached",
    "redis_at",
    "secret_of",
    "transport",
    "unreachable",
]

PROTOCOL = 1
TASK = "twingraph_nb.run"
QUEUE = "twingraph"
WORKERS = "twingraph:workers"
"""A sorted set of what workers say about themselves, by the time until which it counts."""
SECRET = "TWINGRAPH_SECRET"
REVOKED, LOST = 41, 42
"""Kinds of messages beside those of `remote`: the process that ran a message was ended; a job
was lost with its worker too often."""
KEEP = 7 * 86_400  # seconds after which Redis drops what nobody asked for any more
LATEST = 86_400  # seconds; an older message is refused
ASIDE = 1 << 16  # bytes; larger inputs go by a key of their own, not through the queue
ELSEWHERE = -1
"""The size of a job's inputs in its message when they have a key of their own."""
LARGEST = 350 << 20  # bytes; Redis takes 512 MiB as one string, and a token is a third longer
_ANSWER = 5.0  # seconds; less would take a busy Redis for one that is gone
_SHORTEST = 16  # characters of a secret
_MIDDLE = 5  # Redis priorities are 0 to 9, the smaller first
_PASSWORD = re.compile(r"^([\w+.-]+://[^:/@]*):.*@", re.DOTALL)
_TIME = slice(1, 9)  # of a token's bytes, as the Fernet specification has it

CLAIM = """
local times, any = {}, false
for at = 3, #ARGV, 2 do
  local found, began = redis.call('HGET', KEYS[1], ARGV[at]), 0
  if found then
    local sending, starts = string.match(found, '(%d+):(%d+)')
    if sending == ARGV[at + 1] then
      began, any = tonumber(starts) + 1, true
      redis.call('HSET', KEYS[1], ARGV[at], sending .. ':' .. began)
    end
  end
  times[#times + 1] = began
end
if any then
  redis.call('XADD', KEYS[2], '*', 't', ARGV[1])
  redis.call('EXPIRE', KEYS[2], ARGV[2])
end
return times
"""
"""A worker takes the jobs of a message that are wanted in this sending, and says whatever it says
first; gives how often each has been taken now, 0 if it is not wanted."""
WITHDRAW = """
local began = {}
for _, tag in ipairs(ARGV) do
  local found = redis.call('HGET', KEYS[1], tag)
  redis.call('HDEL', KEYS[1], tag)
  if found and string.sub(found, -2) ~= ':0' then began[#began + 1] = tonumber(tag) end
end
return began
"""
"""The kernel wants jobs no more; gives those that a worker has taken."""
RECALL = """
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found and string.sub(found, -2) == ':0' then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
"""
"""No worker is to take a job; gives 0 if one has taken it, or if nothing is known of it."""


class Refused(Exception):
    """A message that is not to be trusted, or not for this version; says why."""


class About(NamedTuple):
    """The versions that must be the same on both sides."""

    protocol: int
    package: str
    python: str

    def refusal(self, other: Sequence[object]) -> str:
        """Give the sentence of a worker of these versions about a kernel of others, or ""."""
        theirs = tuple(other)
        if theirs == tuple(self):
            return ""
        if len(theirs) != len(self) or theirs[0] != self.protocol:
            return f"it speaks protocol {self.protocol}, and this kernel another one"
        return (
            f"it has twingraph_nb {self.package} on Python {self.python}, and this kernel "
            f"{theirs[1]} on Python {theirs[2]}: install the same on both sides"
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
        """A hash: for each job that is wanted, which sending counts and how often it was taken."""
        return f"twingraph:{self.session}:jobs"

    def arguments(self, tag: int) -> str:
        """The inputs of a job, when they are large."""
        return f"twingraph:{self.session}:arguments:{tag}"

    def payload(self, digest: str) -> str:
        """A large part of the inputs of several jobs."""
        return f"twingraph:{self.session}:payload:{digest}"

    def bundle(self, key: str) -> str:
        """The source of a component."""
        return f"twingraph:{self.session}:bundle:{key}"


class Seal:
    """Closes and opens messages of one purpose, such as "jobs" or "answers" of a session."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        info = b"twingraph_nb celery " + purpose.encode()
        derived = HKDF(SHA256(), 32, None, info).derive(secret)
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def close(self, messages: Iterable[tuple[int, int, Sequence[Buffer]]]) -> bytes:
        """Give the token of messages: kind, tag and frames of each."""
        parts: list[Buffer] = []
        for kind, tag, frames in messages:
            parts += frame(frames, kind=kind, tag=tag)
        return self._fernet.encrypt(b"".join(parts))

    def open(self, token: bytes | str, latest: float | None = None) -> list[Message]:
        """Give the messages of a token; `latest` is the age in seconds it may have.

        Raises:
            Refused: wrong signature, too old, or malformed.
        """
        try:
            data = self._fernet.decrypt(token)
        except InvalidToken:
            why = f"the signature does not fit: kernel and worker need the same {SECRET}"
            raise Refused(why) from None
        if latest is not None:
            made = int.from_bytes(base64.urlsafe_b64decode(token[:12])[_TIME], "big")
            if not -60 <= time.time() - made <= latest:
                raise Refused(f"the message is older than {latest:,.0f} seconds, or clocks differ")
        return _messages(data)


def _messages(data: bytes) -> list[Message]:
    decoder = Decoder()
    try:
        found = list(decoder.feed(data))
        decoder.finish()
    except WireError as exc:
        raise Refused(f"what was signed is not a message: {exc}") from exc
    return found


def secret_of(
    home: Path, *, variable: str = SECRET, environ: Mapping[str, str] | None = None
) -> bytes:
    """Give the secret that kernel and workers share: from the environment, else from a file.

    Args:
        home: its file `secret` counts when the variable is not set; only its owner may read it.
    Raises:
        ExecutorError: there is none, or it is short or open to others; says how to make one.
    """
    file = home / "secret"
    found = (os.environ if environ is None else environ).get(variable, "").strip()
    where = f"the environment variable {variable}"
    if not found and file.is_file():
        where = str(file)
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise ExecutorError(f"others may read the secret in {file}: chmod 600 {file}")
        found = file.read_text("utf-8").strip()
    if not found:
        raise ExecutorError(
            "platform 'celery' needs a secret that kernel and workers share: set "
            f"{variable} on both sides, or put it into {file} (readable by you alone). "
            'Make one with: python -c "import secrets; print(secrets.token_hex(32))"'
        )
    if len(found) < _SHORTEST:
        raise ExecutorError(f"the secret in {where} is shorter than {_SHORTEST} characters")
    return found.encode()


def hidden(url: str) -> str:
    """Give the URL without its password."""
    return _PASSWORD.sub(r"\1:***@", url)


def redis_at(url: str) -> str:
    """Give the URL of a Redis back.

    Raises:
        ExecutorError: it is none that both client libraries, Celery's and our own, understand.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("redis", "rediss") and parts.port != 0
        good = good and re.fullmatch(r"(/\d*)?", parts.path) is not None
    except ValueError:  # the port, or brackets of an address
        good = False
    if not good:
        raise ExecutorError(
            "platform 'celery' wants a Redis, redis://HOST:PORT/NUMBER such as "
            f"redis://127.0.0.1:6379/0 (rediss:// with TLS), not {hidden(url)!r}"
        )
    return url


def unreachable(url: str, error: Exception, other: str) -> Unreachable:
    """Give the error for a Redis that does not answer; `other` says where another is named."""
    port = redis_at(url).rsplit(":", 1)[-1].split("/")[0]
    start = f"redis-server --port {port if port.isdigit() else 6379}"
    cure = f"Start one with `{start}`, or name another with {other}"
    return Unreachable("celery", hidden(url), str(error).rstrip("."), cure)


def priority_of(priority: int) -> int:
    """Give the Redis priority of a policy's: 0 goes first, 9 last."""
    return min(9, max(0, _MIDDLE - priority))


def reached(lease: float) -> dict[str, Any]:
    """Give the options of a worker's connections, so that none waits for ever.

    A network that comes back has often forgotten the connections of before, and says nothing.
    """
    answer = max(_ANSWER, lease)
    return {
        "socket_connect_timeout": _ANSWER,
        "socket_timeout": answer,
        "socket_keepalive": True,
        "health_check_interval": int(answer),
    }


def transport(lease: float = 30.0) -> dict[str, object]:
    """Give the options of Celery's Redis transport.

    Args:
        lease: seconds without a sign of life of a worker, after which its jobs go to others.
    """
    every = max(0.2, lease / 3)
    return {
        "visibility_timeout": lease,
        "unacked_restore_interval": every,
        "unacked_restore_throttle": 1,
        "unacked_restore_limit": 100,
        # Apart from other Celery programs in this database, whose timeouts differ.
        "unacked_key": "twingraph:unacked",
        "unacked_index_key": "twingraph:unacked_index",
        "unacked_mutex_key": "twingraph:unacked_mutex",
        "unacked_mutex_expire": max(1, int(every)),
        "priority_steps": list(range(10)),
        "queue_order_strategy": "priority",
    }
