"""What would keep a component from running elsewhere."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

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
