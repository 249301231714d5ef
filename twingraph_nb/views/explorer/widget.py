"""The explorer's widget: the graph goes to the page once, what is chosen goes both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import anywidget
import traitlets

from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.sketch import Node, Sketch, without
from twingraph_nb.lineage.statistics import measured
from twingraph_nb.views.explorer.bundle import module, stylesheet
from twingraph_nb.views.explorer.looks import looks
from twingraph_nb.views.explorer.shown import still_of

__all__ = ["COLORS", "LAYOUTS", "SIZES", "Explorer"]

LAYOUTS: Final = ("layered", "force", "circular", "grid")
COLORS: Final = ("status", "type", "platform", "community")
SIZES: Final = ("same", "degree", "pagerank")
_PLACES: Final = 3
"""Decimals of seconds in the page."""


class Explorer(anywidget.AnyWidget):
    """A graph to look around in. What the page shows can be read and set here as well.

    Attributes:
        arrangement: one of `LAYOUTS`.
        color_by: one of `COLORS`.
        size_by: one of `SIZES`.
        label_by: "name", "hash", "none", or the name of a property.
        search: words that must all occur in a node's properties; `state:failed` in that one.
        hidden: values that are filtered out, by "type", "state" and "platform".
        chosen: the id of the vertex whose properties are shown, or "".
        measures: what was counted last, of the nodes that were shown then.
    """

    _esm = module()
    _css = stylesheet()
    graph = traitlets.Dict().tag(sync=True)
    looks = traitlets.Dict().tag(sync=True)
    measures = traitlets.Dict().tag(sync=True)
    arrangement = traitlets.Enum(LAYOUTS, "layered").tag(sync=True)
    color_by = traitlets.Enum(COLORS, "status").tag(sync=True)
    size_by = traitlets.Enum(SIZES, "same").tag(sync=True)
    label_by = traitlets.Unicode("name").tag(sync=True)
    search = traitlets.Unicode("").tag(sync=True)
    hidden = traitlets.Dict().tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)

    def __init__(self, sketch: Sketch, *, hidden: Mapping[str, Sequence[str]] | None = None):
        self._sketch = sketch
        super().__init__(
            graph=_graph(sketch),
            looks=looks(),
            hidden={kind: list(values) for kind, values in (hidden or {}).items()},
            _dom_classes=("tg-view",),
        )
        self.on_msg(self._asked)

    def _ipython_display_(self) -> None:
        """The widget, and below it what is seen where no kernel and no saved state is."""
        from IPython.display import publish_display_data

        bundle = self._repr_mimebundle_()
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        still = still_of(without(self._sketch, self.hidden), beside=True)
        publish_display_data({**data, "text/plain": ""})  # type: ignore[no-untyped-call]
        publish_display_data(still)  # type: ignore[no-untyped-call]

    def _asked(self, _: object, message: object, __: object) -> None:
        """Count what the page shows now; nobody pays for it who does not look at it."""
        if isinstance(message, dict) and message.get("ask") == "measures":
            self.measures = _measures(self._sketch, message.get("nodes"))


def _graph(sketch: Sketch) -> dict[str, object]:
    begin = sketch.begin
    return {
        "nodes": [_node(node, begin) for node in sketch.nodes],
        "links": [
            {"source": link.source, "target": link.target, "type": link.type, "name": link.name}
            for link in sketch.links
        ],
        "begin": begin,
        "span": round(sketch.end - begin, _PLACES),
    }


def _node(node: Node, begin: float) -> dict[str, object]:
    return {
        "id": node.id,
        "type": node.type,
        "name": node.name,
        "hash": node.hash,
        "state": node.state,
        "platform": node.platform,
        "about": dict(node.about),
        "times": [None if at is None else round(at - begin, _PLACES) for at in node.times],
    }


def _measures(sketch: Sketch, places: object) -> dict[str, object]:
    """What the page shows of the measures of these nodes, given by their places."""
    count = len(sketch.nodes)
    given = places if isinstance(places, list) else []
    known = [at for at in dict.fromkeys(given) if type(at) is int and 0 <= at < count]
    number = {at: row for row, at in enumerate(known)}
    links = [
        (number[link.source], number[link.target])
        for link in sketch.links
        if link.source in number and link.target in number
    ]
    try:
        found = measured(len(known), links)
    except LineageError as exc:
        return {"nodes": known, "problem": str(exc)}
    said = found.statistics
    return {
        "nodes": known,
        "statistics": {name: getattr(said, name) for name in said.__slots__},
        "community": list(found.community),
        "rank": list(found.rank),
    }
