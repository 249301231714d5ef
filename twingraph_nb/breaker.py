"""A circuit breaker: after too many failures in a row it spares a service further calls.

Closed, calls go through. Open, they are refused at once, for a time. Then it is half open: a few
calls may try, and their outcome closes it or opens it again (Nygard, Release It!, 2007).
"""

from __future__ import annotations

import functools
import inspect
import re
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, ParamSpec, TypeVar

from twingraph_nb.amounts import count_of, seconds_of
from twingraph_nb.errors import BreakerOpen, suggestion

__all__ = ["Breaker", "BreakerRule", "BreakerState", "Pass", "error_names", "read_breaker"]

P = ParamSpec("P")
R = TypeVar("R")
BreakerState = Literal["closed", "open", "half-open"]
_SHOWN = 200
"""Characters of the error that a breaker remembers."""


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """When a breaker opens and closes.

    name: tasks that name the same breaker share it; "component" and "platform" stand for one
    each. failures: in a row, after which it opens. reset: seconds until it is tried again.
    probes: calls that may try at a time, and have to succeed for it to close. errors: names of
    the exception classes that count (subclasses do too); empty = all.
    """

    name: str = "component"
    failures: int = 5
    reset: float = 30.0
    probes: int = 1
    errors: tuple[str, ...] = ()

    def counts(self, error: BaseException) -> bool:
        """Tell whether an error says something about what the breaker protects."""
        if not isinstance(error, Exception):
            return False  # cancelled, interrupted
        return not self.errors or any(c.__name__ in self.errors for c in type(error).__mro__)


