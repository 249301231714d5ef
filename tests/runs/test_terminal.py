"""The terminal shows each cell and how far the runs are: as lines in a log, live for a person."""

from __future__ import annotations

import io

import pytest

from twingraph_nb.events import ErrorInfo
from twingraph_nb.runs.ending import CellTrouble, Ending, Left
from twingraph_nb.runs.terminal import Lines, Live, Terminal, source_lines, terminal_for
from twingraph_nb.store import RunRow


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def row(done: int, failed: int = 0, reused: int = 0) -> RunRow:
    return RunRow(
        "r1", "[b]census", "pipeline", "running", "nb", 0.0, None, 1.0, 10, done, reused, failed
    )


def play(terminal: Terminal, ending: Ending) -> None:
    terminal.begin("flow.ipynb", "nb1", {"top": "15"}, 2)
    terminal.cell_started(1, "\n# load [red]it[/red]\nx = 1")
    terminal.runs([row(2)])
    terminal.cell_done(1, 0.25, good=True)
    terminal.cell_started(2, "run.result()")
    terminal.runs([row(7, 1, 2)])
    terminal.cell_done(2, 61.0, good=ending.state == "succeeded")
    terminal.end(ending, 61.5)


FAILED = Ending(
    "failed",
    ErrorInfo("ValueError", "no [bold]luck"),
    CellTrouble(2, "a = 1\nrun.result()\nb = 2", ErrorInfo("ValueError", "no luck", line=2)),
)


def test_a_log_gets_one_line_for_each_cell() -> None:
    stream = io.StringIO()
    play(terminal_for(stream), Ending())
    assert stream.getvalue().splitlines() == [
        "flow.ipynb  run nb1  top=15",
        " [1/2]     0.2 s  load [red]it[/red]  (2 of 10 tasks done)",
        " [2/2]    61.0 s  run.result()  (9 of 10 tasks done, 2 reused, 1 failed)",
        "succeeded in 61.5 s, 1 run, 9 of 10 tasks done, 2 reused, 1 failed",
    ]


def test_a_failure_is_told_with_the_cells_own_lines() -> None:
    stream = io.StringIO()
    play(Lines(stream), FAILED)
    assert stream.getvalue().splitlines()[2:] == [
        "![2/2]    61.0 s  run.result()  (9 of 10 tasks done, 2 reused, 1 failed)",
        "failed: ValueError: no [bold]luck",
        "in code cell 2:",
        "      1 | a = 1",
        "  >   2 | run.result()",
        "      3 | b = 2",
        "failed in 61.5 s, 1 run, 9 of 10 tasks done, 2 reused, 1 failed",
    ]


@pytest.mark.parametrize("ending", [Ending(), FAILED], ids=["good", "bad"])
def test_a_person_sees_the_same_as_a_picture(ending: Ending) -> None:
    stream = Tty()
    terminal = terminal_for(stream)
    assert isinstance(terminal, Live)
    play(terminal, ending)
    shown = stream.getvalue()
    for said in ("flow.ipynb  run nb1  top=15", "load [red]it[/red]", "[b]census", "9/10 tasks"):
        assert said in shown, said
    assert ("no [bold]luck" in shown) == (ending is FAILED)
    assert shown.rstrip().endswith(f"{ending.state} in 61.5 s\x1b[0m") or "61.5" in shown


def test_work_that_nobody_waited_for_is_named_once() -> None:
    left = [Left("r1", "etl", "failed", "OSError: disk"), Left("r2", "more", "failed", "X: y")]
    ending = Ending("failed", ErrorInfo("RunError", "etl in run r1 failed: OSError: disk"))
    ending.left = [Left("r0", "fine", "succeeded"), *left]
    stream = io.StringIO()
    play(Lines(stream), ending)
    told = stream.getvalue().splitlines()[3:-1]
    assert told == ["failed: etl in run r1 failed: OSError: disk", "more in run r2 failed: X: y"]


def test_a_long_cell_shows_only_the_lines_around_the_error() -> None:
    source = "\n".join(f"line{n}" for n in range(1, 101))
    assert source_lines(source, 50) == [
        f"  {'>' if n == 50 else ' '}  {n} | line{n}" for n in range(47, 54)
    ]
    assert len(source_lines(source, 0)) == 7
