"""``%%component``: what a cell becomes, and what its author is told."""

from __future__ import annotations

import pickle
import traceback

import pytest

from tests.magics.conftest import Notebook
from twingraph_nb.component import Component, shelf
from twingraph_nb.errors import (
    AmbiguousCell,
    ArgumentError,
    CellSyntaxError,
    DefinitionError,
    UnknownOption,
    UnknownPlatform,
)


def component_of(notebook: Notebook, name: str) -> Component:
    made = notebook[name]
    assert isinstance(made, Component)
    assert shelf.components[name] is made
    return made


def test_last_function_of_a_cell_becomes_the_component(notebook: Notebook) -> None:
    notebook.good(
        "%%component --platform process --retries 3 --timeout 30 --cache 1h --cpus 1 --memory 2g "
        "--retry-on ValueError KeyError --backoff linear --priority 2 --max-parallel 4\n"
        "K = 2\ndef helper(x):\n    return x * K\n\ndef scale(x: int = 1) -> int:\n"
        "    return helper(x)\n"
    )
    made = component_of(notebook, "scale")
    assert made.platform == "process"
    assert made.policy.changed() == {
        "retries": 3,
        "backoff": "linear",
        "retry_on": ("ValueError", "KeyError"),
        "timeout": 30.0,
        "cache": 3600.0,
        "priority": 2,
        "cpus": 1.0,
        "memory": 2**31,
        "max_parallel": 4,
    }
    assert (made.source.cell, made.source.line) == (made.source.cell, 6)
    assert made.source.text == "def scale(x: int = 1) -> int:\n    return helper(x)\n"
    assert made.function.__globals__ is notebook.shell.user_ns
    assert notebook["helper"](3) == 6  # type: ignore[operator]


def test_function_named_on_the_line_becomes_the_component(notebook: Notebook) -> None:
    notebook.good("%%component first\ndef first(): pass\ndef second(): pass")
    component_of(notebook, "first")
    assert "second" not in shelf.components


def test_name_option_renames_the_component(notebook: Notebook) -> None:
    notebook.good("%%component --name tidy\ndef clean(x): return x")
    assert component_of(notebook, "tidy").name == "tidy"
    assert not isinstance(notebook["clean"], Component)


def test_decorated_function_keeps_its_options(notebook: Notebook) -> None:
    notebook.good(
        "%%component --retries 2\nfrom twingraph_nb import component\n"
        "@component(timeout=5)\ndef f(): return 1"
    )
    assert component_of(notebook, "f").policy.changed() == {"retries": 2, "timeout": 5.0}


def test_body_form_names_inputs_and_outputs(notebook: Notebook) -> None:
    notebook.good(
        "%%component clean(raw: list[int], threshold=0.5) -> rows: list[int], dropped\n"
        'text = """a\n  b"""\n'
        "rows = [r for r in raw if r > threshold]\n"
        "dropped = text, len(raw) - len(rows)"
    )
    made = component_of(notebook, "clean")
    assert made.signature == "(raw: list[int], threshold=0.5) -> rows: list[int], dropped"
    rows, dropped = made([0, 1, 2]).result(20)  # type: ignore[attr-defined]
    assert (rows, dropped) == ([1, 2], ("a\n  b", 1))
    assert "rows" not in notebook.shell.user_ns


def test_single_output_comes_bare(notebook: Notebook) -> None:
    notebook.good("%%component double(x: int) -> total: int\ntotal = x * 2")
    task = component_of(notebook, "double")(4)
    assert task.result(20) == 8  # type: ignore[attr-defined]
    assert task.outputs["total"] == 8  # type: ignore[attr-defined]


def test_several_outputs_are_a_tuple_with_names_that_pickles(notebook: Notebook) -> None:
    notebook.good("%%component both(x) -> a, b\na, b = x, x + 1")
    value = component_of(notebook, "both").function(1)
    again = pickle.loads(pickle.dumps(value))
    assert (again, again.a, again.b, type(again)) == ((1, 2), 1, 2, type(value))
    assert type(value).__name__ == "BothOutputs"


