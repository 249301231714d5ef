"""What a value may be made of: how kinds of Python and its standard library are written down.

Standard library only, Python 3.9 or later: part of what travels to the far side.

A part that JSON lacks becomes a node, ``{"$": [kind, *parts]}``. `ENCODERS` holds what makes the
inside of the node, by the name of the exact class; `DECODERS` what reads it, by its kind. The
parts that a decoder gets are values already: JSON is read from the inside out.
"""

from __future__ import annotations

import array
import collections
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

__all__ = [
    "DECODERS",
    "ENCODERS",
    "NotPlain",
    "NotTrusted",
    "Reading",
    "ValuesError",
    "Writing",
    "int_of",
    "library",
    "list_of",
    "name_of",
    "packed",
    "text_of",
]


class ValuesError(ValueError):
    """The frames are not those of a value that can be made here."""


class NotTrusted(ValuesError):
    """The frames hold a part that is only read from a place that is trusted."""


class NotPlain(Exception):
    """A value holds a part that cannot travel without pickle.

    what: names the part and its class. why: what is wrong with it, if that is known.
    """

    def __init__(self, what: str, why: str = "") -> None:
        self.what, self.why = what, why
        super().__init__(f"{what}: {why}" if why else what)


class Writing(Protocol):
    """What an encoder gets beside its value."""

    def walk(self, value: Any) -> Any:
        """Give a part as JSON can hold it."""

    def put(self, buffer: Any) -> Any:
        """Give what stands in the JSON for a buffer."""


class Reading(Protocol):
    """What a decoder gets beside the parts of its node."""

    trust: bool

    def take(self, place: Any) -> Any:
        """Give the buffer that `put` put away; each can be taken once."""


def name_of(kind: type) -> str:
    """Give the name by which a class is looked up in `ENCODERS`."""
    return f"{kind.__module__}.{kind.__qualname__}"


def library(name: str) -> Any:
    """Give a module by name, for what is loaded only when a value needs it.

    Raises:
        ValuesError: it is not installed.
    """
    found = sys.modules.get(name)
    if found is not None:
        return found
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        root = name.split(".")[0]
        raise ValuesError(
            f"the value holds a part of {root}, which cannot be imported here ({exc})"
        ) from exc


def text_of(part: object) -> str:
    """Give a part that must be a string.

    Raises:
        ValuesError: it is something else.
    """
    if type(part) is not str:
        raise ValuesError(f"malformed: {type(part).__name__} where a string must be")
    return part


def int_of(part: object) -> int:
    """Give a part that must be an integer.

    Raises:
        ValuesError: it is something else.
    """
    if type(part) is not int:
        raise ValuesError(f"malformed: {type(part).__name__} where an integer must be")
    return part


def list_of(part: object) -> list[Any]:
    """Give a part that must be a list.

    Raises:
        ValuesError: it is something else.
    """
    if type(part) is not list:
        raise ValuesError(f"malformed: {type(part).__name__} where a list must be")
    return part


# -- numbers and text ---------------------------------------------------------------------------


