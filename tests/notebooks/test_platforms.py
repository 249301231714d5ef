"""The notebook of all platforms: on real services each step is where it says, else here."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pytest

from tests.notebooks.conftest import Places
from twingraph_nb.events import ComponentUsed, Event, TaskAdded, TaskStarted
from twingraph_nb.store import RunRow, Store

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_platforms.ipynb"
TWINGRAPH = Path(sys.executable).with_name("twingraph")
FAR = ("docker", "kubernetes", "celery", "dask", "lambda", "batch")
EVERY = ("local", "process", *FAR)
STEPS = ("record", "clean", "fit", "forecast", "risk", "score", "schedule")
pytestmark = pytest.mark.timeout(400)  # over three hundred tasks, on a machine that is shared
OURS = re.compile(r"(TWINGRAPH|AWS|DOCKER|DASK|CELERY)_|KUBECONFIG$")


@dataclass
class Executed:
    """What a job with the notebook left. run: the pipeline's, with its events."""

    nb: Any
    report: str
    run: RunRow
    events: list[Event]

    @property
    def printed(self) -> str:
        return "".join(out.get("text", "") for out in self.outputs())

    def outputs(self, cell: str = "") -> list[Any]:
        """What the cells, or the one of that id, show."""
        asked = [one for one in self.nb.cells if cell in ("", one.id)]
        return [out for one in asked for out in one.get("outputs", ())]

    def shown(self, cell: str, kind: str) -> str:
        """What a cell shows in one form."""
        return "".join("".join(out.get("data", {}).get(kind, "")) for out in self.outputs(cell))

    def labels(self) -> dict[str, Counter[str]]:
        """For each platform, how many tasks each place of it has started."""
        platform = {e.digest: e.platform for e in self.events if isinstance(e, ComponentUsed)}
        calls = [e for e in self.events if isinstance(e, TaskAdded) and e.form == "call"]
        where = {call.task: platform[call.component] for call in calls}
        found: dict[str, Counter[str]] = {}
        for event in self.events:
            if isinstance(event, TaskStarted) and event.task in where:
                found.setdefault(where[event.task], Counter())[event.worker] += 1
        return found

    def borders(self) -> set[tuple[str, str]]:
        """The platforms between which a value went, of what gave it and of what took it."""
        platform = {e.digest: e.platform for e in self.events if isinstance(e, ComponentUsed)}
        added = {e.task: e for e in self.events if isinstance(e, TaskAdded)}
        pairs = [(added[wire[0]], task) for task in added.values() for wire in task.wires]
        return {(platform[a.component], platform[b.component]) for a, b in pairs}

    def trail(self) -> dict[str, str]:
        """The machine on which each step of the first pump was."""
        return dict(re.findall(r"^  (\w+) on (\S+)$", self.printed, re.MULTILINE))


def execute(folder: Path, given: Mapping[str, str], parameters: Mapping[str, str]) -> Executed:
    """Run the notebook as a job, with nothing in its environment but what is given."""
    env = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    env |= {**given, "HOME": str(folder), "TWINGRAPH_HOME": str(folder / "home")}
    words = [str(TWINGRAPH), "run", str(NOTEBOOK), "-o", str(folder / "out")]
    for name, value in parameters.items():
        words += ["-p", name, value]
    told = subprocess.run(words, env=env, cwd=folder, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    nb = nbformat.read(folder / "out" / NOTEBOOK.name, 4)
    store = Store.open(folder / "home", readonly=True)
    rows = [store.run(run) for run in nb.metadata["twingraph"]["runs"]]
    run = next(row for row in rows if row.form == "pipeline")
    events = [event for batch in store.events(run.id) for event in batch.events]
    store.close()
    return Executed(nb, (folder / "out" / "report.html").read_text(), run, events)


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory, places: Places) -> Executed:
    return execute(tmp_path_factory.mktemp("everywhere"), places.environ, places.parameters)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    return execute(tmp_path_factory.mktemp("bare"), {}, {})


