"""An edited cell marks what earlier runs made with it, in a real JupyterLab."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.lab import Lab, Notebook
from tests.browser.test_live_view import wait_for

CELLS = (
    "%load_ext twingraph_nb\ndef times(x):\n    return 10 * x",
    "%%component clean\ndef clean(n: int) -> int:\n    return n + 1",
    "%%component train\ndef train(x: int) -> int:\n    return times(x)",
    "%%component other\ndef other(n: int) -> int:\n    return n",
    "%%pipeline flow(n=1) -> out\nout = [train(clean(n)), other(n)]",
    "flow()",
    "%%component clean\ndef clean(n: int) -> int:\n    return n + 2",
    "flow()",
    "def times(x):\n    return 11 * x",
)


def test_an_edited_cell_marks_what_was_made_with_it_until_it_is_run_again(
    lab: Lab, page: Page
) -> None:
    lab.write("stale.ipynb", list(CELLS))
    notebook = Notebook(lab, page, "stale.ipynb")
    for index in range(6):
        notebook.run(index)

    def said() -> dict[str, str]:
        return {spot.lines[0]: spot.lines[1] for spot in notebook.boxes(5)}

    wait_for(page, lambda: len(said()) == 3)
    assert not any("stale" in line for line in said().values())
    notebook.run(6)
    wait_for(page, lambda: "stale" in said()["clean"])
    assert "stale" in said()["train"]
    assert "stale" not in said()["other"]
    notebook.click(5, "train")
    inspector = notebook.cell(5).locator(".tg-stale")
    expect(inspector).to_contain_text(
        "made from clean, which is stale: the code of clean has changed since it ran"
    )
    notebook.shot("stale", notebook.cell(5).locator(".tg-inspector"))
    notebook.run(7)
    wait_for(page, lambda: not any("stale" in line for line in said().values()))
    expect(inspector).to_have_count(0)
    notebook.run(8)

    def later() -> dict[str, str]:
        return {spot.lines[0]: spot.lines[1] for spot in notebook.boxes(7)}

    wait_for(page, lambda: "stale" in later()["train"])
    assert not any("stale" in later()[name] for name in ("clean", "other"))
