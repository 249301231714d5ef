"""The live view of a run or a task: progress line, graph, inspector."""

from __future__ import annotations

import time
import weakref
from collections.abc import Collection
from html import escape
from typing import Any, Final

from twingraph_nb.clock import clock
from twingraph_nb.context import flushed_already
from twingraph_nb.errors import RunError, TwingraphError
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.task import Task
from twingraph_nb.picture.collapse import Drawing, Plan, draw, plan
from twingraph_nb.picture.model import FINAL, Screen, needed
from twingraph_nb.picture.palette import look_of
from twingraph_nb.picture.previews import html_preview
from twingraph_nb.picture.progress import counters, progress_line
from twingraph_nb.views import outdated
from twingraph_nb.views.feed import Feed, Source
from twingraph_nb.views.form import Forms
from twingraph_nb.views.graph import Graph
from twingraph_nb.views.hearing import Hearing
from twingraph_nb.views.inspector import badge, inspect_box, inspect_run
from twingraph_nb.views.still import Still
from twingraph_nb.views.style import CSS
from twingraph_nb.views.ticker import ticker

__all__ = ["LiveView"]

LIMIT: Final = 300
"""Boxes and arrows from which groups collapse (ipycytoscape makes one widget for each)."""
_SHARE: Final = 0.1
"""Most of the time that deciding what is one box may take; counters move all the same."""
_STILL_EVERY: Final = 3.0
"""Seconds between two pictures kept in the notebook while the run goes on."""
_REFIT_AFTER: Final = (0.6, 2.0)
"""Seconds after new boxes at which the graph is fitted again: by then the page has its size."""
_STYLE: Final = f"<style>{CSS}</style>"
_layout: Any = None


class Picture:
    """What is to be drawn of a run, or of one task and what it needs.

    It holds neither, so that a picture on the page keeps no results in memory.
    """

    def __init__(self, source: Source, run: Run, task: Task | None) -> None:
        self.run = weakref.ref(run)
        self.task = None if task is None else weakref.ref(task)
        self.number = None if task is None else task.number
        self.name = run.name if task is None else task.name
        self.feed = Feed(source, run.id)
        self.source = source
        self.only: Collection[int] | None = None
        self._plan: Plan | None = None
        self._structure = -1
        self._plan_next = 0.0

    @property
    def screen(self) -> Screen:
        """The model of the whole run."""
        return self.feed.screen

    def pull(self) -> bool:
        """Take in what has happened; tell whether anything has."""
        changed = self.feed.pull()
        if self.number is not None and self.behind:
            self.only = needed(self.screen, self.number)
        return changed

    def drawing(self) -> Drawing:
        """Give what to draw now; new tasks may come later if there are very many."""
        began = time.perf_counter()
        if self._plan is None or (self.behind and (self.over or began >= self._plan_next)):
            self._plan = plan(self.screen, LIMIT, self.only)
            self._structure = self.screen.structure
            now = time.perf_counter()
            self._plan_next = now + (now - began) / _SHARE
        return draw(self.screen, self._plan)

    @property
    def behind(self) -> bool:
        """True when there are tasks that no drawing has had yet."""
        return self.screen.structure != self._structure

    def keep(self, still: Still, now: float) -> None:
        """Put what there is now into the picture that stays."""
        still.show(self.screen, now, self.only, self.drawing())

    @property
    def over(self) -> bool:
        """True when nothing of it will change any more."""
        if self.number is None:
            return self.screen.over
        shown = self.screen.tasks.get(self.number)
        return self.screen.over or (shown is not None and shown.state in FINAL)

    @property
    def state(self) -> str:
        """The state of the run or the task."""
        if self.number is None:
            return self.screen.state
        shown = self.screen.tasks.get(self.number)
        return shown.state if shown is not None else "waiting"

    def value(self, number: int, port: str) -> str | None:
        """Give the preview of an output that is still in memory."""
        run, own = self.run(), None if self.task is None else self.task()
        hash = self.screen.tasks[number].hash
        for task in (own, *(run.tasks if run is not None else ())):
            if task is not None and task.hash == hash:
                if not task.done or task.error is not None:
                    return None
                try:
                    return html_preview(task.value_of(port))
                except TwingraphError:
                    return None
        return None

    def answer(self, number: int, value: object) -> str:
        """Answer what a task asks.

        Raises:
            RunError: it is no answer, or somebody was faster.
        """
        run = self.run()
        if run is None:
            raise RunError(f"the run is gone here: twingraph answer {self.screen.run}")
        return run.link.answer(number, value)

    def cancel(self) -> None:
        """Ask what is shown to stop."""
        shown = self.run() if self.task is None else self.task()
        if shown is not None:
            shown.cancel()


def _plain_layout() -> Any:
    """The one layout that all frames have: to make another is half of what a frame takes."""
    from ipywidgets import Layout

    global _layout
    if _layout is None or _layout.comm is None:  # the user has closed all widgets
        _layout = Layout()
    return _layout


