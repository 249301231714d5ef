"""The notebook of a repository: the number in a report leads to the commit and the lines."""

from __future__ import annotations

import re

import pytest

from tests.notebooks.executed import Executed, execute, kept_short

NAME = "03_git_history"


@pytest.fixture(scope="module")
def river(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    return execute(NAME, tmp_path_factory.mktemp("river"))


def test_each_run_is_known_with_its_commit(river: Executed) -> None:
    told = river.printed("edit").splitlines()
    commits = [line.split()[0] for line in told]
    days = [re.findall(r"(\d+) days", line)[0] for line in told]
    rows = river.table("runs")[1:]
    assert [row[1] for row in rows[:2]] == days[::-1]
    for row, commit in zip(rows, reversed(commits), strict=False):
        assert row[2].startswith(commit)
    assert len({row[1] for row in rows}) == 3


def test_the_difference_of_two_runs_is_the_line_that_was_changed(river: Executed) -> None:
    rows = river.table("which")[1:]
    assert [row[:2] for row in rows] == [
        ["commit", ""],
        ["component", "flooded"],
        ["output", "flooded"],
    ]
    ours, theirs = river.table("runs")[2][1], river.table("runs")[1][1]
    assert rows[-1][2:] == [ours, theirs]


def test_the_lines_of_a_result_are_found_in_git(river: Executed) -> None:
    told = river.printed("lines").split("\n\n")[:3]
    assert [line.splitlines()[1] for line in told] == [
        "by ada: Count the days in flood",
        "by ben: Smooth over three days",
        "by cy: Use the new mark of the water office",
    ]
    for part, mark in zip(told, ("270", "270", "207"), strict=True):
        history, _, *lines = part.splitlines()
        assert re.fullmatch(r"[0-9a-f]{12} flood\.py lines \d+-\d+", history)
        assert lines == [
            "@component",
            "def flooded(rows: list) -> int:",
            f"    return sum(level > {mark} for level in rows)",
        ]
    first, second = (re.findall(r"lines (\d+)", part)[0] for part in told[:2])
    assert first != second  # the same source, further down


def test_versions_and_reuse_are_told(river: Executed) -> None:
    head, *versions = river.table("changed")
    assert [row[head.index("changed")] for row in versions] == ["first version", "+1 -1 lines"]
    states = [row[0] for row in river.table("reused")[1:]]
    assert states == ["succeeded", "reused", "reused"]
    assert len({row[2] for row in river.table("reused")[1:]}) == 1


def test_after_the_revert_the_wrong_result_is_stale_and_the_new_one_equals_the_old(
    river: Executed,
) -> None:
    head, *rows = river.table("revert")
    assert [row[: head.index("output") + 1] for row in rows] == [
        ["its component has changed", "flooded", "succeeded", river.table("runs")[1][1]]
    ]
    assert [row[0] for row in river.table("again")[1:]] == ["commit"]
    assert "<img" in river.shown("drawn", "text/html")


def test_it_is_short_and_kept_without_outputs() -> None:
    kept_short(NAME)
