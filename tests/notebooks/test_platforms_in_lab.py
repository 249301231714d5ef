"""The notebook of all platforms by Run All in a real JupyterLab, with its picture live."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.lab import CHROMIUM, FLAGS, Lab, Notebook, Spot
from tests.notebooks.conftest import Places
from twingraph_nb.picture.collapse import TIMES

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_platforms.ipynb"
FAR = ("process", "docker", "kubernetes", "celery", "dask", "lambda", "batch")
DONE = re.compile(r"(\d+)/(\d+) done")
_ERRORS = """() => [...jupyterapp.shell.currentWidget.content.model.cells].flatMap(
    cell => cell.type === 'code' ? cell.toJSON().outputs.filter(
        output => output.output_type === 'error' ||
            (output.name === 'stderr' && !/DependencyWarning/.test(output.text))) : [])"""
# IPython and botocore set the process's warning filters aside for moments. A library that loads
# in one, such as requests, which does without PySocks, cannot keep its own warning back.
pytestmark = pytest.mark.timeout(400)  # over three hundred tasks, on a machine that is shared


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, places: Places) -> Iterator[Lab]:
    server = Lab(tmp_path_factory.mktemp("lab"), places.environ)
    yield server
    server.close()


@pytest.fixture
def page(lab: Lab) -> Iterator[Page]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
        browser.close()
    lab.end_kernels()


def given(lab: Lab, places: Places) -> dict[str, int]:
    """Write the notebook with the parameters given; the places of its named cells."""
    nb = nbformat.read(NOTEBOOK, 4)
    after = next(i for i, cell in enumerate(nb.cells) if cell.id == "parameters") + 1
    lines = [f"{name} = {value!r}" for name, value in places.parameters.items()]
    nb.cells.insert(after, nbformat.v4.new_code_cell("\n".join(lines)))
    nbformat.write(nb, lab.root / "platforms.ipynb")
    return {cell.id: index for index, cell in enumerate(nb.cells)}


def watched(notebook: Notebook, index: int) -> Iterator[tuple[int, list[Spot]]]:
    """How many tasks are done, and the boxes, at each look until the run is over."""
    line = notebook.cell(index).locator(".tg-line")
    over = False
    while not over:
        over = line.locator(".tg-badge").inner_text() != "running"
        found = DONE.search(line.inner_text())
        yield int(found[1]) if found else 0, notebook.boxes(index)
        notebook.page.wait_for_timeout(250)


def test_over_three_hundred_tasks_everywhere_move_under_their_cell(
    lab: Lab, page: Page, places: Places
) -> None:
    cells = given(lab, places)
    run = cells["run"]
    notebook = Notebook(lab, page, "platforms.ipynb")
    page.evaluate("() => { void jupyterapp.commands.execute('notebook:run-all-cells'); }")
    notebook.show(run)
    notebook.finished(run)
    counts, moving, boxes = [], set(), []
    for done, boxes in watched(notebook, run):
        counts.append(done)
        moving |= {(box.lines[-1], box.lines[1]) for box in boxes if box.state == "running"}
        if len(counts) == 20:
            notebook.shot("platforms-running", notebook.cell(run))

    notebook.finished(run + 1)  # the cell that waits for the result
    assert page.evaluate(_ERRORS) == []
    assert counts == sorted(counts)
    assert len(set(counts)) > 5, counts  # it moved, and not in one leap at the end
    assert counts[-1] >= 300
    assert len({where for where, _ in moving}) >= 3, moving
    assert any(re.match(r"\d+ done, \d+ running$", told) for _, told in moving), moving
    expect(notebook.cell(run).locator(".tg-badge").first).to_have_text("succeeded")
    assert {box.state for box in boxes} == {"succeeded"}
    ran = {box.lines[0]: box.lines[2:] for box in boxes}
    assert ran.pop("pumps") == ran.pop("join") == []  # in the kernel, which needs no word
    assert [*ran.values()] == [[f"on {name}"] for name in FAR]
    notebook.shot("platforms-done", notebook.cell(run))

    panel = notebook.click(run, f"fit {TIMES} 13")
    expect(panel.locator(".tg-title")).to_contain_text("on kubernetes")
    expect(panel).to_contain_text("Took longest")
    notebook.click(run, "schedule")
    expect(panel.locator(".tg-title")).to_contain_text("on batch")
    expect(panel).to_contain_text("13 pumps, cost")  # what the far side printed
    notebook.shot("platforms-inspector", panel)

    notebook.show(cells["given"])
    table = notebook.cell(cells["given"]).locator("table")
    expect(table.get_by_role("cell", name="ready", exact=True)).to_have_count(len(FAR) + 1)
    notebook.shot("platforms-table", table)
