"""``%twingraph answer``: what is asked, and what is said to it."""

from __future__ import annotations

import pytest

from tests.faults.test_control import until
from twingraph_nb import ask, pipeline
from twingraph_nb.errors import RunError
from twingraph_nb.magics.status import COMMANDS


def answer(line: str) -> str:
    """What the cell shows for `%twingraph answer` and this line."""
    return str(COMMANDS["answer"](line.split()))


@pipeline
def release():
    return ask("Deploy?", name="go"), ask("Why so?", kind="text", name="why")


def test_questions_are_listed_and_answered_from_a_cell() -> None:
    run = release()
    until(lambda: len(run.link.questions) == 2)
    listed = answer(run.id)
    assert "Deploy?" in listed
    assert "yes or no" in listed
    assert "go is answered: yes" in answer(f"{run.id} go yes")
    with pytest.raises(RunError, match=r"was first, at 2.*, with: yes"):
        answer(f"{run.id} go no")
    assert "why is answered: it is time" in answer("last it is time")
    assert run.result(20) == (True, "it is time")


def test_a_plan_says_that_a_question_will_be_asked() -> None:
    planned = str(release.plan())
    assert "go" in planned
    assert "why" in planned


def test_an_answer_to_a_cancelled_run_counts_for_the_run_that_resumes_it() -> None:
    first = release()
    until(lambda: len(first.link.questions) == 2)
    first.cancel()
    until(lambda: first.done)
    assert f"kept: `twingraph resume {first.id}`" in answer(f"{first.id} go no")
    again = first.resume()
    until(lambda: len(again.link.questions) == 1)
    assert again.tasks["go"].result(20) is False
    with pytest.raises(RunError, match=f"run {again.id} goes on with run {first.id}"):
        answer(f"{first.id} why because")
    again.tasks["why"].answer("because")
    assert again.result(20) == (False, "because")
    with pytest.raises(RunError, match=r"was first, at 2"):
        answer(f"{first.id} go yes")
