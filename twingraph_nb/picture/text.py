"""A drawing for a terminal: one line for the run, one for each box."""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from twingraph_nb.picture.collapse import Box, Drawing, folded
from twingraph_nb.picture.layout import columns
from twingraph_nb.picture.model import Screen
from twingraph_nb.picture.palette import look_of
from twingraph_nb.picture.progress import progress_line

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["table", "text_view"]

_MOST_ROWS: Final = 40
_STYLES: Final = {
    "waiting": "dim",
    "ready": "dim",
    "running": "bold bright_cyan",
    "retrying": "yellow",
    "succeeded": "green",
    "reused": "magenta",
    "failed": "bold red",
    "skipped": "dim",
    "cancelled": "dim",
}


def table(
    screen: Screen,
    now: float,
    *,
    limit: int = _MOST_ROWS,
    only: Collection[int] | None = None,
    made: Drawing | None = None,
) -> RenderableType:
    """Give the run as something that rich prints; a box stands below what it needs.

    Args:
        now: seconds since the epoch.
        limit: most boxes and arrows before equal calls become one row.
        only: the tasks to show.
        made: a drawing of them as they are now, which is shown if it is small enough.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = folded(screen, made, limit, only)
    ids = [box.id for box in shown.nodes]
    column = columns(ids, [(edge.source, edge.target) for edge in shown.edges])
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for box in sorted(shown.nodes, key=lambda box: column[box.id]):
        style = _STYLES[box.state]
        mark = Text("  " * column[box.id] + look_of(box.state).mark, style=style)
        where = Text(box.place, style="dim")
        grid.add_row(mark + Text(f" {box.name}"), Text(_told(box), style=style), where)
    name = Text(screen.name or "run", style="bold")
    line = name + Text(f"  {progress_line(screen, now, only)}", style="not bold")
    return Group(line, grid) if shown.nodes else Group(line)


def text_view(
    screen: Screen,
    now: float,
    *,
    only: Collection[int] | None = None,
    made: Drawing | None = None,
    color: bool = False,
    width: int = 100,
) -> str:
    """Give the same as text of at most `width` columns, with terminal colours if asked."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(),
        force_terminal=color,
        force_jupyter=False,
        no_color=not color,
        width=width,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(table(screen, now, only=only, made=made))
    return captured.get().rstrip()


def _told(box: Box) -> str:
    same = box.several or box.detail == box.state
    return box.detail if same else f"{box.state} ({box.detail})"
