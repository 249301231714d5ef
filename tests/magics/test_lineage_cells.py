"""``%%gremlin`` and ``%lineage`` in a real shell."""

from __future__ import annotations

import json
import sys

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.display import display
from IPython.utils.capture import capture_output

from tests.magics.conftest import Notebook
from twingraph_nb.errors import LineageError
from twingraph_nb.magics.graph_answers import Answer
from twingraph_nb.views.explorer import plain


@pytest.fixture
def worked(notebook: Notebook) -> Notebook:
    """A notebook in which a component ran twice, the second time on the first one's output."""
    notebook.good("%%component double(x: int) -> y\ny = 2 * x")
    notebook.good("first = double(3)\nlast = double(first)\nlast.result(30)")
    return notebook


def answer(notebook: Notebook, cell: str) -> Answer:
    found = notebook.good(cell)
    assert isinstance(found, Answer)
    return found


def test_a_query_gives_a_table(worked: Notebook) -> None:
    cell = "%%gremlin\ng.V().has('Task', 'name', 'double')\n  .order().by('number')"
    found = answer(worked, f"{cell}.project('in', 'out').by('Input Values').by('Output')")
    assert [row["out"] for row in found] == ["6", "12"]
    html = found._repr_mimebundle_()["text/html"]  # type: ignore[index]
    assert "<table" in str(html)
    assert "12" in repr(found)


def test_tables_stay_readable_whatever_is_in_them(worked: Notebook) -> None:
    found = answer(worked, "%gremlin g.V().hasLabel('Task').order().by('number')")
    assert list(found.rows[0])[:5] == ["id", "label", "name", "state", "Output"]
    assert "Source Code" not in found.rows[0]
    paths = answer(worked, "%gremlin g.V().hasLabel('Task').outE('feeds').inV().path()")
    assert paths.rows == [{"path": "double → feeds → double"}]
    code = answer(worked, "%gremlin g.V().hasLabel('Component').values('Source Code')")
    assert len(repr(code).splitlines()) == 3


def test_variables_of_the_notebook_stand_for_values(worked: Notebook) -> None:
    worked.good("wanted = '12'")
    found = answer(worked, "%gremlin g.V().has('Output', wanted).values('name')")
    assert list(found.results) == ["double"]


def test_a_query_may_be_shown_as_json_and_drawn(worked: Notebook) -> None:
    found = answer(worked, "%%gremlin --json\ng.V().hasLabel('Task').values('Output')")
    assert sorted(json.loads(repr(found))) == ["12", "6"]
    drawing = answer(worked, "%%gremlin --graph\ng.V().hasLabel('Task').outE('feeds').inV().path()")
    assert [len(drawing.graph.vertices), len(drawing.graph.edges)] == [2, 1]
    with capture_output() as shown:
        display(drawing)
    widget, still = (output.data for output in shown.outputs)
    assert "application/vnd.jupyter.widget-view+json" in widget
    assert "data:image/svg+xml" in still["text/html"]