def test_body_form_runs_in_another_process(notebook: Notebook) -> None:
    notebook.good(
        "%%component both(x) -> a, pid --platform process\nimport os\na = x\npid = os.getpid()"
    )
    import os

    value = component_of(notebook, "both")(1).result(60)  # type: ignore[attr-defined]
    assert value.a == 1
    assert value.pid != os.getpid()


def test_awaiting_cell_becomes_async_and_yielding_cell_a_stream(notebook: Notebook) -> None:
    notebook.good("%%component later(n) -> m\nimport asyncio\nm = await asyncio.sleep(0, n)")
    notebook.good("%%component count(n=3)\nfor i in range(n):\n    yield i")
    assert component_of(notebook, "later").style == "async"
    assert component_of(notebook, "count").style == "stream"
    assert component_of(notebook, "later")(7).result(20) == 7  # type: ignore[attr-defined]
    assert component_of(notebook, "count")().result(20) == [0, 1, 2]  # type: ignore[attr-defined]


def test_signature_is_inferred_and_shown(notebook: Notebook) -> None:
    notebook.good("import math\nraw = [1, 4]\n_x = 1\ndef f(x): return x")
    notebook.good(
        "%%component roots\nimport json\nrows = []\nfor r in raw:\n    rows.append(math.sqrt(f(r)))"
        "\n_tmp = 1\nold = 2\ndel old"
    )
    assert component_of(notebook, "roots").signature == "(raw) -> rows"
    assert notebook.shown.strip().splitlines()[0] == "roots(raw) -> rows"
    assert "signature inferred from the cell" in notebook.shown


def test_output_of_another_component_is_an_inferred_input(notebook: Notebook) -> None:
    notebook.good("%%component load() -> lines\nlines = ['a']")
    notebook.good("%%component count\nn = len(lines)")
    assert component_of(notebook, "count").signature == "(lines) -> n"


@pytest.mark.parametrize(
    ("cell", "why", "write"),
    [
        ("%%component\nx = 1", "the component has no name", "%%component step() -> x"),
        (
            "%%component f\nprint(1)",
            "the cell assigns nothing that could be an output; assign its result to a name",
            "%%component f() -> result",
        ),
        (
            "%%component f\na = b = c = d = e = g = h = 1",
            "the cell assigns 7 names (a, b, c, d, e, g, h); say which are results",
            "%%component f() -> h",
        ),
        (
            "%%component f\n\ny = nowhere + 1",
            "'nowhere' in line 3 is not known: the notebook does not hold it and no component "
            "gives it",
            "%%component f(nowhere) -> y",
        ),
        (
            "%%component f\ny = re.findall('a', 'a')",
            "'re' in line 2 is not known: the notebook does not hold it and no component gives "
            "it, unless it should be an import (`import re` in the cell)",
            "%%component f() -> y",
        ),
        (
            "%%component f\nheld = held + 1",
            "'held' is read in line 2 and assigned later, so it is both an input and a result",
            "%%component f(held) -> held",
        ),
        (
            "%%component f(x) -> rows, droped\nrows = dropped = x",
            "output 'droped' is never assigned in the cell (did you mean 'dropped'?)",
            "%%component f(x) -> rows",
        ),
    ],
)
def test_ambiguous_cell_is_refused_with_the_line_to_write(
    notebook: Notebook, cell: str, why: str, write: str
) -> None:
    error = notebook.bad(cell)
    assert isinstance(error, AmbiguousCell)
    assert (error.why, error.write) == (why, write)
    assert str(error).endswith(f"): {why}. Write the signature yourself, for example:\n    {write}")
    assert "f" not in notebook.shell.user_ns


def test_unknown_option_names_the_nearest(notebook: Notebook) -> None:
    error = notebook.bad("%%component f --retires 3\nmark = 1\ndef f(): pass")
    assert isinstance(error, UnknownOption)
    assert str(error) == "%%component f: unknown option 'retires' (did you mean 'retries'?)"
    assert "mark" not in notebook.shell.user_ns


