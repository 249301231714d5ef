"""Limits by name, which all runs of a session share: so many at once, or in a time. Data only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from twingraph_nb.amounts import count_of, seconds_of

__all__ = ["Limit", "read_limits"]

_EXAMPLES = "'gpu:2' (at once), 'openai:60/min' or 'api:5/10s' (in a time)"
_FORM = re.compile(r"\s*([^\W\d][\w.-]*)\s*:\s*(\d+)\s*(?:/\s*([\w.]+)\s*)?")
_UNITS = {
    "second": "s", "sec": "s", "minute": "m", "min": "m", "hour": "h", "day": "d", "week": "w",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many tasks that name it. period: seconds in which they may start; 0 = at once."""

    name: str
    most: int
    period: float = 0.0

    def __str__(self) -> str:
        return f"{self.name}:{self.said}"

    @property
    def said(self) -> str:
        """What it allows, without its name: ``2`` or ``60/min``."""
        if not self.period:
            return str(self.most)
        for unit, seconds in (("s", 1.0), ("min", 60.0), ("h", 3600.0), ("day", 86400.0)):
            if self.period == seconds:
                return f"{self.most}/{unit}"
        return f"{self.most}/{self.period:g}s"


def read_limits(value: object) -> tuple[Limit, ...]:
    """Give the limits of texts such as ``"gpu:2"`` or ``["openai:60/min", "openai:4"]``.

    Args:
        value: one text, several with commas between, or a list; None = none.
    Raises:
        ValueError: a text cannot be read, or two say different things of one name.
    """
    if value is None or value is False:
        return ()
    several = value.split(",") if isinstance(value, str) else value
    if isinstance(several, Limit) or not isinstance(several, (list, tuple, set, frozenset)):
        several = (several,)
    found: dict[tuple[str, bool], Limit] = {}
    for one in several:
        limit = one if isinstance(one, Limit) else _read(one)
        key = (limit.name, bool(limit.period))
        if found.setdefault(key, limit) != limit:
            raise ValueError(f"says both {found[key]} and {limit}")
    return tuple(sorted(found.values(), key=str))


def _read(value: object) -> Limit:
    read = _FORM.fullmatch(value) if isinstance(value, str) else None
    if read is None:
        raise ValueError(f"wants a name and how many, such as {_EXAMPLES}")
    name, most, period = read.groups()
    return Limit(name, count_of(most, 1), _period(period) if period else 0.0)


def _period(text: str) -> float:
    word = _UNITS.get(text.lower().removesuffix("s") if len(text) > 1 else "", text)
    try:
        return seconds_of(word if word[0].isdigit() else f"1{word}")
    except ValueError:
        raise ValueError(f"wants a time after '/', such as {_EXAMPLES}") from None
