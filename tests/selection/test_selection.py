"""What selectors mean, as a table: calls in, roles out."""

from __future__ import annotations

import pytest

from twingraph_nb.errors import WiringError
from twingraph_nb.selecting import Selecting
from twingraph_nb.selection import Selection, fits, read_selection

Call = tuple[str, str, tuple[int, ...], int | None]
"""Name, form, the calls whose values it gets, and the group it is in."""
CHAIN: tuple[Call, ...] = (
    ("load", "call", (), None),  # 0
    ("clean", "call", (0,), None),  # 1
    ("side", "call", (0,), None),  # 2
    ("join", "call", (1, 2), None),  # 3
    ("report", "call", (3,), None),  # 4
)
GROUPS: tuple[Call, ...] = (
    ("split", "call", (), None),  # 0
    ("part", "map", (0,), None),  # 1
    ("part[0]", "call", (), 1),  # 2
    ("part[1]", "call", (), 1),  # 3
    ("inner", "pipeline", (), None),  # 4
    ("first", "call", (1,), 4),  # 5
    ("second", "call", (5,), 4),  # 6
    ("join", "call", (1, 4), None),  # 7
)
BLOCK: tuple[Call, ...] = (
    ("start", "call", (), None),  # 0
    ("block", "pipeline", (), None),  # 1
    ("use", "call", (0,), 1),  # 2
    ("also", "call", (), 1),  # 3
    ("finally", "clean-up", (), 1),  # 4
    ("stop", "call", (0,), 4),  # 5
    ("join", "call", (1,), None),  # 6
)
LETTERS = {"run": "R", "take": "t", "open": "o", "held": ".", "left": "."}


def roles(calls: tuple[Call, ...], chosen: Selection) -> str:
    """A letter for each call, once all are made: Runs, taken, open, left out."""
    selecting = Selecting(chosen)
    late: list[int] = []  # called by a clean-up that may not run
    for number, (_, _, _, group) in enumerate(calls):
        if group is not None and calls[group][1] == "clean-up" and not selecting.calls(group):
            late.append(number)
        else:
            add(selecting, number, calls[number])
    made = [number for number in late if selecting.calls(calls[number][3] or 0)]
    for number in made:
        add(selecting, number, calls[number])
    selecting.end()
    selecting.left()
    return "".join(
        "." if number in late and number not in made else LETTERS[selecting.role(number)]
        for number in range(len(calls))
    )


def add(selecting: Selecting, number: int, call: Call) -> None:
    """Make a call; that of a clean-up comes when its block has been left."""
    name, form, needs, group = call
    if form == "clean-up":
        selecting.close(group or 0, more=True)
        form = "pipeline"
    component = "" if form == "pipeline" else name.partition("[")[0]
    selecting.added(number, name, component, form, [(need, True) for need in needs], group)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "RRRRR"),
        ({"force": "clean"}, "RRRRR"),
        ({"from_": "clean"}, "RRRRR"),
        ({"to": "clean"}, "RR..."),
        ({"to": "join"}, "RRRR."),
        ({"to": ["clean", "side"]}, "RRR.."),
        ({"to": "*in"}, "RRRR."),
        ({"only": "clean"}, "tR..."),
        ({"only": "join"}, ".ttR."),
        ({"only": "join,side"}, "ttRR."),
        ({"only": "l*"}, "R...."),
        ({"skip": "clean"}, "RtRRR"),
        ({"to": "join", "skip": "side"}, "RRtR."),
        ({"only": "clean", "to": "side"}, "tRR.."),
    ],
)
def test_a_selector_says_what_runs_and_what_is_taken(
    given: dict[str, object], expected: str
) -> None:
    assert roles(CHAIN, read_selection(given)) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"to": "part"}, "RRRR" + "o..."),
        ({"to": "part[1]"}, "Ro.R" + "o..."),
        ({"only": "part[1]"}, "to.R" + "o..."),
        ({"only": "part"}, "tRRR" + "o..."),
        ({"to": "first"}, "RRRR" + "oR.."),
        ({"only": "inner"}, "tttt" + "RRR."),
        ({"to": "join"}, "RRRRRRRR"),
        ({"only": "join"}, "tttt" + "tttR"),
        ({"skip": "inner"}, "RRRR" + "tttR"),
    ],
)
def test_a_group_is_selected_whole_and_its_members_by_name(
    given: dict[str, object], expected: str
) -> None:
    assert roles(GROUPS, read_selection(given)) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"to": "use"}, "Ro" + "R." + "RR."),
        ({"only": "use"}, "to" + "R." + "RR."),
        ({"only": "also"}, ".o" + ".R" + "RR."),  # stop waits for start, and start is left out
        ({"to": "join"}, "RR" + "RR" + "RRR"),
        ({"only": "block"}, "tR" + "RR" + "RR."),
        ({"only": "also,join"}, "tt" + "tR" + "RRR"),
        ({"only": "join"}, ".t" + "tt" + "..R"),
        ({"to": "start"}, "Ro" + ".." + "..."),
        ({"skip": "block"}, "Rt" + "tt" + "..R"),
        ({"skip": "use"}, "RR" + "tR" + "RRR"),
    ],
)
def test_a_clean_up_runs_if_anything_of_its_block_does(
    given: dict[str, object], expected: str
) -> None:
    assert roles(BLOCK, read_selection(given)) == expected


