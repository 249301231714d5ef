"""Notebooks saved as HTML: the picture stands for the live view, and hides nothing else."""

from __future__ import annotations

import nbformat
import pytest
from nbconvert import HTMLExporter
from nbformat import v4
from playwright.sync_api import Browser, expect

from twingraph_nb.views.style import STILL_CSS

WIDGET = "application/vnd.jupyter.widget-view+json"


def saved(*before: nbformat.NotebookNode) -> str:
    """The page of a cell with these outputs before the picture."""
    picture = f'<style>{STILL_CSS}</style><div class="tg-still"><p>the picture</p></div>'
    outputs = [*before, v4.new_output("display_data", {"text/html": picture})]
    nb = v4.new_notebook(cells=[v4.new_code_cell("run", outputs=outputs)])
    body, _ = HTMLExporter(template_name="lab").from_notebook_node(nb)
    return str(body)


@pytest.mark.parametrize(
    "output",
    [
        v4.new_output("stream", name="stdout", text="what was printed"),
        v4.new_output("stream", name="stderr", text="what was printed"),
        v4.new_output("display_data", {"text/html": "<b>what was printed</b>"}),
        v4.new_output("display_data", {"text/plain": "what was printed"}),
    ],
    ids=["stdout", "stderr", "html", "text"],
)
def test_what_a_cell_printed_before_the_picture_is_seen(
    browser: Browser, output: nbformat.NotebookNode
) -> None:
    page = browser.new_page()
    page.set_content(saved(output), wait_until="domcontentloaded")
    expect(page.get_by_text("what was printed")).to_be_visible()
    expect(page.get_by_text("the picture")).to_be_visible()
    page.close()


def test_a_view_that_is_dead_says_nothing(browser: Browser) -> None:
    dead = v4.new_output("display_data", {WIDGET: {"model_id": "gone"}, "text/plain": ""})
    page = browser.new_page()
    page.set_content(saved(dead), wait_until="domcontentloaded")
    expect(page.get_by_text("the picture")).to_be_visible()
    expect(page.locator(".jp-Cell-outputArea")).to_have_text("the picture")
    page.close()
