"""What is said of tasks beside their states: stale ones, and how two runs differ."""

from __future__ import annotations

from twingraph_nb.events import ComponentUsed, Event, MapExpanded, RunStarted, TaskAdded, TaskDone
from twingraph_nb.picture.collapse import drawing
from twingraph_nb.picture.marks import stale
from twingraph_nb.picture.model import Screen
from twingraph_nb.picture.screen import fold
from twingraph_nb.picture.svg import render

CODE = {name: f"def {name}(x):\n    return x\n" for name in ("load", "clean", "train", "other")}
NEW = {**CODE, "clean": "def clean(x):\n    return x + 1\n"}


def screen(form: str = "pipeline", *more: Event) -> Screen:
    """load -> clean (a map of two) -> train, and other by itself."""
    made = Screen()
    events: list[Event] = [RunStarted(0.0, "r", "flow", form)]  # type: ignore[arg-type]
    events += [ComponentUsed(0.0, name, name, source=text) for name, text in CODE.items()]
    events += [
        TaskAdded(0.0, 0, "0", "load", "load"),
        TaskAdded(0.0, 1, "1", "clean", "clean", ((0, "", "items"),), "map"),
        MapExpanded(0.0, 1, 2),
        TaskAdded(0.0, 2, "2", "clean[0]", "clean", (), "call", 1, 0),
        TaskAdded(0.0, 3, "3", "clean[1]", "clean", (), "call", 1, 1),
        TaskAdded(0.0, 4, "4", "train", "train", ((1, "", "x"),)),
        TaskAdded(0.0, 5, "5", "other", "other", ((4, "", ""),)),
        *(TaskDone(1.0, number) for number in range(6)),
    ]
    for event in (*events, *more):
        fold(made, event)
    return made


def test_nothing_is_stale_while_the_code_is_what_ran() -> None:
    same = {**CODE, "clean": "def clean(x):  # as before\n    return x"}
    assert stale(screen(), same) == {}
    assert stale(screen(), {}) == {}


def test_tasks_of_a_changed_component_are_stale_and_what_got_their_values() -> None:
    found = stale(screen(), NEW)
    assert {number: mark.text for number, mark in found.items()} == {
        1: "the code of clean has changed since it ran",
        2: "the code of clean has changed since it ran",
        3: "the code of clean has changed since it ran",
        4: "made from clean, which is stale: the code of clean has changed since it ran",
    }


def test_a_loose_call_is_not_stale_any_more_once_it_was_called_again() -> None:
    again = (
        ComponentUsed(2.0, "clean2", "clean", source=NEW["clean"], version=2),
        TaskAdded(2.0, 6, "6", "clean", "clean2"),
        TaskDone(2.0, 6),
    )
    assert stale(screen("session", *again), NEW) == {}
    assert sorted(stale(screen("pipeline", *again), NEW)) == [1, 2, 3, 4]


def test_a_stale_box_says_so_in_words_and_has_an_outline() -> None:
    made = screen()
    made.marks = stale(made, NEW)
    drawn = drawing(made)
    briefs = {box.name: box.brief for box in drawn.nodes}
    assert briefs["train"].endswith("· stale")
    assert "stale" not in briefs["other"] + briefs["load"]
    picture = render(drawn)
    assert 'stroke="#c77700" stroke-width="2.5"' in picture
    assert ">stale</text>" in picture
