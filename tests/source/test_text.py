"""The text of a function, and a digest that ignores layout."""

from __future__ import annotations

import linecache
import sys

import pytest

from twingraph_nb.source.text import class_text, normalised, source_of, text_of


def documented(x: int) -> int:
    """Twice."""
    return 2 * x


def test_layout_comments_docstrings_and_decorators_do_not_count() -> None:
    plain = "def f(x):\n    return 2*x\n"
    same = '@component(retries=3)\ndef f(x):\n    """Twice."""\n    # so\n\n    return (2 * x)\n'
    assert normalised(plain) == normalised(same)
    assert normalised(plain) != normalised("def f(x):\n    return 3*x\n")


def test_source_of_a_function_in_a_file() -> None:
    found = source_of(documented)
    assert found.text.startswith("def documented(x: int)")
    assert found.where == f"{__file__}, line {documented.__code__.co_firstlineno}"


def test_function_without_text_has_a_digest_all_the_same() -> None:
    one: dict[str, object] = {}
    two: dict[str, object] = {}
    exec("def f(x): return x + 1", one)
    exec("def f(x): return x + 2", two)
    first, second = source_of(one["f"]), source_of(two["f"])  # type: ignore[arg-type]
    assert (first.text, second.text) == ("", "")
    assert first.digest != second.digest


def test_class_of_a_notebook_is_found_in_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: int = 1\n"
    monkeypatch.setitem(linecache.cache, "<cell 1>", (1, None, text.splitlines(True), "<cell 1>"))
    space: dict[str, object] = {"__name__": "__main__"}
    monkeypatch.setattr(sys.modules["__main__"], "__file__", None, raising=False)
    exec(compile(text, "<cell 1>", "exec"), space)
    kind = space["Point"]
    assert isinstance(kind, type)
    assert class_text(kind) == "@dataclasses.dataclass\nclass Point:\n    x: int = 1\n"
    assert text_of(kind) == class_text(kind)


def test_class_of_a_notebook_is_not_taken_for_another_of_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = (
        "import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: int = 1\n",
        "class Point:\n    x: int = 2\n    def far(self): return self.x\n",
        "class Point:\n    x: int = 3\n    y: int = 4\n",
    )
    monkeypatch.setattr(sys.modules["__main__"], "__file__", None, raising=False)
    for number, text in enumerate(texts):
        name = f"<cell {number} of points>"
        monkeypatch.setitem(linecache.cache, name, (1, None, text.splitlines(True), name))
    space: dict[str, object] = {"__name__": "__main__"}
    exec(compile(texts[0], "<cell 0 of points>", "exec"), space)
    assert text_of(space["Point"]).endswith("class Point:\n    x: int = 1\n")
