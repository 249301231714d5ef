"""The notebook's magics: components and pipelines, runs, and the graph of all that ran.

Each magic parses its line, asks a lower room, and shows what comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.interactiveshell import InteractiveShell

from twingraph_nb.component import Component, Pipeline
from twingraph_nb.magics import nest
from twingraph_nb.magics.commands import TwingraphMagics
from twingraph_nb.magics.completion import complete_line
from twingraph_nb.magics.gremlin_completion import complete_gremlin
from twingraph_nb.magics.lineage import LineageMagics
from twingraph_nb.views import card

if TYPE_CHECKING:
    from twingraph_nb.graph.run import Run
    from twingraph_nb.graph.task import Task

__all__ = ["load", "unload"]

_SHOWN_LIVE = (("twingraph_nb.graph.task", "Task"), ("twingraph_nb.graph.run", "Run"))
_MAGICS = (
    ("cell", "component"), ("cell", "pipeline"), ("line", "twingraph"), ("line", "plan"),
    ("cell", "gremlin"), ("line", "gremlin"), ("line", "lineage"),
)  # fmt: skip
_COMPLETED = ("%%component", "%%pipeline", "%twingraph")


def load(ip: InteractiveShell) -> None:
    """Give a shell our magics, their completion, and the cards of components and pipelines."""
    ip.register_magics(TwingraphMagics)
    ip.register_magics(LineageMagics)
    for name in _COMPLETED:
        ip.set_hook("complete_command", complete_line, str_key=name)  # type: ignore[no-untyped-call]
    ip.Completer.custom_matchers.append(complete_gremlin)
    html = ip.display_formatter.formatters["text/html"]
    html.for_type(Component, card.component_html)
    html.for_type(Pipeline, card.pipeline_html)
    for module, name in _SHOWN_LIVE:
        ip.display_formatter.ipython_display_formatter.for_type_by_name(module, name, _show_live)


def unload(ip: InteractiveShell) -> None:
    """Take from a shell what `load` gave it. Components stay as they are."""
    found = ip.magics_manager.magics
    for kind, name in _MAGICS:
        found[kind].pop(name, None)
    for name in _COMPLETED:
        ip.strdispatchers["complete_command"].strs.pop(name, None)
    if complete_gremlin in ip.Completer.custom_matchers:
        ip.Completer.custom_matchers.remove(complete_gremlin)
    html = ip.display_formatter.formatters["text/html"]
    for shown in (Component, Pipeline):
        html.pop(shown, None)
    for module, name in _SHOWN_LIVE:
        ip.display_formatter.ipython_display_formatter.pop(f"{module}.{name}", None)
    nest.restore()


def _show_live(shown: Run | Task) -> None:
    from twingraph_nb.views.show import show  # widgets: only when there is something to draw

    show(shown)