@pytest.mark.parametrize(
    ("cell", "kind", "message"),
    [
        (
            "%%component --platform docker --network\ndef f(): pass",
            DefinitionError,
            "%%component: option 'network' wants a text, not True",
        ),
        (
            "%%component --platform proces\ndef f(): pass",
            UnknownPlatform,
            "%%component: no platform is called 'proces' (did you mean 'process'?); "
            "use one of batch, celery, dask, docker, kubernetes, lambda, local, process",
        ),
        (
            "%%component --retries many\ndef f(): pass",
            DefinitionError,
            "%%component: option 'retries' wants a whole number, 0 or more, not 'many'",
        ),
        (
            "%%component Kind\nclass Kind: pass",
            DefinitionError,
            "a component is made of a function, not of the class Kind; "
            "wrap it: `def step(x): return Kind(x)`",
        ),
        (
            "%%component f(x\ny = x",
            DefinitionError,
            "%%component: '(' is never closed in 'f(x'; write for example: "
            "%%component clean(raw, threshold=0.5) -> rows, dropped",
        ),
        (
            "%%component f retries=3\ny = 1",
            DefinitionError,
            "%%component: cannot read 'retries=3'; write for example: "
            "%%component clean(raw, threshold=0.5) -> rows, dropped --retries 3",
        ),
        (
            "%%component (x)\ny = x",
            DefinitionError,
            "%%component: write a name before the inputs: %%component step(x)",
        ),
        (
            "%%component class\ny = 1",
            DefinitionError,
            "%%component: 'class' is a word of Python and cannot be a name",
        ),
    ],
)
def test_bad_line_is_refused(
    notebook: Notebook, cell: str, kind: type[Exception], message: str
) -> None:
    error = notebook.bad(cell)
    assert (type(error), str(error)) == (kind, message)


def test_error_of_ours_is_shown_without_traceback(notebook: Notebook) -> None:
    notebook.bad("%%component class\ny = 1")
    assert "Traceback" not in notebook.shown
    assert notebook.shown.strip().startswith("DefinitionError: %%component: 'class' is a word")


def test_syntax_error_tells_the_line_of_the_cell(notebook: Notebook) -> None:
    error = notebook.bad("%%component f(x) -> y\na = 1\ny = (x +\n\nz = = 3")
    assert isinstance(error, CellSyntaxError)
    assert error.line in (3, 5)
    error = notebook.bad("%%component f(x) -> y\na = 1\n\nfor\ny = 2")
    assert isinstance(error, CellSyntaxError)
    assert error.line == 4
    assert str(error).split(", ", 1)[1] == "line 4: invalid syntax\n    for"


def test_syntax_error_found_by_the_compiler_tells_the_line_too(notebook: Notebook) -> None:
    error = notebook.bad("%%component f(x) -> y\ny = x\nbreak")
    assert isinstance(error, CellSyntaxError)
    assert (error.line, error.text) == (3, "break")


def test_return_in_a_body_is_refused(notebook: Notebook) -> None:
    error = notebook.bad("%%component f(x) -> y\ny = x\nreturn y")
    assert "line 3): `return` needs a function; write `def f(...):` in the cell" in str(error)


def test_error_in_a_component_names_the_line_of_its_cell(notebook: Notebook) -> None:
    notebook.good("%%component broken(x) -> y\n\ny = x / 0")
    error = notebook.bad("broken(1).result(20)")
    assert isinstance(error, ZeroDivisionError)
    last = traceback.extract_tb(error.__traceback__)[-1]
    assert (last.lineno, last.line, last.name) == (3, "y = x / 0", "broken")


def test_user_error_while_a_cell_is_defined_shows_the_cell_alone(notebook: Notebook) -> None:
    notebook.bad("%%component\ndef f(): pass\nraise KeyError('boom')")
    assert "----> 3 raise KeyError('boom')" in notebook.shown
    assert "define.py" not in notebook.shown


