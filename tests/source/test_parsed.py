"""Parsing while others parse."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator

import pytest

from twingraph_nb.source.parsed import parse

TEXT = "\n".join(f"x{i} = f(a, [b, {{c: d}}], e=lambda z: z + {i})" for i in range(200))


def _deep(levels: int) -> None:
    if levels:
        _deep(levels - 1)
    else:
        ast.parse("a + 1")


@pytest.fixture
def disturbed() -> Iterator[list[str]]:
    """Somebody else parses in the middle of a tree: what another thread does, but for sure."""
    seen: list[str] = []

    def other(phase: str, info: object) -> None:
        if len(seen) < 3:
            seen.append(phase)
            _deep(30)

    before = gc.get_threshold()
    gc.set_threshold(50)
    gc.callbacks.append(other)
    yield seen
    gc.callbacks.remove(other)
    gc.set_threshold(*before)


def test_what_others_parse_at_the_same_time_does_not_matter(disturbed: list[str]) -> None:
    assert len(parse(TEXT).body) == 200
    assert disturbed


def test_an_expression_and_an_error_are_as_from_python() -> None:
    assert ast.dump(parse("a + 1", "eval")) == ast.dump(ast.parse("a + 1", mode="eval"))
    with pytest.raises(SyntaxError):
        parse("a +")
