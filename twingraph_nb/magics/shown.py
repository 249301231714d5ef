"""What a magic shows: HTML where a front end draws it, text everywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Shown", "table"]

_CELL = "text-align:left;padding:2px 14px 2px 0;vertical-align:top;white-space:pre-wrap"
_LONG = 40  # characters of a text that may wrap
_HEAD = f"{_CELL};color:var(--jp-ui-font-color2,GrayText);font-weight:normal"
_TABLE = (
    "border-collapse:collapse;border:none;font-size:var(--jp-ui-font-size1,13px);"
    "font-family:var(--jp-ui-font-family,sans-serif);color:var(--jp-ui-font-color1,inherit);"
    "margin:2px 0"
)


@dataclass(frozen=True, slots=True, repr=False)
class Shown:
    """A display in two forms."""

    text: str
    html: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = "") -> Shown:
    """Give a table to show.

    Args:
        head: names of the columns.
        rows: as many values each as there are columns.
        empty: what to say where there are no rows.
    """
    if not rows:
        return Shown(empty, f'<div style="{_CELL}">{escape(empty)}</div>')
    cells = [[str(one) for one in row] for row in rows]
    return Shown(_text(head, cells), _html(head, cells))


def _text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    wide = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * w for w in wide], *rows]
    return "\n".join(
        "  ".join(one.ljust(w) for one, w in zip(line, wide, strict=True)).rstrip()
        for line in lines
    )


def _html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th style="{_HEAD}">{escape(one)}</th>' for one in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_style(one)}">{escape(one)}</td>' for one in row) + "</tr>"
        for row in rows
    )
    table = f'<table style="{_TABLE}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div style="overflow-x:auto">{table}</div>'


def _style(text: str) -> str:
    """Short texts stay on their lines, long ones are never squeezed into a tall column."""
    return f"{_CELL};min-width:22em" if len(text) > _LONG else _CELL.replace("-wrap", "")
