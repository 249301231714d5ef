"""How vertices look: the states as in every picture of a run, types by shape, groups by colour."""

from __future__ import annotations

from typing import Final

from twingraph_nb.picture.palette import LOOKS, Look

__all__ = ["COLOURS", "SHAPES", "look_of", "looks"]

SHAPES: Final = {
    "Run": "hexagon",
    "Pipeline": "octagon",
    "Component": "pentagon",
    "Artifact": "ellipse",
    "Platform": "triangle",
    "Environment": "diamond",
    "Notebook": "tag",
    "Cell": "tag",
    "File": "tag",
    "Person": "star",
}
"""Type -> shape; a task has the shape of its state, any other type is an ellipse."""

COLOURS: Final = (
    ("#0072b2", "#ffffff", "#004d78"),
    ("#e69f00", "#241a00", "#a06f00"),
    ("#009e73", "#00160f", "#006b4e"),
    ("#cc79a7", "#2a0a1c", "#954d76"),
    ("#56b4e9", "#0b1a26", "#2a80b0"),
    ("#d55e00", "#1f0d00", "#964200"),
    ("#f0e442", "#262400", "#aaa117"),
)
"""Fill, ink and border of the groups of a graph, the largest first; later ones share a grey.
Okabe and Ito, "Color Universal Design" (2008), told apart by all kinds of colour vision."""


def look_of(state: str) -> Look | None:
    """Give the look of a state; None for a vertex without one."""
    return _STATES.get(state, _STATES["waiting"]) if state else None


def looks() -> dict[str, object]:
    """Give all looks as the page takes them."""
    states = {
        name: {
            "word": look.word,
            "fill": look.fill,
            "text": look.text,
            "border": look.border,
            "path": look.path,
            "solid": look.solid,
            "shape": look.shape,
            "dashed": look.dashed,
        }
        for name, look in _STATES.items()
    }
    return {"states": states, "shapes": SHAPES, "colours": COLOURS}


_CUT_OFF: Final = Look(
    "interrupted", "#f7d9c8", "#3a1600", "#b34700", "!",
    "M8 2.5v6.5M8 12.6v.01", "cut-rectangle", dashed=True,
)  # fmt: skip
"""Of a task whose process is gone: it neither succeeded nor failed."""
_STATES: Final[dict[str, Look]] = {str(name): look for name, look in LOOKS.items()} | {
    "interrupted": _CUT_OFF
}
