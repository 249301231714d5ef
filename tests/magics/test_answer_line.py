"""``%twingraph answer``: what is asked, and what is said to it."""

from __future__ import annotations

import pytest

from tests.faults.test_control import until
from twingraph_nb import ask, pipeline
from twingraph_nb.errors import RunError
from twingraph_nb.magics.status import answer


@pipeline
def release():
    return ask("Deploy?", name="go"), ask("Why so?", kind="text", name="why")


def test_questions_are_listed_and_answered_from_a_cell() -> None:
    run = release()
    until(lambda: len(run.link.questions) == 2)
    listed = str(answer(f"answer {run.id}"))
    assert "Deploy?" in listed
    assert "yes or no" in listed
    assert "go is answered: yes" in str(answer(f"answer {run.id} go yes"))
    with pytest.raises(RunError, match="was first, at 2.*, with: yes"):
        answer(f"answer {run.id} go no")
    assert "why is answered: it is time" in str(answer("answer last it is time"))
    assert run.result(20) == (True, "it is time")


def test_a_plan_says_that_a_question_will_be_asked() -> None:
    planned = str(release.plan())
    assert "go" in planned
    assert "why" in planned
