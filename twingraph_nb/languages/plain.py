"""Values as JSON, for JavaScript, TypeScript and languages by manifest.

What JSON has no word for is an object with one marked key:

    {"$int": "9007199254740993"}    an integer beyond 2**53, which many readers would round
    {"$float": "nan"}               also "inf", "-inf" and "-0"
    {"$bytes": "AAEC"}              base64
    {"$dict": [["$a", 1]]}          a dict with a key that begins with "$"
"""

from __future__ import annotations

import base64
import binascii
import json
import math

__all__ = ["dump", "load"]

_SAFE = 2**53  # above, a double cannot tell neighbours apart
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "-0": -0.0}
_DEEP = "a value is nested too deeply"


def dump(value: object) -> bytes:
    """Give a value that `fit` has made as marked JSON."""
    return json.dumps(_marked(value), separators=(",", ":"), allow_nan=False).encode()


def load(body: bytes) -> object:
    """Give the value of marked JSON.

    Raises:
        ValueError: it is none.
    """
    try:
        found = json.loads(body)
        return _unmarked(found) if b'"$' in body else found
    except RecursionError:
        raise ValueError(_DEEP) from None


def _marked(value: object) -> object:
    if isinstance(value, float):
        if value - value != 0.0:
            return {"$float": "nan" if value != value else "inf" if value > 0 else "-inf"}
        return value if value or math.copysign(1.0, value) > 0 else {"$float": "-0"}
    if isinstance(value, int):
        return value if -_SAFE <= value <= _SAFE else {"$int": str(value)}
    if isinstance(value, (list, tuple)):
        if set(map(type, value)) <= {str, bool, type(None)}:
            return value
        return [_marked(one) for one in value]
    if isinstance(value, dict):
        if any(key.startswith("$") for key in value):
            return {"$dict": [[key, _marked(one)] for key, one in value.items()]}
        return {key: _marked(one) for key, one in value.items()}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    return value


def _unmarked(value: object) -> object:
    if isinstance(value, list):
        return [_unmarked(one) for one in value]
    if not isinstance(value, dict):
        return value
    mark = next(iter(value), "")
    if not mark.startswith("$"):
        return {key: _unmarked(one) for key, one in value.items()}
    try:
        held = value[mark]
        if mark == "$int":
            return int(held)
        if mark == "$float":
            return _FLOATS[held]
        if mark == "$bytes":
            return base64.b64decode(held, validate=True)
        if mark == "$dict":
            return {str(key): _unmarked(one) for key, one in held}
    except (TypeError, KeyError, binascii.Error):
        pass
    raise ValueError(f"{mark!r} is no mark that is known, or what it holds is none of its values")