def packed(values: list[Any], code: str) -> bytes:
    """Give the numbers of a list as 8 bytes each, least byte first.

    Args:
        code: "d" for floats, "q" for integers below 2**63.
    """
    numbers = array.array(code, values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _unpacked(code: str, buffer: Any) -> list[Any]:
    numbers = array.array(code)
    numbers.frombytes(memoryview(buffer).cast("B"))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def _text(into: Reading, place: Any) -> str:
    return str(into.take(place), "utf-8", "surrogatepass")


def _float(into: Reading, text: Any) -> float:
    return float(text_of(text))


# -- containers ---------------------------------------------------------------------------------


def _items(kind: str) -> Callable[[Writing, Any], list[Any]]:
    def encoder(out: Writing, value: Any) -> list[Any]:
        walk = out.walk
        return [kind, *[walk(item) for item in value]]

    return encoder


def pairs(out: Writing, value: Mapping[Any, Any]) -> list[Any]:
    """Give keys and values of a mapping in turn."""
    walk, made = out.walk, []
    for key, item in value.items():
        made.append(walk(key))
        made.append(walk(item))
    return made


def _dict(into: Reading, *parts: Any) -> dict[Any, Any]:
    if len(parts) % 2:
        raise ValuesError("malformed: a key without a value")
    return dict(zip(parts[::2], parts[1::2]))  # noqa: B905 - not known to Python 3.9


def _ordered(into: Reading, *parts: Any) -> Any:
    return collections.OrderedDict(_dict(into, *parts))


_FACTORIES = {"list": list, "dict": dict, "set": set, "int": int, "float": float, "str": str,
              "bool": bool, "tuple": tuple, "bytes": bytes, "complex": complex,
              "frozenset": frozenset}  # fmt: skip


def _write_defaultdict(out: Writing, value: Any) -> list[Any]:
    factory = value.default_factory
    name = "" if factory is None else getattr(factory, "__name__", "")
    if factory is not None and _FACTORIES.get(name) is not factory:
        raise NotPlain("", "its default_factory is not a built-in class")
    return ["defaultdict", name, *pairs(out, value)]


def _defaultdict(into: Reading, name: Any, *parts: Any) -> Any:
    factory = _FACTORIES[name] if name else None
    return collections.defaultdict(factory, _dict(into, *parts))


def _counter(into: Reading, *parts: Any) -> Any:
    made: Any = collections.Counter()
    made.update(_dict(into, *parts))
    return made


def _write_deque(out: Writing, value: Any) -> list[Any]:
    return ["deque", value.maxlen, *[out.walk(item) for item in value]]


def _deque(into: Reading, longest: Any, *items: Any) -> Any:
    return collections.deque(items, longest)


def _write_range(out: Writing, value: Any) -> list[Any]:
    return ["range", *[out.walk(part) for part in (value.start, value.stop, value.step)]]


def _write_slice(out: Writing, value: Any) -> list[Any]:
    return ["slice", *[out.walk(part) for part in (value.start, value.stop, value.step)]]


# -- times --------------------------------------------------------------------------------------


def _write_time(out: Writing, value: Any) -> list[Any]:
    parts = [value.hour, value.minute, value.second, value.microsecond]
    return ["time", *parts, value.fold, out.walk(value.tzinfo)]


def _time(into: Reading, hour: Any, minute: Any, second: Any, micro: Any, fold: Any, zone: Any
          ) -> Any:  # fmt: skip
    return library("datetime").time(hour, minute, second, micro, zone, fold=fold)


def _write_datetime(out: Writing, value: Any) -> list[Any]:
    parts = [value.hour, value.minute, value.second, value.microsecond]
    day = [value.year, value.month, value.day]
    return ["datetime", *day, *parts, value.fold, out.walk(value.tzinfo)]


def _datetime(into: Reading, *parts: Any) -> Any:
    *when, fold, zone = parts
    return library("datetime").datetime(*when, zone, fold=fold)


def _write_zone(out: Writing, value: Any) -> list[Any]:
    offset = value.utcoffset(None)
    name = value.tzname(None)
    given = value.__getinitargs__()[1:]
    return ["timezone", offset.days, offset.seconds, offset.microseconds, name if given else None]


def _zone(into: Reading, days: Any, seconds: Any, micros: Any, name: Any) -> Any:
    datetime = library("datetime")
    offset = datetime.timedelta(days, seconds, micros)
    if not offset and name is None:
        return datetime.timezone.utc
    return datetime.timezone(offset) if name is None else datetime.timezone(offset, name)


def _write_zoneinfo(out: Writing, value: Any) -> list[Any]:
    if value.key is None:
        raise NotPlain("", "it was made from a file and has no name")
    return ["zoneinfo", value.key]


def _zoneinfo(into: Reading, key: Any) -> Any:
    try:
        return library("zoneinfo").ZoneInfo(text_of(key))
    except KeyError as exc:  # ZoneInfoNotFoundError
        said = f"the time zone {key!r} is not known here: install the package tzdata"
        raise ValuesError(said) from exc


# -- the tables ---------------------------------------------------------------------------------


def _path(into: Reading, kind: Any, text: Any) -> Any:
    pathlib = library("pathlib")
    if kind not in ("Path", "PurePosixPath", "PureWindowsPath"):
        raise ValuesError(f"malformed: no path is called {kind!r}")
    return getattr(pathlib, kind)(text_of(text))


def _made(module: str, name: str) -> Callable[..., Any]:
    """A decoder that hands strings and integers to a class of the standard library."""

    def decoder(into: Reading, *parts: Any) -> Any:
        for part in parts:
            if type(part) is not str:
                int_of(part)
        return getattr(library(module), name)(*parts)

    return decoder


_CONSTANTS = {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}

ENCODERS: dict[str, Callable[[Writing, Any], list[Any]]] = {
    "builtins.tuple": _items("tuple"),
    "builtins.set": _items("set"),
    "builtins.frozenset": _items("frozenset"),
    "builtins.complex": lambda out, v: ["complex", out.walk(v.real), out.walk(v.imag)],
    "builtins.bytes": lambda out, v: ["bytes", out.put(v)],
    "builtins.bytearray": lambda out, v: ["bytearray", out.put(v)],
    "builtins.range": _write_range,
    "builtins.slice": _write_slice,
    "builtins.ellipsis": lambda out, v: ["constant", "Ellipsis"],
    "builtins.NotImplementedType": lambda out, v: ["constant", "NotImplemented"],
    "collections.OrderedDict": lambda out, v: ["ordered", *pairs(out, v)],
    "collections.defaultdict": _write_defaultdict,
    "collections.Counter": lambda out, v: ["counter", *pairs(out, v)],
    "collections.deque": _write_deque,
    "datetime.date": lambda out, v: ["date", v.year, v.month, v.day],
    "datetime.time": _write_time,
    "datetime.datetime": _write_datetime,
    "datetime.timedelta": lambda out, v: ["timedelta", v.days, v.seconds, v.microseconds],
    "datetime.timezone": _write_zone,
    "zoneinfo.ZoneInfo": _write_zoneinfo,
    "decimal.Decimal": lambda out, v: ["decimal", str(v)],
    "uuid.UUID": lambda out, v: ["uuid", v.hex],
}
for _name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"):
    _kind = _name if _name.startswith("Pure") else "Path"
    for _module in ("pathlib", "pathlib._local"):  # the latter is Python 3.13's
        ENCODERS[f"{_module}.{_name}"] = lambda out, v, kind=_kind: [  # type: ignore[misc]
            "path", kind, out.walk(str(v)),
        ]  # fmt: skip

DECODERS: dict[str, Callable[..., Any]] = {
    "dict": _dict,
    "tuple": lambda into, *items: items,
    "set": lambda into, *items: set(items),
    "frozenset": lambda into, *items: frozenset(items),
    "int": lambda into, digits: int(text_of(digits), 16),
    "float": _float,
    "complex": lambda into, real, imag: complex(real, imag),
    "text": _text,
    "bytes": lambda into, place: bytes(into.take(place)),
    "bytearray": lambda into, place: bytearray(into.take(place)),
    "floats": lambda into, place: _unpacked("d", into.take(place)),
    "ints": lambda into, place: _unpacked("q", into.take(place)),
    "range": lambda into, *parts: range(*map(int_of, parts)),
    "slice": lambda into, start, stop, step: slice(start, stop, step),
    "constant": lambda into, name: _CONSTANTS[name],
    "ordered": _ordered,
    "defaultdict": _defaultdict,
    "counter": _counter,
    "deque": _deque,
    "date": _made("datetime", "date"),
    "time": _time,
    "datetime": _datetime,
    "timedelta": _made("datetime", "timedelta"),
    "timezone": _zone,
    "zoneinfo": _zoneinfo,
    "decimal": _made("decimal", "Decimal"),
    "uuid": _made("uuid", "UUID"),
    "path": _path,
}
