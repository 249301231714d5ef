"""Admission: who may start."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twingraph_nb.scheduler.limits import Admission, Claim


def claim(item: object, lane: str = "threads", **facts: object) -> Claim:
    return Claim(item, lane, "run", **facts)  # type: ignore[arg-type]


def items(claims: list[Claim]) -> list[object]:
    return [one.item for one in claims]


def test_lane_admits_up_to_its_places_then_one_for_each_that_is_given_back() -> None:
    gate = Admission({"threads": 2}, cpus=4, memory=100)
    first, second, third = claim("a"), claim("b"), claim("c")
    assert [gate.ask(c) for c in (first, second, third)] == [True, True, False]
    assert items(gate.free(first)) == ["c"]
    assert items(gate.free(second)) == []


def test_larger_priority_goes_first_then_first_come_first_served() -> None:
    gate = Admission({"threads": 1}, cpus=4, memory=100)
    running = claim("running")
    gate.ask(running)
    for name, priority in (("low", 0), ("high", 5), ("low2", 0), ("high2", 5)):
        assert not gate.ask(claim(name, priority=priority))
    order = []
    for _ in range(4):
        (running,) = gate.free(running)
        order.append(running.item)
    assert order == ["high", "high2", "low", "low2"]


def test_claim_held_up_by_its_component_lets_others_pass() -> None:
    gate = Admission({}, cpus=4, memory=100)
    assert gate.ask(claim("a1", component="a", component_limit=1))
    assert not gate.ask(claim("a2", component="a", component_limit=1))
    assert gate.ask(claim("b1", component="b", component_limit=1))


def test_run_limit_counts_only_its_own_run() -> None:
    gate = Admission({}, cpus=4, memory=100)
    assert gate.ask(Claim(1, "threads", "r1", run_limit=1))
    assert not gate.ask(Claim(2, "threads", "r1", run_limit=1))
    assert gate.ask(Claim(3, "threads", "r2", run_limit=1))


def test_more_urgent_small_task_goes_before_a_large_one_that_waits() -> None:
    gate = Admission({}, cpus=4, memory=100)
    assert gate.ask(claim("running", memory=60))
    assert not gate.ask(claim("large", memory=90))
    assert not gate.ask(claim("small", memory=10))
    assert gate.ask(claim("urgent", memory=10, priority=5))


def test_place_given_back_goes_to_one_that_needs_the_same() -> None:
    gate = Admission({"threads": 1}, cpus=4, memory=100)
    running = claim("running", cpus=1)
    assert gate.ask(running)
    assert not gate.ask(claim("first", cpus=1))
    assert not gate.ask(claim("second", cpus=1))
    (first,) = gate.free(running)
    (second,) = gate.free(first)
    assert (first.item, second.item, gate.waiting) == ("first", "second", 0)
    assert gate.free(second) == []
    assert gate.ask(claim("last", cpus=4))


def test_small_task_does_not_overtake_a_large_one_for_memory() -> None:
    gate = Admission({}, cpus=4, memory=100)
    running = claim("running", memory=60)
    assert gate.ask(running)
    assert not gate.ask(claim("large", memory=90))
    assert not gate.ask(claim("small", memory=10))
    assert gate.ask(claim("none"))
    assert items(gate.free(running)) == ["large", "small"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x", "y"]),
            st.integers(0, 3),
            st.integers(0, 2),
            st.integers(0, 50),
            st.integers(-2, 2),
        ),
        max_size=40,
    )
)
def test_every_claim_gets_its_turn_and_no_limit_is_broken(
    wanted: list[tuple[str, int, int, int, int]],
) -> None:
    gate = Admission({"x": 2}, cpus=3, memory=100)
    limit = 2
    running: list[Claim] = []
    seen: list[object] = []

    def begin(claims: list[Claim]) -> None:
        running.extend(claims)
        seen.extend(c.item for c in claims)
        assert sum(c.lane == "x" for c in running) <= 2
        assert sum(c.cpus for c in running) <= 3
        assert sum(c.memory for c in running) <= 100
        for name in {c.component for c in running if c.component_limit}:
            assert sum(c.component == name for c in running if c.component_limit) <= limit

    for number, (lane, cpus, component, memory, priority) in enumerate(wanted):
        one = claim(
            number,
            lane,
            cpus=cpus,
            memory=memory,
            priority=priority,
            component=str(component),
            component_limit=limit if component else 0,
        )
        if gate.ask(one):
            begin([one])
    while running:
        begin(gate.free(running.pop(0)))
    assert sorted(seen) == list(range(len(wanted)))  # type: ignore[type-var]
    assert gate.waiting == 0
