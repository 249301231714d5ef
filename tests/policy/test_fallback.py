"""What stands in when all attempts have failed."""

from __future__ import annotations

import os
import threading

import pytest

from twingraph_nb import component, get_session, pipeline
from twingraph_nb.errors import DefinitionError
from twingraph_nb.events import ComponentUsed, Event, TaskDone, TaskErred, decode, encode
from twingraph_nb.graph.run import Run
from twingraph_nb.picture.screen import screen_of


def history(run: object) -> list[Event]:
    assert isinstance(run, Run)
    return [event for batch in get_session().history(run.id) for event in batch.events]


def test_a_plain_value_stands_in_and_what_needs_the_task_goes_on() -> None:
    @component(fallback=7)
    def broken(x: int) -> int:
        raise ConnectionError("no route")

    @component()
    def double(x: int) -> int:
        return 2 * x

    @pipeline()
    def flow() -> object:
        return double(broken(1))

    run = flow()
    assert run.result(30) == 14  # type: ignore[attr-defined]
    assert run.state == "succeeded"  # type: ignore[attr-defined]


def test_none_is_a_value_like_any_other() -> None:
    @component(fallback=None)
    def broken(x: int) -> object:
        raise ConnectionError("no route")

    assert broken(1).result(30) is None  # type: ignore[attr-defined]


def test_it_stands_in_only_after_the_last_attempt() -> None:
    tries: list[int] = []

    @component(retries=2, delay=0, fallback=-1)
    def broken(x: int) -> int:
        tries.append(x)
        if len(tries) < 3:
            raise ConnectionError("no route")
        return x

    assert broken(5).result(30) == 5  # type: ignore[attr-defined]
    assert tries == [5, 5, 5]


def test_a_function_gets_the_inputs_that_it_names() -> None:
    def zero(y: int, x: int) -> tuple[int, int]:
        return (x, y)

    @component(fallback=zero)
    def broken(x: int, y: int = 4, z: int = 5) -> tuple[int, int]:
        raise ConnectionError("no route")

    @component(fallback=lambda x: x + 1)
    def also_broken(x: int) -> int:
        raise ConnectionError("no route")

    assert broken(1).result(30) == (1, 4)  # type: ignore[attr-defined]
    assert also_broken(1).result(30) == 2  # type: ignore[attr-defined]


def test_another_component_stands_in_with_its_own_policy_and_is_a_task_of_the_run() -> None:
    tries: list[int] = []

    @component(retries=1, delay=0)
    def backup(x: int) -> int:
        tries.append(x)
        if len(tries) < 2:
            raise OSError("not yet")
        return 10 * x

    @component(fallback=backup)
    def broken(x: int) -> int:
        raise ConnectionError("no route")

    @component()
    def first() -> int:
        return 3

    @pipeline()
    def flow() -> object:
        return broken(first())

    run = flow()
    assert run.result(30) == 30  # type: ignore[attr-defined]
    assert [task.name for task in run.tasks] == ["first", "broken", "backup"]  # type: ignore[attr-defined]
    stand = run.tasks["backup"]  # type: ignore[attr-defined]
    assert (stand.group, stand.state, tries) == (1, "succeeded", [3, 3])


def test_the_log_says_who_stood_in_and_why_and_the_screen_shows_it() -> None:
    @component(name="backup")
    def other(x: int) -> int:
        return 9

    @component(fallback=other)
    def broken(x: int) -> int:
        raise ConnectionError("no route")

    @pipeline()
    def flow() -> object:
        return broken(1)

    run = flow()
    run.result(30)  # type: ignore[attr-defined]
    events = history(run)
    (erred,) = [event for event in events if isinstance(event, TaskErred)]
    assert (erred.fallback, erred.retryable) == ("component backup", False)
    assert (erred.error.type, erred.error.message) == ("ConnectionError", "no route")
    done = [event for event in events if isinstance(event, TaskDone) and event.task == 0]
    assert [(event.digest, event.kept) for event in done] == [(None, None)]
    (used,) = [e for e in events if isinstance(e, ComponentUsed) and e.name == "broken"]
    assert used.policy == {"fallback": "component backup"}
    assert decode(encode(events)) == events
    shown = screen_of(get_session().history(run.id)).tasks[0]  # type: ignore[attr-defined]
    assert shown.state == "succeeded"
    assert shown.why == "component backup stood in, because of ConnectionError: no route"
    assert shown.error is not None
    assert shown.error.message == "no route"
    said = run.tasks["broken"].logs  # type: ignore[attr-defined]
    assert said == "component backup stands in, because of ConnectionError: no route\n"


