"""The network to a platform is cut, or swallows all that is sent; and it heals, or it does not.

A run then finishes with the right results, and nothing that was finished runs again; or it fails
with a sentence, in a time that does not depend on the network. It never waits for ever. Each
test goes on all platforms at once.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.suite import PATIENCE, Place, pids_of, until
from tests.faults.far import SUITES, Far, begun, finished, places_of, reach, started, together
from twingraph_nb.errors import ExecutorError, RunError, TwingraphError, WorkerDied
from twingraph_nb.executors import (
    celery_broker,
    dask_cluster,
    dask_heart,
    docker_engine,
    docker_worker,
    kubernetes_api,
    kubernetes_pod,
    kubernetes_stream,
    rejoining,
)
from twingraph_nb.graph.task import Task

pytestmark = pytest.mark.timeout(300)
HOLE = 2.5
"""Seconds a hole lasts that closes again."""
BEATS = ("celery", "dask", "docker", "kubernetes")
"""Platforms that keep a connection open while a task runs; AWS is asked now and then."""


@pytest.fixture(scope="module")
def places(request: pytest.FixtureRequest) -> Iterator[dict[str, Place]]:
    yield from places_of(SUITES, request)


@pytest.fixture
def fars(
    places: dict[str, Place],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[dict[str, Far]]:
    with reach(places, request, monkeypatch, tmp_path) as found:
        yield found


@pytest.fixture
def beating(fars: dict[str, Far]) -> dict[str, Far]:
    return {name: fars[name] for name in BEATS}


def test_a_hole_that_closes_costs_nothing_and_a_cut_only_what_ran(fars: dict[str, Far]) -> None:
    def scenario(far: Far) -> None:
        run = started(far, retries=3, delay=0.5, jitter=0)
        far.cable.hold()
        threading.Event().wait(HOLE)
        far.cable.heal()
        until(lambda: run.done or (len(finished(run)) >= 3 and pids_of(far.name)))
        assert begun(run) <= Counter("01234")
        before = numbers(finished(run))
        far.cable.cut()
        threading.Event().wait(HOLE)
        far.cable.heal()
        assert run.result(PATIENCE) == [0, 1, 4, 9, 16]
        told = begun(run)
        assert {number: told[number] for number in before} == dict.fromkeys(before, 1)

    together(scenario, fars)


def numbers(tasks: list[Task]) -> list[str]:
    """What the tasks were called with."""
    return [str(math.isqrt(task.result())) for task in tasks]  # type: ignore[arg-type]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes minutes takes seconds; a busy machine needs these."""
    monkeypatch.setattr(celery_broker, "PATIENCE", 2.0)
    monkeypatch.setattr(celery_broker, "_ANSWER", 3.0)
    monkeypatch.setattr(dask_cluster, "_ANSWER", 3.0)
    monkeypatch.setattr(dask_heart, "_BEAT", 0.5)
    monkeypatch.setattr(docker_engine, "_PATIENCE", 5)
    monkeypatch.setattr(docker_worker, "_BEAT", 0.5)
    monkeypatch.setattr(kubernetes_api, "_PATIENCE", (3.0, 3.0))
    monkeypatch.setattr(kubernetes_api, "_WATCH", 5)
    monkeypatch.setattr(kubernetes_stream, "_BEAT", 0.5)
    monkeypatch.setattr(kubernetes_stream, "_HELD", 8)
    monkeypatch.setattr(kubernetes_pod, "_NEWS", 2.0)
    monkeypatch.setattr(kubernetes_pod, "_QUIET", 1)
    monkeypatch.setattr(rejoining, "AWAY", 1.0)


@pytest.mark.usefixtures("impatient")
def test_in_a_hole_without_end_a_run_can_be_cancelled_and_another_fails_with_a_sentence(
    beating: dict[str, Far],
) -> None:
    def scenario(far: Far) -> None:
        run, unwanted = (started(far, seconds=300.0, count=1) for _ in range(2))
        far.cable.hold()
        unwanted.cancel()
        with pytest.raises(TwingraphError):
            unwanted.result(PATIENCE)
        assert unwanted.state == "cancelled"
        with pytest.raises((ExecutorError, WorkerDied, RunError)) as caught:
            run.result(PATIENCE)
        said = str(caught.value)
        assert any(word in said for word in ("cannot be reached", "does not answer", "lost its"))

    together(scenario, beating)


@pytest.mark.usefixtures("impatient")
def test_connections_that_are_silent_for_ever_are_made_anew(beating: dict[str, Far]) -> None:
    """As after a laptop's sleep, or a firewall's restart.

    Docker's streams cannot be asked: there the system's own questions (SO_KEEPALIVE) find it out,
    and these a cable of this machine answers.
    """

    def scenario(far: Far) -> None:
        run = started(far, seconds=2.0, retries=5, delay=1.0, jitter=0)
        far.cable.hold()
        far.cable.heal(forget=True)
        assert run.result(PATIENCE) == [0, 1, 4, 9, 16]
        assert begun(run)["0"] == 1

    del beating["docker"]
    together(scenario, beating)
