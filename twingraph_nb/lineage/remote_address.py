"""Where a graph database is, from what a user writes; credentials never come out again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from twingraph_nb.errors import LineageError, suggestion

__all__ = ["Address", "BadAddress", "read_address"]

_PORT = 8182
"""Of Gremlin Server and of Amazon Neptune."""
_PATH = "/gremlin"
_OPTIONS = ("source", "iam")
_EXAMPLE = "write ws://HOST:8182/gremlin, or wss:// for one with TLS"
_SIBLINGS = {"http": "ws", "https": "wss"}
_NEPTUNE = re.compile(r"\.([a-z0-9-]+)\.neptune(?:-db)?\.amazonaws\.com(?:\.cn)?$")


class BadAddress(LineageError):
    """The address of a graph database cannot be meant."""

    def __init__(self, text: str, why: str) -> None:
        self.address = _without_secrets(text)
        super().__init__(f"lineage cannot go to {self.address!r}: {why}; {_EXAMPLE}")


@dataclass(frozen=True, slots=True)
class Address:
    """A graph database. Its text is the URL without credentials.

    url: of the WebSocket, without user, password and options. source: name of the traversal
    source on the server. region: of AWS, when requests are to be signed, else "".
    """

    url: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    source: str = "g"
    region: str = ""

    def __str__(self) -> str:
        return self.url if self.source == "g" else f"{self.url}?source={self.source}"


def read_address(text: str) -> Address:
    """Give the database that a URL means.

    Args:
        text: `ws://[USER:PASSWORD@]HOST[:PORT][/PATH]`, or `wss://`; `?source=NAME` for another
            traversal source than g, `?iam=REGION` to sign as Amazon Neptune wants it, which is
            done for its own hosts without that.
    Raises:
        BadAddress: it is none.
    """
    text = text.strip()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise BadAddress(text, "its host or port is not one") from exc
    if parts.scheme not in ("ws", "wss"):
        near = _SIBLINGS.get(parts.scheme)
        hint = f"did you mean {near}://" if near else "it does not begin with ws:// or wss://"
        raise BadAddress(text, hint)
    if not host:
        raise BadAddress(text, "it names no host")
    options = _options(text, parts)
    neptune = _NEPTUNE.search(host)
    region = options.get("iam", neptune.group(1) if neptune else "")
    if region and parts.scheme == "ws" and neptune:
        raise BadAddress(text, "Amazon Neptune takes wss:// only")
    where = f"[{host}]" if ":" in host else host
    path = parts.path if parts.path not in ("", "/") else _PATH
    return Address(
        f"{parts.scheme}://{where}:{port or _PORT}{path}",
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        options.get("source", "g"),
        region,
    )


def _options(text: str, parts: SplitResult) -> dict[str, str]:
    found = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    for name in found:
        if name not in _OPTIONS:
            why = f"it has no option {name!r}{suggestion(name, _OPTIONS)}"
            raise BadAddress(text, why)
    return found


def _without_secrets(text: str) -> str:
    """What may be shown of an address that could not be read."""
    before, at, host = text.rpartition("@")
    scheme, there, _ = before.partition("://")
    shown = f"{scheme}://{host}" if at and there else host
    return shown.partition("?")[0]
