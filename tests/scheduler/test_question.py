"""What a question takes for an answer, and where it may be asked."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import ClassVar

import pytest

from tests.faults.test_control import until
from twingraph_nb import ask, component, get_session, pipeline
from twingraph_nb.errors import ArgumentError, PortabilityError, RunError, TaskError, TaskSkipped
from twingraph_nb.events import Asked
from twingraph_nb.question import Question, terms

CHOICE = Question.of("?", "choice", ["Fast", "slow", 3])
FORM = Question.of("?", "form", fields={"n": int, "rate": float, "ok": bool, "who": str})


@pytest.mark.parametrize(
    ("question", "given", "value"),
    [
        (Question.of("?", "approval"), "Yes", True),
        (Question.of("?", "approval"), "reject", False),
        (Question.of("?", "text"), 12, "12"),
        (CHOICE, "fast", "Fast"),
        (CHOICE, 3, 3),
        (CHOICE, "3", 3),
        (Question.of("?", "multi", ["a", "b", "c"]), "c,a, c", ["a", "c"]),
        (Question.of("?", "multi", ["a, b", "c"]), '["a, b"]', ["a, b"]),
        (
            FORM,
            '{"n": "3", "rate": 1, "ok": "no", "who": "Ann"}',
            {"n": 3, "rate": 1.0, "ok": False, "who": "Ann"},
        ),
    ],
)
def test_an_answer_becomes_the_value_that_was_meant(question, given, value) -> None:
    found = question.read(given)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("question", "given", "said"),
    [
        (Question.of("?", "approval"), 1, "1 is neither yes nor no"),
        (Question.of("?", "approval"), "", "'' is neither yes nor no"),
        (CHOICE, "fats", "'fats' is none of Fast, slow, 3 (did you mean 'Fast'?)"),
        (CHOICE, True, "'True' is none of"),
        (FORM, "n=3", "'n=3' is not an object in JSON"),
        (FORM, {"n": 3, "rat": 1}, "no field 'rat' (did you mean 'rate'?)"),
        (FORM, {"n": 3}, "no answer for rate, ok, who"),
        (FORM, {"n": 2.5, "rate": 1, "ok": 1, "who": ""}, "n: 2.5 is no whole number"),
    ],
)
def test_what_is_no_answer_is_refused_with_a_reason(question, given, said) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        question.read(given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "aproval"}, "none of approval, text, .*did you mean 'approval'"),
        ({"kind": "choice"}, "wants options="),
        ({"options": ["a"]}, "kind='approval' takes no options"),
        ({"kind": "choice", "options": [1, "1"]}, "cannot be told apart"),
        ({"kind": "choice", "options": ["a"], "default": "b"}, "'b' is none of a"),
        ({"kind": "form", "fields": {"a": list}}, "field 'a' takes str, int"),
        ({"timeout": "soon"}, "wants a time"),
    ],
)
def test_a_question_that_cannot_be_answered_is_not_asked(given, said) -> None:
    with pytest.raises(ArgumentError, match=said):
        ask("?", **given)
    assert get_session().unfinished() == []


def test_what_happens_without_an_answer_is_said_with_its_time() -> None:
    at = time.mktime((2026, 3, 4, 10, 0, 0, 0, 0, -1))
    for deadline, default, said in (
        (None, None, ""),
        (None, "no", ""),
        (at + 90, "no", "no if nobody answers by 10:01:30"),
        (at + 90, None, "it fails if nobody answers by 10:01:30"),
        (at + 2 * 86400, None, "it fails if nobody answers by 2026-03-06 10:00"),
    ):
        assert terms(Asked(at, 0, "?", default=default, deadline=deadline)) == said


@component
def deploy() -> str:
    return "deployed"


@pipeline(on_error="continue")
def guarded():
    return deploy(parent_hash=ask("Deploy?", required=True))


class Hook(BaseHTTPRequestHandler):
    told: ClassVar[SimpleQueue[dict[str, object]]] = SimpleQueue()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.told.put(json.loads(body))
        self.send_response(200 if self.path == "/hook/s3cret" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook"
        server.shutdown()
        thread.join()


def test_a_webhook_is_told_of_a_question_and_stays_secret(hook: str) -> None:
    prompt = "Deploy <!channel> & go?"
    first = ask(prompt, notify=f"{hook}/s3cret", name="go")
    told = Hook.told.get(timeout=20)
    assert (told["prompt"], told["name"], told["kind"]) == (prompt, "go", "approval")
    text = "session asks: Deploy &lt;!channel&gt; &amp; go?\nyes or no: twingraph answer "
    assert str(told["text"]).startswith(text)
    second = ask("Again?", notify=f"{hook}/0ther-s3cret")
    until(lambda: "nobody could be notified: status 404" in second.logs)
    for task in (first, second):
        task.answer(True)
        assert task.result(20) is True
    record = repr(get_session().history(get_session().loose.id))
    assert "s3cret" not in record
    with pytest.raises(ArgumentError, match="wants a web address") as refused:
        ask("?", notify="file:///s3cret")
    assert "s3cret" not in str(refused.value)


@component(platform="process")
def elsewhere() -> object:
    return ask("Deploy?")


def test_what_needs_an_approval_that_is_refused_does_not_run() -> None:
    run = guarded()
    until(lambda: len(run.tasks) == 2 and "asks: Deploy?" in run.tasks["ask"].logs)
    assert run.answer("no") == "ask is answered: no"
    with pytest.raises((TaskError, TaskSkipped)):
        run.result(20)
    assert run.tasks["ask"].state == "failed"
    assert "answered with no, by user" in str(run.tasks["ask"].exception())
    assert run.tasks["deploy"].state == "skipped"
    with pytest.raises(RunError, match="has ended"):
        run.tasks["ask"].answer("yes")


def test_a_component_that_would_ask_in_a_container_is_refused_at_once() -> None:
    def review(score: float) -> object:
        return ask(f"Is {score} good?")

    with pytest.raises(PortabilityError, match="ask in the pipeline, and pass the answer on"):
        component(review, platform="docker", image="python:3")


def test_a_task_elsewhere_is_told_that_it_cannot_ask() -> None:
    with pytest.raises(RunError, match="Ask in the pipeline, and give the answer"):
        elsewhere().result(60)
