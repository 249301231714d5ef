"""``%%component ... --lang``: what a cell of another language becomes, in a real shell."""

from __future__ import annotations

import pytest
from ipykernel.compiler import XCachingCompiler
from IPython.core.compilerop import CachingCompiler

from tests.magics.conftest import Notebook
from twingraph_nb.component import Component, shelf
from twingraph_nb.errors import CompileError, DefinitionError
from twingraph_nb.languages import ForeignError

CELLS = {
    "javascript": "const scale = (xs, by) => xs.map((x) => x * by);",
    "typescript": "function scale(xs: number[], by: number): number[] {\n"
    "  return xs.map((x: number) => x * by);\n}",
    "bash": 'for x in "${xs[@]}"; do ys+=($(awk "BEGIN { print $x * $by }")); done',
    "c++": "std::vector<double> scale(std::vector<double> xs, double by) {\n"
    "  for (auto &x : xs) x *= by;\n  return xs;\n}",
    "rust": "fn scale(xs: Vec<f64>, by: f64) -> Vec<f64> {\n"
    "    xs.into_iter().map(|x| x * by).collect()\n}",
}


@pytest.mark.parametrize("language", CELLS)
def test_cell_of_another_language_becomes_a_component(notebook: Notebook, language: str) -> None:
    notebook.good("factor = 2.0")
    line = "scale(xs: list[float], by: float = factor) -> ys: list[float]"
    notebook.good(f"%%component {line} --lang {language} --retries 2\n{CELLS[language]}\n")
    made = notebook["scale"]
    assert isinstance(made, Component)
    assert shelf.components["scale"] is made
    assert (made.language, made.policy.retries, made.version) == (language, 2, 1)
    assert made.signature == "(xs: list[float], by: float=2.0) -> ys: list[float]"
    assert made.source.text.strip() == CELLS[language]
    assert notebook.good("scale([1, 2.5]).result(60)") == [2.0, 5.0]


def test_component_of_another_language_is_part_of_a_graph(notebook: Notebook) -> None:
    notebook.good(f"%%component scale(xs, by) -> ys: list[float] --lang js\n{CELLS['javascript']}")
    notebook.good("%%component total(ys: list[float]) -> whole: float\nwhole = sum(ys)")
    notebook.good("%%pipeline both(n)\nscaled = scale([1, 2, n], 2)\ntotal(scaled)")
    assert notebook.good("run = both(3); run.result(60)") == 12.0
    assert notebook.good("[t.name for t in run.tasks]") == ["scale", "total"]


@pytest.mark.parametrize("compiler", [CachingCompiler, XCachingCompiler])
def test_error_shows_the_line_of_the_cell(
    notebook: Notebook, compiler: type[CachingCompiler]
) -> None:
    notebook.shell.compile = compiler()  # names cells: the shell's own, and that of a kernel
    notebook.good(
        "%%component half(x: int) -> y: int --lang rust\n"
        "fn half(x: i64) -> i64 {\n"
        '    assert!(x % 2 == 0, "{x} is odd");\n'
        "    x / 2\n"
        "}\n"
    )
    assert notebook.good("half(4).result(60)") == 2
    error = notebook.bad("half(3).result(60)")
    assert isinstance(error, ForeignError)
    assert (str(error), error.lines) == ("3 is odd", (3,))
    assert "panic: 3 is odd" in notebook.shown
    assert '----> 3     assert!(x % 2 == 0, "{x} is odd");' in notebook.shown
    assert "in component half, cell [1], line 3" in notebook.shown


def test_compile_error_shows_the_line_of_the_cell(notebook: Notebook) -> None:
    cell = "%%component f(x: int) -> y: int --lang c++\n\nint f(int x) {\n  return z;\n}\n"
    notebook.good(cell)
    error = notebook.bad("f(1).result(60)")
    assert isinstance(error, CompileError)
    assert "cell [1], line 4: " in str(error)
    assert error.errors[0][2] == "return z;"
    assert "cpp.py" not in notebook.shown  # how we came to know it is not the user's business


def test_syntax_error_is_told_at_the_cell(notebook: Notebook) -> None:
    notebook.run("%%component f(x) -> y --lang js\nfunction f(x) {\n  retrn x\n}\n")
    assert "f is not valid javascript:\ncell [1], line 3: Unexpected identifier" in notebook.shown
    assert "Traceback" not in notebook.shown


def test_cell_of_another_language_needs_its_signature(notebook: Notebook) -> None:
    notebook.run("%%component f --lang rust\nfn f() {}")
    assert "a component in rust needs a signature, for example: fast_sum(" in notebook.shown
    notebook.run("%%component f(x: int) -> y: int --lang cobol\nx")
    assert "no language is called 'cobol'" in notebook.shown
    assert "f" not in notebook.shell.user_ns


def test_changed_code_is_a_new_version(notebook: Notebook) -> None:
    for code, version in (("(x) => x", 1), ("(x) => x ", 1), ("(x) => x + 1", 2)):
        notebook.good(f"%%component f(x: int) -> y: int --lang js\nconst f = {code}\n\n")
        made = notebook["f"]
        assert isinstance(made, Component)
        assert made.version == version
    assert notebook.good("f(1).result(60)") == 2


def test_result_is_reused_by_code_and_inputs(notebook: Notebook) -> None:
    code = "let n = 0;\nconst f = (x) => [x, Math.random()];"
    notebook.good(f"%%component f(x: int) -> y: list[float] --lang js --cache on\n{code}")
    first = notebook.good("f(1).result(60)")
    assert notebook.good("f(1).result(60)") == first
    assert notebook.good("f(2).result(60)") != first


def test_reused_result_with_several_outputs_has_their_names(notebook: Notebook) -> None:
    code = "const f = (x) => ({ a: x, b: Math.random() });"
    notebook.good(f"%%component f(x: int) -> a: int, b: float --lang js --cache on\n{code}")
    first = notebook.good("f(1).result(60)")
    assert notebook.good("(f(1).result(60).a, f(1).result(60).b)") == first


def test_modules_and_exports_of_javascript_work(notebook: Notebook) -> None:
    code = (
        'import path from "node:path";\nconst os = require("os");\n'
        "export function f(x) { return path.basename(x) + os.EOL }"
    )
    notebook.good(f"%%component f(x: str) -> y: str --lang js\n{code}")
    assert notebook.good("f('/a/b').result(60)") == "b\n"


def test_python_is_a_language_too(notebook: Notebook) -> None:
    notebook.good("%%component f(x: int) -> y: int --lang python\ny = x + 1")
    assert notebook.good("f(1).result(60)") == 2


def test_another_python_needs_no_platform(notebook: Notebook) -> None:
    for cell, platform in {
        "%%component f(x: int) -> y: int --deps tiny\ny = x": "process",
        "%%component f --python 3.12\ndef f(x: int) -> int:\n    return x": "process",
        "%%component f(x: int) -> y: int --deps tiny --platform docker\ny = x": "docker",
        "%%component f(x: int) -> y: int\ny = x": "local",
    }.items():
        notebook.good(cell)
        made = notebook["f"]
        assert isinstance(made, Component)
        assert made.platform == platform


@pytest.mark.parametrize("platform", ["process", "dask"])
def test_platform_that_cannot_run_it_is_refused(notebook: Notebook, platform: str) -> None:
    notebook.good("%%component f(x) -> y --lang js\nconst f = (x) => x")
    made = notebook["f"]
    assert isinstance(made, Component)
    with pytest.raises(DefinitionError, match=f"f is javascript.*not on {platform}"):
        made.on(platform)
