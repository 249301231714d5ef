"""What cannot travel from a notebook is told with the cell it stands in, whosever cell that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.magics.conftest import Notebook
from twingraph_nb.errors import PortabilityError

CURE = "which cannot be sent: make it inside the component, or pass what it is made of"


@pytest.fixture
def helped(notebook: Notebook) -> Notebook:
    """A notebook with a lock in cell 1, and in cells 2 and 3 what uses it and what is nowhere."""
    notebook.good("import threading\nfrom twingraph_nb import component\nguard = threading.Lock()")
    notebook.good("def helper(x):\n    with guard:\n        return x")
    notebook.good("class Item:\n    def made(self):\n        return nowhere(1)")
    return notebook


def test_a_helper_of_another_cell_is_named_with_that_cell(helped: Notebook) -> None:
    told = str(helped.bad("@component(platform='process')\ndef step(x):\n    return helper(x)"))
    assert told == (
        "step cannot travel to platform 'process':\n"
        f"  - cell [2], line 2 uses guard, a _thread.lock, {CURE}"
    )


def test_a_class_of_another_cell_is_named_with_that_cell_before_dispatch(helped: Notebook) -> None:
    helped.good("%%component step() -> made --platform process\nmade = Item().made()")
    error = helped.bad("step().result(60)")
    assert isinstance(error, PortabilityError)
    assert error.problems == (
        "cell [3], line 3 uses 'nowhere', which is not defined: define or import it first",
    )


def test_open_of_a_notebook_is_open(notebook: Notebook) -> None:
    assert notebook.good("open.__wrapped__.__name__") == "open"  # IPython has put its own around it
    notebook.good(
        "%%component lines(path: str) -> n: int --platform process\n"
        "with open(path) as file:\n    n = len(file.readlines())"
    )
    here = Path(__file__)
    assert notebook.good(f"lines({str(here)!r}).result(60)") == len(here.read_text().splitlines())
