"""The components of the conformance suite; they run on every platform.

Standard library only: it is what every far side has.
"""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import datetime as dt
import decimal
import enum
import hashlib
import os
import pathlib
import sys
import time
import uuid
import zoneinfo
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

from tests.conformance import beside
from twingraph_nb import ctx

OFFSET = 100


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntFlag):
    LOW = 1
    HIGH = 2


class Pair(NamedTuple):
    left: int
    right: str


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    tags: tuple[str, ...] = ()


class Broken(ValueError):
    def __init__(self, what: str, code: int) -> None:
        super().__init__(what, code)
        self.code = code


class Opaque:
    """Neither plain data nor a dataclass: only pickle can take it along."""

    def __init__(self, x: int) -> None:
        self.x = x


def _chained() -> ValueError:
    """An error that nobody has raised, with a cause and a note."""
    error = ValueError("odd", 3)
    error.__cause__ = KeyError("k")
    error.__notes__ = ["look it up first"]
    return error


VALUES: dict[str, object] = {
    "none": None,
    "bools": [True, False],
    "ints": [0, -1, 2**63, -(2**200), 10**6000],
    "floats": [0.1, -0.0, float("inf"), float("-inf"), float("nan")],
    "complex": 1 - 2j,
    "text": 'it\'s "quoted"\nand\tbroken; $(rm -rf /) `x` \\ ☃ 🎈',
    "bytes": b"\x00\xff" * 10,
    "tuple": (1, ("a", [None])),
    "sets": [{1, 2}, frozenset({"x"})],
    "keys": {1: "a", (2, "b"): "c", None: "d"},
    "times": [
        dt.datetime(2024, 2, 29, 12, 30, 15, 999999),
        dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
        dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        dt.date(1999, 12, 31),
        dt.time(23, 59, 59),
        dt.timedelta(days=-3, microseconds=7),
    ],
    "decimal": decimal.Decimal("1.10"),
    "uuid": uuid.UUID(int=7),
    "path": pathlib.PurePosixPath("/a b/c"),
    "enums": [Colour.RED, Level.LOW | Level.HIGH],
    "named": Pair(1, "x"),
    "errors": {"deep": [_chained(), Broken("there", 42)]},
    "point": [Point(1.5, ("a", "b")), {"deep": Point(float("inf"))}],
}


def same(value: object) -> object:
    return value


def kinds(value: dict[str, object]) -> dict[str, str]:
    """What it is seen as there."""
    return {name: f"{type(one).__name__} {one!r}" for name, one in value.items()}


def fails(x: int) -> int:
    try:
        return {}["missing"] + x
    except KeyError as exc:
        error = ValueError(f"cannot do {x}")
        error.add_note("look it up first") if sys.version_info >= (3, 11) else None
        raise error from exc


def breaks() -> None:
    raise Broken("broken here", 42)


def talks(count: int) -> int:
    for at in range(count):
        print("out", at)
        if at % 10 == 0:
            print("err", at, file=sys.stderr)
    os.write(1, b"raw\n")
    return count


def lives(seconds: float) -> str:
    """Says that it began, long before it ends."""
    print("begun")
    ctx.progress(0.25, "a quarter")
    time.sleep(seconds)
    print("over")
    return "done"


def counts(n: int, pause: float = 0.0) -> Iterator[int]:
    for at in range(n):
        yield at
        time.sleep(pause)


async def drips(n: int) -> AsyncIterator[int]:
    for at in range(n):
        await asyncio.sleep(0)
        yield at * 2


async def later(x: int) -> int:
    await asyncio.sleep(0.01)
    return x + 1


def known_as(name: str) -> None:
    """Be found by the machine's list of processes: all far sides of the suite are on it."""
    ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)  # PR_SET_NAME


def stays(name: str, seconds: float = 300.0) -> str:
    known_as(name)
    print("staying", flush=True)
    time.sleep(seconds)
    known_as("through")
    return "stayed"


def eats(name: str, mebibytes: int) -> int:
    known_as(name)
    held = [bytearray(b"x") * (1 << 20) for _ in range(mebibytes)]
    return len(held)


def ends(code: int) -> None:
    print("last words", flush=True)
    os._exit(code)


def leaves(code: int) -> None:
    sys.exit(code)


def size(data: bytes) -> int:
    return len(data)


def doubled(data: bytes) -> bytes:
    return data + data


def square(x: int) -> int:
    return x * x


def numbered(x: int) -> tuple[int, str]:
    """A square, and the task that has made it."""
    return x * x, ctx.hash


def reaches(x: int) -> int:
    return helped(x) + OFFSET + beside.scaled(x)


def helped(x: int) -> int:
    return x + 1


def factorial(x: int) -> int:
    return 1 if x < 2 else x * factorial(x - 1)


def version() -> str:
    import twingraph_nb

    return twingraph_nb.__version__


def environment(plain: str, secret: str, seconds: float = 0.0) -> tuple[str | None, str]:
    """A variable, and the digest of another: a result is no secret."""
    print("looking", flush=True)
    time.sleep(seconds)
    hidden = os.environ.get(secret, "not there")
    return os.environ.get(plain), hashlib.sha256(hidden.encode()).hexdigest()


def gives_opaque(x: int) -> Opaque:
    return Opaque(x)


def gives_live() -> object:
    import threading

    return {"plain": 1, "lock": threading.Lock()}


def floods(lines: int) -> int:
    for at in range(lines):
        print("line", at)
    return lines


def halves(x: int) -> object:
    """As a cell `halves(x) -> low, high` is written down by its magic."""
    low = x // 2
    high = x - low
    from twingraph_nb.outputs import outputs as _outputs

    return _outputs("HalvesOutputs", low=low, high=high)


def adds(a: int, b: int) -> int:
    return a + b


def total(xs: list[int]) -> int:
    return sum(xs)
