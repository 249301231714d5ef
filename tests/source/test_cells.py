"""Magic lines, the names in a cell, and the function a cell becomes."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twingraph_nb.errors import CellSyntaxError, DefinitionError
from twingraph_nb.outputs import outputs
from twingraph_nb.source.cells import make_body, read_cell
from twingraph_nb.source.infer import names_of
from twingraph_nb.source.line import Line, Output, read_line

KNOWN = ("retries", "retry_on", "cache", "platform")


def read(text: str) -> Line:
    return read_line(text, magic="%%component", known=KNOWN, flags=("run",))


def names(text: str) -> tuple[list[str], tuple[str, ...], list[str]]:
    found = names_of(ast.parse(text).body)
    return list(found.free), found.assigned, list(found.early)


def test_line_is_read_with_nested_brackets_and_quotes() -> None:
    assert read("f(d={'a': (1, 2)}, s='--x (') -> a: dict[str, int], b --retries 3 --run") == Line(
        "f",
        "d={'a': (1, 2)}, s='--x ('",
        (Output("a", "dict[str, int]"), Output("b")),
        {"retries": "3"},
        frozenset({"run"}),
    )


def test_options_take_equals_signs_several_words_and_no_value() -> None:
    assert read("--retry-on A B --cache --platform=process --retries 'two words'").options == {
        "retry_on": "A,B",
        "cache": True,
        "platform": "process",
        "retries": "two words",
    }


@given(st.text(max_size=40))
def test_any_line_is_read_or_refused_with_a_sentence(text: str) -> None:
    try:
        assert isinstance(read(text.replace("\n", " ")), Line)
    except DefinitionError as exc:
        assert str(exc).startswith("%%component")  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "free", "assigned", "early"),
    [
        ("y = x", ["x"], ("y",), []),
        ("x = x + 1", [], ("x",), ["x"]),
        ("x += 1", [], ("x",), ["x"]),
        ("for i in xs:\n    t = i", ["xs"], ("t",), []),
        ("y = [a + b for a in c if a]", ["c", "b"], ("y",), []),
        ("with open(p) as f:\n    t = f.read()", ["open", "p"], ("t",), []),
        ("import re\ny = re.sub", [], ("y",), []),
        ("g = lambda a: a + k\nk = 1", [], ("g", "k"), []),
        ("try:\n    y = 1\nexcept E as e:\n    y = e", ["E"], ("y",), []),
        ("match v:\n    case [a, *b]:\n        y = a", ["v"], ("a", "b", "y"), []),
        ("if (n := len(xs)) > 1:\n    y = n", ["len", "xs"], ("n", "y"), []),
        ("a, (b, *c) = t\ndel b", ["t"], ("a", "c"), []),
    ],
)
def test_names_follow_the_order_of_evaluation(
    text: str, free: list[str], assigned: tuple[str, ...], early: list[str]
) -> None:
    got = names(text)
    assert (sorted(got[0]), *got[1:]) == (sorted(free), assigned, early)


def test_body_keeps_the_lines_of_the_cell() -> None:
    text = '# %%component f(x) -> y\ns = """a\n b"""\n\ny = s, (\n  x)'
    cell = read_cell(text, where="cell [3]", magic="%%component")
    body = make_body(cell, "f", "x", [Output("y")], assigned=["s", "y"])
    assert body.text.splitlines()[1:3] == ['    s = """a', ' b"""']
    for made in (body.text, body.tree):
        space: dict[str, object] = {}
        exec(compile(made, "<cell>", "exec"), space)
        assert space["f"](1) == ("a\n b", 1)  # type: ignore[operator]
    lines = [n.lineno for n in ast.walk(ast.parse(body.text)) if isinstance(n, ast.Assign)]
    assert lines == [2, 5]


def test_last_expression_is_returned_where_asked() -> None:
    cell = read_cell("# %%pipeline f\na = 1; (a +\n 1)", where="cell [3]", magic="%%pipeline")
    body = make_body(cell, "f", "", (), assigned=["a"], last_value=True)
    for made in (body.text, body.tree):
        space: dict[str, object] = {}
        exec(compile(made, "<cell>", "exec"), space)
        assert space["f"]() == 2  # type: ignore[operator]


def test_syntax_error_carries_the_line_and_its_text() -> None:
    with pytest.raises(CellSyntaxError) as caught:
        read_cell("# %%component\nx = 1\n  y = 2", where="cell [3]", magic="%%component")
    assert str(caught.value) == "cell [3], line 3: unexpected indent\n    y = 2"


def test_named_outputs_of_one_name_are_one_class() -> None:
    first, second = outputs("FOutputs", a=1, b=2), outputs("FOutputs", a=3, b=4)
    assert type(first) is type(second)
    assert repr(first) == "FOutputs(a=1, b=2)"
