"""What would keep a component from running elsewhere."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from twingraph_nb.source.portability import check, import_for
from twingraph_nb.source.text import Source, normalised


def found(text: str, **space: object) -> list[tuple[str, str, int, str]]:
    names: dict[str, object] = {"__name__": "__main__", **space}
    exec(text, names)
    function = names["step"]
    assert isinstance(function, Callable)  # type: ignore[arg-type]
    source = Source(text, "cell [3]", 4, "<cell>", normalised(text))
    return [(f.kind, f.name, f.line, f.message) for f in check(function, source)]


def test_clean_function_has_no_findings() -> None:
    big = np.zeros(10_000_000)
    text = 'def step(x):\n    """Reads /home/x/y."""\n    return x + table[0], "/api/v1/items"\n'
    assert found(text, table=big) == []


@pytest.mark.parametrize(
    ("name", "value", "kind", "message"),
    [
        (
            "handle",
            io.StringIO(),
            "live_object",
            "line 5: `handle` is an open file of this kernel; make it inside the component",
        ),
        (
            "guard",
            threading.RLock(),
            "live_object",
            "line 5: `guard` is a lock of this kernel; make it inside the component",
        ),
        (
            "items",
            (i for i in ()),
            "live_object",
            "line 5: `items` is a generator of this kernel; make it inside the component",
        ),
    ],
)
def test_live_objects_are_named(name: str, value: object, kind: str, message: str) -> None:
    assert found(f"def step():\n    return {name}\n", **{name: value}) == [(kind, name, 5, message)]


def test_unpicklable_value_is_named_with_its_reason() -> None:
    [(kind, name, line, message)] = found("def step():\n    return held\n", held=[lambda: 1])
    assert (kind, name, line) == ("unpicklable", "held", 5)
    assert message.startswith("line 5: `held` cannot be pickled (")


def test_task_in_a_global_is_an_input_that_was_forgotten() -> None:
    from twingraph_nb.graph.task import Task

    [(kind, _, _, message)] = found("def step():\n    return t\n", t=Task.__new__(Task))
    assert kind == "live_object"
    assert message == "line 5: `t` is a task; give it to the component as an input"


def test_missing_names_get_their_cure() -> None:
    assert found(
        "def step(x):\n    y = re.sub('a', 'b', x)\n    return np.array(y), later(x)\n"
    ) == [
        (
            "missing_import",
            "re",
            5,
            "line 5: `re` is never imported; write `import re` in the cell",
        ),
        (
            "undefined",
            "later",
            6,
            "line 6: `later` is not defined; make it an input, or define it before the call",
        ),
        (
            "missing_import",
            "np",
            6,
            "line 6: `np` is never imported; write `import numpy as np` in the cell",
        ),
    ]


@pytest.mark.parametrize("path", ["/home/ann/x.csv", "/tmp/a", "~/data/x", "C:\\data", "C:/data"])
def test_absolute_paths_are_found_with_their_line(path: str) -> None:
    assert found(f"def step():\n\n    return open({path!r})\n") == [
        (
            "absolute_path",
            path,
            6,
            f"line 6: the path {path!r} is of this machine; make it an input",
        )
    ]


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("re", "import re"),
        ("pd", "import pandas as pd"),
        ("np", "import numpy as np"),
        ("no_such_module_anywhere", ""),
    ],
)
def test_import_for_knows_modules_and_their_usual_names(name: str, statement: str) -> None:
    assert import_for(name) == statement


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def step(x):\n    results.append(x)\n", ["results"]),
        ("def step(x):\n    table[x] = 1\n    del table[0]\n", ["table"]),
        ("def step(x):\n    table['a']['b'] += 1\n", ["table"]),
        ("def step(x):\n    thing.size = x\n", ["thing"]),
        ("def step(x):\n    global count\n    count += 1\n", ["count"]),
        ("async def step(x):\n    [table.update(a=i) for i in results]\n", ["table"]),
        ("def step(x):\n    def inner():\n        results.clear()\n    inner()\n", ["results"]),
        # what reads, and what is the function's own
        ("def step(x):\n    return results.index(x), table[x], thing.size, count\n", []),
        ("def step(results):\n    results.append(1)\n", []),
        ("def step(x):\n    results = [x]\n    results.append(1)\n    return results\n", []),
        ("def step(x):\n    return thing.update(x)\n", []),
        ("def step(x):\n    def inner(table):\n        table[0] = x\n    return table\n", []),
        ("def step(x):\n    results\n    return (lambda results: results.pop())([x])\n", []),
        ("def other(x):\n    results = []\n    results.append(x)\n\n"
         "def step(x):\n    return results\n", []),
        ("results.append(1)\n\ndef step(x):\n    return results\n", []),
    ],
)  # fmt: skip
def test_values_of_the_notebook_that_are_changed_are_named(text: str, names: list[str]) -> None:
    space = {"results": [1], "table": {0: 0, "a": {"b": 0}}, "thing": Fraction(1), "count": 0}
    assert [name for kind, name, _, _ in found(text, **space) if kind == "changed"] == names


def test_a_change_is_told_with_its_line_and_what_to_do() -> None:
    text = "def step(x):\n    y = 2 * x\n    results.append(y)\n    results.append(x)\n"
    [(kind, name, line, message)] = found(text, results=[])
    assert (kind, name, line) == ("changed", "results", 6)
    assert message == (
        "line 6: `results` of the notebook is changed here: elsewhere only a copy is, and each "
        "call reads all of it; return what is new instead"
    )
