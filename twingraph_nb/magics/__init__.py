"""The notebook's magics: ``%%component``, ``%%pipeline`` and ``%twingraph``.

Each magic parses its line, asks a lower room, and shows what comes back.
"""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell

from twingraph_nb.component import Component, Pipeline
from twingraph_nb.magics import nest
from twingraph_nb.magics.commands import TwingraphMagics
from twingraph_nb.magics.completion import complete_line
from twingraph_nb.views import card

__all__ = ["load", "unload"]

_COMPLETED = ("%%component", "%%pipeline", "%twingraph")


def load(ip: InteractiveShell) -> None:
    """Give a shell our magics, their completion, and the cards of components and pipelines."""
    ip.register_magics(TwingraphMagics)
    for name in _COMPLETED:
        ip.set_hook("complete_command", complete_line, str_key=name)
    html = ip.display_formatter.formatters["text/html"]
    html.for_type(Component, card.component_html)
    html.for_type(Pipeline, card.pipeline_html)


def unload(ip: InteractiveShell) -> None:
    """Take from a shell what `load` gave it. Components stay as they are."""
    found = ip.magics_manager.magics
    for kind, name in (("cell", "component"), ("cell", "pipeline"), ("line", "twingraph")):
        found[kind].pop(name, None)
    for name in _COMPLETED:
        ip.strdispatchers["complete_command"].strs.pop(name, None)
    html = ip.display_formatter.formatters["text/html"]
    for kind in (Component, Pipeline):
        html.pop(kind, None)
    nest.restore()
