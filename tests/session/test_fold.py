"""A run's whole state is rebuilt from its events alone."""

from __future__ import annotations

import asyncio
import contextlib
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twingraph_nb import (
    async_component,
    at_least,
    attempt,
    component,
    get_session,
    group,
    pipeline,
)
from twingraph_nb.errors import RunError, TaskError
from twingraph_nb.events import RunFinished
from twingraph_nb.scheduler.state import RunState

Fate = tuple[str, bool, tuple[int, ...]]
"""(what becomes of the task, sync or not, offsets of the earlier tasks it needs)"""

fates = st.lists(
    st.tuples(
        st.sampled_from(["fine", "fine", "fine", "fails", "flaky", "slow", "cancelled"]),
        st.booleans(),
        st.lists(st.integers(1, 6), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=14,
)


def outcome(fate: str, needs: object, tries: dict[int, int], number: int) -> int:
    tries[number] = tries.get(number, 0) + 1
    if fate == "fails" or (fate == "flaky" and tries[number] == 1):
        raise ValueError(fate)
    return number


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph=fates, on_error=st.sampled_from(["fail_fast", "continue"]), stop=st.integers(0, 40))
def test_fold_of_the_stored_events_is_the_live_state(
    graph: list[Fate], on_error: str, stop: int
) -> None:
    tries: dict[int, int] = {}

    @component(retries=1, delay=0.0)
    def sync_step(number: int, fate: str, needs: object) -> int:
        return outcome(fate, needs, tries, number)

    @async_component(retries=1, delay=0.001)
    async def async_step(number: int, fate: str, needs: object) -> int:
        if fate in ("slow", "cancelled"):
            await asyncio.sleep(random.random() * 0.01)
        return outcome(fate, needs, tries, number)

    @pipeline(on_error=on_error)
    def random_graph() -> object:
        tasks: list[object] = []
        for number, (fate, is_async, offsets) in enumerate(graph):
            needs = [tasks[number - k] for k in offsets if k <= number]
            task = (async_step if is_async else sync_step)(number, fate, needs)
            tasks.append(task)
            if fate == "cancelled":
                task.cancel()  # type: ignore[attr-defined]
        few = sync_step.map(iter(range(4)), fate="fine", needs=[], window=2)
        with group("some", policy=at_least(1)) as some:
            sync_step(100, graph[0][0], [])
            async_step(101, "slow", tasks[-1:])
        with attempt(catch=str, finally_=lambda: sync_step(102, "fine", [])) as tried:
            async_step(103, graph[-1][0], some)
        tasks.append(tried)
        return [few, sync_step.map([0, 1], fate="fine", needs=tasks)]

    run = random_graph()
    if stop == 0:
        run.cancel()  # type: ignore[attr-defined]
    with contextlib.suppress(ValueError, TaskError, RunError):
        run.result(20)  # type: ignore[attr-defined]
    assert run.done  # type: ignore[attr-defined]
    live: RunState = run.link.state  # type: ignore[attr-defined]

    folded = RunState()
    batches = get_session().history(run.id)  # type: ignore[attr-defined]
    events = [event for batch in batches for event in batch.events]
    assert [b.seq for b in batches] == [
        sum(len(b.events) for b in batches[:i]) for i in range(len(batches))
    ]
    for event in events:
        folded.handle(event)
    assert isinstance(events[-1], RunFinished)
    assert sum(isinstance(e, RunFinished) for e in events) == 1
    assert folded.states == live.states
    assert (folded.state, folded.error) == (live.state, live.error)
    assert all(state not in ("running", "waiting", "ready") for state in folded.states.values())
    for task in run.tasks:  # type: ignore[attr-defined]
        assert task.state == live.states.get(task.number, "cancelled")
