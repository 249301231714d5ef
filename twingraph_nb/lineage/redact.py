"""What may go into the graph: short texts, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from twingraph_nb.graph.summary import MASK, is_secret, without_passwords, without_secrets

__all__ = ["cut", "masked", "secret_ports", "shown", "source_shown"]

_SECRET_TYPE = re.compile(r"(?i)secret|password|credential")
_ASSIGNED = re.compile(
    r"""(?ix) (\b\w*(?:passw(?:or)?d|passphrase|secret|token|api_?key|credential|private_?key)s?
        ["']?\]? \s* (?::\s*\w+\s*)? [=:] \s*) [rbfu]{0,2} (["']) (?:(?!\2).)+ \2"""
)
"""A text that source code gives to something with the name of a secret."""
_TYPED = re.compile(
    r"""(?ix) (:\s* ["']? [\w.]*(?:secret|password|credential)\w* ["']? \s* = \s*)
        [rbfu]{0,2} (["']) (?:(?!\2).)+ \2"""
)
"""The same, to something with the type of a secret."""
_encoder = msgspec.json.Encoder()


def cut(text: str, limit: int) -> str:
    """The text, or its first `limit` characters and how long it was."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def secret_ports(ports: Iterable[tuple[str, str]]) -> frozenset[str]:
    """The ports whose name or type says that their values are secret."""
    return frozenset(n for n, kind in ports if is_secret(n) or _SECRET_TYPE.search(kind))


def masked(texts: Mapping[str, str], secret: frozenset[str]) -> dict[str, str]:
    """The texts of values, those of secret ports and of names like a secret's masked."""
    return {
        name: MASK if name in secret or is_secret(name) else without_secrets(text)
        for name, text in texts.items()
    }


def shown(texts: Mapping[str, str], secret: frozenset[str], limit: int) -> str:
    """The texts as one JSON object of at most `limit` characters, secrets masked."""
    return cut(_encoder.encode(masked(texts, secret)).decode(), limit)


def source_shown(text: str, limit: int) -> str:
    """Source code, cut, with what it assigns to names or types like a secret's masked."""
    for given in (_ASSIGNED, _TYPED):
        text = given.sub(rf"\1\2{MASK}\2", text)
    return cut(without_passwords(text), limit)
