"""The quickstart runs as a batch job, tells the truth about this Python, and reuses its work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from twingraph_nb.store import RunRow, Store

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "00_quickstart.ipynb"
TWINGRAPH = Path(sys.executable).with_name("twingraph")


@dataclass
class Executed:
    """What one batch run left. runs: the pipeline's, oldest first."""

    nb: Any
    report: str
    runs: list[RunRow]

    @property
    def printed(self) -> str:
        outputs = [out for cell in self.nb.cells for out in cell.get("outputs", ())]
        return "".join(out.get("text", "") for out in outputs)

    def html(self, cell: str) -> str:
        """The HTML that a cell, by its id, shows."""
        found = next(c for c in self.nb.cells if c.id == cell)
        return "".join(out.get("data", {}).get("text/html", "") for out in found.outputs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="module")
def first(folder: Path) -> Executed:
    return execute(folder, "first")


@pytest.fixture(scope="module")
def second(folder: Path, first: Executed) -> Executed:
    """A second job with the same home, and another parameter."""
    return execute(folder, "second", "-p", "top", "4")


def execute(folder: Path, name: str, *args: str) -> Executed:
    home = folder / "home"
    env = {**os.environ, "TWINGRAPH_HOME": str(home)}
    words = [str(TWINGRAPH), "run", str(NOTEBOOK), "-o", str(folder / name), *args]
    told = subprocess.run(words, env=env, cwd=folder, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    nb = nbformat.read(folder / name / NOTEBOOK.name, 4)
    store = Store.open(home, readonly=True)
    runs = [store.run(run) for run in nb.metadata["twingraph"]["runs"]]
    store.close()
    report = (folder / name / "report.html").read_text()
    return Executed(nb, report, [run for run in runs if run.form == "pipeline"])


@pytest.fixture(scope="module")
def census() -> tuple[Counter[str], Counter[str]]:
    """Files and lines of each package, counted without the package or `ast`."""
    root = sysconfig.get_paths()["stdlib"]
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for folder, below, names in os.walk(root):
        below[:] = [n for n in below if n not in ("site-packages", "dist-packages", "__pycache__")]
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), root)
            if name.endswith(".py"):
                package = path.split(os.sep)[0].removesuffix(".py")
                files[package] += 1
                with open(os.path.join(root, path), "rb") as file:
                    lines[package] += sum(chunk.count(b"\n") for chunk in file)
    return files, lines


def test_its_numbers_are_those_of_this_python(
    first: Executed, census: tuple[Counter[str], Counter[str]]
) -> None:
    files, lines = census
    assert f"{files.total():,} files, {lines.total():,} lines, " in first.printed
    parts = sum(-(-count // 40) for count in files.values())
    assert f"{parts} parts to read in" in first.printed
    del lines["test"]
    chart = pictures(first)[0]
    shown = re.findall(r'end">([\w.-]+)</text>|>([\d,]+) lines', chart)
    names, counts = [n for n, _ in shown if n], [c for _, c in shown if c]
    assert dict(zip(names, counts, strict=True)) == {
        name: f"{count:,}" for name, count in lines.most_common(15)
    }


def pictures(executed: Executed) -> list[str]:
    """The SVG pictures that the notebook draws."""
    cell = next(c for c in executed.nb.cells if c.id == "draw")
    found = [out.data["image/svg+xml"] for out in cell.outputs if "data" in out]
    return ["".join(svg) for svg in found]


def test_the_graph_of_imports_joins_modules_that_import_each_other(first: Executed) -> None:
    ring = pictures(first)[1]
    names = set(re.findall(r">(\w+)</text>", ring))
    assert {"os", "re", "warnings"} <= names <= set(sys.stdlib_module_names)
    assert ring.count("<path") >= len(names)


def test_an_equal_call_is_reused_and_the_error_is_told(first: Executed) -> None:
    assert "first: succeeded · second: reused" in first.printed
    assert re.search(
        r"ZeroDivisionError\n  division by zero\n  in component rank, cell \[\d+\], line 4",
        first.printed,
    )


def test_after_the_fix_only_what_changed_is_done_again(first: Executed) -> None:
    broken, fixed = first.runs
    assert (broken.state, broken.failed) == ("failed", 1)
    assert (fixed.state, fixed.failed, fixed.tasks) == ("succeeded", 0, broken.tasks)
    assert fixed.reused == fixed.tasks - 4  # units, join, rank and web


def test_a_second_job_with_the_same_home_reuses_the_whole_survey(second: Executed) -> None:
    for run in second.runs:
        assert run.reused == run.tasks - 4
    assert len(re.findall(r"[\d,]+ lines, \d", pictures(second)[0])) == 4


def test_the_final_pictures_are_in_the_notebook_and_the_report(first: Executed) -> None:
    broken, fixed = first.html("run"), first.html("again")
    assert "1 failed" in broken
    assert "<img" in broken
    assert f"{first.runs[1].tasks}/{first.runs[1].tasks} done" in fixed.replace("&nbsp;", " ")
    assert "<img" in fixed
    for said in ("census", "survey \u00d7 ", "ZeroDivisionError: division by zero", "reused"):
        assert said in first.report, said


def test_it_is_short_and_kept_without_outputs() -> None:
    nb = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(nb)
    assert len(nb.cells) < 25
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
