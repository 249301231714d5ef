"""What a batch run shows in the terminal while it goes on, and when it has ended.

Plain lines where nobody looks (a log, a pipe), a live picture where somebody does.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO

from twingraph_nb.runs.ending import Ending, told
from twingraph_nb.store import RunRow

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Lines", "Live", "Terminal", "TqdmLine", "counts_text", "terminal_for"]

SHOWN_CELLS = 6  # finished cells that the live picture keeps
SHOWN_RUNS = 8
HEARTBEAT = 15.0  # seconds between plain lines about a cell that takes long
SHORT = 8
TITLE = 60  # characters of a cell's first line


class Terminal(Protocol):
    """Where the progress of a notebook's run is shown. Called from two threads."""

    def begin(self, notebook: str, run: str, params: Mapping[str, str], cells: int) -> None: ...
    def cell_started(self, number: int, source: str) -> None: ...
    def cell_done(self, number: int, seconds: float, *, good: bool) -> None: ...
    def waiting(self, what: str) -> None: ...
    def runs(self, rows: Sequence[RunRow]) -> None: ...
    def asks(self, lines: Sequence[str]) -> None: ...
    def end(self, ending: Ending, seconds: float) -> None: ...


def terminal_for(stream: TextIO) -> Terminal:
    """Give the live picture for a terminal, plain lines for anything else."""
    return Live(stream) if stream.isatty() else Lines(stream)


def title_of(source: str) -> str:
    """Give a cell's first lines that say something, cut to fit a line."""
    lines = [line.strip().lstrip("# ") for line in source.splitlines() if line.strip(" #")]
    first = lines[0] if lines else ""
    magic = re.match(r"%%\w+ +\w+", first)
    if magic:
        return magic[0]
    if len(first) < SHORT and len(lines) > 1:  # `try:` alone tells nothing
        first = f"{first} {lines[1]}"
    return first if len(first) <= TITLE else first[: TITLE - 1] + "…"


def counts_text(rows: Sequence[RunRow]) -> str:
    """Give the tasks of all runs as text: ``12 of 40 tasks done, 1 failed``; "" for none."""
    tasks, failed = sum(row.tasks for row in rows), sum(row.failed for row in rows)
    if not tasks:
        return ""
    done, reused = sum(map(_done, rows)), sum(row.reused for row in rows)
    said = f"{done} of {tasks} task{'s' * (tasks != 1)} done"
    said += f", {reused} reused" if reused else ""
    return said + (f", {failed} failed" if failed else "")


def _done(row: RunRow) -> int:
    return row.done + row.reused


def ending_lines(ending: Ending) -> list[str]:
    """Give what went wrong, as lines; empty when nothing did."""
    lines = []
    if ending.error is not None:
        lines.append(f"{ending.state}: {told(ending.error)}")
    if ending.cell is not None:
        lines.append(f"in code cell {ending.cell.number}:")
        lines += source_lines(ending.cell.source, ending.cell.error.line)
    bad = [left for left in ending.left if left.state != "succeeded" and left.error]
    if ending.error is not None and ending.error.type == "RunError":
        del bad[:1]  # that one is the error told above
    lines += [f"{left.name} in run {left.run} {left.state}: {left.error}" for left in bad]
    return lines


def source_lines(source: str, line: int, around: int = 3) -> list[str]:
    """Give the cell's lines near `line` (from 1; 0 for its first lines), numbered and marked."""
    lines = source.splitlines()
    first = max(0, line - 1 - around) if line else 0
    last = min(len(lines), line + around if line else 2 * around + 1)
    return [
        f"  {'>' if number == line else ' '} {number:>3} | {lines[number - 1]}"
        for number in range(first + 1, last + 1)
    ]


