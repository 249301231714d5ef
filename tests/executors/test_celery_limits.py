"""What is too large for Redis is told as such, on both sides."""

from __future__ import annotations

import os

import pytest

from tests.executors.clusters import job_on, value
from tests.executors.running import same
from twingraph_nb.errors import PortabilityError, ResultError
from twingraph_nb.executors import celery, celery_child
from twingraph_nb.executors.travel import Travel
from twingraph_nb.remote import CHUNK, FAILED, RESULT
from twingraph_nb.settings import Settings


async def test_inputs_above_the_limit_are_refused_before_they_are_sent(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINGRAPH_SECRET", "a secret of the tests, long enough")
    monkeypatch.setattr(celery, "LARGEST", 2_000_000)
    far = celery.CeleryExecutor(Settings.load())
    said = "are the most that goes through Redis: say payloads= with a folder or bucket that"
    for given in (os.urandom(3_000_000), [os.urandom(900_000) for _ in range(3)]):
        with pytest.raises(PortabilityError, match=said):
            await value(far, job_on("celery", same, given, broker=redis_url))
    await far.close()


async def test_a_result_above_the_limit_is_an_error_of_its_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(celery_child, "LARGEST", 100)
    kind, frames = celery_child._within(RESULT, [bytes(8), b"x" * 200])
    error = Travel("celery", plain=False).error_of(job_on("celery", same, 1), frames[1:])
    assert kind == FAILED
    assert isinstance(error, ResultError)
    assert str(error).startswith(
        "same gave a result of 208 bytes, which cannot be pickled (100 bytes are the most that "
    )
    with pytest.raises(ValueError, match="100 bytes are the most that goes through Redis"):
        celery_child._within(CHUNK, [b"x" * 200])