def test_running_a_cell_again_replaces_and_versions_it(notebook: Notebook) -> None:
    for body, version in (("y = x", 1), ("y = x  # same", 1), ("y = x + 1", 2)):
        notebook.good(f"%%component f(x) -> y\n{body}")
        assert component_of(notebook, "f").version == version


@pytest.mark.parametrize(
    "cell",
    [
        "%%component --platform process\nlock = __import__('threading').Lock()\n"
        "def f(x, held=lock):\n    return lock",
        "%%component --platform process\nfrom twingraph_nb import component\n"
        "lock = __import__('threading').Lock()\n@component(retries=9)\ndef f(x):\n    return lock",
        "%%component\ndef f(x):\n    return x + 3\n1 / 0",
        "%%component f(x) -> y: no_type\ny = x + 3",
        "%%pipeline\ndef f(x):\n    return x + 3\n1 / 0",
    ],
)
def test_a_cell_that_is_refused_leaves_the_name_as_it_was(notebook: Notebook, cell: str) -> None:
    notebook.bad(cell)
    assert "f" not in {**notebook.shell.user_ns, **shelf.components}
    notebook.good("%%component --retries 1\ndef f(x):\n    return x + 1")
    made = component_of(notebook, "f")
    error = notebook.bad(cell)
    said = f"f is still the one of {made.source.where}"
    assert said in error.__notes__
    assert said in notebook.shown
    assert component_of(notebook, "f") is made
    notebook.good("%%component\ndef f(x):\n    return x + 2")
    assert component_of(notebook, "f").version == 2


def test_run_starts_it_with_defaults_and_notebook_values(notebook: Notebook) -> None:
    notebook.good("raw = [1, 2]")
    notebook.good("%%component size(raw, more=1) -> n --run\nn = len(raw) + more")
    assert notebook["_"].result(20) == 3  # type: ignore[attr-defined]


def test_run_without_a_value_for_an_input_is_refused(notebook: Notebook) -> None:
    error = notebook.bad("%%component size(raw) -> n --run\nn = len(raw)")
    assert isinstance(error, ArgumentError)
    assert str(error) == (
        "size: --run needs a default or a value in the notebook for raw; the component is size(raw)"
    )


def test_card_warns_of_what_stays_on_this_machine(notebook: Notebook) -> None:
    notebook.good("import threading\nguard = threading.Lock()")
    notebook.good(
        "%%component\ndef f(x):\n    with guard:\n        return json.load(open('/tmp/a/b'))"
    )
    assert [line.strip() for line in notebook.shown.splitlines() if "!" in line] == [
        "! line 3: `guard` is a lock of this kernel; make it inside the component",
        "! line 4: the path '/tmp/a/b' is of this machine; make it an input",
        "! line 4: `json` is never imported; write `import json` in the cell",
    ]


def test_notebook_magics_in_a_body_work_and_keep_line_numbers(notebook: Notebook) -> None:
    notebook.good("%%component where() -> here\nhere = %pwd\nassert here")
    assert component_of(notebook, "where").function()
    assert "line 2: notebook magics and shell lines work in the kernel only" in notebook.shown


def test_what_cannot_travel_is_refused_where_a_platform_is_set_and_told_where_none_is(
    notebook: Notebook,
) -> None:
    notebook.good("import threading\nguard = threading.Lock()")
    text = "def step(x):\n    with guard:\n        return x"
    said = str(notebook.bad(f"%%component --platform docker\n{text}"))
    assert said.startswith("step cannot travel to platform 'docker':\n  - cell [")
    assert said.endswith(
        "], line 3 uses guard, a _thread.lock, which cannot be sent: "
        "make it inside the component, or pass what it is made of"
    )
    assert "step" not in shelf.components
    notebook.good(f"%%component\n{text}")
    assert "line 3: `guard` is a lock of this kernel; make it inside the component" in (
        notebook.shown
    )
    assert "cannot travel" in str(notebook.bad("step.on('process')"))
    assert component_of(notebook, "step").platform == "local"
