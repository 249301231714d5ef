"""When a group has succeeded: its policy, in words or as a function. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twingraph_nb.errors import DefinitionError
from twingraph_nb.settled import Settled

__all__ = ["GroupPolicy", "at_least", "critical", "read_group_policy"]

Judge = Callable[[Sequence[Settled], int], bool | None]


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """Decides about a group whose block has been left.

    text: how people write it. judge: from the members that have ended and the number of those
    that have not: True = it has succeeded, what still runs is not needed; False = it has failed;
    None = go on. users: it is the user's code, which may take its time.
    """

    text: str
    judge: Judge
    users: bool = False

    def verdict(self, ended: Sequence[Settled], left: int) -> bool | None:
        """Judge; with no member left, what is not a clear yes is a no."""
        said = self.judge(ended, left)
        return said if said is not None or left else False


def at_least(count: int) -> GroupPolicy:
    """Give the policy by which `count` members must succeed; the others are cancelled then.

    Raises:
        DefinitionError: it is no positive whole number.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise DefinitionError(f"at_least wants a whole number, 1 or more, not {count!r}")

    def judge(ended: Sequence[Settled], left: int) -> bool | None:
        good = sum(one.ok for one in ended)
        return True if good >= count else False if good + left < count else None

    return GroupPolicy(f"at_least({count})", judge)


def critical(*names: object) -> GroupPolicy:
    """Give the policy by which the members of these names must succeed; others may fail.

    Args:
        names: components, or their names.
    Raises:
        DefinitionError: none is given.
    """
    wanted = frozenset(str(getattr(one, "name", one)) for one in names)
    if not wanted:
        raise DefinitionError("critical wants the names of the members that must succeed")

    def judge(ended: Sequence[Settled], left: int) -> bool | None:
        if any(one.name in wanted and not one.ok for one in ended):
            return False
        return None if left else wanted <= {one.name for one in ended}

    return GroupPolicy(f"critical({', '.join(sorted(wanted))})", judge)


def _strict(ended: Sequence[Settled], left: int) -> bool | None:
    return False if not all(one.ok for one in ended) else None if left else True


def _best_effort(ended: Sequence[Settled], left: int) -> bool | None:
    return None if left else True


_NAMED = {
    "strict": GroupPolicy("strict", _strict),
    "best_effort": GroupPolicy("best_effort", _best_effort),
}


def read_group_policy(given: object) -> GroupPolicy:
    """Give the policy that "strict", "best_effort", `at_least(n)`, `critical(...)` or a function
    stands for. The function gets the members that have ended and gives True, False or None.

    Raises:
        DefinitionError: it is none of these.
    """
    if isinstance(given, GroupPolicy):
        return given
    if isinstance(given, str) and given in _NAMED:
        return _NAMED[given]
    if callable(given):
        function: Callable[[Sequence[Settled]], object] = given

        def judge(ended: Sequence[Settled], left: int) -> bool | None:
            said = function(ended)
            return None if said is None else bool(said)

        return GroupPolicy(getattr(given, "__name__", "a function"), judge, users=True)
    raise DefinitionError(
        f"a group's policy is 'strict', 'best_effort', at_least(n), critical(...) or a function, "
        f"not {given!r}"
    )
