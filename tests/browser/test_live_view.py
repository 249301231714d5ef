"""The live view in a real JupyterLab, driven by a real browser."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.lab import Lab, Notebook
from twingraph_nb.picture.collapse import TIMES
from twingraph_nb.picture.palette import LOOKS

SETUP = """\
%load_ext twingraph_nb
import threading, time
import pandas as pd
from twingraph_nb import component, pipeline

@component()
def load(path: str) -> pd.DataFrame:
    return pd.DataFrame({"city": ["Oslo", "Rome", "Lima"], "people": [709, 2873, 10092]})

@component()
def count(table: pd.DataFrame) -> int:
    print("counting", len(table), "rows")
    return len(table)

@component()
def slow(n: int) -> int:
    time.sleep(1.2)
    return n + 1

@component()
def broken(n: int) -> int:
    limit = 2
    raise ValueError(f"{n} is more than {limit}")

@pipeline()
def three_steps():
    return slow(slow(slow(0)))

@pipeline(on_error="continue")
def mixed():
    n = count(load("cities.csv"))
    broken(n)
    return n
"""
HANG = "@component()\nasync def hang():\n    import asyncio\n    await asyncio.sleep(600)"
QUICK = "@component()\nasync def quick(n: int) -> int:\n    return n"
MIXED, MOVING, BLOCKING, STOPPED, WAITING, MANY = range(1, 7)
"""The cells after SETUP."""
CELLS = (
    SETUP,
    "run = mixed()\nrun",
    "three_steps()",
    "time.sleep(8)",
    "three_steps()",
    f"{HANG}\n\nhang().result()",
    f"{QUICK}\n\neverything = quick.map(range(400))\neverything",
)


def pixels(screenshot: bytes, color: str) -> list[tuple[int, int]]:
    """The pixels of this colour on the graph, as x, y; the bar above it may shine in by one row."""
    wanted = tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
    wide, data = picture.width, picture.load()
    assert data is not None
    return [
        (x, y)
        for y in range(6, picture.height, 2)
        for x in range(0, wide, 2)
        if data[x, y] == wanted
    ]


def wait_for(page: Page, condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Look until it is so."""
    for _ in range(int(seconds / 0.1)):
        if condition():
            return
        page.wait_for_timeout(100)
    assert condition()


def drawn(notebook: Notebook, index: int, state: str) -> list[tuple[int, int]]:
    return pixels(notebook.graph(index).screenshot(), LOOKS[state].fill)  # type: ignore[index]


