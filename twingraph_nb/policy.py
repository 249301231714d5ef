"""The policy of a component and of a run, and how options in many spellings become one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

from twingraph_nb.errors import DefinitionError, UnknownOption
from twingraph_nb.platforms import ALIASES, OPTIONS, PLATFORMS, read_platform_option, takes

__all__ = [
    "DEFAULT_POLICY",
    "DEFAULT_RUN",
    "Backoff",
    "Policy",
    "RunOptions",
    "bytes_of",
    "read_options",
    "read_run_options",
    "seconds_of",
]

Backoff = Literal["fixed", "linear", "exponential"]
BACKOFFS = ("fixed", "linear", "exponential")
_TIME_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "ms": 0.001, "": 1.0}
_MEMORY_UNITS = {"": 2**20, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True, slots=True)
class Policy:
    """How a task is run.

    retries: attempts after the first. backoff: how the wait grows with the attempt. delay and
    max_delay: seconds. jitter: share of each wait that is random, in [0, 1]. retry_on: names of
    the exception classes that are worth another attempt (subclasses count); empty = all.
    timeout: seconds an attempt may take. cache: None = only what a resumed run needs, True =
    reuse for ever, a number = reuse for that many seconds. priority: larger first. cpus: cores,
    memory: bytes of this machine it takes while it runs. max_parallel: most tasks of this
    component at once, 0 = no limit.
    """

    retries: int = 0
    backoff: Backoff = "exponential"
    delay: float = 0.5
    max_delay: float = 60.0
    jitter: float = 0.1
    retry_on: tuple[str, ...] = ()
    timeout: float | None = None
    cache: float | bool | None = None
    priority: int = 0
    cpus: float = 0.0
    memory: int = 0
    max_parallel: int = 0

    def wait(self, attempt: int, jitter: float) -> float:
        """Seconds to wait after failed `attempt` (1 = the first); `jitter` is drawn in [0, 1).

        Exponential backoff doubles each time; the random share follows "equal jitter"
        (Brooker, AWS Architecture Blog, 2015).
        """
        grown = {
            "fixed": self.delay,
            "linear": self.delay * attempt,
            "exponential": self.delay * 2.0 ** min(attempt - 1, 62),
        }[self.backoff]
        full = min(self.max_delay, grown)
        return full * (1.0 - self.jitter * jitter)

    def changed(self) -> dict[str, object]:
        """Give the fields that differ from the defaults."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if getattr(self, f.name) != f.default
        }


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run behaves. max_parallel: most tasks at once, 0 = no limit; timeout: seconds."""

    max_parallel: int = 0
    timeout: float | None = None
    on_error: Literal["fail_fast", "continue"] = "fail_fast"


DEFAULT_POLICY = Policy()
DEFAULT_RUN = RunOptions()


def seconds_of(value: object) -> float:
    """Give seconds of a number or a text such as ``"90"``, ``"1.5h"``, ``"30s"``, ``"7d"``.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return float(value)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(value).lower())
    if not found or found[2] not in _TIME_UNITS or float(found[1]) <= 0:
        raise ValueError("wants a time above 0: seconds, or text such as '30s', '5m', '1h', '7d'")
    return float(found[1]) * _TIME_UNITS[found[2]]


