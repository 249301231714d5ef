"""Admission by named limits: tokens that come back, places that are given back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twingraph_nb.limit import Limit, read_limits
from twingraph_nb.scheduler.limits import Admission, Claim


def claim(item: object, *limits: str, priority: int = 0, memory: int = 0) -> Claim:
    limited = read_limits(list(limits))
    return Claim(item, "", "run", priority=priority, memory=memory, limits=limited)


def items(claims: list[Claim]) -> list[object]:
    return [one.item for one in claims]


def test_tokens_come_back_a_whole_period_after_they_were_taken() -> None:
    gate = Admission({}, cpus=4, memory=100)
    assert gate.ask(claim("a", "api:2/10s"), now=0.0)
    assert gate.ask(claim("b", "api:2/10s"), now=4.0)
    assert not gate.ask(claim("c", "api:2/10s"), now=5.0)
    assert not gate.ask(claim("d", "api:2/10s"), now=6.0)
    assert gate.wake() == 10.0
    assert items(gate.tick(9.999)) == []
    assert items(gate.tick(10.0)) == ["c"]
    assert gate.wake() == 14.0
    assert items(gate.tick(14.0)) == ["d"]
    assert (gate.wake(), gate.waiting) == (None, 0)


def test_ending_early_does_not_give_a_token_back() -> None:
    gate = Admission({}, cpus=4, memory=100)
    first = claim("a", "api:1/10s")
    assert gate.ask(first, now=0.0)
    assert not gate.ask(claim("b", "api:1/10s"), now=1.0)
    assert items(gate.free(first, now=2.0)) == []
    assert items(gate.tick(10.0)) == ["b"]


def test_places_of_a_name_are_shared_by_claims_that_differ_in_everything_else() -> None:
    gate = Admission({}, cpus=4, memory=100)
    first = claim("a", "gpu:1")
    assert gate.ask(first)
    assert not gate.ask(claim("b", "gpu:1", "api:9/s"))
    assert not gate.ask(claim("c", "gpu:1", memory=10, priority=1))
    assert gate.ask(claim("other", memory=10))
    assert items(gate.free(first)) == ["c"]


def test_a_changed_limit_holds_as_long_as_components_say_what_they_said() -> None:
    gate = Admission({}, cpus=4, memory=100)
    first = claim("a", "gpu:1")
    assert gate.ask(first)
    assert not gate.ask(claim("b", "gpu:1"))
    gate.change(Limit("gpu", 1), Limit("gpu", 2))
    assert items(gate.tick(0.0)) == ["b"]
    gate.change(Limit("gpu", 1), Limit("gpu", 1))
    assert not gate.ask(claim("c", "gpu:1"))
    assert items(gate.free(first)) == []  # one is left
    assert gate.ask(claim("d", "gpu:3"))  # a cell that was run again with another number
    assert gate.ask(claim("e", "api:1/10s"), now=1.0)
    assert not gate.ask(claim("f", "api:1/10s"), now=2.0)
    gate.change(Limit("api", 1, 10.0), Limit("api", 1, 5.0))
    assert gate.wake() == 6.0
    assert items(gate.tick(6.0)) == ["f"]


def test_larger_priority_gets_the_next_token() -> None:
    gate = Admission({}, cpus=4, memory=100)
    assert gate.ask(claim("a", "api:1/10s"), now=0.0)
    assert not gate.ask(claim("low", "api:1/10s"), now=1.0)
    assert not gate.ask(claim("high", "api:1/10s", priority=5), now=2.0)
    assert items(gate.tick(10.0)) == ["high"]


def test_a_claim_that_is_not_wanted_any_more_costs_no_token() -> None:
    gate = Admission({}, cpus=4, memory=100)
    gate.wanted = lambda one: one.item != "cancelled"
    assert gate.ask(claim("a", "api:1/10s"), now=0.0)
    for name in ("cancelled", "cancelled", "b"):
        assert not gate.ask(claim(name, "api:1/10s"), now=1.0)
    assert items(gate.tick(10.0)) == ["b"]
    assert gate.waiting == 0


def test_a_dropped_claim_is_never_let_in() -> None:
    gate = Admission({}, cpus=4, memory=100)
    running = claim("a", "gpu:1")
    assert gate.ask(running)
    late, other = claim("late", "gpu:1"), claim("other", "gpu:1")
    assert not gate.ask(late)
    assert not gate.ask(other)
    assert gate.drop([late, running]) == [late]
    assert gate.drop([late]) == []
    assert items(gate.free(running)) == ["other"]


LIMITS = ("gpu:2", "api:3/10s", "db:1/4s", "db:1")


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(LIMITS), max_size=3, unique=True),
            st.integers(-1, 1),
            st.sampled_from([0, 0, 60]),
            st.sampled_from([0.0, 0.0, 0.5, 3.0]),
            st.integers(0, 2),
        ),
        max_size=30,
    )
)
def test_every_claim_gets_its_turn_and_no_limit_is_broken(
    wanted: list[tuple[list[str], int, int, float, int]],
) -> None:
    gate = Admission({}, cpus=4, memory=100)
    now = 0.0
    running: list[Claim] = []
    starts: dict[Limit, list[float]] = {}
    seen: list[object] = []

    def begin(claims: list[Claim]) -> None:
        for one in claims:
            running.append(one)
            seen.append(one.item)
            for limit in one.limits:
                times = starts.setdefault(limit, [])
                times.append(now)
                if limit.period:
                    assert sum(at > now - limit.period for at in times) <= limit.most
                else:
                    assert sum(limit in other.limits for other in running) <= limit.most
        assert sum(one.memory for one in running) <= 100

    for number, (limits, priority, memory, passes, ends) in enumerate(wanted):
        now += passes
        one = claim(number, *limits, priority=priority, memory=memory)
        if gate.ask(one, now):
            begin([one])
        for _ in range(min(ends, len(running))):
            begin(gate.free(running.pop(0), now))
    while running or gate.waiting:
        if running:
            begin(gate.free(running.pop(0), now))
        else:  # only time can help, and `wake` says how much of it is enough
            at = gate.wake()
            assert at is not None
            now = max(now, at)
            admitted = gate.tick(now)
            assert admitted
            begin(admitted)
    assert sorted(seen) == list(range(len(wanted)))  # type: ignore[type-var]
