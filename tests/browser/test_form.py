"""Questions under a cell in a real JupyterLab, answered with a mouse."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.lab import PATIENCE, Lab, Notebook
from tests.browser.test_live_view import wait_for

CELLS = (
    """\
%load_ext twingraph_nb
from twingraph_nb import ask, pipeline

@pipeline
def release():
    how = ask("How?", kind="form", fields={"rate": float, "dry": bool}, name="how")
    return ask("Deploy?", name="go"), how
""",
    "run = release(); run",
    "import os, time\nwhile not os.path.exists('gate'):\n    time.sleep(0.01)",
    "print(await run)",
)


def test_a_form_says_who_answered_and_that_a_cell_does_not_let_it_be_heard(
    lab: Lab, page: Page
) -> None:
    lab.write("form.ipynb", list(CELLS))
    notebook = Notebook(lab, page, "form.ipynb")
    notebook.run(0)
    notebook.run(1)
    forms = notebook.cell(1).locator(".tg-form")
    expect(forms).to_have_count(2, timeout=PATIENCE)
    go, how = forms.filter(has_text="Deploy?"), forms.filter(has_text="How?")
    notebook.run(2, wait=False)
    expect(go).to_contain_text("A cell keeps the kernel busy", timeout=PATIENCE)
    expect(go.locator("code")).to_contain_text(re.compile("^twingraph answer [0-9a-f]+ "))
    notebook.shot("busy-form", go)
    (lab.root / "gate").touch()
    expect(go).not_to_contain_text("A cell keeps", timeout=PATIENCE)
    notebook.run(3, wait=False)
    wait_for(page, lambda: notebook.prompt(3) == "[*]:")
    go.get_by_role("button", name="yes").click()
    expect(go).to_contain_text("yes, by user at", timeout=PATIENCE)
    expect(go.get_by_role("button", name="no")).to_be_disabled()
    answer = how.get_by_role("button", name="Answer")
    answer.click()
    expect(how).to_contain_text("rate: '' is no number", timeout=PATIENCE)
    how.locator("input[type=text]").fill("0.5")
    answer.click()
    expect(how).to_contain_text("by user at", timeout=PATIENCE)
    notebook.finished(3)
    expect(notebook.cell(3)).to_contain_text("(True, {'rate': 0.5, 'dry': False})")
