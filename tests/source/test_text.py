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
