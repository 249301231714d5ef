"""Platforms at the other end of a cable, and runs in whose middle something happens to it."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
from tests.conformance.suite import Place, events_of, kill, mark, pids_of, until
from tests.faults.cable import Cable
from twingraph_nb import pipeline
from twingraph_nb.component import Component, make_component
from twingraph_nb.events import TaskLogged
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.task import Task
from twingraph_nb.session import close_session

__all__ = ["SUITES", "Far", "begun", "finished", "places_of", "reach", "started", "together"]

SUITES = {
    "celery": test_celery.TestCelery,
    "dask": test_dask.TestDask,
    "docker": test_docker.TestDocker,
    "kubernetes": test_kubernetes.TestWarmPods,
    "lambda": test_lambda.TestLambda,
    "batch": test_batch.TestBatch,
}


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

    def component(self, function: Callable[..., object] = slow, **more: Any) -> Component:
        options = {**self.place.options, **more}
        return make_component(function, platform=self.place.platform, options=options, keep=False)


def places_of(names: Iterable[str], request: pytest.FixtureRequest) -> Iterator[dict[str, Place]]:
    """Platforms of `SUITES`, for a fixture of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_SECRET", "of the suite")
        yield {name: SUITES[name].make_place(request, patch) for name in names}


@contextlib.contextmanager
def reach(
    places: dict[str, Place],
    request: pytest.FixtureRequest,
    patch: pytest.MonkeyPatch,
    folder: Path,
) -> Iterator[dict[str, Far]]:
    """The platforms, each behind a cable; in the end nothing of them runs."""
    with contextlib.ExitStack() as stack:
        fars = {}
        for name, known in places.items():
            place = replace(known, options=dict(known.options))
            cable = stack.enter_context(_cable_to(place, request, folder))
            _go_through(cable, place, patch, folder)
            fars[name] = Far(cable, place, mark())
        yield fars
        for far in fars.values():
            far.cable.heal()
        close_session()
        gc.collect()  # docker-py leaves sockets to it that nobody answered
        for far in fars.values():
            until(lambda name=far.name: kill(name) or not pids_of(name))  # what nobody could end


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
        place.options["endpoint_url"] = f"http://{parts.hostname}:{cable.port}"


def begun(run: Run) -> Counter[str]:
    """How often each number's task said that it began."""
    told = [e.text for task in run.tasks for e in events_of(task) if isinstance(e, TaskLogged)]
    return Counter(re.findall(r"began (\d+)", "".join(told)))


def finished(run: Run) -> list[Task]:
    """The tasks of components that have succeeded so far."""
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
    until(lambda: run.done or (finished(run) and pids_of(name)))
    if run.done:
        run.result()  # says why
    assert not run.done
    return run


def together(scenario: Callable[[Far], None], fars: dict[str, Far]) -> None:
    """Let the same happen on several platforms at once: nearly all of it is waiting."""
    with ThreadPoolExecutor(len(fars)) as threads:
        done = {name: threads.submit(scenario, far) for name, far in fars.items()}
    failed = []
    for name, future in done.items():
        error = future.exception()
        if error is not None:
            error.add_note(f"on {name}")
            failed.append(error)
    if failed:
        raise BaseExceptionGroup("not on all platforms", failed)
