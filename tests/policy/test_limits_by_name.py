"""Limits by name, shared by all runs of a session."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twingraph_nb import component, pipeline
from twingraph_nb.errors import DefinitionError
from twingraph_nb.limit import Limit, read_limits


class Most:
    """Counts how many are inside at once."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *how: object) -> None:
        with self._lock:
            self.inside -= 1


def test_so_many_at_once_over_components_platform_kinds_and_runs() -> None:
    seen = Most()

    @component(limit="gpu:2")
    async def train(x: int) -> int:
        with seen:
            for _ in range(5):
                await asyncio.sleep(0)
        return x

    @component(limit="gpu:2")
    def test(x: int) -> int:
        with seen:
            return x

    @pipeline()
    def flow() -> object:
        return [test(train(x)) for x in range(20)]

    runs = [flow(), flow()]
    assert [run.result(60) for run in runs] == [list(range(20))] * 2  # type: ignore[attr-defined]
    assert seen.most == 2


def test_what_is_over_the_rate_waits_while_the_rest_is_done() -> None:
    @component(limit="api:5/1h")
    async def call(x: int) -> int:
        return x

    tasks = [call(x) for x in range(8)]
    assert [t.result(30) for t in tasks[:5]] == [0, 1, 2, 3, 4]  # type: ignore[attr-defined]
    assert [t.state for t in tasks[5:]] == ["ready"] * 3  # type: ignore[attr-defined]


def test_each_gets_its_turn_when_tokens_come_back() -> None:
    @component(limit="api:5/0.1s")
    async def call(x: int) -> int:
        return x

    assert call.map(range(14)).result(60) == list(range(14))  # type: ignore[attr-defined]


def test_several_limits_hold_together() -> None:
    seen = Most()

    @component(limit=["api:100/s", "api:1"])
    async def call(x: int) -> int:
        with seen:
            await asyncio.sleep(0)
        return x

    assert call.map(range(10)).result(60) == list(range(10))  # type: ignore[attr-defined]
    assert seen.most == 1


def test_what_waits_for_a_token_does_not_hold_others_up() -> None:
    @component(limit="slow:1/1h")
    def limited(x: int) -> int:
        return x

    @component()
    def free(x: int) -> int:
        return x

    assert limited(1).result(30) == 1  # type: ignore[attr-defined]
    waits = limited(2)
    assert free(3).result(30) == 3  # type: ignore[attr-defined]
    assert waits.state == "ready"  # type: ignore[attr-defined]
    waits.cancel()  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="cancelled"):
        waits.result(30)  # type: ignore[attr-defined]


def test_cancelled_tasks_cost_no_token() -> None:
    @component(limit="api:1/0.3s")
    def call(x: int) -> int:
        return x

    assert call(0).result(30) == 0  # type: ignore[attr-defined]
    dropped = [call(x) for x in range(1, 200)]
    last = call(200)
    for one in dropped:
        one.cancel()  # type: ignore[attr-defined]
    assert last.result(20) == 200  # type: ignore[attr-defined]  # else a minute


def test_a_failed_task_gives_its_place_back() -> None:
    @component(limit="gpu:1", retries=2, delay=0)
    def broken(x: int) -> int:
        raise ValueError(str(x))

    @component(limit="gpu:1")
    def sound(x: int) -> int:
        return x

    tasks = [broken(1), sound(2), broken(3)]
    assert tasks[1].result(30) == 2  # type: ignore[attr-defined]
    for task in tasks[::2]:
        with pytest.raises(ValueError, match=r"1|3"):
            task.result(30)  # type: ignore[attr-defined]
    assert sound(4).result(30) == 4  # type: ignore[attr-defined]


def test_one_name_with_two_meanings_is_an_error_that_names_both() -> None:
    @component(limit="api:60/min")
    def put(x: int) -> int:
        return x

    @component(limit="api:30/min")
    def get(x: int) -> int:
        return x

    assert put(1).result(30) == 1  # type: ignore[attr-defined]
    with pytest.raises(DefinitionError) as caught:
        get(1).result(30)  # type: ignore[attr-defined]
    assert str(caught.value) == (
        "the limit 'api' is 30/min in component get, but 60/min in component put: "
        "say the same in both, or take another name"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("gpu:2", (Limit("gpu", 2),)),
        ("openai:60/min", (Limit("openai", 60, 60.0),)),
        ("openai : 60 / minutes, gpu:1", (Limit("gpu", 1), Limit("openai", 60, 60.0))),
        (["a.b-c:5/10s", "a.b-c:2"], (Limit("a.b-c", 2), Limit("a.b-c", 5, 10.0))),
        ("x:1/s", (Limit("x", 1, 1.0),)),
        ("x:1000/day", (Limit("x", 1000, 86400.0),)),
        ("x:3/1.5h", (Limit("x", 3, 5400.0),)),
        (None, ()),
    ],
)
def test_a_limit_is_read_from_text(text: object, wanted: object) -> None:
    assert read_limits(text) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu", "'limit' wants a name and how many, such as 'gpu:2'"),
        ("gpu:two", "'limit' wants a name and how many"),
        ("gpu:0", "'limit' wants a whole number, 1 or more"),
        ("api:5/fortnight", "'limit' wants a time after '/'"),
        ("api:5/0s", "'limit' wants a time after '/'"),
        ("gpu:2,gpu:3", "'limit' says both gpu:2 and gpu:3"),
        (7, "'limit' wants a name and how many"),
    ],
)
def test_a_limit_that_cannot_be_read_is_an_error_of_the_cell(text: object, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):

        @component(limit=text)
        def work(x: int) -> int:
            return x


@given(
    st.builds(
        Limit,
        st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True),
        st.integers(1, 10**6),
        st.sampled_from([0.0, 1.0, 2.5, 60.0, 90.0, 3600.0, 86400.0]),
    )
)
def test_what_a_limit_shows_reads_back_as_itself(limit: Limit) -> None:
    assert read_limits(str(limit)) == (limit,)


def test_what_is_in_the_store_costs_no_token() -> None:
    @component(limit="api:2/1h", cache=True)
    def fetch(x: int) -> int:
        return x

    @pipeline()
    def flow() -> object:
        return [fetch(1), fetch(2)]

    for _ in range(3):
        assert flow().result(30) == [1, 2]  # type: ignore[attr-defined]
    again = fetch(1)
    assert (again.result(30), again.state) == (1, "reused")  # type: ignore[attr-defined]
    waits = fetch(3)
    assert fetch(2).result(30) == 2  # type: ignore[attr-defined]
    assert waits.state == "ready"  # type: ignore[attr-defined]
    waits.cancel()  # type: ignore[attr-defined]


def test_a_resumed_run_takes_finished_tasks_over_without_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TWINGRAPH_KEEP_AFTER", "0")
    monkeypatch.setenv("SERVICE_IS_DOWN", "1")

    @component(limit="api:3/1h")
    def fetch(x: int) -> int:
        return x

    @component()
    def total(xs: list[int]) -> int:
        if "SERVICE_IS_DOWN" in os.environ:
            raise ConnectionError("no route")
        return sum(xs)

    @pipeline()
    def flow() -> object:
        return total(fetch.map([1, 2, 3]))

    run = flow()
    with pytest.raises(ConnectionError):
        run.result(30)  # type: ignore[attr-defined]
    monkeypatch.delenv("SERVICE_IS_DOWN")
    assert run.resume().result(30) == 6  # type: ignore[attr-defined]
