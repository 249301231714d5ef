"""``%%pipeline`` cells."""

from __future__ import annotations

from tests.magics.conftest import Notebook
from twingraph_nb.component import Pipeline, shelf
from twingraph_nb.errors import DefinitionError, UnknownOption


def test_body_of_a_pipeline_gives_its_last_expression(notebook: Notebook) -> None:
    notebook.good("%%component inc(x) -> y\ny = x + 1")
    notebook.good(
        "%%pipeline several(n=2) --max-parallel 4 --timeout 60 --on-error continue\n"
        "parts = [inc(i) for i in range(n)]\n(parts)"
    )
    made = notebook["several"]
    assert isinstance(made, Pipeline)
    assert shelf.pipelines["several"] is made
    assert (made.options.max_parallel, made.options.timeout) == (4, 60.0)
    assert made.options.on_error == "continue"
    assert made(n=3).result(30) == [1, 2, 3]  # type: ignore[attr-defined]


def test_outputs_of_a_pipeline_are_named(notebook: Notebook) -> None:
    notebook.good("%%component inc(x) -> y\ny = x + 1")
    notebook.good("%%pipeline two -> a, b\na = inc(1)\nb = inc(a)")
    value = notebook["two"]().result(30)  # type: ignore[operator]
    assert (value.a, value.b) == (2, 3)


def test_function_in_the_cell_becomes_the_pipeline_and_run_starts_it(notebook: Notebook) -> None:
    notebook.good("%%component inc(x) -> y\ny = x + 1")
    notebook.good("%%pipeline --run\ndef flow(x=1):\n    return inc(inc(x))")
    assert notebook["_"].result(30) == 3  # type: ignore[attr-defined]


def test_pipeline_without_a_name_is_refused(notebook: Notebook) -> None:
    error = notebook.bad("%%pipeline\nx = 1")
    assert isinstance(error, DefinitionError)
    assert str(error).endswith("): give it a name: %%pipeline etl")


def test_option_of_a_component_is_unknown_to_a_pipeline(notebook: Notebook) -> None:
    error = notebook.bad("%%pipeline p --retries 3\nx = 1")
    assert isinstance(error, UnknownOption)
    assert str(error) == (
        "%%pipeline p: unknown option 'retries' (did you mean 'max-retries'?); "
        "known are max-parallel, max-retries, on-error, run, timeout"
    )
