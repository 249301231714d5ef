"""Events as bytes that can surely be read again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from twingraph_nb.events import Event, decode, encode

__all__ = ["encode_safely"]


def encode_safely(events: Sequence[Event]) -> bytes:
    """Give the JSON array of the events; what JSON cannot hold is replaced.

    Half surrogates, which a program may print, become question marks, NaN and infinity 0.0, other
    objects their repr: one odd value must not cost the record of a run.
    """
    try:
        body = encode(events)
        if b":null" in body:  # how msgspec writes NaN, which is not a float when read again
            decode(body)
        return body
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return b"[" + b",".join(_rescue(event) for event in events) + b"]"


def _rescue(event: Event) -> bytes:
    return msgspec.json.encode(_plain(msgspec.to_builtins(event, enc_hook=repr)))


def _plain(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.0
    if isinstance(value, dict):
        return {str(_plain(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