class Lines:
    """One line for each finished cell."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._cells = 0
        self._title = ""
        self._rows: Sequence[RunRow] = ()
        self._said = ""
        self._said_at = 0.0
        self._asked: set[str] = set()

    def begin(self, notebook: str, run: str, params: Mapping[str, str], cells: int) -> None:
        self._cells = cells
        given = "".join(f"  {name}={value}" for name, value in params.items())
        self._write(f"{notebook}  run {run}{given}")

    def cell_started(self, number: int, source: str) -> None:
        self._title, self._said_at = title_of(source), time.monotonic()

    def cell_done(self, number: int, seconds: float, *, good: bool) -> None:
        width = len(str(self._cells))
        mark = " " if good else "!"
        line = f"{mark}[{number:>{width}}/{self._cells}] {seconds:7.1f} s  {self._title}"
        counts = counts_text(self._rows)
        if counts and counts != self._said:
            line += f"  ({counts})"
            self._said = counts
        self._write(line)

    def waiting(self, what: str) -> None:
        self._title, self._said_at = what, time.monotonic()

    def runs(self, rows: Sequence[RunRow]) -> None:
        self._rows = rows
        counts = counts_text(rows)
        if counts != self._said and time.monotonic() - self._said_at > HEARTBEAT:
            self._said, self._said_at = counts, time.monotonic()
            self._write(f"  ... {self._title}: {counts}")

    def asks(self, lines: Sequence[str]) -> None:
        for line in lines:
            if line not in self._asked:
                self._asked.add(line)
                self._write(f"  ? {line}")

    def end(self, ending: Ending, seconds: float) -> None:
        for line in ending_lines(ending):
            self._write(line)
        counts = counts_text(self._rows)
        tail = f", {len(self._rows)} run{'s' * (len(self._rows) != 1)}, {counts}" if counts else ""
        self._write(f"{ending.state} in {seconds:.1f} s{tail}")

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


@dataclass(slots=True)
class _Scene:
    """What the live picture shows now."""

    head: str = ""
    cells: int = 0
    done: list[tuple[int, float, str, bool]] = field(default_factory=list)
    now: str = ""
    since: float = 0.0
    rows: Sequence[RunRow] = ()
    asked: Sequence[str] = ()


class Live:
    """A picture that moves: cells, and each run with its tasks."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive
        from rich.spinner import Spinner

        self._scene = _Scene()
        self._console = Console(file=stream)
        self._spinner = Spinner("dots", style="cyan")
        self._live = RichLive(
            get_renderable=self._draw, console=self._console, refresh_per_second=8, transient=True
        )
        self._number = 0

    def begin(self, notebook: str, run: str, params: Mapping[str, str], cells: int) -> None:
        given = "".join(f"  {name}={value}" for name, value in params.items())
        self._scene.head, self._scene.cells = f"{notebook}  run {run}{given}", cells
        self._live.start()

    def cell_started(self, number: int, source: str) -> None:
        self._number = number
        self._scene.now, self._scene.since = title_of(source), time.monotonic()

    def cell_done(self, number: int, seconds: float, *, good: bool) -> None:
        self._scene.done.append((number, seconds, self._scene.now, good))
        self._scene.now = ""

    def waiting(self, what: str) -> None:
        self._scene.now, self._scene.since = what, time.monotonic()

    def runs(self, rows: Sequence[RunRow]) -> None:
        self._scene.rows = rows

    def asks(self, lines: Sequence[str]) -> None:
        self._scene.asked = lines

    def end(self, ending: Ending, seconds: float) -> None:
        from rich.text import Text

        self._live.stop()
        self._scene.now = ""
        self._console.print(self._draw(everything=True))
        for line in ending_lines(ending):
            self._console.print(Text(line, style="red"))
        style = "bold green" if ending.state == "succeeded" else "bold red"
        self._console.print(Text(f"{ending.state} in {seconds:.1f} s", style=style))

    def _draw(self, *, everything: bool = False) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        scene = self._scene
        cells = Table.grid(padding=(0, 1))
        for number, seconds, title, good in scene.done[0 if everything else -SHOWN_CELLS :]:
            mark = Text("✓", "green") if good else Text("✗", "bold red")
            cells.add_row(mark, Text(f"{number:>3}"), Text(f"{seconds:6.1f} s"), Text(title))
        if scene.now:
            took = time.monotonic() - scene.since
            place = Text(f"{self._number:>3}")
            cells.add_row(self._spinner, place, Text(f"{took:6.1f} s"), Text(scene.now, "bold"))
        parts: list[RenderableType] = [Text(scene.head, "bold")]
        if not everything:
            parts.append(ProgressBar(max(1, scene.cells), len(scene.done), width=60))
        asked = () if everything else [Text(f"? {line}", "yellow") for line in scene.asked]
        return Group(*parts, cells, _runs_table(scene.rows, everything), *asked)


def _runs_table(rows: Sequence[RunRow], everything: bool) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    marks = {"succeeded": ("✓", "green"), "failed": ("✗", "bold red"), "running": ("▶", "cyan")}
    table = Table.grid(padding=(0, 1))
    for row in rows if everything else rows[-SHOWN_RUNS:]:
        bar = ProgressBar(max(1, row.tasks), _done(row), width=20)
        failed = Text(f"{row.failed} failed", "red") if row.failed else Text("")
        mark = Text(*marks.get(row.state, ("■", "yellow")))
        table.add_row(mark, Text(row.name), bar, Text(f"{_done(row)}/{row.tasks} tasks"), failed)
    return table


class TqdmLine:
    """papermill's own progress bar, the tasks' counts behind it, and above it what is asked."""

    def __init__(self, bar: TqdmBar | None) -> None:
        self._bar = bar
        self._asked: set[str] = set()

    def begin(self, notebook: str, run: str, params: Mapping[str, str], cells: int) -> None:
        pass

    def cell_started(self, number: int, source: str) -> None:
        pass

    def cell_done(self, number: int, seconds: float, *, good: bool) -> None:
        pass

    def waiting(self, what: str) -> None:
        pass

    def runs(self, rows: Sequence[RunRow]) -> None:
        counts = counts_text(rows)
        if self._bar is not None and counts:
            self._bar.set_postfix_str(counts)

    def asks(self, lines: Sequence[str]) -> None:
        for line in lines:
            if line in self._asked:
                continue
            self._asked.add(line)
            if self._bar is not None:
                self._bar.write(f"? {line}", file=sys.stderr)
            else:
                sys.stderr.write(f"? {line}\n")

    def end(self, ending: Ending, seconds: float) -> None:
        pass


class TqdmBar(Protocol):
    """The part of a tqdm bar that is used here."""

    def set_postfix_str(self, s: str) -> None: ...
    def write(self, s: str, file: TextIO | None = None) -> None: ...
