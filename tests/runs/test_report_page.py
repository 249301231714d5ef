"""The report in a browser: it sorts, finds, follows the theme, and asks the network for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.runs.samples import EVIL, START, census
from twingraph_nb.runs.ending import Ending
from twingraph_nb.runs.report import Facts, report_html

CHROMIUM = ["--no-sandbox", "--disable-gpu"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """The report of a run of which one task failed, in a light browser."""
    facts = Facts("flow.ipynb", "nb1", Ending(), START, START + 9, {}, (), [census(12, failed=7)])
    (tmp_path / "report.html").write_text(report_html(facts), encoding="utf-8")
    opened = browser.new_page(color_scheme="light")
    told: list[str] = []
    opened.on("console", lambda message: told.append(message.text))
    opened.on("pageerror", lambda error: told.append(str(error)))
    opened.on("dialog", lambda dialog: told.append(dialog.message))
    opened.on("request", lambda request: told.append(request.url))
    opened.goto((tmp_path / "report.html").as_uri())
    yield opened
    assert told == [(tmp_path / "report.html").as_uri()]
    opened.close()


def shown(page: Page, column: int) -> list[str]:
    """The texts of a column of the table of tasks, of the rows that are visible."""
    cells = page.locator(f"table.sort tbody tr:not([hidden]) td:nth-child({column})")
    return cells.all_inner_texts()


def test_a_click_on_a_head_sorts_and_another_turns_it_round(page: Page) -> None:
    assert shown(page, 1) == [str(n) for n in (0, *range(2, 15))]
    head = page.get_by_role("button", name="task")
    head.click()
    names = shown(page, 2)
    assert names.index("parse[2]") < names.index("parse[11]")
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("task")
    head.click()
    assert shown(page, 2) == names[::-1]


def test_typing_keeps_the_rows_that_match(page: Page) -> None:
    page.get_by_label("find a task").fill("ZERODIV")
    assert shown(page, 2) == ["parse[7]"]
    page.get_by_label("find a task").fill("")
    assert len(shown(page, 2)) == 14


def test_it_follows_the_theme_and_fits_the_window(page: Page) -> None:
    color = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(color)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(color) != light
    page.set_viewport_size({"width": 700, "height": 600})
    assert page.evaluate("document.documentElement.scrollWidth") == 700


def test_hostile_text_is_shown_as_text(page: Page) -> None:
    assert EVIL in page.locator("main").inner_text()
    page.locator("details").first.locator("summary").click()
    assert page.locator("main script").count() == 0