class LiveView:
    """Widgets under a cell that follow a run. Drawn by the ticker's thread alone.

    widget: the box to display.
    """

    def __init__(self, source: Source, run: Run, task: Task | None = None) -> None:
        from ipywidgets import VBox

        # Only the frame is made in the cell: the rest would be half the time of a short run.
        # With its class from the start, which is a message less than adding it.
        self.widget = VBox(layout=_plain_layout(), _dom_classes=("tg-view",))
        self.picture = Picture(source, run, task)
        self.still = Still()
        self._chosen = ""
        self._texts: dict[str, str] = {}
        self._refits: list[float] = []
        self._still_at = clock()
        self._built = self._over = False
        self._hearing: Hearing | None = None

    def _build(self) -> None:
        from ipywidgets import HTML, Button, HBox, Layout

        self._built = True
        self._graph = Graph(self._on_click)
        self._css = HTML(_STYLE, layout=Layout(display="none"))
        self._forms = Forms(self.picture.answer)
        self._line = HTML("", layout=Layout(flex="1 1 auto", width="auto"))
        self._bar = HTML("", layout=Layout(width="100%"))
        self._stop = Button(
            description="Stop",
            icon="stop",
            tooltip="Cancel what is shown here",
            layout=Layout(width="76px", height="26px"),
        )
        self._stop.add_class("tg-stop")
        self._stop.on_click(self._on_stop)
        self._panel = HTML("", layout=Layout(width="100%", display="none"))
        self._head = HBox([self._line, self._stop])
        self._head.add_class("tg-head")
        self._draw_line(clock())
        self.widget.children = (self._css, self._head, self._bar, self._panel)

    def display(self) -> None:
        """Show it under the cell that runs now and follow the run."""
        from IPython.display import display

        shown = dict(self.widget._repr_mimebundle_())
        shown["text/plain"] = ""  # a saved page would show it above the picture that stays
        display(shown, raw=True)  # type: ignore[no-untyped-call]
        with flushed_already():  # by the display before
            self.still.begin()
        outdated.watch(self.picture.source, self)
        self._hearing = Hearing()
        ticker.add(self)

    @property
    def marked(self) -> bool:
        """True while something of it is marked as stale."""
        return bool(self.picture.screen.marks)

    def tick(self, now: float) -> bool:
        """Draw what has changed; True while more is to come."""
        if not self._built:
            self._build()
        marked = outdated.mark(self.picture.source, self.picture.screen)
        if not self._over or marked:
            self._follow(now, marked)
        if self._hearing is not None and self._forms.waiting:
            self._forms.tell_busy(self._hearing.is_deaf(now))
        self._draw_panel(now)
        if self._refits and now >= self._refits[0]:
            self._refits.pop(0)
            self._graph.fit()
        return not self._over or bool(self._refits)

    def _follow(self, now: float, marked: bool) -> None:
        changed = self.picture.pull() or marked
        self._over = self.picture.over
        changed = changed or self.picture.behind
        if changed and (drawing := self.picture.drawing()).nodes:
            if self._graph.show(drawing):
                self._refits = [now + wait for wait in _REFIT_AFTER]
            if self._graph.widget not in self.widget.children:
                self._arrange()
        if changed and self._forms.draw(self.picture.screen, self.picture.only):
            self._arrange()
        self._draw_line(now)
        if self._over or now - self._still_at >= _STILL_EVERY:
            self._still_at = now
            self.picture.keep(self.still, now)
        if self._over:
            self.picture.feed.close()
            self._stop.layout.display = "none"

    def _arrange(self) -> None:
        graph = self._graph.widget if self.picture.drawing().nodes else None
        parts = (self._css, self._head, self._bar, self._forms.widget, graph, self._panel)
        self.widget.children = tuple(part for part in parts if part is not None)

    def _draw_line(self, now: float) -> None:
        picture = self.picture
        told = escape(progress_line(picture.screen, now, picture.only))
        name = f"<b>{escape(picture.name)}</b><span>{told}</span>"
        shown = f'<div class="tg-line">{badge(picture.state)}{name}</div>'
        self._set(self._line, "line", shown)
        counts = counters(picture.screen, picture.only)
        total = sum(counts.values()) or 1
        order = ("succeeded", "reused", "failed", "skipped", "cancelled", "retrying", "running")
        bars = "".join(
            f'<i style="width:{counts[s] / total:.2%};background:{look_of(s).fill}"></i>'
            for s in order
            if counts[s]
        )
        self._set(self._bar, "bar", f'<div class="tg-bar">{bars}</div>')

    def _draw_panel(self, now: float) -> None:
        picture, html = self.picture, ""
        if self._chosen:
            box = next((b for b in picture.drawing().nodes if b.id == self._chosen), None)
            if box is not None:
                html = inspect_box(picture.screen, box, now, picture.value)
        elif picture.number is None:
            html = inspect_run(picture.screen)
        if self._set(self._panel, "panel", html):
            self._panel.layout.display = None if html else "none"

    def _set(self, widget: Any, name: str, html: str) -> bool:
        if self._texts.get(name) == html:
            return False
        self._texts[name] = html
        widget.value = html
        return True

    def _on_click(self, node: dict[str, Any]) -> None:
        self._chosen = str(node["data"]["id"])
        ticker.poke(self)

    def _on_stop(self, _: object) -> None:
        self.picture.cancel()
