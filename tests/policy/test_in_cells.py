"""Policies on the line of a cell, on cards and in the inspector."""

from __future__ import annotations

import pytest

from twingraph_nb import component, get_session, pipeline
from twingraph_nb.breaker import Breaker, BreakerRule
from twingraph_nb.component import Component, Pipeline
from twingraph_nb.errors import DefinitionError
from twingraph_nb.limit import Limit
from twingraph_nb.magics.named import with_objects
from twingraph_nb.picture.collapse import drawing
from twingraph_nb.picture.screen import screen_of
from twingraph_nb.picture.text import text_view
from twingraph_nb.policy import read_options
from twingraph_nb.source.line import read_line
from twingraph_nb.views.card import policy_words
from twingraph_nb.views.inspector import inspect_box

KNOWN = ("limit", "breaker", "fallback", "retries", "queue_timeout", "grace")


def test_every_policy_can_be_written_on_the_line_of_a_cell() -> None:
    text = (
        "ask(x) --limit openai:60/min,gpu:2 --breaker name=openai,failures=3,reset=1m "
        "--fallback 0 --retries TimeoutError=5,default=2 --queue-timeout 5m --grace 10s"
    )
    read = read_line(text, magic="%%component", known=KNOWN, flags=()).options or {}
    policy, rest = read_options(with_objects(read, {}, "here"), where="here")
    assert rest == {}
    assert policy.limit == (Limit("gpu", 2), Limit("openai", 60, 60.0))
    assert policy.breaker == BreakerRule("openai", 3, 60.0)
    assert (policy.fallback, policy.retries, policy.queue_timeout, policy.grace) == (0, 5, 300, 10)
    assert policy_words(policy) == (
        "retries 5",
        "retry counts TimeoutError=5, default=2",
        "queue timeout 5 min",
        "grace 10 s",
        "limit gpu:2, openai:60/min",
        "breaker openai: 3 failures, reset 60 s",
        "fallback value 0",
    )


def test_names_of_the_notebook_stand_for_what_they_name() -> None:
    breaker = Breaker("api")

    def zero(x: int) -> int:
        return 0

    names = {"api": breaker, "zero": zero, "db": 7}
    found = with_objects({"breaker": "api", "fallback": "zero", "retries": "1"}, names, "here")
    assert found == {"breaker": breaker, "fallback": zero, "retries": "1"}
    assert with_objects({"breaker": "db"}, names, "here") == {"breaker": "db"}
    with pytest.raises(DefinitionError, match=r"'zerro' is nothing .* \(did you mean 'zero'\?\)"):
        with_objects({"fallback": "zerro"}, names, "here")


def test_the_inspector_and_the_text_tell_who_stood_in_and_why() -> None:
    @component(fallback=lambda x: -x, name="fetch")
    def fetch(x: int) -> int:
        raise ConnectionError("no <route>")

    @pipeline()
    def flow() -> object:
        return fetch(1)

    run = flow()
    assert run.result(30) == -1  # type: ignore[attr-defined]
    screen = screen_of(get_session().history(run.id))  # type: ignore[attr-defined]
    (box,) = [b for b in drawing(screen, 40).nodes if b.name.startswith("fetch") and b.number == 0]
    shown = inspect_box(screen, box, 0.0, lambda task, port: None)
    said = "function &lt;lambda&gt; stood in, because of ConnectionError: no &lt;route&gt;"
    assert said in shown
    assert "fetch_fallback" in text_view(screen, 0.0)


def test_a_value_that_stood_in_is_told_in_the_text_too() -> None:
    @component(fallback=0)
    def fetch(x: int) -> int:
        raise ConnectionError("no route")

    @pipeline()
    def flow() -> object:
        return fetch(1)

    run = flow()
    assert run.result(30) == 0  # type: ignore[attr-defined]
    screen = screen_of(get_session().history(run.id))  # type: ignore[attr-defined]
    assert "by fallback" in text_view(screen, 0.0)


def test_a_component_with_another_option_keeps_its_other_policies() -> None:
    @component(limit="gpu:1", breaker=True, fallback=3)
    def work(x: int) -> int:
        return x

    changed = work.on(retries=2)
    assert isinstance(changed, Component)
    assert changed.policy.limit == (Limit("gpu", 1),)
    assert changed.policy.breaker == BreakerRule("component")
    assert (changed.policy.fallback, changed.policy.retries) == (3, 2)
    assert changed.on(limit=None, breaker=False).policy.limit == ()


def test_a_pipeline_has_a_budget_of_retries() -> None:
    @pipeline(max_retries="7")
    def flow() -> None: ...

    assert isinstance(flow, Pipeline)
    assert flow.options.max_retries == 7
    with pytest.raises(DefinitionError, match="'max_retries' wants a whole number, 0 or more"):
        pipeline(max_retries=-1)(lambda: None)
