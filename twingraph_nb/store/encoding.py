"""Events as bytes that can surely be read again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from twingraph_nb.events import Event, decode, encode

__all__ = ["as_builtins", "as_plain", "encode_safely"]


def encode_safely(events: Sequence[Event]) -> bytes:
    """Give the JSON array of the events; what JSON cannot hold is replaced.

    Half surrogates, which a program may print, become question marks, NaN and infinity 0.0, other
    mappings dicts, other objects their repr: one odd value must not cost the record of a run.
    """
    try:
        body = encode(events)
        if b":null" in body:  # how msgspec writes NaN, which is not a float when read again
            decode(body)
        return body
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return b"[" + b",".join(_rescue(event) for event in events) + b"]"


def as_builtins(event: Event) -> dict[str, object]:
    """Give the event as a dict that JSON can hold, whatever is in it."""
    plain = as_plain(msgspec.to_builtins(event, enc_hook=_known))
    assert isinstance(plain, dict)
    return plain


def _rescue(event: Event) -> bytes:
    return msgspec.json.encode(as_builtins(event))


def _known(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else repr(value)


def as_plain(value: object) -> object:
    """Give the value with what neither JSON nor SQLite can hold replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.0
    if isinstance(value, dict):
        return {str(as_plain(k)): as_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(one) for one in value]
    return value
