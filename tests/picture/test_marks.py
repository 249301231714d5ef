"""What is said of tasks beside their states: stale ones, and how two runs differ."""

from __future__ import annotations

from collections.abc import Mapping

from twingraph_nb.events import ComponentUsed, Event, MapExpanded, RunStarted, TaskAdded, TaskDone
from twingraph_nb.picture.collapse import drawing
from twingraph_nb.picture.marks import stale
from twingraph_nb.picture.model import Screen
from twingraph_nb.picture.screen import fold
from twingraph_nb.picture.svg import render
from twingraph_nb.source.used import Uses

CODE = {name: f"def {name}(x):\n    return x\n" for name in ("load", "clean", "train", "other")}
NEW = {**CODE, "clean": "def clean(x):\n    return x + 1\n"}


def screen(form: str = "pipeline", *more: Event, first: Event | None = None) -> Screen:
    """load -> clean (a map of two) -> train, and other by itself."""
    made = Screen()
    events: list[Event] = [RunStarted(0.0, "r", "flow", form)]  # type: ignore[arg-type]
    events += [first] if first is not None else []
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


def now(sources: Mapping[str, str], **uses: Uses) -> dict[str, tuple[str, Uses]]:
    """The components as they are now."""
    return {name: (text, uses.get(name, {})) for name, text in sources.items()}


def test_nothing_is_stale_while_the_code_is_what_ran() -> None:
    same = {**CODE, "clean": "def clean(x):  # as before\n    return x"}
    assert stale(screen(), now(same)) == {}
    assert stale(screen(), {}) == {}


def test_tasks_of_a_changed_component_are_stale_and_what_got_their_values() -> None:
    found = stale(screen(), now(NEW))
    assert {number: mark.text for number, mark in found.items()} == {
        1: "the code of clean has changed since it ran",
        2: "the code of clean has changed since it ran",
        3: "the code of clean has changed since it ran",
        4: "made from clean, which is stale: the code of clean has changed since it ran",
    }


def test_tasks_are_stale_when_a_helper_of_their_component_has_changed() -> None:
    then: Uses = {"ratio": ("a", "= 2"), "helper": ("b", "def helper(): ..."), "big": ("", "")}
    text, uses = CODE["load"], ComponentUsed(0.0, "load", "load", source=CODE["load"], uses=then)
    assert stale(screen("pipeline", first=uses), now(CODE, load=then)) == {}
    after: Uses = {**then, "helper": ("c", "def helper(x): ..."), "big": ("d", "")}
    found = stale(screen("pipeline", first=uses), now({"load": text}, load=after))
    assert sorted(found) == [0, 1, 4]  # what only comes after another one gets no value from it
    assert found[0].text == "what load uses has changed since it ran: helper"
    assert stale(screen("session", first=uses), now(CODE, load=after)) == {}


def test_a_loose_call_is_not_stale_any_more_once_it_was_called_again() -> None:
    again = (
        ComponentUsed(2.0, "clean2", "clean", source=NEW["clean"], version=2),
        TaskAdded(2.0, 6, "6", "clean", "clean2"),
        TaskDone(2.0, 6),
    )
    assert stale(screen("session", *again), now(NEW)) == {}
    assert sorted(stale(screen("pipeline", *again), now(NEW))) == [1, 2, 3, 4]


def test_a_stale_box_says_so_in_words_and_has_an_outline() -> None:
    made = screen()
    made.marks = stale(made, now(NEW))
    drawn = drawing(made)
    briefs = {box.name: box.brief for box in drawn.nodes}
    assert briefs["train"].endswith("· stale")
    assert "stale" not in briefs["other"] + briefs["load"]
    picture = render(drawn)
    assert 'stroke="#c77700" stroke-width="2.5"' in picture
    assert ">stale</text>" in picture
