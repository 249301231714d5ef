"""The quickstart by Run All in a real JupyterLab."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.lab import Lab, Notebook

QUICKSTART = Path(__file__).resolve().parents[2] / "notebooks" / "00_quickstart.ipynb"
FIRST_RUN, SECOND_RUN, ANSWER = 16, 20, 22


def test_quickstart_runs_by_run_all_and_draws_its_graphs(lab: Lab, page: Page) -> None:
    shutil.copy(QUICKSTART, lab.root / "quickstart.ipynb")
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
