"""What components share by name in one session: limits and breakers, each with one meaning."""

from __future__ import annotations

from dataclasses import replace
from typing import Generic, TypeVar

from twingraph_nb.breaker import Breaker, BreakerRule
from twingraph_nb.component import Component, shelf
from twingraph_nb.errors import DefinitionError
from twingraph_nb.limit import Limit
from twingraph_nb.policy import Policy

__all__ = ["Guards"]

T = TypeVar("T")
_OF_A_PLATFORM = ("ExecutorError", "WorkerDied")
"""What says that a platform is broken; a component's own errors do not."""


class Guards:
    """Gives the limits and breakers of components. On the scheduler's thread.

    A name that says one thing in one component and another thing in another is an error. A cell
    that is run again with another number changes what its name means.
    """

    def __init__(self) -> None:
        self._limits: dict[tuple[str, bool], _Said[Limit]] = {}
        self._rules: dict[str, _Said[BreakerRule | Breaker]] = {}
        self._breakers: dict[str, Breaker] = {}
        self._known: dict[str, tuple[Policy, tuple[Limit, ...], Breaker | None]] = {}

    def limits(self, component: Component) -> tuple[Limit, ...]:
        """Give its limits by name.

        Raises:
            DefinitionError: another component means something else by one of the names.
        """
        return self._of(component)[0] if component.policy.limit else ()

    def said(self, name: str, *, timed: bool) -> set[Limit]:
        """Give what components say of a limit; nothing if none names it."""
        said = self._limits.get((name, timed))
        return said.meanings if said is not None else set()

    @property
    def names(self) -> list[str]:
        """The limits that components have named so far."""
        return sorted({name for name, _ in self._limits})

    def breaker(self, component: Component) -> Breaker | None:
        """Give its breaker, which those that name the same share.

        Raises:
            DefinitionError: another component means something else by the name.
        """
        return self._of(component)[1] if component.policy.breaker is not None else None

    def _of(self, component: Component) -> tuple[tuple[Limit, ...], Breaker | None]:
        policy, digest = component.policy, component.digest
        known = self._known.get(digest)
        if known is None or known[0] is not policy:
            for limit in policy.limit:
                key = (limit.name, bool(limit.period))
                said = self._limits.setdefault(key, _Said("limit"))
                said.take(component, limit.name, limit)
            breaker = None if policy.breaker is None else self._breaker(component, policy.breaker)
            known = self._known[digest] = (policy, policy.limit, breaker)
        return known[1], known[2]

    def _breaker(self, component: Component, wanted: BreakerRule | Breaker) -> Breaker:
        rule = wanted.rule if isinstance(wanted, Breaker) else _resolved(wanted, component)
        said = self._rules.setdefault(rule.name, _Said("breaker"))
        said.take(component, rule.name, wanted if isinstance(wanted, Breaker) else rule)
        if isinstance(wanted, Breaker):
            return wanted
        found = self._breakers.get(rule.name)
        if found is None or found.rule != rule:
            found = self._breakers[rule.name] = Breaker(
                rule.name,
                failures=rule.failures,
                reset=rule.reset,
                probes=rule.probes,
                errors=rule.errors,
            )
        return found


class _Said(Generic[T]):
    """What components say of one name; they have to say the same."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._by: dict[str, tuple[T, Component]] = {}

    @property
    def meanings(self) -> set[T]:
        """What is said; one thing, but for what a cell said before it was run again."""
        return {meaning for meaning, _ in self._by.values()}

    def take(self, component: Component, name: str, meaning: T) -> None:
        for other, (said, made) in list(self._by.items()):
            if said == meaning or other == component.name:
                continue
            if shelf.components.get(other) is not made:  # was defined again since
                del self._by[other]
                continue
            raise DefinitionError(
                f"the {self._kind} {name!r} is {_told(meaning)} in component {component.name}, "
                f"but {_told(said)} in component {other}: say the same in both, "
                f"or take another name"
            )
        self._by[component.name] = (meaning, component)


def _resolved(rule: BreakerRule, component: Component) -> BreakerRule:
    """The rule with the names that stand for a component or its platform put in."""
    if rule.name == "component":
        return replace(rule, name=f"component {component.name}")
    if rule.name == "platform":
        errors = rule.errors or _OF_A_PLATFORM
        return replace(rule, name=f"platform {component.platform}", errors=errors)
    return rule


def _told(meaning: object) -> str:
    if isinstance(meaning, Limit):
        return meaning.said
    if isinstance(meaning, BreakerRule):
        return f"{meaning.failures} failures, reset {meaning.reset:g} s"
    return f"an object of its own ({meaning!r})"