def bytes_of(value: object) -> int:
    """Give bytes of a number of MiB (as TwinGraph has it) or a text such as ``"2g"``, ``"512m"``.

    Raises:
        ValueError: it is neither.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgtb]?)(?:i?b)?\s*", str(value).lower())
    if not found or isinstance(value, bool):
        raise ValueError("wants a size: a number of MiB, or text such as '512m', '2g'")
    return int(float(found[1]) * _MEMORY_UNITS[found[2]])


def _count(value: object) -> int:
    if isinstance(value, bool) or not str(value).isdigit():
        raise ValueError("wants a whole number, 0 or more")
    return int(str(value))


def _whole(value: object) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value)):
        raise ValueError("wants a whole number")
    return int(str(value))


def _amount(value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if isinstance(value, bool) or not 0 <= number < float("inf"):
        raise ValueError("wants a number, 0 or more")
    return number


def _share(value: object) -> float:
    if isinstance(value, bool):
        return 0.1 if value else 0.0
    number = _amount(value)
    if number > 1:
        raise ValueError("wants a share between 0 and 1")
    return number


def _backoff(value: object) -> str:
    if value not in BACKOFFS:
        raise ValueError(f"wants one of {', '.join(BACKOFFS)}")
    return str(value)


def _cache(value: object) -> float | bool | None:
    if value is None or value is False or value in ("off", "no", "false"):
        return None
    if value is True or value in ("on", "yes", "true", "forever"):
        return True
    return seconds_of(value)


def _error_names(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    several = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    names = []
    for one in several:
        if isinstance(one, type) and issubclass(one, BaseException):
            names.append(one.__name__)
        elif isinstance(one, str):
            names.append(one)
        else:
            raise ValueError("wants exception classes or their names")
    return tuple(names)


def _optional_seconds(value: object) -> float | None:
    return None if value is None else seconds_of(value)


_POLICY: Mapping[str, Callable[[object], object]] = {
    "retries": _count,
    "backoff": _backoff,
    "delay": _amount,
    "max_delay": _amount,
    "jitter": _share,
    "retry_on": _error_names,
    "timeout": _optional_seconds,
    "cache": _cache,
    "priority": _whole,
    "cpus": _amount,
    "memory": bytes_of,
    "max_parallel": _count,
}
_RETRY_POLICY = {
    "max_attempts": "retries",
    "backoff": "backoff",
    "delay": "delay",
    "initial_delay": "delay",
    "max_delay": "max_delay",
    "jitter": "jitter",
    "retry_on": "retry_on",
}
_RUN = {"max_parallel": _count, "timeout": _optional_seconds}
KNOWN = (*_POLICY, "retry_policy", "cache_enabled", "cache_ttl", *ALIASES, *OPTIONS)
"""Every option of a component."""


def read_options(
    options: Mapping[str, object],
    *,
    where: str,
    start: Policy | None = None,
    platform: str = "local",
) -> tuple[Policy, dict[str, object]]:
    """Give the policy that the options ask for, and the options that are the platform's.

    Options of other platforms are read too and kept, so that a component can change its platform
    by one word. A platform of another package takes options of any name.

    Args:
        options: in our own words or TwinGraph's (`retry_policy`, `cache_enabled`, `cache_ttl`).
        where: what to call the component in an error.
        start: the policy to change; the default one if not given.
    Raises:
        UnknownOption: a key nobody knows; names the nearest.
        DefinitionError: a value of the wrong kind.
    """
    given = _plain(options, where, platform not in PLATFORMS)
    changes: dict[str, object] = {}
    rest: dict[str, object] = {}
    for key, value in given.items():
        if key in _POLICY:
            changes[key] = _read(key, value, _POLICY[key], where)
        else:
            rest[key] = _read(key, value, _reader(platform, key), where)
    return replace(start or Policy(), **changes), rest  # type: ignore[arg-type]


def _reader(platform: str, option: str) -> Callable[[object], object]:
    """What reads a platform's option: that of the platform, else of the first that takes it."""
    owners = takes(option)
    if platform in PLATFORMS and owners and platform not in owners:
        platform = owners[0]
    return lambda value: read_platform_option(platform, option, value)


def read_run_options(options: Mapping[str, object], *, where: str) -> RunOptions:
    """Give the options of a pipeline.

    Raises:
        UnknownOption: a key nobody knows; names the nearest.
        DefinitionError: a value of the wrong kind.
    """
    known = [f.name for f in fields(RunOptions)]
    read: dict[str, object] = {}
    for key, value in options.items():
        if key not in known:
            raise UnknownOption(key, known, where=where)
        if key != "on_error":
            read[key] = _read(key, value, _RUN[key], where)
        elif value not in ("fail_fast", "continue"):
            raise DefinitionError(
                f"{where}: on_error wants 'fail_fast' or 'continue', not {value!r}"
            )
        else:
            read[key] = value
    return RunOptions(**read)  # type: ignore[arg-type]


def _plain(options: Mapping[str, object], where: str, more: bool) -> dict[str, object]:
    """The options with TwinGraph's words turned into ours; `more`: names we don't know pass."""
    plain: dict[str, object] = {}
    for key, value in options.items():
        if key not in KNOWN and not more:
            raise UnknownOption(key, KNOWN, where=where)
        if key == "retry_policy":
            plain.update(_retry_policy(value, where))
        elif key not in ("cache_enabled", "cache_ttl"):
            plain[ALIASES.get(key, key)] = value
    ttl = options.get("cache_ttl")
    if options.get("cache_enabled", ttl is not None):
        plain["cache"] = True if ttl is None else ttl
    return plain


def _retry_policy(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise DefinitionError(f"{where}: retry_policy wants a dict, not {value!r}")
    plain: dict[str, object] = {}
    for key, one in value.items():
        if key not in _RETRY_POLICY:
            raise UnknownOption(str(key), _RETRY_POLICY, where=f"{where}, retry_policy")
        if key == "max_attempts":
            if not isinstance(one, int) or one < 1:
                raise DefinitionError(f"{where}: max_attempts wants 1 or more, not {one!r}")
            one -= 1
        plain[_RETRY_POLICY[key]] = one
    return plain


def _read(key: str, value: object, reader: Callable[[object], object], where: str) -> object:
    try:
        return reader(value)
    except ValueError as exc:
        raise DefinitionError(f"{where}: option {key!r} {exc}, not {value!r}") from None