def test_one_run_has_over_three_hundred_tasks_and_all_platforms(everywhere: Executed) -> None:
    assert (everywhere.run.state, everywhere.run.failed) == ("succeeded", 0)
    assert everywhere.run.tasks >= 300
    started = {name: labels.total() for name, labels in everywhere.labels().items()}
    maps = dict.fromkeys(("process", *FAR), 52) | {"batch": 4, "local": 5}
    assert started == maps


def test_each_platform_says_where_its_tasks_ran(everywhere: Executed) -> None:
    labels = everywhere.labels()
    places = {name: set(labels[name]) for name in FAR}
    assert all(all(one for one in found) for found in places.values()), places
    assert not set.intersection(*places.values())
    assert len(places["batch"]) == 4  # a job for each site


def test_a_value_crosses_every_border(everywhere: Executed) -> None:
    assert everywhere.borders() == set(itertools.pairwise([*EVERY, "local"]))
    trail = everywhere.trail()
    assert tuple(trail) == STEPS
    here = trail["record"]
    assert [step for step in STEPS if trail[step] == here] == ["record", "forecast", "risk"]
    apart = [trail[step] for step in ("clean", "fit", "score", "schedule")]
    assert len(set(apart)) == 4  # a container, a pod, a function and a job


def test_every_platform_is_reachable_and_the_table_says_how_much_ran(everywhere: Executed) -> None:
    table = everywhere.shown("given", "text/plain")
    assert set(re.findall(r"^(\w+) +ready", table, re.MULTILINE)) == set(EVERY)
    versions = dict(re.findall(r"^(\w+) +ready +(client \D*\d.*)$", table, re.MULTILINE))
    assert set(versions) == set(FAR)
    rows = re.findall(r"<td>(\w+)<td>(\d+)<td>", everywhere.shown("table", "text/html"))
    counted = {name: labels.total() for name, labels in everywhere.labels().items()}
    assert {name: int(count) for name, count in rows} == counted


def test_the_password_of_the_broker_is_nowhere(everywhere: Executed, broker: str) -> None:
    password = urlsplit(broker).password
    assert password
    for kept in (nbformat.writes(everywhere.nb), everywhere.report, repr(everywhere.events)):
        assert password not in kept


def test_the_error_from_a_pod_names_the_cell(everywhere: Executed) -> None:
    assert "kubernetes printed: looking at " in everywhere.printed
    found = re.search(r"KeyError\n  'readings'\n  (in component hottest.*)", everywhere.printed)
    assert found is not None
    assert re.search(r"cell \[\d+\], line 4", found[1])


def test_the_picture_is_in_the_notebook_and_the_report(everywhere: Executed) -> None:
    picture = everywhere.shown("run", "text/html")
    assert "321/321 done" in picture.replace("\N{NO-BREAK SPACE}", " ").replace("&nbsp;", " ")
    assert "<img" in picture
    for name in ("record \u00d7 52", "schedule \u00d7 4", "KeyError"):
        assert name in everywhere.report, name


def test_without_any_platform_it_runs_here_and_says_so(
    bare: Executed, everywhere: Executed
) -> None:
    assert (bare.run.state, bare.run.tasks) == ("succeeded", everywhere.run.tasks)
    assert {name: found.total() for name, found in bare.labels().items()} == {
        "process": 6 * 52 + 4,
        "local": 5,
    }
    said = re.findall(r"^(\w+) +not given \(.+\): process$", bare.printed, re.MULTILINE)
    assert tuple(said) == FAR


def test_the_platforms_do_not_change_the_answer(bare: Executed, everywhere: Executed) -> None:
    assert len(answer(bare)) == 10
    assert answer(bare) == answer(everywhere)


def answer(executed: Executed) -> list[str]:
    """The plan, as the notebook prints it."""
    return re.findall(r"^day +\d+ .+$", executed.printed, re.MULTILINE)


def test_it_is_short_and_kept_without_outputs() -> None:
    nb = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(nb)
    assert len(nb.cells) < 25
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
