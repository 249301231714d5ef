"""The connection to a task that is kept is cut, and its kernel lives: it is heard to its end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.suite import PATIENCE, Place, events_of, until
from tests.faults.far import Far, places_of, reach, together
from tests.faults.kernels import is_kept
from twingraph_nb import pipeline
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.task import Task

pytestmark = pytest.mark.timeout(300)
AGAIN = "was lost, and is there again"


@pytest.fixture(scope="module")
def places(request: pytest.FixtureRequest) -> Iterator[dict[str, Place]]:
    yield from places_of(["docker", "kubernetes"], request)


@pytest.fixture
def fars(
    places: dict[str, Place],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    gate: Path,
) -> Iterator[dict[str, Far]]:
    places["docker"].options["volumes"] = {str(gate): "/gate"}
    folder = {"hostPath": {"path": str(gate)}, "mount": "/gate"}
    places["kubernetes"].options["volumes"] = [folder]
    with reach(places, request, monkeypatch, tmp_path) as found:
        yield found
        (gate / "go").touch()


def ticks(gate: str, name: str, before: object = None) -> str:
    """Leaves a line when it begins, then says and leaves ticks until it may end."""
    with open(f"{gate}/began", "a") as file:
        file.write(f"{name}\n")
    print("began", name, flush=True)
    with open(f"{gate}/{name}", "w") as file:
        while not os.path.exists(f"{gate}/go"):
            print("tick", file.tell(), flush=True)
            file.write(".")
            file.flush()
            time.sleep(0.1)
    print("ended", name, flush=True)
    return name.upper()


def test_what_is_kept_is_heard_to_its_end_though_its_connection_is_cut_twice(
    fars: dict[str, Far], gate: Path
) -> None:
    runs: dict[str, tuple[Run, dict[str, Task]]] = {}

    def scenario(far: Far) -> None:
        run, held = runs[far.place.platform] = begun(far)
        until(lambda: run.done or all(is_kept(events_of(task)) for task in held.values()))
        for cuts in (1, 2):
            far.cable.cut()
            goes_on([gate / name for name in held])
            far.cable.heal()
            heard_again(run, held, cuts)
            assert not run.done

    together(scenario, fars)
    (gate / "go").touch()
    everything = []
    for run, held in runs.values():
        names = [*held, *(f"{name}-after" for name in held)]
        assert run.result(PATIENCE) == [name.upper() for name in names]
        for name, task in held.items():
            assert is_whole(task.logs, name)
        everything += names
    assert sorted((gate / "began").read_text().split()) == sorted(everything)


def begun(far: Far) -> tuple[Run, dict[str, Task]]:
    """A run of a task of each kind that is to be cut off, and of one behind each; and the former
    by their names."""
    platform = far.place.platform
    kinds = {f"{platform}-warm": far.component(ticks, workers=1)}
    if platform == "docker":  # Jobs: `test_apiserver.py`
        kinds[f"{platform}-fresh"] = far.component(ticks, fresh=True)

    @pipeline()
    def flow() -> object:
        first = {name: work("/gate", name) for name, work in kinds.items()}
        after = [kinds[name]("/gate", f"{name}-after", one) for name, one in first.items()]
        return [*first.values(), *after]

    run = flow()
    assert isinstance(run, Run)

    def held() -> dict[str, Task]:
        calls = [task for task in run.tasks if task.form == "call"]
        return dict(zip(kinds, calls, strict=False))

    until(lambda: run.done or len(held()) == len(kinds))
    return run, held()


def goes_on(paths: list[Path]) -> None:
    """Wait until the tasks have left ticks that nobody can hear now."""
    before = [path.stat().st_size for path in paths]
    until(lambda: all(path.stat().st_size > n for path, n in zip(paths, before, strict=True)))


def heard_again(run: Run, held: dict[str, Task], cuts: int) -> None:
    until(lambda: run.done or all(task.logs.count(AGAIN) == cuts for task in held.values()))


def is_whole(logs: str, name: str) -> bool:
    said = [line for line in logs.splitlines() if line.startswith(("began", "tick", "ended"))]
    middle = [f"tick {number}" for number in range(len(said) - 2)]
    return len(middle) > 4 and said == [f"began {name}", *middle, f"ended {name}"]
