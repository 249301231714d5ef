"""The forms under a cell, without a browser."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.faults.test_control import until
from twingraph_nb import ask, get_session, pipeline
from twingraph_nb.views.hearing import Hearing
from twingraph_nb.views.live import LiveView

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ipycytoscape's, at import


@pipeline
def release():
    form = {"rate": float, "mode": ["fast", "slow"]}
    go = ask("Deploy <it>?", name="go")
    tags = ask("Tags?", kind="multi", options=["a", "b"], name="tags")
    return go, tags, ask("How?", kind="form", fields=form, name="how")


@pipeline
def many(n: int):
    return [ask(f"Is {i} right?", name=f"q{i}") for i in range(n)]


def forms_of(view: LiveView) -> dict[str, Any]:
    view.tick(time.time())
    return {form.asked.prompt: form for form in view._forms._forms.values()}


def last(view: LiveView) -> str:
    return str(getattr(view._forms.widget.children[-1], "value", ""))


def click(form: Any, label: str) -> None:
    next(w for w in form.inputs if getattr(w, "description", "") == label).click()


def test_a_form_is_shown_for_each_question_and_says_who_answered() -> None:
    run = release()
    view = LiveView(get_session(), run)
    until(lambda: len(forms_of(view)) == 3)
    forms = forms_of(view)
    assert view._forms.widget in view.widget.children
    assert "Deploy &lt;it&gt;?" in forms["Deploy <it>?"].widget.children[0].value
    click(forms["Deploy <it>?"], "yes")
    forms["Tags?"].inputs[0].value = ("b",)
    click(forms["Tags?"], "Answer")
    how = forms["How?"]
    how.inputs[0].value = "fast"
    click(how, "Answer")
    assert "rate: &#x27;fast&#x27; is no number" in how.widget.children[-1].children[0].value
    how.inputs[0].value = "0.5"
    click(how, "Answer")
    assert run.result(20) == (True, ["b"], {"rate": 0.5, "mode": "fast"})
    forms = forms_of(view)
    assert all(widget.disabled for form in forms.values() for widget in form.inputs)
    assert "yes, by user at " in forms["Deploy <it>?"].widget.children[-1].children[0].value


def test_a_form_that_another_person_was_faster_with_says_so() -> None:
    run = release()
    view = LiveView(get_session(), run)
    until(lambda: len(forms_of(view)) == 3)
    form = forms_of(view)["Deploy <it>?"]
    assert run.answer("no", run.tasks["go"]) == "go is answered: no"
    form.send("yes")
    assert "user was first, at 2" in form.widget.children[-1].children[0].value
    run.cancel()


def test_of_very_many_questions_some_are_shown_and_the_rest_is_counted() -> None:
    run = many(23)
    view = LiveView(get_session(), run)
    until(lambda: list(forms_of(view)) == [f"Is {i} right?" for i in range(20)])
    until(lambda: forms_of(view) and "3 more questions" in last(view))
    run.answer("yes", run.tasks["q0"])
    until(lambda: list(forms_of(view)) == [f"Is {i} right?" for i in range(1, 21)])
    assert "2 more questions" in last(view)
    run.cancel()


def test_a_form_says_that_a_cell_keeps_the_kernel_busy_as_long_as_it_does() -> None:
    run = release()
    view = LiveView(get_session(), run)
    until(lambda: len(forms_of(view)) == 3)
    form = forms_of(view)["Tags?"]

    async def cell() -> list[str]:
        view._hearing, now, said = Hearing(), time.time(), []
        for seconds in (0, 1, 2):
            if seconds == 2:
                await asyncio.sleep(0)  # until here the loop has not turned
            view.tick(now + seconds)
            said.append(form.widget.children[-1].children[0].value)
        return said

    before, busy, after = asyncio.run(cell())
    assert before == after == ""
    assert "A cell keeps the kernel busy" in busy
    assert f"<code>twingraph answer {run.id} {run.tasks['tags'].number} ANSWER</code>" in busy
    run.cancel()