def test_what_waits_for_a_block_makes_sure_of_what_its_clean_up_gets() -> None:
    for given in ("to", "only"):
        selecting = Selecting(read_selection({given: "also"}))
        for number, call in enumerate(BLOCK[:6]):
            add(selecting, number, call)
        assert (selecting.role(0), selecting.role(5)) == ("held", "run")
        selecting.look(1)
        assert selecting.role(0) == "take"


def test_what_a_component_calls_belongs_to_it() -> None:
    calls: tuple[Call, ...] = (("outer", "call", (), None), ("helper", "call", (), 0))
    assert roles(calls, read_selection({"only": "outer"})) == "RR"


def test_a_look_makes_what_may_lead_to_what_is_selected_and_ends_the_function_after_it() -> None:
    selecting = Selecting(read_selection({"to": "late"}))
    selecting.added(0, "load", "load", "call", [], None)
    assert selecting.look(0) == ([0], "run")
    selecting.added(1, "late", "late", "call", [], None)
    selecting.added(2, "more", "more", "call", [], None)
    assert selecting.look(2) == ([2], "end")
    assert selecting.role(2) == "take"


def test_a_look_with_only_takes_the_value_or_fails() -> None:
    selecting = Selecting(read_selection({"only": "late"}))
    selecting.added(0, "load", "load", "call", [], None)
    assert selecting.look(0) == ([0], "fail")
    assert selecting.role(0) == "take"


def test_brackets_name_an_item_and_stars_and_question_marks_are_patterns() -> None:
    assert fits("part[1]", "part[1]")
    assert not fits("part[1]", "part1")
    assert fits("part[*]", "part[12]")
    assert fits("p??t", "part")
    assert not fits("par", "part")


def test_names_that_nothing_has_are_told_with_the_nearest() -> None:
    chosen = read_selection({"to": "cleen"})
    with pytest.raises(WiringError, match=r"to: no component is called 'cleen'.*'clean'"):
        chosen.check(["load", "clean"])
    selecting = Selecting(read_selection({"skip": "clean"}))
    with pytest.raises(WiringError, match="skip: no task is called 'clean'"):
        selecting.check(["load"])
    with pytest.raises(WiringError, match="force: wants names"):
        read_selection({"force": [3]})


def test_of_several_runs_one_without_what_is_selected_runs_whole() -> None:
    selecting = Selecting(read_selection({"to": "elsewhere"}), lenient=True)
    selecting.added(0, "load", "load", "call", [], None)
    assert selecting.end() == [0]
    selecting.check(["load"])
