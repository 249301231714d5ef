"""How each state looks: colour, mark and word, so that no state is told by colour alone.

Colours follow Okabe and Ito, "Color Universal Design" (2008), darkened where white text stands
on them so that the contrast is at least 4.5 to 1 (WCAG 2.1, AA).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from twingraph_nb.events import TaskStateName

__all__ = ["EDGE", "LOOKS", "MUTED", "Look", "icon_svg", "look_of", "path_of"]

EDGE: Final = "#8a8f98"
"""Edges: a grey that reads on white and on black."""
MUTED: Final = "#787d85"
"""Text on the page itself, on either theme."""


@dataclass(frozen=True, slots=True)
class Look:
    """fill, text, border: colours. mark: one character for text. path: the icon's SVG path in a
    16 x 16 box, stroked unless `solid`. shape: cytoscape's name of the node's shape. dashed:
    the border's style."""

    word: str
    fill: str
    text: str
    border: str
    mark: str
    path: str
    shape: str = "round-rectangle"
    solid: bool = False
    dashed: bool = False


LOOKS: Final[dict[TaskStateName, Look]] = {
    "waiting": Look(
        "waiting", "#f1f2f4", "#3f444b", "#8a8f98", "◌",
        "M4 2.5h8M4 13.5h8M5 2.5c0 3 2 4 3 5.5-1 1.5-3 2.5-3 5.5"
        "M11 2.5c0 3-2 4-3 5.5 1 1.5 3 2.5 3 5.5",
        dashed=True,
    ),
    "ready": Look(
        "ready", "#ffffff", "#24292f", "#5c636d", "○",
        "M8 3.2a4.8 4.8 0 1 0 .01 0z",
    ),
    "running": Look(
        "running", "#56b4e9", "#0b1a26", "#0072b2", "▶",
        "M4.5 2.5v11l9-5.5z", solid=True,
    ),
    "retrying": Look(
        "retrying", "#f0c541", "#2b2100", "#b07d00", "↻",
        "M12.6 5.2A5.2 5.2 0 1 0 13.2 9M13.4 2.2v3.4H10",
    ),
    "succeeded": Look(
        "succeeded", "#00795a", "#ffffff", "#00513c", "✓",
        "M3 8.5l3.4 3.5L13 4.5",
    ),
    "reused": Look(
        "reused", "#8d4f7b", "#ffffff", "#5f3053", "⟲",
        "M3.2 7.6V6.2a2 2 0 0 1 2-2h6.6M9.6 2l2.2 2.2-2.2 2.2"
        "M12.8 8.4v1.4a2 2 0 0 1-2 2H4.2M6.4 14l-2.2-2.2 2.2-2.2", "barrel",
    ),
    "failed": Look(
        "failed", "#b34700", "#ffffff", "#7a3000", "✗",
        "M3.8 3.8l8.4 8.4M12.2 3.8l-8.4 8.4", "cut-rectangle",
    ),
    "skipped": Look(
        "skipped", "#d5d8dc", "#3f444b", "#787d85", "\u2013",
        "M3 8h10", "rectangle", dashed=True,
    ),
    "cancelled": Look(
        "cancelled", "#59616b", "#ffffff", "#343a42", "■",
        "M3.8 3.8h8.4v8.4H3.8z", "rectangle", solid=True,
    ),
}  # fmt: skip


def look_of(state: str) -> Look:
    """Give the look of a state; of "waiting" if it is not known."""
    return LOOKS.get(state, LOOKS["waiting"])  # type: ignore[call-overload, no-any-return]


def icon_svg(state: str, *, color: str = "", size: int = 16) -> str:
    """Give the state's icon as an SVG document; `size` in pixels."""
    look = look_of(state)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" '
        f'viewBox="0 0 16 16">{icon_path(state, color or look.text)}</svg>'
    )


def icon_path(state: str, color: str) -> str:
    """Give the state's icon as an SVG path element of 16 x 16 units."""
    return path_of(look_of(state), color)


def path_of(look: Look, color: str) -> str:
    """Give the icon of a look as an SVG path element of 16 x 16 units."""
    fill = color if look.solid else "none"
    return (
        f'<path d="{look.path}" fill="{fill}" stroke="{color}" stroke-width="2" '
        'stroke-linecap="round" stroke-linejoin="round"/>'
    )
