"""``%plan`` and ``%twingraph diff``."""

from __future__ import annotations

from tests.magics.conftest import Notebook
from twingraph_nb.errors import TwingraphError, WiringError
from twingraph_nb.plan import Plan
from twingraph_nb.plan.drawn import screen_of_plan


def test_plan_shows_what_an_edited_cell_makes_stale(notebook: Notebook) -> None:
    notebook.good("%%component inc --cache\ndef inc(x: int) -> int:\n    return x + 1")
    notebook.good("%%component double --cache\ndef double(x: int) -> int:\n    return 2 * x")
    notebook.good("%%pipeline flow(n=1) -> out\nout = double(inc(n))")
    assert notebook.good("flow().result(30)") == 4
    plan = notebook.good("%plan flow(n=1)")
    assert isinstance(plan, Plan)
    assert plan.counts == {"run": 0, "reuse": 2, "blocked": 0}
    notebook.good("%%component inc --cache\ndef inc(x: int) -> int:\n    return x + 2")
    plan = notebook.good("%plan flow")
    assert isinstance(plan, Plan)
    assert [row.reason for row in plan] == ["source changed", "input changed"]
    assert "+    return x + 2" in repr(plan)
    assert "+    return x + 2" in plan._repr_html_()
    assert {mark.kind for mark in screen_of_plan(plan).marks.values()} == {"stale"}


def test_plan_and_diff_show_what_has_changed_of_what_a_component_uses(notebook: Notebook) -> None:
    helper = "OFFSET = {}\ndef moved(x):\n    return x {} OFFSET"
    notebook.good(helper.format(1, "+"))
    notebook.good("%%component --cache\ndef shifted(x: int) -> int:\n    return moved(x)")
    notebook.good("%%pipeline flow() -> out\nout = shifted(1)")
    assert notebook.good("first = flow()\nfirst.result(30)") == 2
    notebook.good(helper.format(1, "-"))
    plan = notebook.good("%plan flow()")
    assert isinstance(plan, Plan)
    row = plan["shifted"]
    assert (row.action, row.reason) == ("run", "source changed")
    assert row.text == "what it uses has changed: moved"
    assert "-    return x + OFFSET\n+    return x - OFFSET" in row.diff
    assert {mark.kind for mark in screen_of_plan(plan).marks.values()} == {"stale"}
    assert notebook.good("second = flow()\nsecond.result(30)") == 0
    notebook.good("OFFSET = 5")
    plan = notebook.good("%plan flow()")
    assert isinstance(plan, Plan)
    assert plan["shifted"].text == "what it uses has changed: OFFSET 1 -> 5"
    one, two = notebook.good("first.id, second.id")
    found = notebook.good(f"%twingraph diff {one} {two}")
    assert "code    shifted: it uses moved" in repr(found)
    assert "-    return x + OFFSET\n+    return x - OFFSET" in repr(found)


def test_plan_takes_options_after_the_call(notebook: Notebook) -> None:
    notebook.good("%%component inc --cache\ndef inc(x, text='') -> int:\n    return x + 1")
    notebook.good("%%pipeline flow(n=1, text='') -> out\nout = inc(n, text)")
    run = notebook.good("run = flow(1, 'a --b c')\nrun.result(30)\nrun.id")
    plan = notebook.good(f"%plan flow(1, 'a --b c') --resume {run} --force inc")
    assert isinstance(plan, Plan)
    assert (plan.resumes, plan["inc"].reason) == (run, "forced")
    plan = notebook.good("%plan flow(1, 'a --b c')")
    assert isinstance(plan, Plan)
    assert plan["inc"].action == "reuse"
    assert isinstance(notebook.bad("%plan flow() --force nothing"), WiringError)


def test_selectors_are_understood_by_plan_and_by_resume(notebook: Notebook) -> None:
    notebook.good("%%component inc --cache\ndef inc(x: int) -> int:\n    return x + 1")
    notebook.good("%%component double --cache\ndef double(x: int) -> int:\n    return 2 * x")
    notebook.good("%%pipeline flow(n=1) -> out\nout = double(inc(n))")
    run = notebook.good("run = flow()\nrun.result(30)\nrun.id")
    plan = notebook.good("%plan flow() --to inc --from inc")
    assert isinstance(plan, Plan)
    assert [row.action for row in plan] == ["run", "skip"]
    notebook.good(f"again = %twingraph resume {run} --force double --only double")
    assert notebook.good("again.result(30)\n[task.state for task in again.tasks]") == [
        "reused",
        "succeeded",
    ]
    third = "third = %twingraph run flow(n=4) --to inc --force inc"
    notebook.good(f"{third}\nassert third.result(30) is None")
    assert notebook.good("[(task.name, task.state) for task in third.tasks]") == [
        ("inc", "succeeded"),
        ("double", "skipped"),
    ]
    assert "%twingraph run wants a pipeline" in str(notebook.bad("%twingraph run inc(3)"))
    assert "--fro" in str(notebook.bad(f"%twingraph resume {run} --fro inc"))
    assert isinstance(notebook.bad("%plan flow() --only dubble"), WiringError)
    plan = notebook.good("%plan flow() --only inc --only double")
    assert [row.action for row in plan] == ["reuse", "reuse"]


def test_selectors_that_contradict_each_other_are_told_on_a_line_too(notebook: Notebook) -> None:
    notebook.good("%%component inc --cache\ndef inc(x: int) -> int:\n    return x + 1")
    notebook.good("%%component double --cache\ndef double(x: int) -> int:\n    return 2 * x")
    notebook.good("%%pipeline flow(n=1) -> out\nout = double(inc(n))")
    run = notebook.good("run = flow()\nrun.result(30)\nrun.id")
    both = "only: 'inc' fits inc, and skip=inc,double leaves it out: take the name out of"
    assert both in str(notebook.bad("%plan flow() --only inc --skip inc,double"))
    again = f"%twingraph resume {run} --only inc --skip inc --skip double"
    assert both in str(notebook.bad(again))
    late = "from_: 'double' fits double, and to=inc leaves it out"
    assert late in str(notebook.bad("%plan flow() --to inc --from double"))
    notebook.good(f"late = %twingraph resume {run} --to inc --from double")
    assert late in str(notebook.bad("late.result(30)"))


def test_plan_of_what_is_no_pipeline_says_what_it_wants(notebook: Notebook) -> None:
    assert "%plan wants a pipeline" in str(notebook.bad("%plan"))
    assert "print is a builtin_function_or_method" in str(notebook.bad("%plan print(1)"))
    assert isinstance(notebook.bad("%plan 1 +"), TwingraphError)


def test_diff_compares_two_runs(notebook: Notebook) -> None:
    notebook.good("%%component inc(x) -> y\ny = x + 1")
    notebook.good("%%pipeline flow(n=1)\ninc(n)")
    ids = [notebook.good(f"run = flow({n})\nrun.result(30)\nrun.id") for n in (1, 2)]
    found = str(notebook.good(f"%twingraph diff {ids[0]} {ids[1]}"))
    assert "input   inc.x: 1 -> 2" in found
    assert "output  inc.y: 2 -> 3" in found
    assert "wants two runs" in str(notebook.bad("%twingraph diff last"))
