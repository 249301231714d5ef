"""Platform `lambda` keeps the promises of all platforms, on an emulated AWS."""

from __future__ import annotations

import contextlib
import json
import uuid

import pytest

from tests.conformance import steps
from tests.conformance.suite import PATIENCE, Conformance, Place, mark, pids_of, until
from tests.executors.aws_running import client, layer, objects
from tests.services.aws import environment
from twingraph_nb.errors import TaskCancelled

LIBRARIES = ("numpy", "pydantic", "pydantic-core", "annotated-types", "typing-extensions")
LIBRARIES += ("typing-inspection",)


class TestLambda(Conformance):
    # Lambda has no way to end a call: it is given up at once, and its function runs on.
    test_cancelling_a_running_task_ends_the_far_side = None  # type: ignore[assignment]
    test_cancelling_a_queued_task_keeps_it_from_running = None  # type: ignore[assignment]

    @classmethod
    def make_place(cls, request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> Place:
        aws = request.getfixturevalue("aws")
        for name, text in environment(aws).items():
            patch.setenv(name, text)
        patch.delenv("AWS_PROFILE", raising=False)
        bucket = f"twingraph-lambda-{uuid.uuid4().hex[:8]}"  # other workers have theirs
        client(aws, "s3").create_bucket(Bucket=bucket)
        layers = contextlib.ExitStack()
        request.addfinalizer(layers.close)
        return Place(
            "lambda",
            {"role": aws["role"], "bucket": bucket},
            left=lambda: objects(aws, bucket),  # functions stay, for the next session
            # With pandas and pyarrow it would be larger than a function may be.
            libraries=lambda: {"layers": [layers.enter_context(layer(aws, *LIBRARIES))]},
            types=("arrays", "scalars", "models"),
            cure="packages=['kernel_only']",
            visible=lambda: json.dumps(client(aws, "lambda").list_functions(), default=str),
        )

    def test_a_cancelled_call_is_given_up_and_its_function_goes_on(self) -> None:
        name = mark()
        task = self.start(steps.stays, name, 5.0)
        until(lambda: pids_of(name))
        task.cancel()
        with pytest.raises(TaskCancelled):
            task.result(PATIENCE)
        assert pids_of(name)
        assert self.call(steps.square, 4) == 16
        until(lambda: not pids_of(name))

    def test_a_call_that_is_cancelled_in_the_queue_is_never_made(self) -> None:
        one, name, other = self.place.one, mark(), mark()
        running = self.start(steps.stays, name, 5.0, **one)
        until(lambda: pids_of(name))
        queued = self.start(steps.stays, other, **one)
        queued.cancel()
        with pytest.raises(TaskCancelled):
            queued.result(PATIENCE)
        assert running.result(PATIENCE) == "stayed"
        assert self.call(steps.square, 4, **one) == 16
        assert not pids_of(other)
        assert "staying" not in queued.logs