def test_without_anywidget_a_graph_is_drawn_by_ipycytoscape_while_that_is_fast(
    worked: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    drawing = answer(worked, "%%gremlin --graph\ng.V().hasLabel('Task').outE('feeds').inV().path()")
    for most, shown in ((plain.MOST, 2), (2, 1)):
        monkeypatch.setattr(plain, "MOST", most)
        with capture_output() as caught:
            display(drawing)
        *view, still = (output.data for output in caught.outputs)
        assert len(view) == shown - 1
        assert all("application/vnd.jupyter.widget-view+json" in one for one in view)
        assert "twingraph-nb[explorer]" in still["text/html"]


def test_a_drawing_of_nothing_is_refused_by_the_query(notebook: Notebook) -> None:
    error = notebook.bad("%%gremlin --graph\ng.V().hasLabel('Task').count()")
    assert "no vertex" in str(error)


def test_a_run_can_be_explored(worked: Notebook) -> None:
    worked.good("import twingraph_nb\nfrom twingraph_nb import explore")
    worked.good("%%pipeline once()\ndouble(double(50))")
    worked.good("run = once()\nrun.result(30)\nmade = explore(run)")
    tasks = worked.good(
        "[n['about']['Output'] for n in made.graph['nodes'] if n['type'] == 'Task']"
    )
    assert tasks == ["100", "200"]
    assert "Task" not in worked.good("made.hidden['type']")
    same = worked.good("%lineage explore")
    assert same.graph == worked.good("%lineage explore run").graph == worked.good("made.graph")
    assert worked.good("explore(last).chosen == f'task:{last.hash}'")
    assert worked.good("len(explore(run='all').graph['nodes']) > len(made.graph['nodes'])")
    found = worked.good("explore(twingraph_nb.lineage().V().has('Task', 'Output', '12'))")
    assert [node["name"] for node in found.graph["nodes"]] == ["double"]
    answer = worked.good("%gremlin g.V().hasLabel('Run')")
    assert len(answer) == len(worked.good("explore(_).graph['nodes']"))


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("%lineage explore nowhere", "no run 'nowhere'"),
        ("%lineage explore", "nothing has run yet"),
        ("%lineage explore all", "nothing has run yet"),
        ("%lineage explore a b", "ask explore [RUN]"),
        ("import twingraph_nb; twingraph_nb.explore(3)", "not 3"),
    ],
)
def test_what_cannot_be_explored_is_said(notebook: Notebook, cell: str, why: str) -> None:
    assert why in str(notebook.bad(cell))


def test_a_query_may_be_about_one_run(worked: Notebook) -> None:
    worked.good("%%pipeline once()\ndouble(50)")
    worked.good("run = once()\nrun.result(30)")
    found = answer(worked, "%gremlin --run last g.V().hasLabel('Task').values('Output')")
    assert "100" in found.results
    assert "12" not in found.results


def test_a_name_that_nothing_has_is_noted_under_the_answer(worked: Notebook) -> None:
    found = answer(worked, "%gremlin g.V().has('Task', 'stat', 'failed')")
    note = "the graph has no property 'stat' (did you mean 'state'?)"
    assert repr(found) == f"nothing\nnote: {note}"
    assert "did you mean" in str(found._repr_mimebundle_()["text/html"])  # type: ignore[index]


def test_runs_of_the_notebook_may_be_compared_by_name(worked: Notebook) -> None:
    worked.good("%%pipeline once(x: int)\ndouble(x)")
    worked.good("one = once(1)\none.result(30)")
    worked.good("other = once(2)\nother.result(30)\nother_id = other.id")
    for line in ("%lineage diff one other", "%lineage diff one other_id"):
        rows = answer(worked, line).rows
        assert ("output", "2", "4") in [(row["what"], row["one"], row["other"]) for row in rows]


def test_questions_take_tasks_and_values_by_name(worked: Notebook) -> None:
    rows = answer(worked, "%lineage made-by last").rows
    assert [(row["role"], row["output"]) for row in rows] == [("maker", "12"), ("ancestor", "6")]
    worked.good("value = 6")
    assert [row["role"] for row in answer(worked, "%lineage used-by value")] == ["maker", "user"]
    assert len(answer(worked, "%lineage failures --since 1h")) == 0
    assert answer(worked, "%lineage slowest").rows[0]["tasks"] == 2


