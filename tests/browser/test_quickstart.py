"""The quickstart by Run All in a real JupyterLab.

Its census is of a few packages, by its parameter `root`; that of all is taken as a batch job in
`tests/notebooks`.
"""

from __future__ import annotations

import re
import shutil
import sysconfig
from pathlib import Path

import nbformat
from playwright.sync_api import Page, expect

from tests.browser.lab import Lab, Notebook

QUICKSTART = Path(__file__).resolve().parents[2] / "notebooks" / "00_quickstart.ipynb"
FIRST_RUN, SECOND_RUN, ANSWER = 16, 20, 22
PACKAGES = ("asyncio", "email", "json", "this.py", "unittest", "xml")


def given(folder: Path) -> nbformat.NotebookNode:
    """The quickstart, whose census is of `PACKAGES`; they are copied to the folder."""
    for name in PACKAGES:
        found = Path(sysconfig.get_paths()["stdlib"], name)
        copied = shutil.copytree if found.is_dir() else shutil.copy
        copied(found, folder / name)
    nb = nbformat.read(QUICKSTART, 4)
    parameters = next(cell for cell in nb.cells if cell.id == "parameters")
    assert 'root: str = ""' in parameters.source
    parameters.source = parameters.source.replace('""', repr(str(folder)))
    return nb


def test_quickstart_runs_by_run_all_and_draws_its_graphs(
    lab: Lab, page: Page, tmp_path: Path
) -> None:
    nbformat.write(given(tmp_path), lab.root / "quickstart.ipynb")
    page.set_viewport_size({"width": 1280, "height": 860})
    notebook = Notebook(lab, page, "quickstart.ipynb")
    page.evaluate("() => { void jupyterapp.commands.execute('notebook:run-all-cells'); }")
    expect(page.locator(".jp-Notebook-ExecutionIndicator")).to_have_attribute(
        "data-status", "idle", timeout=180_000
    )
    notebook.show(ANSWER)
    notebook.finished(ANSWER, timeout=180_000)
    expect(notebook.cell(ANSWER).locator("svg").first).to_be_visible()
    notebook.shot("quickstart-answer")
    for index, state in ((SECOND_RUN, "succeeded"), (FIRST_RUN, "failed")):
        notebook.show(index)
        graph = notebook.graph(index)
        expect(notebook.cell(index)).to_contain_text(re.compile(state))
        notebook.shot(f"quickstart-{state}", notebook.cell(index))
        assert graph.bounding_box() is not None
    errors = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']")
    assert errors.all_inner_texts() == []
