"""A network that fails again and again in ways that a seed says; `make chaos` takes many seeds.

On Celery, whose tasks are the cheapest: the cable is between the kernel and its broker, so that
workers go on.
"""

from __future__ import annotations

import math
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.suite import PATIENCE, Place
from tests.faults.far import Far, finished, places_of, reach
from twingraph_nb import pipeline
from twingraph_nb.executors import celery_broker
from twingraph_nb.graph.run import Run
from twingraph_nb.scheduler.state import RunState
from twingraph_nb.session import get_session

SEEDS = range(int(os.environ.get("TWINGRAPH_TESTS_SEEDS", "1")))
TASKS, TROUBLES = 24, 2 if len(SEEDS) == 1 else 5


@pytest.fixture(scope="module")
def places(request: pytest.FixtureRequest) -> Iterator[dict[str, Place]]:
    yield from places_of(["celery"], request)


@pytest.fixture
def far(
    places: dict[str, Place],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Far]:
    monkeypatch.setattr(celery_broker, "PATIENCE", 1.0)  # else no hole here would be one
    monkeypatch.setattr(celery_broker, "_ANSWER", 1.5)
    with reach(places, request, monkeypatch, tmp_path) as found:
        yield found["celery"]


def noted(number: int, before: list, trace: str) -> int:
    """Leaves a line for each time it runs."""
    import time

    with open(trace, "a") as file:
        file.write(f"{number}\n")
    time.sleep(0.2)
    return number * number


@pytest.mark.parametrize("seed", SEEDS)
def test_a_network_that_fails_again_and_again_costs_only_what_ran(
    far: Far, seed: int, tmp_path: Path
) -> None:
    random_, trace = random.Random(seed), tmp_path / "trace"
    work = far.component(noted, retries=50, delay=0.2, max_delay=0.5, jitter=0)
    needs = [random_.sample(range(n), min(n, random_.randint(0, 2))) for n in range(TASKS)]

    @pipeline(max_parallel=4)
    def flow() -> object:
        made: list[object] = []
        for number, needed in enumerate(needs):
            made.append(work(number, [made[one] for one in needed], str(trace)))
        return made

    run = flow()
    assert isinstance(run, Run)
    known: dict[str, int] = {}
    for _ in range(TROUBLES):
        pause(random_, 0.1, 0.8)
        known |= counted(run, trace)
        disturb(far, random_)
    assert run.result(PATIENCE) == [n * n for n in range(TASKS)]
    ran = counted(run, trace)
    assert {number: ran[number] for number in known} == known
    assert folded(run) == "succeeded"


def disturb(far: Far, random_: random.Random) -> None:
    """Cut the cable or make it a hole, for a while; what it held may be lost for ever."""
    kind = random_.choice(["cut", "hole", "forgotten"])
    if kind == "cut":
        far.cable.cut()
    else:
        far.cable.hold()
    pause(random_, 0.1, 3.0)
    far.cable.heal(forget=kind == "forgotten")


def pause(random_: random.Random, least: float, most: float) -> None:
    threading.Event().wait(random_.uniform(least, most))


def counted(run: Run, trace: Path) -> dict[str, int]:
    """How often each task has begun that is finished."""
    done = [str(math.isqrt(task.result())) for task in finished(run)]  # type: ignore[arg-type]
    began = Counter(trace.read_text().split()) if trace.exists() else Counter()
    return {number: began[number] for number in done}


def folded(run: Run) -> str:
    """The state that the log tells."""
    state = RunState()
    for batch in get_session().history(run.id):
        for event in batch.events:
            state.handle(event)
    return state.state
