"""Collapsing, laying out and drawing."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.picture.samples import added, done, erred, mapped, run, screen, started
from twingraph_nb.events import Event, TaskAdded, TaskProgressed
from twingraph_nb.picture.collapse import TIMES, Drawing, drawing
from twingraph_nb.picture.layout import columns, rows
from twingraph_nb.picture.measure import cut, text_width
from twingraph_nb.picture.model import KEPT
from twingraph_nb.picture.palette import LOOKS
from twingraph_nb.picture.screen import fold
from twingraph_nb.picture.svg import NAME_SIZE, img_tag, render, size_of
from twingraph_nb.picture.text import text_view

SVG = "{http://www.w3.org/2000/svg}"


def edges(shown: Drawing) -> set[tuple[str, str]]:
    return {(edge.source, edge.target) for edge in shown.edges}


def test_a_map_is_open_while_there_is_room() -> None:
    shown = drawing(
        screen(run("a", "parse", "b"), added(0, "a"), mapped(1, 2, 0), added(4, "b", 1))
    )
    assert [box.name for box in shown.nodes] == [
        "a",
        f"parse {TIMES} 2",
        "parse[0]",
        "parse[1]",
        "b",
    ]
    assert edges(shown) == {
        ("t0", "t2"),
        ("t0", "t3"),
        ("t2", "t1"),
        ("t3", "t1"),
        ("t1", "t4"),
    }


def test_late_items_of_a_very_large_map_are_only_counted() -> None:
    count = KEPT + 500
    events: list[Event] = [*run("a", "parse", "b"), added(0, "a"), *done(0), *mapped(1, count, 0)]
    for task in range(2, count - 1):
        events += done(task)
    inside = count + 2
    events += [
        started(count - 1),
        erred(count - 1),
        started(count),
        added(inside, "b", group=count),
        *done(inside),
        *done(count),
        started(count + 1),
    ]
    shown = screen(events)
    late = [n for n, task in shown.tasks.items() if (task.index or 0) >= KEPT]
    assert late == [count - 1, count + 1]  # the one that failed, and the one that runs
    assert inside not in shown.tasks
    assert sum(shown.counts.values()) == count + 2
    (_, box) = drawing(shown).nodes
    assert box.name == f"parse {TIMES} {count + 1}"
    assert box.detail == f"1 failed, {count - 1} done, 1 running"
    fold(shown, TaskProgressed(0.0, 5_000_000, 0.5))  # of an item that is not there any more


def test_a_large_map_is_one_box_with_counters() -> None:
    events: list[Event] = [*run("a", "parse", "b"), added(0, "a"), *mapped(1, 240, 0)]
    events += [added(242, "b", 1), *done(0)]
    for task in range(2, 202):
        events += done(task)
    events += [started(202), started(203), erred(203)]
    shown = drawing(screen(events))
    assert [box.title for box in shown.nodes] == [
        "a: 1.0 s",
        f"parse {TIMES} 240: 1 failed, 200 done, 1 running, 38 waiting",
        "b: waiting",
    ]
    assert edges(shown) == {("t0", "t1"), ("t1", "t242")}
    assert shown.nodes[1].state == "failed"


def test_equal_calls_side_by_side_become_one_box() -> None:
    fan = [added(i, "work", 0) for i in range(1, 401)]
    shown = drawing(
        screen(
            run("start", "work", "end"), added(0, "start"), fan, added(401, "end", *range(1, 401))
        )
    )
    assert [box.name for box in shown.nodes] == ["start", f"work {TIMES} 400", "end"]
    assert edges(shown) == {("t0", "g1"), ("g1", "t401")}


def test_parallel_chains_collapse_step_by_step() -> None:
    chains = [[added(2 * i, "a"), added(2 * i + 1, "b", 2 * i)] for i in range(200)]
    shown = drawing(screen(run("a", "b"), *chains))
    assert [box.name for box in shown.nodes] == [f"a {TIMES} 200", f"b {TIMES} 200"]
    assert edges(shown) == {("g0", "g1")}


@pytest.mark.parametrize("width", [1, 7, 50])
def test_whatever_the_graph_the_drawing_is_small(width: int) -> None:
    """Lattices and chains, where hardly two calls need the same."""
    calls = [
        added(i, f"step{i % 5}", *({i - width, max(0, i - width - 1)} if i > width else ()))
        for i in range(2_000)
    ]
    shown = drawing(screen(run(), calls))
    assert 1 < len(shown.nodes) + len(shown.edges) <= 300
    assert sum(len(box.tasks) for box in shown.nodes) == 2_000


def test_hundreds_of_different_components_are_cut_not_drawn() -> None:
    calls = [added(i, f"c{i}", *([i - 1] if i else ())) for i in range(1_000)]
    shown = drawing(screen(run(), calls))
    assert len(shown.nodes) + len(shown.edges) <= 300
    assert sum(len(box.tasks) for box in shown.nodes) == 1_000


def test_only_the_asked_tasks_are_drawn() -> None:
    model = screen(run("a", "b", "c"), added(0, "a"), added(1, "b", 0), added(2, "c", 0))
    assert [box.name for box in drawing(model, only={0, 1}).nodes] == ["a", "b"]


def test_a_box_says_where_it_runs_unless_that_is_here() -> None:
    model = screen(
        run("a", parse="docker", b="kubernetes"),
        [added(0, "a"), *mapped(1, 400, 0), added(402, "b", 1)],
        [added(403, "b", 402)],
    )
    shown = drawing(model)
    assert [box.place for box in shown.nodes] == ["", "on docker", "on kubernetes", "on kubernetes"]
    assert shown.nodes[1].title == f"parse {TIMES} 400 on docker: 400 waiting"
    words = [text.text for text in ET.fromstring(render(shown)).iter(f"{SVG}text")]
    assert words.count("on docker") == 1
    assert "on kubernetes" in text_view(model, 1.0)


def test_equal_calls_in_several_places_are_one_box_that_names_them() -> None:
    fan = [TaskAdded(0.0, i, f"h{i}", "work", "ab"[i % 2]) for i in range(400)]
    shown = drawing(screen(run("a", b="docker"), fan))
    assert [box.place for box in shown.nodes] == ["on local, docker"]


@pytest.mark.parametrize("platform", ["docker", "a-platform-of-somebody-else-with-a-long-name"])
def test_the_place_is_inside_its_box(platform: str) -> None:
    root = ET.fromstring(render(drawing(screen(run(ab=platform), added(0, "ab"), done(0)))))
    box = next(g for g in root.iter(f"{SVG}g") if g.find(f"{SVG}title") is not None)
    outline = next(p for p in box.iter(f"{SVG}path") if p.get("stroke-dasharray") is None)
    left, top = map(float, re.findall(r"[\d.]+", outline.get("d", ""))[:2])
    wide, high = size_of(drawing(screen(run(ab=platform), added(0, "ab"))).nodes[0])
    for text in box.iter(f"{SVG}text"):
        size, x = float(text.get("font-size", 0)), float(text.get("x", 0))
        assert x + text_width(text.text or "", size) <= left + wide
        assert top < float(text.get("y", 0)) < top + high - 3


def test_a_map_keeps_its_box_when_its_items_come() -> None:
    """The page then changes the box, and need not draw all of them anew."""
    before = [*run("a", "parse"), added(0, "a"), added(1, "parse", 0, form="map")]
    items = [added(2 + i, f"parse[{i}]", group=1, index=i) for i in range(400)]
    assert drawing(screen(before)).shape == drawing(screen(before, items)).shape


def test_a_narrow_box_leaves_out_what_waits_and_keeps_what_failed() -> None:
    model = screen(run("parse"), mapped(0, 400), done(1), started(2), erred(3, retryable=False))
    box = drawing(model).nodes[0]
    assert box.detail == "1 failed, 1 done, 1 running, 397 waiting"
    assert box.brief == "1 failed, 1 done, 1 running"
    assert drawing(screen(run("parse"), mapped(0, 400))).nodes[0].brief == "400 waiting"


def test_a_drawing_keeps_its_shape_when_only_states_change() -> None:
    model = [*run("a", "b"), added(0, "a"), added(1, "b", 0)]
    before, after = drawing(screen(model)), drawing(screen(model, done(0)))
    assert before.shape == after.shape
    assert before.nodes != after.nodes
    assert before.shape != drawing(screen(model, added(2, "c", 1))).shape


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=40))
def test_a_box_stands_right_of_all_it_needs(pairs: Sequence[tuple[int, int]]) -> None:
    forward = [(a, b) for a, b in pairs if a < b]
    column = columns(range(12), forward)
    assert all(column[a] < column[b] for a, b in forward)
    assert sorted(n for layer in rows(range(12), forward, column) for n in layer) == list(range(12))


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=30))
def test_cycles_still_get_columns(pairs: Sequence[tuple[int, int]]) -> None:
    assert set(columns(range(8), [p for p in pairs if p[0] != p[1]])) == set(range(8))


def test_an_edge_that_skips_a_column_is_not_hidden_behind_its_boxes() -> None:
    calls = [added(0, "load"), added(1, "clean", 0), added(2, "train", 1, 0)]
    root = ET.fromstring(render(drawing(screen(run(), *calls))))
    paths = [path.get("d", "") for path in root.iter(f"{SVG}path")]
    (skips,) = [d for d in paths if re.fullmatch(r"M[^C]+C[^H]+H[^C]+C[^C]+", d)]
    passes = float(re.split("[ H]", skips.partition("H")[0])[-1])
    clean = [d for d in paths if "a8.0" in d][1]
    top = float(re.split("[ h]", clean)[1])
    assert not top - 1 <= passes <= top + 41


def test_text_in_the_picture_is_data() -> None:
    nasty = '<script>alert("1")</script>&'
    picture = render(drawing(screen(run(), added(0, nasty))))
    root = ET.fromstring(picture)
    assert not root.findall(f".//{SVG}script")
    assert nasty in [title.text.split(": ")[0] for title in root.iter(f"{SVG}title") if title.text]


def test_long_names_are_cut_to_their_box_and_whole_in_the_title() -> None:
    name = "count_the_functions_of_every_module_of_the_standard_library"
    root = ET.fromstring(render(drawing(screen(run(), added(0, name)))))
    label = next(t.text or "" for t in root.iter(f"{SVG}text"))
    assert label.endswith("…")
    assert name.startswith(label[:-1])
    title = next(t.text or "" for t in root.iter(f"{SVG}title"))
    assert title.startswith(name)


@given(st.text(max_size=60), st.floats(10, 300))
def test_a_cut_text_fits(text: str, width: float) -> None:
    assert text_width(cut(text, NAME_SIZE, width), NAME_SIZE) <= max(width, NAME_SIZE)


def test_each_state_differs_by_more_than_colour() -> None:
    assert len({look.path for look in LOOKS.values()}) == len(LOOKS)
    assert len({look.mark for look in LOOKS.values()}) == len(LOOKS)


@pytest.mark.parametrize("state", LOOKS)
def test_text_on_a_box_has_contrast(state: str) -> None:
    def light(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    look = LOOKS[state]  # type: ignore[index]
    one, other = sorted((light(look.fill), light(look.text)))
    assert (other + 0.05) / (one + 0.05) >= 4.5


def test_the_legend_names_only_states_that_are_there() -> None:
    picture = render(drawing(screen(run("a"), added(0, "a"), done(0))))
    words = [t.text for t in ET.fromstring(picture).iter(f"{SVG}text")]
    assert "succeeded" in words
    assert not {"failed", "running", "waiting"} & set(words)


def test_an_empty_run_is_a_picture_too() -> None:
    ET.fromstring(render(drawing(screen(run()))))
    assert img_tag(render(drawing(screen(run())))).startswith("<img ")


def test_the_terminal_shows_the_same() -> None:
    model = screen(run("a", "b"), added(0, "a"), added(1, "b", 0), done(0))
    lines = [line.rstrip() for line in text_view(model, 3.0).splitlines()]
    assert lines[0] == "etl  1/2 done · 3.0 s"
    assert [line.split() for line in lines[1:]] == [
        ["✓", "a", "succeeded", "(1.0", "s)"],
        ["○", "b", "ready"],
    ]
