"""The picture that stays: a plain output below the live view, for notebooks without a kernel."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from html import escape
from typing import Final

from twingraph_nb.picture.collapse import Drawing, folded
from twingraph_nb.picture.model import Screen
from twingraph_nb.picture.progress import progress_line
from twingraph_nb.picture.svg import img_tag, render
from twingraph_nb.picture.text import text_view
from twingraph_nb.views.graph import MOST_ROWS, row_height
from twingraph_nb.views.style import STILL_CSS, heights

__all__ = ["Still"]

_FOLDED = 120
"""Boxes and arrows from which this picture collapses: it cannot be zoomed as the live view."""

_STYLE: Final = (
    f"<style>{STILL_CSS}{heights({n: row_height(n) for n in range(1, MOST_ROWS + 1)})}</style>"
)


class Still:
    """One output that is replaced whenever the picture is worth keeping.

    beside: there is a live view above it, which hides it.
    """

    def __init__(self, *, beside: bool = True) -> None:
        self._id = uuid.uuid4().hex
        self._style = _STYLE if beside else ""
        self._shown = -1

    def begin(self) -> None:
        """Make the output in the cell that runs now."""
        self._publish(
            {"text/html": f'{self._style}<div class="tg-still"></div>', "text/plain": ""}, False
        )

    def show(
        self,
        screen: Screen,
        now: float,
        only: Collection[int] | None = None,
        made: Drawing | None = None,
    ) -> None:
        """Replace the output by the screen as it is; `made` is a drawing of it if there is one."""
        if screen.version == self._shown:
            return
        self._shown = screen.version
        shown = folded(screen, made, _FOLDED, only)
        picture = img_tag(render(shown))
        line = escape(f"{screen.name}: {progress_line(screen, now, only)}")
        html = (
            f'{self._style}<div class="tg-still"><p style="font-size:13px;margin:4px 0">{line}</p>'
            f'<div style="overflow-x:auto">{picture}</div></div>'
        )
        text = text_view(screen, now, only=only, made=shown)
        self._publish({"text/html": html, "text/plain": text}, True)

    def _publish(self, data: dict[str, str], update: bool) -> None:
        from IPython.display import publish_display_data

        publish_display_data(  # type: ignore[no-untyped-call]
            data, transient={"display_id": self._id}, update=update
        )
