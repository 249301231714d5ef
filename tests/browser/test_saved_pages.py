"""Notebooks saved as HTML: the picture stands for the live view, and hides nothing else."""

from __future__ import annotations

from nbconvert import HTMLExporter
from nbformat import v4
from playwright.sync_api import Browser, expect

from twingraph_nb.views.style import STILL_CSS

WIDGET = "application/vnd.jupyter.widget-view+json"


OUTPUTS = {
    "stdout": v4.new_output("stream", name="stdout", text="what was printed"),
    "stderr": v4.new_output("stream", name="stderr", text="what was printed"),
    "html": v4.new_output("display_data", {"text/html": "<b>what was printed</b>"}),
    "text": v4.new_output("display_data", {"text/plain": "what was printed"}),
    "dead": v4.new_output("display_data", {WIDGET: {"model_id": "gone"}, "text/plain": ""}),
}
"""What may stand before the picture; the last is a live view whose kernel is gone."""


def test_what_stands_before_the_picture_is_seen_unless_it_is_a_dead_view(browser: Browser) -> None:
    picture = f'<style>{STILL_CSS}</style><div class="tg-still"><p>the picture</p></div>'
    still = v4.new_output("display_data", {"text/html": picture})
    cells = [v4.new_code_cell(name, outputs=[one, still]) for name, one in OUTPUTS.items()]
    body, _ = HTMLExporter(template_name="lab").from_notebook_node(v4.new_notebook(cells=cells))
    page = browser.new_page()
    page.set_content(body, wait_until="domcontentloaded")
    areas = page.locator(".jp-Cell-outputArea")
    expect(areas).to_have_count(len(OUTPUTS))
    for at, name in enumerate(OUTPUTS):
        expect(areas.nth(at).get_by_text("the picture")).to_be_visible()
        if name == "dead":
            expect(areas.nth(at)).to_have_text("the picture")
        else:
            expect(areas.nth(at).get_by_text("what was printed")).to_be_visible()
    page.close()
