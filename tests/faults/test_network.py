"""The network to a platform is cut, or swallows all that is sent; and it heals, or it does not.

A run then finishes with the right results, and nothing that was finished runs again; or it fails
with a sentence, in a time that does not depend on the network. It never waits for ever.
"""

from __future__ import annotations

import gc
import json
import math
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conformance import (
    steps,
    test_batch,
    test_celery,
    test_dask,
    test_docker,
    test_kubernetes,
    test_lambda,
)
from tests.conformance.suite import PATIENCE, Place, events_of, kill, mark, pids_of, until
from tests.faults.cable import Cable
from twingraph_nb import pipeline
from twingraph_nb.component import Component, make_component
from twingraph_nb.errors import ExecutorError, RunError, TwingraphError, WorkerDied
from twingraph_nb.events import TaskLogged
from twingraph_nb.executors import (
    celery_broker,
    dask_cluster,
    dask_heart,
    docker,
    docker_worker,
    kubernetes_api,
    kubernetes_pod,
    kubernetes_stream,
)
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.task import Task
from twingraph_nb.session import close_session

pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)
HOLE = 2.5
"""Seconds a hole lasts that closes again."""
SUITES = {
    "celery": test_celery.TestCelery,
    "dask": test_dask.TestDask,
    "docker": test_docker.TestDocker,
    "kubernetes": test_kubernetes.TestWarmPods,
    "lambda": test_lambda.TestLambda,
    "batch": test_batch.TestBatch,
}
BEATS = ("celery", "dask", "docker", "kubernetes")
"""Platforms that keep a connection open while a task runs; AWS is asked now and then."""


def slow(number: int, name: str, seconds: float) -> int:
    """Says that it began; can be found by name while it runs."""
    print(f"began {number}", flush=True)
    if seconds:
        steps.known_as(name)
        time.sleep(seconds)
        steps.known_as("through")
    return number * number


@dataclass
class Far:
    """A platform at the other end of a cable; `name` finds its tasks."""

    cable: Cable
    place: Place
    name: str

    def component(self, **more: Any) -> Component:
        options = {**self.place.options, **more}
        return make_component(slow, platform=self.place.platform, options=options, keep=False)


