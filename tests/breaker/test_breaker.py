"""The circuit breaker: when it opens, who may try, and that nothing keeps a place for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from twingraph_nb.breaker import Breaker, BreakerRule, read_breaker
from twingraph_nb.errors import BreakerOpen


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def failing() -> None:
    raise ConnectionError("no route")


def opened(*, failures: int = 2, probes: int = 1, errors: object = ()) -> tuple[Breaker, Clock]:
    """A breaker that has just opened, and its clock."""
    clock = Clock()
    breaker = Breaker("api", failures=failures, reset=30, probes=probes, errors=errors, clock=clock)
    for _ in range(failures):
        with pytest.raises(ConnectionError):
            breaker.call(failing)
    assert breaker.state == "open"
    return breaker, clock


def refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except BreakerOpen:
        return True
    return False


def test_it_opens_after_so_many_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker("api", failures=3)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            breaker.call(failing)
    assert breaker.call(lambda: 7) == 7  # a success starts the count again
    for _ in range(2):
        with pytest.raises(ConnectionError):
            breaker.call(failing)
    assert breaker.state == "closed"
    with pytest.raises(ConnectionError):
        breaker.call(failing)
    assert breaker.state == "open"


def test_while_open_it_calls_nothing_and_says_since_when_why_and_until_when() -> None:
    breaker, clock = opened()
    clock.now += 12
    called: list[int] = []
    with pytest.raises(BreakerOpen) as caught:
        breaker.call(called.append, 1)
    assert called == []
    error = caught.value
    assert (error.breaker, error.since, error.again) == ("api", 12.0, 18.0)
    assert str(error) == (
        "the circuit breaker 'api' has been open for 12 s, because of ConnectionError: no route; "
        "it will be tried again in 18 s"
    )


def test_after_its_time_one_call_may_try_and_a_success_closes_it() -> None:
    breaker, clock = opened()
    clock.now += 30
    trying = breaker.enter()
    assert breaker.state == "half-open"
    assert refused(breaker.enter)
    trying.ended()
    assert breaker.state == "closed"
    assert breaker.call(lambda: 1) == 1


def test_a_failed_try_opens_it_for_another_whole_time() -> None:
    breaker, clock = opened(failures=5)
    clock.now += 30
    with pytest.raises(ConnectionError):
        breaker.call(failing)
    assert breaker.state == "open"
    clock.now += 29
    assert refused(breaker.enter)
    clock.now += 1
    assert breaker.call(lambda: 1) == 1
    assert breaker.state == "closed"


def test_as_many_tries_as_it_has_probes_and_all_of_them_must_succeed() -> None:
    breaker, clock = opened(probes=2)
    clock.now += 30
    first, second = breaker.enter(), breaker.enter()
    assert refused(breaker.enter)
    first.ended()
    assert breaker.state == "half-open"
    assert refused(breaker.enter)
    second.ended()
    assert breaker.state == "closed"


def test_an_error_that_does_not_count_gives_the_place_back_without_a_verdict() -> None:
    breaker, clock = opened(errors=(OSError,))
    clock.now += 30
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            breaker.call(lambda: 1 // 0)
        assert breaker.state == "half-open"
    assert breaker.call(lambda: 1) == 1
    assert breaker.state == "closed"


def test_errors_that_do_not_count_never_open_it() -> None:
    breaker = Breaker("api", failures=1, errors="OSError")
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            breaker.call(lambda: 1 // 0)
    assert breaker.state == "closed"
    with pytest.raises(ConnectionError):  # a subclass of OSError
        breaker.call(failing)
    assert breaker.state == "open"


def test_a_cancelled_try_gives_its_place_back() -> None:
    breaker, clock = opened()
    clock.now += 30

    async def scene() -> None:
        begun = asyncio.Event()

        async def hangs() -> None:
            begun.set()
            await asyncio.Event().wait()

        trying = asyncio.create_task(breaker.call_async(hangs))
        await begun.wait()
        assert refused(breaker.enter)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        assert breaker.state == "half-open"

        async def answers() -> int:
            return 3

        assert await breaker.call_async(answers) == 3

    asyncio.run(scene())
    assert breaker.state == "closed"


def test_a_try_that_hangs_keeps_its_place_only_for_the_reset_time() -> None:
    breaker, clock = opened()
    clock.now += 30
    hanging = breaker.enter()
    clock.now += 29
    with pytest.raises(BreakerOpen, match="being tried again by other calls; next in 1 s"):
        breaker.enter()
    clock.now += 1
    trying = breaker.enter()
    hanging.ended(ConnectionError())  # too late: it has no say any more
    assert breaker.state == "half-open"
    trying.ended()
    assert breaker.state == "closed"


def test_what_began_before_it_opened_has_no_say_when_it_ends_later() -> None:
    breaker, clock = opened()
    breaker.reset()
    slow = breaker.enter()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            breaker.call(failing)
    clock.now += 30
    trying = breaker.enter()
    slow.ended()
    assert breaker.state == "half-open"
    trying.ended(ConnectionError("still"))
    assert breaker.state == "open"


def test_of_many_threads_at_once_only_the_probes_get_through() -> None:
    breaker, clock = opened(probes=3)
    clock.now += 30
    start, hold = threading.Barrier(16), threading.Event()
    through: list[str] = []
    away: list[str] = []
    counted = threading.Semaphore(0)

    def work() -> None:
        through.append("x")
        counted.release()
        hold.wait()

    def call() -> None:
        start.wait()
        try:
            breaker.call(work)
        except BreakerOpen:
            away.append("x")
            counted.release()

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for _ in threads:
        counted.acquire()
    hold.set()
    for thread in threads:
        thread.join()
    assert (len(through), len(away), breaker.state) == (3, 13, "closed")


def test_as_a_decorator_it_guards_functions_and_async_functions() -> None:
    breaker = Breaker("api", failures=1)

    @breaker
    def fetch(x: int, *, twice: bool = False) -> int:
        """Get it."""
        return 2 * x if twice else x

    @breaker
    async def fetch_async(x: int) -> int:
        raise ConnectionError(f"no {x}")

    assert (fetch(3, twice=True), fetch.__name__, fetch.__doc__) == (6, "fetch", "Get it.")
    with pytest.raises(ConnectionError):
        asyncio.run(fetch_async(1))  # type: ignore[arg-type]
    assert refused(lambda: fetch(3))
    assert asyncio.iscoroutinefunction(fetch_async)


def test_it_refuses_what_it_could_not_watch() -> None:
    breaker = Breaker("api")

    async def later() -> None: ...

    def steps() -> object:
        yield 1

    with pytest.raises(TypeError, match="later is async: `await breaker"):
        breaker.call(later)
    with pytest.raises(TypeError, match="steps is a generator"):
        breaker(steps)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("openai", BreakerRule("openai")),
        (True, BreakerRule("component")),
        ({"failures": 3, "reset": "1m"}, BreakerRule("component", 3, 60.0)),
        (
            "name=db, failures=2,reset=5s,probes=2,errors=OSError,KeyError",
            BreakerRule("db", 2, 5.0, 2, ("OSError", "KeyError")),
        ),
        (None, None),
        (False, None),
    ],
)
def test_it_is_read_from_options(given: object, wanted: object) -> None:
    assert read_breaker(given) == wanted


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"failuers": 3}, r"has no 'failuers' \(did you mean 'failures'\?\)"),
        ({"failures": 0}, "has a 'failures' that wants a whole number, 1 or more"),
        ({"reset": "soon"}, "has a 'reset' that wants a time above 0"),
        (" ", "wants a name"),
        (5, "wants a name, True, a Breaker"),
    ],
)
def test_what_it_cannot_read_is_named(given: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_breaker(given)
