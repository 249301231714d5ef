"""Short texts of values for the event log; secrets are masked."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from functools import lru_cache

from twingraph_nb.graph.remote_value import RemoteValue
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.task import Ref, Task

__all__ = ["MASK", "is_secret", "summaries", "summary", "without_passwords", "without_secrets"]

MASK = "•••"
"""What stands in for a secret."""
_SECRET = re.compile(
    r"(?i)(pass(word|wd|phrase)?|secret|token|api_?key|credential|private_?key|auth)s?$"
)
_IN_ADDRESS = re.compile(r"(\w://[^/\s:@'\"]*):[^\s/@'\"]+@")
"""The password of a URL."""
_NAMED = re.compile(r"""(\b(\w+)["']?\s*[=:]\s*[rbfu]{0,2}(["']))(?:\\.|(?!\3).)+(?:\3|$)""")
"""A text behind a name, as dictionaries and objects are shown; the last one may be cut."""
_HINTS = ("pass", "secret", "token", "key", "credential", "auth")
"""What a text has that names a secret; to look for them costs a tenth of looking at all names."""
_LONG = 120
_BIG = 10**_LONG
_BYTES = frozenset({bytes, bytearray, memoryview})
_PLAIN = frozenset({type(None), bool, int, float, complex})


class _Short(reprlib.Repr):
    """Never makes the whole text of a long value first."""

    def repr_bytes(self, value: bytes, level: int) -> str:
        return _bytes_text(value)

    repr_bytearray = repr_memoryview = repr_bytes


def _bytes_text(value: bytes | bytearray | memoryview) -> str:
    if len(value) <= _LONG:
        return repr(value)
    return f"{bytes(value[:_LONG])!r}… ({len(value)} bytes)"


_short = _Short()
_short.maxstring = _short.maxother = _LONG
_short.maxlist = _short.maxtuple = _short.maxdict = _short.maxset = 6
_short.maxlevel = 3


def summary(value: object) -> str:
    """Give a text of at most about 120 characters; see `without_secrets`.

    Never raises, never reads much of the value.
    """
    kind = type(value)
    if kind not in _PLAIN:
        return without_secrets(_text(value))
    if kind is int and not -_BIG < value < _BIG:
        return f"an int of {value.bit_length()} bits"  # type: ignore[attr-defined]
    return repr(value)


def without_passwords(text: str) -> str:
    """Give the text with the passwords of its URLs masked."""
    return _IN_ADDRESS.sub(rf"\1:{MASK}@", text) if "://" in text else text


def without_secrets(text: str) -> str:
    """Give the text with what it shows under the name of a secret masked, and passwords of URLs."""
    text = without_passwords(text)
    low = text.lower()
    for hint in _HINTS:
        if hint in low:
            return _NAMED.sub(_unless_harmless, text)
    return text


def _unless_harmless(found: re.Match[str]) -> str:
    return f"{found[1]}{MASK}{found[3]}" if is_secret(found[2]) else found[0]


def _text(value: object) -> str:
    kind = type(value)
    if kind is str:
        text = repr(value[: _LONG + 1])  # type: ignore[index]
        return text if len(value) <= _LONG else f"{text[:_LONG]}… ({len(value)} characters)"  # type: ignore[arg-type]
    if kind in _BYTES:
        return _bytes_text(value)  # type: ignore[arg-type]
    if kind is Task or kind is Ref:
        return f"← {value.name if kind is Task else value._shown()}"  # type: ignore[attr-defined]
    if kind is Run:
        return f"← run {value.name}"  # type: ignore[attr-defined]
    if isinstance(value, RemoteValue):
        return value.about
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        dtype = getattr(value, "dtype", None)
        sizes = " x ".join(map(str, shape)) or "scalar"
        return f"{kind.__name__} {sizes}" + (f" {dtype}" if dtype is not None else "")
    try:
        text = _short.repr(value)
    except Exception as exc:  # a user's __repr__ may raise anything
        return f"<{kind.__name__}, its repr raised {type(exc).__name__}>"
    if isinstance(value, (list, tuple, set, frozenset, dict)) and len(value) > 6:
        text = f"{text} ({len(value)} items)"
    return text if len(text) <= 2 * _LONG else f"{text[: 2 * _LONG]}…"


def summaries(bound: Mapping[str, object]) -> dict[str, str] | None:
    """Give the text of each plain argument; one named like a secret is masked.

    What comes from a task is left out: the wires tell. None if nothing is left.
    """
    texts = {}
    for name, value in bound.items():
        kind = type(value)
        if kind is Task or kind is Ref:
            continue
        if is_secret(name):
            texts[name] = MASK
        else:
            texts[name] = repr(value) if kind is int and -_BIG < value < _BIG else summary(value)
    return texts or None


@lru_cache(maxsize=1024)
def is_secret(name: str) -> bool:
    """Tell whether a name says that its value is secret."""
    return _SECRET.search(name) is not None
