"""When a group has succeeded."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from twingraph_nb.errors import DefinitionError
from twingraph_nb.settled import Settled
from twingraph_nb.verdict import at_least, critical, read_group_policy

YES, NO = Settled("a", "succeeded", 1), Settled("b", "failed", None, "ValueError: no")
SKIPPED, GONE = Settled("b", "skipped"), Settled("b", "cancelled")


@pytest.mark.parametrize(
    ("policy", "ended", "left", "verdict"),
    [
        ("strict", [], 0, True),
        ("strict", [YES], 1, None),
        ("strict", [YES, YES], 0, True),
        ("strict", [NO], 5, False),
        ("strict", [YES, SKIPPED], 0, False),
        ("strict", [YES, GONE], 0, False),
        ("best_effort", [NO], 1, None),
        ("best_effort", [NO, GONE], 0, True),
        (at_least(2), [YES], 1, None),
        (at_least(2), [YES, YES], 7, True),
        (at_least(2), [YES, NO], 0, False),
        (at_least(2), [NO, NO], 1, False),
        (critical("a"), [YES], 3, None),
        (critical("a"), [YES, NO], 0, True),
        (critical("b"), [NO], 3, False),
        (critical("c"), [YES], 0, False),
        (lambda ended: None, [YES], 1, None),
        (lambda ended: None, [YES], 0, False),
        (lambda ended: len(ended) > 1, [YES, NO], 3, True),
    ],
)
def test_what_a_policy_says(
    policy: object, ended: Sequence[Settled], left: int, verdict: bool | None
) -> None:
    assert read_group_policy(policy).verdict(ended, left) is verdict


@pytest.mark.parametrize("policy", ["most", 2, None])
def test_what_is_no_policy_is_refused(policy: object) -> None:
    with pytest.raises(DefinitionError, match=r"'strict', 'best_effort', at_least\(n\)"):
        read_group_policy(policy)


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "2"])
def test_at_least_wants_a_positive_number(count: int) -> None:
    with pytest.raises(DefinitionError, match="at_least wants a whole number"):
        at_least(count)


def test_critical_wants_names() -> None:
    with pytest.raises(DefinitionError, match="critical wants the names"):
        critical()