@pytest.fixture(scope="module")
def reached(request: pytest.FixtureRequest) -> Iterator[Place]:
    """One of SUITES, for all tests about it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_SECRET", "of the suite")
        yield SUITES[request.param].make_place(request, patch)


@pytest.fixture
def far(
    reached: Place,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Far]:
    place = replace(reached, options=dict(reached.options))
    name = mark()
    with _cable_to(place, request, tmp_path) as cable:
        _go_through(cable, place, monkeypatch, tmp_path)
        yield Far(cable, place, name)
        cable.heal()
        close_session()
        gc.collect()  # docker-py leaves sockets to it that nobody answered
        until(lambda: kill(name) or not pids_of(name))  # what nobody could end


def _cable_to(place: Place, request: pytest.FixtureRequest, folder: Path) -> Cable:
    name = place.platform
    if name == "docker":
        host = request.getfixturevalue("docker_host")
        return Cable(Path(host.removeprefix("unix://")), here=folder / "docker.sock")
    if name == "kubernetes":
        known = json.loads(Path(place.options["kubeconfig"]).read_text())
        url = known["clusters"][0]["cluster"]["server"]
    elif name == "dask":
        url = place.options["address"]
    elif name == "celery":
        url = request.getfixturevalue("redis_url")
    else:
        url = request.getfixturevalue("aws")["endpoint_url"]
    parts = urlsplit(url)
    return Cable(int(parts.port or 0), host=str(parts.hostname))


def _go_through(cable: Cable, place: Place, patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have the kernel reach the platform by the cable; the far side does without."""
    name = place.platform
    if name == "docker":
        patch.setenv("DOCKER_HOST", f"unix://{folder / 'docker.sock'}")
    elif name == "kubernetes":
        known = json.loads(Path(place.options["kubeconfig"]).read_text())
        known["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{cable.port}"
        (folder / "kubeconfig").write_text(json.dumps(known))
        place.options["kubeconfig"] = str(folder / "kubeconfig")
    elif name == "dask":
        place.options["address"] = f"tcp://127.0.0.1:{cable.port}"
    elif name == "celery":
        parts = urlsplit(os.environ["TWINGRAPH_CELERY_BROKER"])
        where = parts.netloc.rpartition(":")[0]
        patch.setenv(
            "TWINGRAPH_CELERY_BROKER", parts._replace(netloc=f"{where}:{cable.port}").geturl()
        )
    else:
        parts = urlsplit(os.environ["AWS_ENDPOINT_URL"])
        patch.setenv("AWS_ENDPOINT_URL", f"http://{parts.hostname}:{cable.port}")


def begun(run: Run) -> Counter[str]:
    """How often each number's task said that it began."""
    told = [e.text for task in run.tasks for e in events_of(task) if isinstance(e, TaskLogged)]
    return Counter(re.findall(r"began (\d+)", "".join(told)))


def finished(run: Run) -> list[Task]:
    return [task for task in run.tasks if task.form == "call" and task.state == "succeeded"]


def started(far: Far, *, seconds: float = 1.0, count: int = 4, **more: Any) -> Run:
    """A run in whose middle we are: the first task is through, the second runs."""
    work, name = far.component(**more), far.name

    @pipeline(max_parallel=2, on_error="continue")
    def flow() -> object:
        first = work(0, name, 0.0)
        return [first, *[work(n, name, seconds, parent_hash=first) for n in range(1, count + 1)]]

    run = flow()
    assert isinstance(run, Run)
    until(lambda: run.done or (pids_of(name) and finished(run)))
    if run.done:
        run.result()  # says why
    assert not run.done
    return run


@pytest.mark.parametrize("reached", SUITES, indirect=True)
def test_a_hole_that_closes_again_costs_nothing(far: Far) -> None:
    run = started(far)
    far.cable.hold()
    threading.Event().wait(HOLE)
    far.cable.heal()
    assert run.result(PATIENCE) == [0, 1, 4, 9, 16]
    assert begun(run) == Counter("01234")


@pytest.mark.parametrize("reached", SUITES, indirect=True)
def test_after_a_cut_what_ran_runs_again_and_what_was_finished_does_not(far: Far) -> None:
    run = started(far, retries=3, delay=0.5, jitter=0)
    before = [str(math.isqrt(int(task.result()))) for task in finished(run)]  # type: ignore[call-overload]
    far.cable.cut()
    threading.Event().wait(HOLE)
    far.cable.heal()
    assert run.result(PATIENCE) == [0, 1, 4, 9, 16]
    told = begun(run)
    assert {number: told[number] for number in before} == dict.fromkeys(before, 1)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes minutes takes seconds; a busy machine needs these."""
    monkeypatch.setattr(celery_broker, "PATIENCE", 2.0)
    monkeypatch.setattr(celery_broker, "_ANSWER", 3.0)
    monkeypatch.setattr(dask_cluster, "_ANSWER", 3.0)
    monkeypatch.setattr(dask_heart, "_BEAT", 0.5)
    monkeypatch.setattr(docker, "_PATIENCE", 5)
    monkeypatch.setattr(docker_worker, "_BEAT", 0.5)
    monkeypatch.setattr(kubernetes_api, "_PATIENCE", (3.0, 3.0))
    monkeypatch.setattr(kubernetes_stream, "_BEAT", 0.5)
    monkeypatch.setattr(kubernetes_pod, "_QUIET", 1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("reached", BEATS, indirect=True)
def test_a_hole_without_end_fails_what_runs_with_a_sentence(far: Far) -> None:
    run = started(far, seconds=300.0, count=2)
    far.cable.hold()
    with pytest.raises(TwingraphError) as caught:
        run.result(PATIENCE)
    assert isinstance(caught.value, (ExecutorError, WorkerDied, RunError))
    said = str(caught.value)
    assert any(word in said for word in ("cannot be reached", "does not answer", "lost its")), said


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("reached", [one for one in BEATS if one != "docker"], indirect=True)
def test_connections_that_are_silent_for_ever_are_made_anew(far: Far) -> None:
    """As after a laptop's sleep, or a firewall's restart.

    Docker's streams cannot be asked: there the system's own questions (SO_KEEPALIVE) find it out,
    and these a cable of this machine answers.
    """
    run = started(far, seconds=2.0, retries=5, delay=1.0, jitter=0)
    far.cable.hold()
    far.cable.heal(forget=True)
    assert run.result(PATIENCE) == [0, 1, 4, 9, 16]
    assert begun(run)["0"] == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("reached", BEATS, indirect=True)
def test_in_a_hole_a_run_can_be_cancelled(far: Far) -> None:
    run = started(far, seconds=20.0)
    far.cable.hold()
    run.cancel()
    with pytest.raises(TwingraphError):
        run.result(PATIENCE)
    assert run.state == "cancelled"
