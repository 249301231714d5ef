"""Groups with a policy, and attempts: what becomes of their members, and of the run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from twingraph_nb import (
    Settled,
    ask,
    async_component,
    at_least,
    attempt,
    component,
    critical,
    get_session,
    group,
    pipeline,
)
from twingraph_nb.errors import (
    DefinitionError,
    GroupFailed,
    RunError,
    TaskCancelled,
    TaskError,
    TaskTimeout,
)
from twingraph_nb.events import CancelAsked
from twingraph_nb.events import TaskCancelled as CancelledEvent


@component()
def good(x: Any = 1) -> Any:
    return x


@component()
def bad(x: Any = 1) -> Any:
    raise ValueError(f"bad {x}")


@async_component()
async def hangs(x: int = 0) -> int:
    await asyncio.Event().wait()
    return x


@component(platform="process")
def names_of(members: list) -> list:
    return [member.name for member in members if member.ok]


@component()
def note(where: list, what: str) -> str:
    where.append(what)
    return what


def states(run: Any) -> list[tuple[str, str]]:
    return [(task.name, task.state) for task in run.tasks]


def started(run: Any, name: str) -> None:
    """Wait until a task of that name runs."""
    while ("running") not in [t.state for t in run.tasks if t.name == name]:
        threading.Event().wait(0.01)


def test_a_strict_group_gives_all_or_fails_with_the_first_error() -> None:
    @pipeline()
    def fine() -> Any:
        with group("both") as both:
            good(1)
            good(2)
        return both

    @pipeline()
    def fails() -> Any:
        with group("both") as both:
            good(1)
            bad(2)
            hangs()
        return good(both)

    assert fine().result(60) == [Settled("good", "succeeded", 1), Settled("good", "succeeded", 2)]
    run: Any = fails()
    with pytest.raises(ValueError, match="bad 2") as caught:
        run.result(60)
    assert "in group both: 1 of 3 failed" in caught.value.__notes__
    assert run.state == "failed"
    assert dict(states(run))["hangs"] == "cancelled"


def test_members_that_are_not_needed_any_more_are_cancelled_and_it_is_said() -> None:
    @pipeline()
    def quorum() -> Any:
        with group("votes", policy=at_least(2)) as votes:
            good(1)
            hangs()
            bad(3)
            good(4)
        return votes

    run: Any = quorum()
    found = run.result(60)
    assert [(one.state, one.value) for one in found] == [
        ("succeeded", 1),
        ("cancelled", None),
        ("failed", None),
        ("succeeded", 4),
    ]
    assert found[2].error == "ValueError: bad 3"
    assert run.state == "succeeded"
    events = [e for batch in get_session().history(run.id) for e in batch.events]
    why = "not needed any more: votes has what at_least(2) asks for"
    assert [e.why for e in events if isinstance(e, CancelAsked)] == [why]
    assert [e.why for e in events if isinstance(e, CancelledEvent)] == [why]


def test_a_group_fails_as_soon_as_too_few_are_left() -> None:
    @pipeline()
    def quorum() -> Any:
        with group("votes", policy=at_least(2)) as votes:
            hangs()
            bad(2)
            bad(3)
        return votes

    with pytest.raises(GroupFailed, match=r"group votes wants at_least\(2\), but 0 of 3") as caught:
        quorum().result(60)  # type: ignore[attr-defined]
    assert [one.state for one in caught.value.members] == ["cancelled", "failed", "failed"]


def test_best_effort_never_fails_and_critical_members_decide() -> None:
    @pipeline()
    def best() -> Any:
        with group(policy="best_effort") as found:
            bad()
        return found

    @pipeline()
    def trained(must: Any) -> Any:
        with group(policy=critical(must, good)) as found:
            bad()
            good()
        return found

    assert [one.ok for one in best().result(60)] == [False]
    assert [one.ok for one in trained("good").result(60)] == [False, True]
    with pytest.raises(GroupFailed, match="wants critical"):
        trained(bad).result(60)
    with pytest.raises(GroupFailed, match="wants critical"):
        trained("never called").result(60)


def test_a_function_decides_and_nothing_said_is_a_no() -> None:
    def two_words(ended: Sequence[Settled]) -> bool | None:
        return True if sum(len(one.value or "") for one in ended) >= 5 else None

    @pipeline()
    def said(*words: str) -> Any:
        with group(policy=two_words) as found:
            for word in words:
                good(word)
        return found

    assert len(said("ab", "cde").result(60)) == 2
    with pytest.raises(GroupFailed, match="wants two_words"):
        said("ab").result(60)
    with pytest.raises(DefinitionError, match="a group's policy is 'strict'"), group(policy="most"):
        pass


def test_groups_stand_in_groups_components_cells_and_async_functions() -> None:
    @component()
    def inside() -> int:
        with group("inner", policy=at_least(1)) as found:
            bad()
            good(5)
        return sum(one.value for one in found.result() if one.ok)

    @pipeline()
    async def nested() -> Any:
        with group("outer") as outer:
            inside()
            with group("middle", policy="best_effort"):
                bad()
        members = await outer
        return [members[0].value, members[1].value[0].ok]

    assert nested().result(60) == [5, False]
    with group("loose") as found:
        first = good(3)
        assert first.outputs["output"] == 3 if "output" in first.ports else True
    assert [one.value for one in found.result(60)] == [3]  # type: ignore[attr-defined]


def test_what_a_member_calls_is_its_own_failure_not_the_run_s() -> None:
    @pipeline()
    def careless() -> Any:
        bad(7)
        return hangs()

    @pipeline()
    def contains() -> Any:
        with group(policy="best_effort") as found:
            careless()
            good(1)
        return found

    run: Any = contains()
    found = run.result(60)
    assert [(one.name, one.state, one.error) for one in found] == [
        ("careless", "failed", "ValueError: bad 7"),
        ("good", "succeeded", ""),
    ]
    assert run.state == "succeeded"


def test_what_fails_when_its_group_has_its_value_is_not_the_run_s_either() -> None:
    said = threading.Event()

    @pipeline()
    def late() -> Any:
        said.wait(30)
        return bad(8)

    @pipeline()
    def contains() -> Any:
        with group(policy=at_least(1)) as found:
            good(1)
            late()
        found.result()  # type: ignore[attr-defined]
        said.set()
        return good(2)

    run: Any = contains()
    assert run.result(60) == 2
    assert run.state == "succeeded"


def test_a_cancelled_member_counts_as_one_that_did_not_succeed() -> None:
    @pipeline()
    def strict(policy: str) -> Any:
        with group(policy=policy) as found:
            waits: Any = hangs()
        waits.cancel()
        return found

    with pytest.raises(TaskCancelled):
        strict("strict").result(60)
    assert [one.state for one in strict("best_effort").result(60)] == ["cancelled"]


def test_an_approval_that_nobody_gives_is_no_yes() -> None:
    @pipeline()
    def release(policy: Any) -> Any:
        with group("approvals", policy=policy) as found:
            ask("may it go out?", timeout=0.05, required=True)
            good("built")
        return found

    run: Any = release("strict")
    with pytest.raises(TaskTimeout, match="was not answered"):
        run.result(60)
    assert run.state == "failed"
    found = release(at_least(1)).result(60)
    assert found[1].ok
    assert not found[0].ok
    with pytest.raises(GroupFailed, match="wants at_least"):
        release(at_least(2)).result(60)


def test_settled_members_travel_and_the_error_of_the_block_s_code_is_the_body_s() -> None:
    @pipeline()
    def travels() -> Any:
        with group(policy="best_effort") as found:
            bad()
            good(1)
        return names_of(found)

    @pipeline()
    def breaks() -> Any:
        with group("open") as found:
            hangs()
            raise KeyError("own code")
        return found

    assert travels().result(60) == ["good"]
    run: Any = breaks()
    with pytest.raises(KeyError, match="own code"):
        run.result(60)
    assert dict(states(run))["hangs"] == "cancelled"


def test_a_block_that_is_interrupted_cancels_its_members_and_catches_nothing() -> None:
    caught: list[BaseException] = []

    def interrupted() -> Any:
        with attempt("typing", catch=caught.append) as tried:
            hangs()
            found.append(tried)
            raise KeyboardInterrupt

    found: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(TaskCancelled, match="the code of typing raised KeyboardInterrupt"):
        found[0].result(60)
    assert caught == []
    assert good(4).result(60) == 4  # type: ignore[attr-defined]


def test_a_function_that_ends_the_program_only_fails_its_group() -> None:
    def leaves(*args: object) -> Any:
        raise SystemExit(3)

    @pipeline()
    def quits(policy: Any) -> Any:
        with group("last", policy=policy) as found:
            good(1)
        return found

    @pipeline()
    def maps() -> Any:
        return good.map(leaves() for _ in range(3))

    for run in (quits(leaves), maps()):
        with pytest.raises(TaskError, match="raised SystemExit"):
            run.result(60)  # type: ignore[attr-defined]
    assert good(4).result(60) == 4  # type: ignore[attr-defined]


def test_a_plan_knows_a_group_whose_members_are_kept() -> None:
    kept: Any = good.on(cache=True)

    @pipeline()
    def many(x: int) -> Any:
        with group("both") as both:
            kept(1)
            kept(x)
        return kept(both)

    many(2).result(60)
    assert many.plan(2).counts == {"run": 0, "reuse": 3, "blocked": 0}  # type: ignore[attr-defined]
    plan: Any = many.plan(3)
    assert [row.action for row in plan.rows] == ["run", "reuse", "run", "blocked"]
    assert many(3).result(60)


# -- attempts -------------------------------------------------------------------------------------


def test_an_attempt_gives_its_last_value_and_tidies_up() -> None:
    said: list[str] = []

    @pipeline()
    def tries(step: Any) -> Any:
        with attempt(catch=lambda e: good(f"caught {e}"), finally_=lambda: said.append("end")) as y:
            good(step(2))
        return good(y)

    assert tries(good).result(60) == 2
    assert tries(bad).result(60) == "caught bad 2"
    assert said == ["end", "end"]


def test_an_error_of_the_block_s_own_code_is_caught_too() -> None:
    @pipeline()
    def tries() -> Any:
        with attempt(catch=lambda e: f"{type(e).__name__}: {e}") as y:
            good(bad(1).result())
        return y

    assert tries().result(60) == "ValueError: bad 1"


def test_without_a_handler_the_clean_up_runs_and_the_error_goes_on() -> None:
    said: list[str] = []

    @pipeline()
    def tries(tidy: Any) -> Any:
        with attempt("load", finally_=tidy) as y:
            bad(1)
        return y

    def tidy() -> None:
        said.append("tidied")

    def breaks() -> None:
        raise OSError("no room left")

    with pytest.raises(ValueError, match="bad 1"):
        tries(tidy).result(60)
    assert said == ["tidied"]
    with pytest.raises(OSError, match="no room left"):
        tries(breaks).result(60)


@pytest.mark.parametrize("how", ["cancel", "fail", "timeout", "group"])
def test_the_clean_up_runs_when_the_run_stops_and_after_its_members(how: str) -> None:
    said: list[str] = []

    @async_component()
    async def works() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            said.append("stopped")

    def tidy() -> Any:
        return good(note_down("tidied"))

    def note_down(text: str) -> str:
        said.append(text)
        return text

    @pipeline(timeout=0.5 if how == "timeout" else None)
    def tries() -> Any:
        with attempt("load", finally_=tidy) as y:
            works()
        if how == "fail":
            bad()
        if how == "group":
            y.cancel()  # type: ignore[attr-defined]
        return y

    run: Any = tries()
    if how == "cancel":
        started(run, "works")
        run.cancel()
    with pytest.raises((RunError, ValueError, TaskCancelled)):
        run.result(60)
    assert said in (["stopped", "tidied"], ["tidied"])  # it may not have begun
    ended = dict(states(run))
    assert ended["load"] == "cancelled"
    assert ended["finally"] == ended["good"] == "succeeded"


def test_a_clean_up_in_a_run_that_stops_may_call_all_there_is() -> None:
    @pipeline()
    def nested() -> Any:
        return good(good(3))

    def tidy() -> Any:
        with group("many", policy=at_least(3)) as many:
            good.map(iter(range(5)), window=2)
            nested()
            with attempt(catch=good):
                bad(1)
        return many

    @pipeline()
    def tries() -> Any:
        with attempt(finally_=tidy) as y:
            hangs()
        return y

    run: Any = tries()
    started(run, "hangs")
    run.cancel()
    with pytest.raises(RunError):
        run.result(60)
    (tidied,) = [task for task in run.tasks if task.name == "finally"]
    assert [one.ok for one in tidied.result()] == [True] * 3
    assert [one.value for one in tidied.result()][:2] == [[*range(5)], 3]


def test_a_clean_up_in_a_run_that_stops_has_a_grace() -> None:
    @pipeline()
    def tries() -> Any:
        with attempt(finally_=hangs, grace=0.05) as y:
            hangs()
        return y

    run: Any = tries()
    started(run, "hangs")
    run.cancel()
    with pytest.raises(RunError):
        run.result(60)
    assert {state for _, state in states(run)} == {"cancelled"}


def test_a_run_that_is_cancelled_during_the_clean_up_lets_it_end() -> None:
    begun, may_end = threading.Event(), threading.Event()

    @component()
    def tidies() -> str:
        begun.set()
        may_end.wait(30)
        return "tidy"

    @pipeline()
    def tries() -> Any:
        with attempt(finally_=tidies) as y:
            good(1)
        return y

    run: Any = tries()
    assert begun.wait(30)
    run.cancel()
    get_session().driver.flush()
    may_end.set()
    with pytest.raises(RunError):
        run.result(60)
    assert dict(states(run))["tidies"] == "succeeded"
