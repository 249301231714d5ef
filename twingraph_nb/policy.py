"""The policy of a component and of a run, and how options in many spellings become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Literal

from twingraph_nb.amounts import (
    amount_of,
    bytes_of,
    count_of,
    seconds_of,
    share_of,
    whole_of,
)
from twingraph_nb.breaker import Breaker, BreakerRule, error_names, read_breaker
from twingraph_nb.errors import DefinitionError, UnknownOption
from twingraph_nb.fallback import NO_FALLBACK, described_fallback
from twingraph_nb.limit import Limit, read_limits
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


_DEFAULT_COUNT = "default"


@dataclass(frozen=True, slots=True)
class Policy:
    """How a task is run.

    retries: most attempts after the first. retry_counts: (name of an exception class or
    "default", retries) where they differ. backoff: how the wait grows with the attempt. delay and
    max_delay: seconds. jitter: share of each wait that is random, in [0, 1]. retry_on: names of
    the exception classes that are worth another attempt (subclasses count); empty = all.
    timeout: seconds an attempt may take. queue_timeout: seconds it may wait for its start once
    its inputs are there. grace: seconds between asking a cancelled task to end and ending it,
    None = the platform's own. cache: None = only what a resumed run needs, True =
    reuse for ever, a number = reuse for that many seconds. priority: larger first. cpus: cores,
    memory: bytes of this machine it takes while it runs. max_parallel: most tasks of this
    component at once, 0 = no limit. limit: limits by name that it shares with other components.
    breaker: what spares a broken service. fallback: a component, a function or a value that
    stands in when all attempts have failed.
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
    retry_counts: tuple[tuple[str, int], ...] = ()
    queue_timeout: float | None = None
    grace: float | None = None
    limit: tuple[Limit, ...] = ()
    breaker: BreakerRule | Breaker | None = None
    fallback: object = NO_FALLBACK
    watched: bool = field(init=False, repr=False, compare=False)
    """True when an attempt needs looking after: a store, a breaker or a clock."""

    def __post_init__(self) -> None:
        clocks = self.timeout is not None or self.queue_timeout is not None
        watched = clocks or self.cache is not None or self.breaker is not None
        object.__setattr__(self, "watched", watched)

    @property
    def limited(self) -> bool:
        """True when a task may have to wait for a place of its own policy's making."""
        return bool(self.cpus or self.memory or self.max_parallel or self.limit)

    def retries_after(self, error: BaseException) -> int:
        """Give how many retries there are for a task that has failed with this error.

        Of `retry_counts` the class nearest to the error's own counts, else "default", else none.
        """
        if not self.retry_counts:
            return self.retries
        counts = dict(self.retry_counts)
        names = (cls.__name__ for cls in type(error).__mro__)
        return next((counts[n] for n in names if n in counts), counts.get(_DEFAULT_COUNT, 0))

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
        """Give the fields that differ from the defaults, as plain data and texts."""
        found = {
            f.name: getattr(self, f.name) for f in fields(self) if f.init and _differs(self, f)
        }
        for name, plain in _PLAIN.items():
            if name in found:
                found[name] = plain(found[name])
        return found

    @classmethod
    def recorded(cls, facts: Mapping[str, object]) -> Policy:
        """Give what `changed` told of a policy, as far as a record of a run needs it.

        Who stands in, what guards a start and which limits count matter only to those who run
        tasks, and fields of a later version are not known here: both are left out.
        """
        known = {f.name for f in fields(cls) if f.init} - set(_PLAIN)
        plain = {name: value for name, value in facts.items() if name in known}
        if "retry_on" in plain:
            plain["retry_on"] = tuple(plain["retry_on"])  # type: ignore[arg-type]
        return cls(**plain)  # type: ignore[arg-type]


def _differs(policy: Policy, one: Field[object]) -> bool:
    value = getattr(policy, one.name)
    if value is None or one.name in ("fallback", "breaker"):  # `==` of a value may be anything
        return value is not one.default
    return bool(value != one.default)


def _told_breaker(breaker: object) -> object:
    rule = breaker.rule if isinstance(breaker, Breaker) else breaker
    assert isinstance(rule, BreakerRule)
    errors = f" ({', '.join(rule.errors)})" if rule.errors else ""
    return f"{rule.name}: {rule.failures} failures{errors}, reset {rule.reset:g} s"


_PLAIN: Mapping[str, Callable[[object], object]] = {
    "limit": lambda limits: tuple(map(str, limits)),  # type: ignore[call-overload]
    "breaker": _told_breaker,
    "fallback": described_fallback,
    "retry_counts": lambda counts: tuple(f"{name}={count}" for name, count in counts),  # type: ignore[attr-defined]
}
"""How fields that hold more than plain data are told."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run behaves.

    max_parallel: most tasks at once, 0 = no limit. timeout: seconds. max_retries: of all its
    tasks together, None = no limit.
    """

    max_parallel: int = 0
    timeout: float | None = None
    on_error: Literal["fail_fast", "continue"] = "fail_fast"
    max_retries: int | None = None


DEFAULT_POLICY = Policy()
DEFAULT_RUN = RunOptions()


def _share(value: object) -> float:
    if isinstance(value, bool):
        return 0.1 if value else 0.0
    return share_of(value)


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


def _optional_seconds(value: object) -> float | None:
    return None if value is None else seconds_of(value)


def _grace(value: object) -> float | None:
    return 0.0 if value in (0, "0") and value is not False else _optional_seconds(value)


def _retries(value: object) -> int | dict[str, int]:
    """A count, or one by the name of each exception class and "default"."""
    if isinstance(value, str) and "=" in value:
        parts = [part.partition("=") for part in value.split(",")]
        value = {key.strip(): text.strip() for key, _, text in parts}
    if not isinstance(value, Mapping):
        return count_of(value)
    counts: dict[str, int] = {}
    for key, count in value.items():
        (name,) = error_names((key,))
        try:
            counts[name] = count_of(count)
        except ValueError as exc:
            raise ValueError(f"for {name} {exc}") from None
    return counts


_POLICY: Mapping[str, Callable[[object], object]] = {
    "retries": _retries,
    "backoff": _backoff,
    "delay": amount_of,
    "max_delay": amount_of,
    "jitter": _share,
    "retry_on": error_names,
    "timeout": _optional_seconds,
    "queue_timeout": _optional_seconds,
    "grace": _grace,
    "cache": _cache,
    "priority": whole_of,
    "cpus": amount_of,
    "memory": bytes_of,
    "max_parallel": count_of,
    "limit": read_limits,
    "breaker": read_breaker,
    "fallback": lambda value: value,
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
_RUN: Mapping[str, Callable[[object], object]] = {
    "max_parallel": count_of,
    "timeout": _optional_seconds,
    "max_retries": lambda value: None if value is None else count_of(value),
}
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
            if key == "retries":
                changes |= _counted(changes[key])
        else:
            rest[key] = _read(key, value, _reader(platform, key), where)
    return replace(start or Policy(), **changes), rest  # type: ignore[arg-type]


def _counted(retries: object) -> dict[str, object]:
    """The fields of a policy that say how often."""
    if isinstance(retries, dict):
        counts = tuple(sorted(retries.items()))
        return {"retries": max(retries.values(), default=0), "retry_counts": counts}
    return {"retries": retries, "retry_counts": ()}


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
