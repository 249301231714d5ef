"""The report shows what happened, in one file that loads nothing and runs no text as markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import nbformat
import pytest

from tests.runs.samples import ERROR, EVIL, START, census
from twingraph_nb.picture.model import Screen
from twingraph_nb.runs.ending import CellTrouble, Ending
from twingraph_nb.runs.report import CellFact, Facts, report_html
from twingraph_nb.runs.sections import MOST_ROWS


class Reader(HTMLParser):
    """What a browser would find: elements with their attributes, and the text."""

    VOID = {"meta", "input", "img", "br"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def facts(*screens: Screen, ending: Ending | None = None, **more: object) -> Facts:
    return Facts(
        "/home/ada/flow.ipynb",
        "nbrun1",
        ending or Ending(),
        START,
        START + 60,
        {"top": "15", "name": repr(EVIL)},
        [CellFact(1, f"import os {EVIL}", 0.5, "completed"), CellFact(2, "x", 0, "pending")],
        screens,
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def failed() -> str:
    trouble = CellTrouble(2, f"a = 1\nrun.result()  # {EVIL}\nb = 2", ERROR)
    ending = Ending("failed", ERROR, trouble)
    return report_html(facts(census(failed=2, reused=[1]), ending=ending))


def test_everything_that_happened_is_in_it(failed: str) -> None:
    text = Reader(failed).text
    for said in (
        "flow.ipynb failed",
        "run nbrun1",
        "took 1 min 00 s",
        "top = 15",
        "The notebook failed ZeroDivisionError: by zero",
        "in code cell 2",
        "census failed 4/6 done",
        "parse[2] In [3], line 4",
        "> 3 | return y / 0",
        "process 1 1.0 s x = 1 3",
        "found 4",
        "import os",
        "not run",
    ):
        assert said in text, said


def test_a_reused_task_says_from_which_run(failed: str) -> None:
    row = next(row for row in failed.split("<tr>") if ">parse[1]<" in row)
    assert "reused" in row
    assert "in run old" in row


def test_text_never_becomes_markup(failed: str) -> None:
    page = Reader(failed)
    assert page.text.count("alert(1)") >= 7
    scripts = [tag for tag, _ in page.tags if tag == "script"]
    assert len(scripts) == 1
    assert EVIL not in failed
    assert page.open == []


def test_it_loads_nothing_from_anywhere(failed: str) -> None:
    for tag, attributes in Reader(failed).tags:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"url\((?!#)|@import", failed)
    assert "default-src 'none'" in failed


def test_thousands_of_tasks_stay_a_page_that_opens() -> None:
    html = report_html(facts(census(5_000, failed=4_990)))
    page = Reader(html)
    assert len(html) < 1_500_000
    rows = [tag for tag, _ in page.tags if tag == "tr"]
    assert len(rows) < MOST_ROWS + 20
    assert "500 of 5,002" in page.text
    assert ">parse[4990]<" in html  # what failed is there, whatever its number
    assert "parse: 4,999 succeeded" in page.text  # in the timeline, as one curve


def test_a_run_of_nothing_and_a_notebook_without_runs_have_a_page() -> None:
    text = Reader(report_html(facts(trouble="not recorded: the disk is full"))).text
    assert "flow.ipynb succeeded" in text
    assert "0 tasks" in text
    assert "Recording: not recorded: the disk is full" in text


def test_pictures_of_the_notebook_are_in_it_as_images_only() -> None:
    from twingraph_nb.runs.report import _pictures

    svg = f"<svg xmlns='http://www.w3.org/2000/svg'>{EVIL}</svg>"
    nb = nbformat.v4.new_notebook()
    output = nbformat.v4.new_output("display_data", data={"image/svg+xml": svg})
    nb.cells.append(nbformat.v4.new_code_cell("plot()", outputs=[output]))
    html = report_html(facts(pictures=_pictures(nb)))
    images = [dict(a) for tag, a in Reader(html).tags if tag == "img"]
    assert [str(i["src"])[:26] for i in images] == ["data:image/svg+xml;base64,"]
    assert EVIL not in html