class Breaker:
    """Watches calls; shared by all who hold it. Safe from any thread and any event loop.

    As `breaker.call(f, ...)`, `await breaker.call_async(f, ...)`, as a decorator of a function
    or async function, as ``with breaker.enter():``, or as the policy of a component.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int = 5,
        reset: float | str = 30.0,
        probes: int = 1,
        errors: object = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make one that is closed.

        Args:
            name: for errors.
            failures: in a row, after which it opens.
            reset: seconds until it is tried again, also as text such as "5m".
            probes: calls that may try at a time, and have to succeed for it to close.
            errors: exception classes, or their names, that count; all if empty. Others say
                nothing: neither a failure nor a success.
            clock: gives seconds; must not go backwards.
        Raises:
            ValueError: a number that makes no sense.
        """
        self.rule = BreakerRule(
            name, count_of(failures, 1), seconds_of(reset), count_of(probes, 1), error_names(errors)
        )
        self._clock = clock
        self._lock = threading.Lock()
        self._state: BreakerState = "closed"
        self._turn = 0  # of the state; what began in an earlier one has no say any more
        self._failed = self._trying = self._passed = 0
        self._cause = ""
        self._opened = self._again = 0.0

    @property
    def name(self) -> str:
        """What it is called."""
        return self.rule.name

    @property
    def state(self) -> BreakerState:
        """closed, open or half-open; open also when it is due to be tried but nobody has yet."""
        return self._state

    def enter(self) -> Pass:
        """Let one call through; says how it ended to the pass, or leave ``with`` to say it.

        Raises:
            BreakerOpen: none is let through now.
        """
        with self._lock:
            refusal = self._refusal()
            if refusal is not None:
                raise refusal
            if self._state != "closed":
                self._begin_trying()
            return Pass(self, self._turn)

    def refused(self) -> BreakerOpen | None:
        """Give the error that `enter` would raise now, or None; changes nothing."""
        with self._lock:
            return self._refusal()

    def reset(self) -> None:
        """Close it, whatever was before."""
        with self._lock:
            self._turn_to("closed")

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function; its outcome counts.

        Raises:
            BreakerOpen: it was not called.
            TypeError: it is async, or a component, so that its work begins after the call.
        """
        if inspect.iscoroutinefunction(function):
            raise TypeError(f"{function.__name__} is async: `await breaker.call_async(...)`")
        _refuse_component(function)
        with self.enter():
            return function(*args, **kwargs)

    async def call_async(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call an async function and wait for it; its outcome counts, a cancellation does not.

        Raises:
            BreakerOpen: it was not called.
        """
        with self.enter():
            return await function(*args, **kwargs)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Give the function with this breaker around each of its calls, sync or async.

        Raises:
            TypeError: a generator or a component, whose work begins after the call.
        """
        _refuse_component(function)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__name__} is a generator: use `with breaker.enter():` in it"
            )

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def guarded_async(*args: P.args, **kwargs: P.kwargs) -> object:
                with self.enter():
                    return await function(*args, **kwargs)

            return guarded_async  # type: ignore[return-value]

        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.enter():
                return function(*args, **kwargs)

        return guarded

    def __repr__(self) -> str:
        rule = self.rule
        return f"Breaker({rule.name!r}, failures={rule.failures}, reset={rule.reset:g})"

    # -- inside, with the lock held ------------------------------------------------------------

    def _refusal(self) -> BreakerOpen | None:
        if self._state == "closed":
            return None
        now, trying = self._clock(), self._state == "half-open"
        if trying and self._trying + self._passed < self.rule.probes:
            return None
        if now >= self._again:  # due; or those that try have not ended for a whole `reset`
            return None
        return BreakerOpen(
            self.name, now - self._opened, self._again - now, self._cause, trying=trying
        )

    def _begin_trying(self) -> None:
        if self._state == "open" or self._trying + self._passed >= self.rule.probes:
            self._turn_to("half-open")
        self._trying += 1
        # One that hangs must not keep the place for ever.
        self._again = self._clock() + self.rule.reset

    def _turn_to(self, state: BreakerState) -> None:
        self._state = state
        self._turn += 1
        self._failed = self._trying = self._passed = 0

    def _ended(self, turn: int, error: BaseException | None) -> None:
        """A call that was let through has ended. Takes the lock."""
        good = error is None
        if not good and not self.rule.counts(error):  # type: ignore[arg-type]
            return self._left(turn)
        with self._lock:
            if turn != self._turn:
                return None
            if self._state == "closed":
                self._failed = 0 if good else self._failed + 1
            if good and self._state == "half-open":
                self._trying, self._passed = self._trying - 1, self._passed + 1
                if self._passed >= self.rule.probes:
                    self._turn_to("closed")
            elif not good and (self._state == "half-open" or self._failed >= self.rule.failures):
                self._open(error)  # type: ignore[arg-type]

    def _left(self, turn: int) -> None:
        """A call that was let through has ended without a verdict. Takes the lock."""
        with self._lock:
            if turn == self._turn and self._state == "half-open":
                self._trying -= 1

    def _open(self, error: BaseException) -> None:
        now = self._clock()
        if self._state == "closed":
            self._opened = now
        try:
            said = str(error)
        except Exception as exc:  # a user's __str__ may raise anything
            said = f"<its message raised {type(exc).__name__}>"
        self._cause = f"{type(error).__name__}: {said}"[:_SHOWN].rstrip(": ")
        self._turn_to("open")
        self._again = now + self.rule.reset


class Pass:
    """One call that a breaker let through. What is said first counts; leaving ``with`` says it."""

    __slots__ = ("_breaker", "_over", "_turn")

    def __init__(self, breaker: Breaker, turn: int) -> None:
        self._breaker, self._turn, self._over = breaker, turn, False

    def ended(self, error: BaseException | None = None) -> None:
        """Say that the call is over: it succeeded, or raised this."""
        if not self._over:
            self._over = True
            self._breaker._ended(self._turn, error)

    def left(self) -> None:
        """Say that the call is over and says nothing about the service."""
        if not self._over:
            self._over = True
            self._breaker._left(self._turn)

    def __enter__(self) -> Pass:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.ended(error)


def _refuse_component(function: object) -> None:
    if hasattr(function, "policy") and hasattr(function, "platform"):
        name = getattr(function, "name", "it")
        raise TypeError(
            f"{name} is a component, whose call only starts it: give it the breaker as an option, "
            f"{name}.on(breaker=...) or @component(breaker=...)"
        )


def error_names(value: object) -> tuple[str, ...]:
    """Give the names of exception classes: of classes, names, or text such as "OSError, KeyError".

    Raises:
        ValueError: it is none of these.
    """
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


def read_breaker(value: object) -> BreakerRule | Breaker | None:
    """Give the breaker that an option asks for.

    Args:
        value: a name, True (the component's own), a `Breaker`, a dict of the fields of
            `BreakerRule`, or these as text: ``"name=openai,failures=3,reset=1m"``.
    Raises:
        ValueError: it is none of these.
    """
    if value is None or value is False or isinstance(value, Breaker):
        return value or None
    if value is True:
        return BreakerRule()
    if isinstance(value, str):
        if "=" not in value:
            return BreakerRule(_name(value))
        # A part without "=" goes on with the one before: "errors=OSError,KeyError".
        parts = [part.partition("=") for part in re.split(r",(?=[^,]*=)", value)]
        value = {key.strip(): text.strip() for key, _, text in parts}
    if not isinstance(value, Mapping):
        raise ValueError("wants a name, True, a Breaker, or a dict such as {'failures': 5}")
    found: dict[str, object] = {}
    for key, one in value.items():
        if key not in _READERS:
            near = suggestion(str(key), _READERS)
            raise ValueError(f"has no {key!r}{near}; it wants some of {', '.join(_READERS)}")
        try:
            found[key] = _READERS[key](one)
        except ValueError as exc:
            raise ValueError(f"has a {key!r} that {exc}") from None
    return BreakerRule(**found)  # type: ignore[arg-type]


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("wants a name")
    return value.strip()


def _one_or_more(value: object) -> int:
    return count_of(value, 1)


_READERS: Mapping[str, Callable[[object], object]] = {
    "name": _name,
    "failures": _one_or_more,
    "reset": seconds_of,
    "probes": _one_or_more,
    "errors": error_names,
}