def test_a_value_of_the_notebook_is_the_one_its_task_gave(notebook: Notebook) -> None:
    notebook.good("%%component zeros(size: int) -> array\nimport numpy\narray = numpy.zeros(size)")
    notebook.good("one, two = zeros(50), zeros(50)\nvalue = two.result(30); one.result(30)")
    (row,) = answer(notebook, "%lineage made-by value").rows
    assert (row["role"], row["task"]) == ("maker", notebook["two"].hash)  # type: ignore[attr-defined]
    notebook.good("import numpy; same = numpy.zeros(50)")
    assert [row["role"] for row in answer(notebook, "%lineage made-by same")] == ["look-alike"] * 2


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("%lineage", "ask one of"),
        ("%lineage madeby x", "did you mean 'made-by'"),
        ("%lineage made-by nowhere_at_all", "no task, value or file"),
        ("%lineage diff 'a", "closing quotation"),
        ("%%gremlin --grph\ng.V()", "did you mean '--graph'"),
        ("%%gremlin --run\ng.V()", "--run wants"),
        ("%%gremlin g.V()\ng.V()", "below the line"),
        ("%%gremlin\ng.V().outt()", "did you mean 'out'"),
        ("%%gremlin\ng.addV('Task')", "read only"),
        ("%%gremlin\n__import__('os')", "starts with g"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(notebook: Notebook, cell: str, why: str) -> None:
    error = notebook.bad(cell)
    assert why.lower() in str(error).lower()
    assert isinstance(error, LineageError)


def completions(notebook: Notebook, text: str) -> list[str]:
    with provisionalcompleter():
        return [one.text for one in notebook.shell.Completer.completions(text, len(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%%gremlin\ng.", ["V", "addV", "inject", "withSideEffect"]),
        ("%%gremlin\ng.V().gro", ["group", "groupCount"]),
        ("%%gremlin\ng.V()\n  .out().has", ["has", "hasId", "hasLabel"]),
        ("%%gremlin\ng.V().hasLabel('Ta", ["Task"]),
        ('%%gremlin\ng.V().has("Task", "st', ["state", "started"]),
        ('%%gremlin\ng.V().has("Run", "not', ["notebook"]),
        ("%%gremlin\ng.V().order().by('x', Order.", ["asc", "desc"]),
        ("%%gremlin\ng.V().has('x', with", ["within", "without"]),
        ("%%gremlin\ng.V().has('Task', 'Compute Pl", ["Compute Platform"]),
        ("%%gremlin --g", ["--graph"]),
        ("%gremlin g.V().valueM", ["valueMap"]),
        ("%lineage who", ["who-changed"]),
        ("%lineage exp", ["explore"]),
    ],
)
def test_steps_names_and_options_are_completed(
    notebook: Notebook, text: str, expected: list[str]
) -> None:
    found = completions(notebook, text)
    assert [one for one in expected if one not in found] == []


def test_a_step_gets_the_names_that_it_can_use(notebook: Notebook) -> None:
    labels, edges, keys = (
        set(completions(notebook, f"%%gremlin\ng.V().{call}('"))
        for call in ("hasLabel", "out_e", "has('Task', 'state', 'failed').values")
    )
    assert {"Task", "feeds"} <= labels
    assert {"feeds", "in_run"} <= edges
    assert {"Hash", "started"} <= keys
    assert "Hash" not in labels
    assert not edges & {"Hash", "Task"}
    assert not keys & {"Task", "feeds"}


def test_properties_that_users_give_are_completed_too(notebook: Notebook) -> None:
    notebook.good(
        "from twingraph_nb import component\n"
        "blue = component(attributes={'teamwork': 'blue'})(lambda: 1)\n"
        "blue().result()\n"
        "%gremlin g.V().count()"
    )
    assert completions(notebook, "%%gremlin\ng.V().has('teamw") == ["teamwork"]


def test_other_cells_are_completed_as_before(notebook: Notebook) -> None:
    notebook.good("some_list = [1]")
    assert "groupCount" not in completions(notebook, "some_list.")
    assert any("append" in one for one in completions(notebook, "some_list."))


def test_unloading_takes_the_magics_away(notebook: Notebook) -> None:
    notebook.shell.run_line_magic("unload_ext", "twingraph_nb")
    magics = notebook.shell.magics_manager.magics
    assert {"gremlin", "lineage"} & (set(magics["line"]) | set(magics["cell"])) == set()
    notebook.shell.run_line_magic("load_ext", "twingraph_nb")