def test_when_it_fails_too_the_task_fails_and_both_errors_are_told() -> None:
    def also(x: int) -> int:
        raise KeyError("nothing here")

    @component(fallback=also, retries=1, delay=0)
    def broken(x: int) -> int:
        raise ConnectionError("no route")

    @pipeline()
    def flow() -> object:
        return broken(1)

    run = flow()
    with pytest.raises(KeyError, match="nothing here") as caught:
        run.result(30)  # type: ignore[attr-defined]
    assert isinstance(caught.value.__context__, ConnectionError)
    assert "in the fallback of broken, after ConnectionError: no route" in caught.value.__notes__
    assert run.state == "failed"  # type: ignore[attr-defined]
    assert run.tasks["broken"].state == "failed"  # type: ignore[attr-defined]


def test_an_equal_task_later_is_not_given_what_stood_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_IS_DOWN", "1")

    @component(cache=True, fallback=0)
    def fetch(x: int) -> int:
        if "SERVICE_IS_DOWN" in os.environ:
            raise ConnectionError("no route")
        return x

    @component(cache=True)
    def double(x: int) -> int:
        return 2 * x

    @pipeline()
    def flow() -> object:
        return double(fetch(8))

    assert flow().result(30) == 0  # type: ignore[attr-defined]
    monkeypatch.delenv("SERVICE_IS_DOWN")
    assert flow().result(30) == 16  # type: ignore[attr-defined]


def test_a_cancelled_task_and_a_skipped_one_have_no_fallback() -> None:
    @component()
    def broken() -> int:
        raise ConnectionError("no route")

    @component(fallback=1)
    def later(x: int) -> int:
        return x

    @pipeline(on_error="continue")
    def flow() -> object:
        return later(broken())

    run = flow()
    with pytest.raises(ConnectionError):
        run.result(30)  # type: ignore[attr-defined]
    assert run.tasks["later"].state == "skipped"  # type: ignore[attr-defined]


def test_a_fallback_that_wants_other_inputs_is_refused_at_its_definition() -> None:
    with pytest.raises(DefinitionError, match=r"wants an input 'url', which is none of x"):

        @component(fallback=lambda url: 1)
        def broken(x: int) -> int:
            return x

    with pytest.raises(DefinitionError, match="a component, a function or a plain value, not list"):

        @component(fallback=list)
        def broken_too(x: int) -> int:
            return x


def test_items_of_a_map_have_their_fallback_one_by_one() -> None:
    @component(fallback=lambda x: -x)
    def half(x: int) -> int:
        if x % 2:
            raise ValueError("odd")
        return x // 2

    assert half.map([1, 2, 3, 4]).result(30) == [-1, 1, -3, 2]  # type: ignore[attr-defined]


def test_cancelling_a_run_ends_what_stands_in() -> None:
    begun, held = threading.Event(), threading.Event()

    def waits(x: int) -> int:
        begun.set()
        while not held.wait(0.01):
            pass
        return x

    @component(fallback=waits)
    def broken(x: int) -> int:
        raise ConnectionError("no route")

    @pipeline()
    def flow() -> object:
        return broken(1)

    run = flow()
    assert begun.wait(30)
    run.cancel()  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="cancelled"):
        run.result(30)  # type: ignore[attr-defined]
    assert [task.state for task in run.tasks] == ["cancelled", "cancelled"]  # type: ignore[attr-defined]
    held.set()


def test_a_resumed_run_tries_the_failed_task_itself_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINGRAPH_KEEP_AFTER", "0")
    monkeypatch.setenv("SERVICE_IS_DOWN", "1")

    @component(fallback=lambda x: -x)
    def fetch(x: int) -> int:
        if "SERVICE_IS_DOWN" in os.environ:
            raise ConnectionError("no route")
        return x

    @component()
    def double(x: int) -> int:
        if "SERVICE_IS_DOWN" in os.environ and x < 0:
            raise ValueError("negative")
        return 2 * x

    @pipeline()
    def flow() -> object:
        return double(fetch(3))

    run = flow()
    with pytest.raises(ValueError, match="negative"):
        run.result(30)  # type: ignore[attr-defined]
    monkeypatch.delenv("SERVICE_IS_DOWN")
    assert run.resume().result(30) == 6  # type: ignore[attr-defined]
