"""Values as fields for Bash, each ended by a NUL byte: variables, arrays, associative arrays.

A call is a count of fields, then the fields: how many outputs, each as shape and name; then each
input as shape, name and what it holds. A result is, for each output in order, its shape and what
it holds. Shapes: `unset` (nothing follows), `text` (one field), `array` and `map` (a count, then
that many items, of a map each key before its value); an output without a type has the shape
`any`. What lies deeper than one array or map is a text of marked JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twingraph_nb.languages.kinds import Kind, Misfit
from twingraph_nb.languages.plain import dump, load

__all__ = ["Slot", "call_of", "result_of"]

Slot = tuple[str, Kind]
"""Name and kind of a port."""
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def call_of(inputs: Sequence[Slot], values: Sequence[object], outputs: Sequence[Slot]) -> bytes:
    """Give the body of a call; values as `fit` has made them.

    Raises:
        Misfit: a text with a NUL byte, which no variable of Bash can hold, or an empty key.
        UnicodeEncodeError: a text has half a surrogate pair.
    """
    made = [b"%d" % len(outputs)]
    for name, kind in outputs:
        made += [_shape(kind).encode(), name.encode()]
    for (name, kind), value in zip(inputs, values, strict=True):
        held = _held(kind, value)
        for field in held:
            if b"\0" in field:
                raise Misfit(name, kind, "a text with a NUL byte, which Bash cannot hold")
        if isinstance(value, dict) and "" in value:
            raise Misfit(name, kind, "an empty key, which a map of Bash cannot have")
        made += [held[0], name.encode(), *held[1:]]
    return b"".join(field + b"\0" for field in (b"%d" % len(made), *made))


def result_of(outputs: Sequence[Slot], body: bytes) -> list[object]:
    """Give the values of the outputs, not yet held against their kinds.

    Raises:
        ValueError: these are not the fields of such values.
        Misfit: a text cannot be read as the output's kind.
    """
    fields = iter(body.split(b"\0"))
    try:
        values = []
        for name, kind in outputs:
            shape = next(fields)
            if shape in (b"array", b"map"):
                count = int(next(fields)) * (2 if shape == b"map" else 1)
                values.append(_several(name, kind, shape, [next(fields) for _ in range(count)]))
            else:
                text = None if shape == b"unset" else next(fields)
                values.append(_one(name, kind, text))
    except StopIteration:
        raise ValueError("the fields end early") from None
    return values


def _shape(kind: Kind) -> str:
    inner = kind.items[0] if kind.name == "optional" else kind
    return {"list": "array", "tuple": "array", "dict": "map", "any": "any"}.get(inner.name, "text")


def _held(kind: Kind, value: object) -> list[bytes]:
    """The shape of an input, and its fields."""
    if value is None:
        return [b"unset"]
    if isinstance(value, (list, tuple)):
        return [b"array", b"%d" % len(value), *(_text(one) for one in value)]
    if isinstance(value, dict):
        pairs = [field for key, one in value.items() for field in (key.encode(), _text(one))]
        return [b"map", b"%d" % len(value), *pairs]
    return [b"text", _text(value)]


def _text(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return b"" if value is None else _number(value)


def _number(value: object) -> bytes:
    return str(value).encode() if isinstance(value, (int, float)) else dump(value)


def _several(name: str, kind: Kind, shape: bytes, items: list[bytes]) -> object:
    inner = kind.items[0] if kind.name == "optional" else kind
    if inner.name in ("list", "dict"):
        kinds = [inner.items[0]] * len(items)
    elif inner.name == "tuple" and len(inner.items) == len(items):
        kinds = list(inner.items)
    else:
        kinds = [Kind("any")] * len(items)
    if shape == b"map":
        keys = [key.decode() for key in items[::2]]
        pairs = zip(keys, items[1::2], kinds[::2], strict=True)
        return {key: _one(f"{name}[{key!r}]", k, item) for key, item, k in pairs}
    return [
        _one(f"{name}[{at}]", k, item)
        for at, (item, k) in enumerate(zip(items, kinds, strict=True))
    ]


def _one(name: str, kind: Kind, field: bytes | None) -> object:
    """The value of one field; a text where nothing says more."""
    if kind.name == "optional":
        inner = kind.items[0]
        none = field is None or (not field and inner.name not in ("str", "bytes"))
        return None if none else _one(name, inner, field)
    if field is None:
        if kind.name in ("none", "any"):
            return None
        raise Misfit(name, kind, "nothing: no variable of that name was set")
    if kind.name == "bytes":
        return field
    text = field.decode()
    if kind.name in ("str", "any"):
        return text
    try:
        return _READ[kind.name](text.strip())
    except (ValueError, KeyError):
        raise Misfit(name, kind, repr(text)) from None


_READ: Mapping[str, Callable[[str], object]] = {
    "none": lambda text: text or None,
    "int": int,
    "float": float,
    "bool": lambda text: _TRUTH[text.lower()],
    "list": lambda text: load(text.encode()),
    "dict": lambda text: load(text.encode()),
    "tuple": lambda text: load(text.encode()),
}
