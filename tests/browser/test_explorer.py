"""The graph explorer in a real JupyterLab, driven with mouse and keyboard."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import networkx as nx
import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.lab import Lab, Notebook
from tests.views.graphs import HOSTILE
from twingraph_nb.lineage import graphml
from twingraph_nb.picture.palette import LOOKS
from twingraph_nb.views.explorer.looks import COLOURS

CELLS = (
    """\
from tests.views.graphs import HOSTILE, run_graph
from twingraph_nb.views.explorer.shown import explorer_of, tasks_first

def look(tasks, **more):
    graph = run_graph(tasks, **more)
    return explorer_of(graph, hidden=tasks_first(graph))
""",
    "small = look(20, odd=HOSTILE); small",
    "large = look(2000); large",
    "print(small.arrangement, small.color_by, small.chosen)",
)
_SEEN = """element => element._cyreg.cy.nodes(':visible').map(node => ({
    id: node.id(), name: node.data('label'), size: node.data('size'), fill: node.data('fill'),
    faint: node.effectiveOpacity() < 0.5, ...node.renderedPosition()}))"""
WAIT = 180_000
"""ms; the machine may be busy."""


class View:
    """One explorer on the page."""

    def __init__(self, notebook: Notebook, cell: int) -> None:
        self.notebook, self.page = notebook, notebook.page
        notebook.run(cell)
        self.root = notebook.cell(cell).locator(".tg-explorer")
        self.root.wait_for(timeout=WAIT)
        self.root.scroll_into_view_if_needed()
        self.drawing = self.root.locator(".tg-x-drawing")
        self.laid_out("layered")

    def laid_out(self, kind: str) -> None:
        """Wait until a layout is drawn."""
        expect(self.root).to_have_attribute("data-laid-out", re.compile(f"^{kind}"), timeout=WAIT)

    def menu(self, name: str, value: str) -> None:
        self.root.get_by_label(name, exact=True).select_option(value)

    @property
    def seen(self) -> list[dict[str, object]]:
        """The nodes that can be seen, as cytoscape has them."""
        return list(self.drawing.evaluate(_SEEN))

    def say(self, pattern: str) -> None:
        expect(self.root.locator(".tg-x-status")).to_contain_text(pattern, timeout=WAIT)

    @property
    def title(self) -> Locator:
        return self.root.locator(".tg-x-about h3")

    def export(self, format: str, folder: Path) -> Path:
        with self.page.expect_download() as download:
            self.root.get_by_label("Export").select_option(format)
        assert download.value.suggested_filename == f"graph.{format}"
        download.value.save_as(folder / f"graph.{format}")
        return folder / f"graph.{format}"

    def pixels(self, colours: set[str]) -> int:
        """How many pixels of the drawing have one of these colours."""
        picture = Image.open(io.BytesIO(self.drawing.screenshot())).convert("RGB")
        wanted = {tuple(int(one[i : i + 2], 16) for i in (1, 3, 5)) for one in colours}
        return sum(count for count, colour in picture.getcolors(1 << 24) if colour in wanted)


@pytest.fixture(scope="module")
def notebook(browser: Browser, lab: Lab) -> Iterator[Notebook]:
    lab.write("explorer.ipynb", list(CELLS))
    page = browser.new_page(viewport={"width": 1250, "height": 900})
    page.emulate_media(reduced_motion="reduce")
    opened = Notebook(lab, page, "explorer.ipynb")
    opened.run(0)
    yield opened
    page.close()
    lab.end_kernels()


@pytest.fixture
def small(notebook: Notebook) -> View:
    """Twenty tasks in lanes; the last one has a hostile name."""
    return View(notebook, 1)


def test_search_and_filters_leave_what_was_asked_for(small: View) -> None:
    assert len(small.seen) == 20
    small.root.get_by_label("Search all properties").fill("convergence")
    small.say("1 match with 2 neighbours")
    assert sorted(str(node["name"]) for node in small.seen) == ["clean", "score", "train"]
    small.page.keyboard.press("Escape")
    small.say("20 of 33 nodes")
    small.root.get_by_role("button", name="Choose types, states and platforms").click()
    small.root.get_by_label("Component", exact=False).check()
    small.say("25 of 33 nodes")
    small.root.get_by_label("docker", exact=False).uncheck()
    small.say("19 of 33 nodes")
    assert "train" not in [node["name"] for node in small.seen]


def test_layouts_colours_sizes_and_labels_follow_the_menus(small: View) -> None:
    places = []
    for kind in ("force", "circular", "grid", "layered"):
        small.menu("Layout", kind)
        small.laid_out(kind)
        places.append({(round(node["x"]), round(node["y"])) for node in small.seen})  # type: ignore[call-overload]
    assert all(len(one) == 20 for one in places)
    assert len({frozenset(one) for one in places}) == 4
    assert small.pixels({LOOKS["succeeded"].fill}) > 500
    small.menu("Colour", "platform")
    expect(small.root.locator(".tg-x-legend")).to_contain_text("kubernetes")
    assert {node["fill"] for node in small.seen} == {fill for fill, _, _ in COLOURS[:4]}
    assert small.pixels({COLOURS[0][0]}) > 100
    small.menu("Colour", "community")
    expect(small.root.locator(".tg-x-legend")).to_contain_text("community 2", timeout=WAIT)
    small.menu("Size", "pagerank")
    sizes = {str(node["name"])[:5]: node["size"] for node in small.seen}
    assert sizes["<img "] == max(sizes.values(), key=float)  # type: ignore[arg-type]
    small.menu("Label", "hash")
    assert "00000000" in [node["name"] for node in small.seen]
    small.menu("Label", "none")
    assert {node["name"] for node in small.seen} == {""}
    small.menu("Label", "Output")
    assert "0" in [node["name"] for node in small.seen]
    small.notebook.run(3)
    expect(small.notebook.cell(3)).to_contain_text("layered community")


def test_a_click_shows_all_properties_as_text(small: View) -> None:
    spot = next(node for node in small.seen if str(node["name"]).startswith("<img"))
    small.drawing.click(position={"x": float(spot["x"]), "y": float(spot["y"])})  # type: ignore[arg-type]
    expect(small.title).to_have_text(HOSTILE)
    about = small.root.locator(".tg-x-about")
    expect(about).to_contain_text("Compute Platform")
    expect(about.locator("img, script")).to_have_count(0)
    small.root.get_by_role("button", name="Go to Task score").first.click()
    expect(small.title).to_have_text("score")
    small.root.get_by_role("button", name="Numbers of what is shown").click()
    expect(small.root.locator("[data-number=nodes]")).to_have_text("20", timeout=WAIT)
    expect(small.root.locator("[data-number=diameter]")).to_have_text("8")
    assert small.page.evaluate("window.hit") is None


def test_the_slider_replays_the_run(small: View) -> None:
    slider = small.root.get_by_label("Time")
    slider.fill("450")
    text = small.root.locator(".tg-x-replay output")
    expect(text).to_contain_text("5 running")
    assert small.pixels({LOOKS["running"].fill}) > 100
    slider.fill("0")
    assert all(node["faint"] for node in small.seen)
    small.root.get_by_role("button", name="Replay the run").click()
    expect(text).to_contain_text("running")
    expect(text).to_have_text("7.0 s · 18 succeeded, 1 failed, 1 skipped", timeout=WAIT)


def test_the_keyboard_reaches_every_node(small: View) -> None:
    small.drawing.focus()
    names = []
    for _ in range(20):
        small.page.keyboard.press("Tab")
        names.append(small.root.locator(".tg-x-id").inner_text())
    assert len(set(names)) == 20
    small.page.keyboard.press("Escape")
    expect(small.title).to_have_count(0)
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        small.page.keyboard.press(key)
    expect(small.title).to_have_text("clean")
    zoom = "element => element._cyreg.cy.zoom()"
    small.page.keyboard.press("f")
    fitted = small.drawing.evaluate(zoom)
    small.page.keyboard.press("+")
    assert small.drawing.evaluate(zoom) > fitted
    small.page.keyboard.press("-")
    small.page.keyboard.press("-")
    assert small.drawing.evaluate(zoom) < fitted
    small.page.keyboard.press("f")
    assert small.drawing.evaluate(zoom) == pytest.approx(fitted)
    small.page.keyboard.press("/")
    expect(small.root.get_by_label("Search all properties")).to_be_focused()
    small.page.keyboard.press("Escape")
    small.page.keyboard.press("Tab")
    expect(small.drawing).not_to_be_focused()
    assert small.page.locator(".jp-Notebook .jp-Cell").count() == len(CELLS)  # Lab saw no key


def test_exports_are_files_that_others_can_read(small: View, tmp_path: Path) -> None:
    picture = Image.open(small.export("png", tmp_path)).convert("RGB")
    colours = {colour for _, colour in picture.getcolors(1 << 24)}
    assert min(picture.size) > 200
    assert (0xB3, 0x47, 0x00) in colours  # the one that failed
    drawn = ImageChops.difference(picture, Image.new("RGB", picture.size, picture.getpixel((0, 0))))
    left, top, right, bottom = drawn.getbbox() or (0, 0, 0, 0)
    margins = left, top, picture.width - right, picture.height - bottom
    assert min(margins) >= 24, margins
    root = ElementTree.parse(small.export("svg", tmp_path)).getroot()
    titles = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert f"Task {HOSTILE}" in titles
    assert len([one for one in titles if str(one).startswith("Task ")]) == 20
    said = json.loads(small.export("json", tmp_path).read_text())
    assert (len(said["nodes"]), len(said["edges"])) == (20, 19)
    file = small.export("graphml", tmp_path)
    read = graphml.load(file)
    assert (len(read.vertices), len(read.edges)) == (20, 19)
    assert read.vertices["task:00000013cafe"].value("name") == HOSTILE
    assert len(nx.read_graphml(file)) == 20


def test_two_thousand_tasks_are_drawn_and_move(notebook: Notebook) -> None:
    large = View(notebook, 2)
    assert len(large.seen) == 2000
    green = {LOOKS["succeeded"].fill}
    expect(large.root.locator(".tg-x-busy")).to_be_hidden()
    assert large.pixels(green) > 5000
    before = large.seen[0]["x"]
    box = large.drawing.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + 6
    large.page.mouse.move(x, y)
    large.page.mouse.down()
    large.page.mouse.move(x + 60, y + 30, steps=4)
    large.page.mouse.up()
    assert float(large.seen[0]["x"]) == pytest.approx(float(before) + 60, abs=8)  # type: ignore[arg-type]
    large.menu("Layout", "grid")
    large.laid_out("grid 2000")
    large.root.get_by_label("Search all properties").fill("state:failed")
    large.say("1 match with 2 neighbours")


def test_the_colours_are_those_of_the_theme(small: View) -> None:
    small.notebook.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
    dark = "element => element._cyreg.cy.nodes()[0].style('color')"
    small.page.wait_for_function(
        "element => element._cyreg.cy.nodes()[0].style('color').startsWith('rgb(255')",
        arg=small.drawing.element_handle(),
    )
    assert small.drawing.evaluate(dark).startswith("rgb(255")
    small.notebook.shot("explorer-dark", small.root)
    small.notebook.command("apputils:change-theme", {"theme": "JupyterLab Light"})


def test_a_saved_notebook_shows_the_graph_without_a_kernel(small: View, page: Page) -> None:
    small.notebook.command("docmanager:save")
    small.notebook.lab.end_kernels()
    later = Notebook(small.notebook.lab, page, "explorer.ipynb", kernel=False)
    picture = later.cell(1).locator(".tg-still img")
    picture.wait_for(timeout=WAIT)
    assert picture.evaluate("image => image.naturalWidth") > 300
    expect(later.cell(1)).to_contain_text("20 nodes (20 Task), 19 edges")
