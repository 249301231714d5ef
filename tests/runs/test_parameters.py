"""What a notebook takes as parameters is read from its cell, and everything else is refused."""

from __future__ import annotations

import pytest

from twingraph_nb.errors import NotebookError
from twingraph_nb.runs.parameters import check, converted, declared


def cells(source: str) -> list[dict[str, object]]:
    return [
        {"cell_type": "code", "source": "import os", "metadata": {}},
        {"cell_type": "code", "source": source, "metadata": {"tags": ["parameters"]}},
    ]


CELL = """\
%matplotlib inline
top = 15
rate: float = 0.5
name = "stdlib"
verbose = False
tags: list[str] = []
mode: Literal["fast", "full"] = "fast"
limit: int | None = None
anything = None
where = Path.home()
a, b = 1, "x"
"""


def test_every_assignment_of_the_cell_is_a_parameter() -> None:
    found = declared(cells(CELL))
    assert found is not None
    assert {name: p.declared for name, p in found.items()} == {
        "top": "int",
        "rate": "float",
        "name": "str",
        "verbose": "bool",
        "tags": "list[str]",
        "mode": "Literal['fast', 'full']",
        "limit": "int | None",
        "anything": "",
        "where": "",
        "a": "int",
        "b": "str",
    }


def test_a_notebook_without_the_tag_has_none() -> None:
    assert declared([{"cell_type": "code", "source": "x = 1", "metadata": {}}]) is None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("top", "3", 3),
        ("rate", "2", 2),
        ("rate", "1e-3", 0.001),
        ("name", "10", "10"),
        ("name", "True", "True"),
        ("name", "[1]", "[1]"),
        ("verbose", "true", True),
        ("verbose", "False", False),
        ("tags", "['a', 'b']", ["a", "b"]),
        ("mode", "full", "full"),
        ("limit", "None", None),
        ("limit", "7", 7),
        ("anything", "1.5", 1.5),
        ("anything", "word", "word"),
        ("where", "/tmp", "/tmp"),
    ],
)
def test_text_is_read_as_what_the_notebook_declares(name: str, text: str, value: object) -> None:
    given = converted(cells(CELL), [(name, text)], notebook="n.ipynb")
    assert given == {name: value}
    assert type(given[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("top", "many", "n.ipynb: parameter 'top' is int (default 15), got 'many' (str)"),
        ("top", "1.5", "annotate the parameter in its cell: `top: int | float = 15`"),
        ("top", "True", "got True (bool)"),
        ("verbose", "1", "parameter 'verbose' is bool (default False), got 1 (int)"),
        ("mode", "slow", "'mode' is Literal['fast', 'full'] (default 'fast'), got 'slow'"),
        ("limit", "x", "'limit' is int | None (default None), got 'x' (str)"),
        ("tpo", "3", "n.ipynb has no parameter 'tpo' (did you mean 'top'?); it has: top, rate"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name: str, text: str, said: str) -> None:
    with pytest.raises(NotebookError) as caught:
        converted(cells(CELL), [(name, text)], notebook="n.ipynb")
    assert said in str(caught.value)


def test_values_that_are_no_text_are_checked_alike() -> None:
    check(cells(CELL), {"tags": ["a"], "rate": 1}, notebook="n.ipynb")
    with pytest.raises(NotebookError, match=r"'tags' is list\[str\] \(default \[\]\), got 3 \(int"):
        check(cells(CELL), {"tags": 3}, notebook="n.ipynb")


def test_a_parameter_for_a_notebook_that_takes_none_says_how_to_take_it() -> None:
    plain = [{"cell_type": "code", "source": "x = 1", "metadata": {}}]
    check(plain, {}, notebook="n.ipynb")
    with pytest.raises(
        NotebookError, match=r"n\.ipynb takes no parameters, so 'x' cannot be given"
    ):
        check(plain, {"x": 1}, notebook="n.ipynb")


def test_a_broken_parameters_cell_is_named_with_its_line() -> None:
    with pytest.raises(NotebookError, match="tagged 'parameters' is not valid Python: line 2"):
        declared(cells("top = 1\nrate = = 2"))