def click(notebook: Notebook, index: int, state: str, title: str) -> Locator:
    """Click the leftmost box of this state until the inspector has the title; gives it."""
    panel = notebook.cell(index).locator(".tg-inspector")

    def told() -> bool:
        found = drawn(notebook, index, state)
        if not found:
            return False
        left = min(x for x, _ in found)
        near = [spot for spot in found if spot[0] <= left + 30]
        x, y = near[len(near) // 2]
        notebook.graph(index).click(position={"x": x, "y": y})
        notebook.page.wait_for_timeout(300)
        return panel.is_visible() and title in panel.locator(".tg-title").inner_text()

    wait_for(notebook.page, told)
    panel.locator(".tg-title").scroll_into_view_if_needed()
    return panel


@pytest.fixture(scope="module")
def notebook(browser: Browser, lab: Lab) -> Iterator[Notebook]:
    """The one notebook of all tests, with its SETUP run."""
    lab.write("live.ipynb", CELLS)
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    opened = Notebook(lab, page, "live.ipynb")
    opened.run(0)
    yield opened
    page.close()
    lab.end_kernels()


def mixed_in(notebook: Notebook) -> Notebook:
    """The notebook with the run that failed in part on the page."""
    notebook.show(MIXED)
    if notebook.prompt(MIXED) == "[ ]:":
        notebook.run(MIXED)
    wait_for(notebook.page, lambda: len(drawn(notebook, MIXED, "failed")) > 50)
    return notebook


def test_colours_change_while_another_cell_blocks_the_kernel(notebook: Notebook) -> None:
    notebook.run(MOVING)
    notebook.run(BLOCKING, wait=False)
    shots: list[bytes] = []

    def one_runs() -> bool:
        shots.append(notebook.graph(MOVING).screenshot())
        return len(pixels(shots[-1], LOOKS["running"].fill)) > 50

    wait_for(notebook.page, one_runs)
    before = len(pixels(shots[-1], LOOKS["succeeded"].fill))
    notebook.shot("moving")
    wait_for(notebook.page, lambda: len(drawn(notebook, MOVING, "succeeded")) > before + 50)
    assert notebook.prompt(BLOCKING) == "[*]:"
    wait_for(notebook.page, lambda: not drawn(notebook, MOVING, "running"))
    expect(notebook.cell(MOVING).locator(".tg-line")).to_contain_text("3/3 done")
    notebook.shot("moved")
    notebook.finished(BLOCKING)


def test_a_click_on_a_node_fills_the_inspector(notebook: Notebook) -> None:
    panel = click(mixed_in(notebook), MIXED, "succeeded", "load")
    expect(panel.locator("table")).to_contain_text("Oslo")
    expect(panel).to_contain_text("'cities.csv'")
    notebook.shot("inspector-table", panel)
    click(notebook, MIXED, "failed", "broken")
    expect(panel).to_contain_text("ValueError: 3 is more than 2")
    expect(panel).to_contain_text("raise ValueError")
    notebook.shot("inspector-error", panel)


def test_the_stop_button_of_the_view_cancels_the_run(notebook: Notebook) -> None:
    notebook.run(STOPPED)
    wait_for(notebook.page, lambda: len(drawn(notebook, STOPPED, "running")) > 50)
    notebook.cell(STOPPED).get_by_role("button", name="Stop").click()
    expect(notebook.cell(STOPPED).locator(".tg-line .tg-badge")).to_have_text("cancelled")
    wait_for(notebook.page, lambda: len(drawn(notebook, STOPPED, "cancelled")) > 50)
    notebook.shot("cancelled")


def test_the_stop_button_of_the_notebook_interrupts_a_waiting_cell_at_once(
    notebook: Notebook,
) -> None:
    page = notebook.page
    notebook.run(WAITING, wait=False)
    wait_for(page, lambda: notebook.prompt(WAITING) == "[*]:")
    page.wait_for_timeout(500)  # the wait itself has begun; nothing tells of it
    page.get_by_role("button", name="Interrupt the kernel").first.click()
    notebook.finished(WAITING, timeout=10_000)
    expect(notebook.cell(WAITING)).to_contain_text("KeyboardInterrupt")


def test_a_map_of_hundreds_is_one_box_with_counters(notebook: Notebook) -> None:
    notebook.run(MANY)
    expect(notebook.cell(MANY).locator(".tg-line")).to_contain_text("400/400 done")
    wait_for(notebook.page, lambda: len(drawn(notebook, MANY, "succeeded")) > 50)
    panel = click(notebook, MANY, "succeeded", f"quick {TIMES} 400")
    expect(panel).to_contain_text("Took longest")
    notebook.shot("collapsed", panel)


def test_the_view_is_there_after_a_reload_in_the_dark_and_without_its_kernel(
    notebook: Notebook, lab: Lab
) -> None:
    page = mixed_in(notebook).page
    expect(notebook.cell(MIXED).locator("img[alt='graph of the run']")).to_be_hidden()
    notebook.command("docmanager:save")

    notebook.open()
    wait_for(page, lambda: len(drawn(notebook, MIXED, "failed")) > 50, 30)
    panel = click(notebook, MIXED, "failed", "broken")
    expect(panel).to_contain_text("3 is more than 2")
    notebook.shot("reloaded", panel)

    notebook.command("apputils:change-theme", {"theme": "JupyterLab Dark"})
    page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    wait_for(page, lambda: len(drawn(notebook, MIXED, "failed")) > 50)
    canvas = notebook.graph(MIXED).screenshot()
    assert Image.open(io.BytesIO(canvas)).convert("L").getpixel((2, 2)) < 64
    notebook.shot("dark", panel)
    notebook.command("apputils:change-theme", {"theme": "JupyterLab Light"})

    lab.end_kernels()
    notebook.open()  # starts a new kernel, which knows no widgets
    picture = notebook.cell(MIXED).locator("img[alt='graph of the run']")
    expect(picture).to_be_visible(timeout=30_000)
    assert picture.evaluate("image => image.complete && image.naturalWidth > 200")
    expect(notebook.cell(MIXED).get_by_text("Error displaying widget")).to_be_hidden()
    expect(notebook.cell(MIXED).get_by_text("Loading widget")).to_be_hidden()
    notebook.shot("no-kernel")
