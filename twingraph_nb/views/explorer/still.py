"""The explorer's graph as a picture that stays in the notebook, where no kernel runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from twingraph_nb.lineage.sketch import Sketch
from twingraph_nb.picture.collapse import TIMES
from twingraph_nb.picture.layout import columns, rows
from twingraph_nb.picture.measure import cut, text_width
from twingraph_nb.picture.palette import EDGE
from twingraph_nb.picture.svg import FONT, img_tag
from twingraph_nb.views.explorer.looks import look_of

__all__ = ["html", "told"]

_MOST: Final = 60
"""Boxes; from here on equal ones share one, and what is still too much is counted."""
_WIDEST: Final = 190.0
_HEIGHT: Final = 36.0
_GAP: Final = (44.0, 10.0)
_MARGIN: Final = 10.0
_ICON: Final = 14.0
_PLAIN: Final = ("#f1f2f4", "#24292f", "#8a8f98")


@dataclass(frozen=True, slots=True)
class _Box:
    name: str
    detail: str
    state: str


def told(sketch: Sketch) -> str:
    """Say how large a graph is: "3 nodes (2 Task, 1 Run), 2 edges"."""
    types = Counter(node.type for node in sketch.nodes).most_common()
    said = ", ".join(f"{count} {type}" for type, count in types[:6])
    nodes, edges = len(sketch.nodes), len(sketch.links)
    return (
        f"{nodes} node{'' if nodes == 1 else 's'} ({said}), {edges} edge{'' if edges == 1 else 's'}"
    )


def html(sketch: Sketch, *, note: str = "") -> str:
    """Give the picture as HTML that survives the sanitisers of notebooks."""
    boxes, links, rest = _boxes(sketch)
    more = f"; {rest} more kinds are not drawn" if rest else ""
    line = escape(f"{told(sketch)}{more}{f'; {note}' if note else ''}")
    picture = img_tag(_svg(boxes, links), alt="graph")
    return (
        f'<p style="font-size:13px;margin:4px 0">{line}</p>'
        f'<div style="overflow-x:auto">{picture}</div>'
    )


def _boxes(sketch: Sketch) -> tuple[list[_Box], list[tuple[int, int]], int]:
    """What is drawn: each node, or each kind of nodes, and how many kinds are left out."""
    keys: list[object] = [*range(len(sketch.nodes))]
    if len(keys) > _MOST:
        keys = [(node.type, node.name.split("[", 1)[0]) for node in sketch.nodes]
    groups: dict[object, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    first = sorted(groups, key=lambda key: -len(groups[key]))[:_MOST]
    kept = {key: number for number, key in enumerate(key for key in groups if key in set(first))}
    boxes = [_box(sketch, groups[key]) for key in kept]
    links = {
        (kept[keys[link.source]], kept[keys[link.target]]): None
        for link in sketch.links
        if keys[link.source] in kept and keys[link.target] in kept
    }
    return boxes, [pair for pair in links if pair[0] != pair[1]], len(groups) - len(kept)


def _box(sketch: Sketch, places: Sequence[int]) -> _Box:
    nodes = [sketch.nodes[place] for place in places]
    states = Counter(node.state for node in nodes if node.state).most_common()
    if len(nodes) == 1:
        detail = " · ".join(text for text in (nodes[0].type, nodes[0].state) if text)
        return _Box(nodes[0].name, detail, nodes[0].state)
    name = f"{nodes[0].name.split('[', 1)[0]} {TIMES} {len(nodes)}"
    said = ", ".join(f"{count} {state}" for state, count in states[:2])
    worst = "failed" if any(state == "failed" for state, _ in states) else ""
    return _Box(name, said or nodes[0].type, worst or (states[0][0] if states else ""))


def _svg(boxes: Sequence[_Box], links: Sequence[tuple[int, int]]) -> str:
    ids = list(range(len(boxes)))
    wide = {id: _width(boxes[id]) for id in ids}
    places, size = _places(rows(ids, links, columns(ids, links)), wide)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]:.0f}" height="{size[1]:.0f}" '
        f'viewBox="0 0 {size[0]:.0f} {size[1]:.0f}" font-family="{escape(FONT)}" role="img">',
        '<defs><marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="{EDGE}"/></marker></defs>',
        *(_line(places, wide, link) for link in links),
        *(_drawn(boxes[id], places[id], wide[id]) for id in ids),
        "</svg>",
    ]
    return "".join(parts)


def _places(
    layers: Sequence[Sequence[int]], wide: Mapping[int, float]
) -> tuple[dict[int, tuple[float, float]], tuple[float, float]]:
    """Upper left corners, and the size of the whole."""
    tallest = max((len(layer) for layer in layers), default=0)
    height = 2 * _MARGIN + tallest * (_HEIGHT + _GAP[1]) - _GAP[1]
    places: dict[int, tuple[float, float]] = {}
    x = _MARGIN
    for layer in layers:
        y = (height - len(layer) * (_HEIGHT + _GAP[1]) + _GAP[1]) / 2
        for id in layer:
            places[id] = (x, y)
            y += _HEIGHT + _GAP[1]
        x += max(wide[id] for id in layer) + _GAP[0]
    return places, (max(x - _GAP[0] + _MARGIN, 2 * _MARGIN), max(height, 2 * _MARGIN))


def _width(box: _Box) -> float:
    words = max(text_width(box.name, 12.0), text_width(box.detail, 10.5))
    return min(_WIDEST, words + _ICON + 30)


def _line(
    places: Mapping[int, tuple[float, float]], wide: Mapping[int, float], link: tuple[int, int]
) -> str:
    (x1, y1), (x2, y2) = places[link[0]], places[link[1]]
    x1, y1, y2 = x1 + wide[link[0]], y1 + _HEIGHT / 2, y2 + _HEIGHT / 2
    bend = max(20.0, (x2 - x1) / 2)
    return (
        f'<path d="M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} '
        f'{x2 - 1.5:.1f} {y2:.1f}" fill="none" stroke="{EDGE}" stroke-width="1.3" '
        'marker-end="url(#a)"/>'
    )


def _drawn(box: _Box, place: tuple[float, float], wide: float) -> str:
    x, y = place
    look = look_of(box.state)
    fill, ink, border = (look.fill, look.text, look.border) if look is not None else _PLAIN
    left = x + 10 + (_ICON + 6 if look is not None else 0)
    room = x + wide - left - 6
    icon = ""
    if look is not None:
        icon = (
            f'<path d="{look.path}" fill="{ink if look.solid else "none"}" stroke="{ink}" '
            'stroke-width="2" stroke-linecap="round" stroke-linejoin="round" '
            f'transform="translate({x + 8:.1f} {y + (_HEIGHT - _ICON) / 2:.1f}) '
            f'scale({_ICON / 16})"/>'
        )
    dashes = ' stroke-dasharray="4 3"' if look is not None and look.dashed else ""
    return (
        f"<g><title>{escape(f'{box.name}: {box.detail}')}</title>"
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{_HEIGHT}" rx="7" '
        f'fill="{fill}" stroke="{border}" stroke-width="1.5"{dashes}/>{icon}'
        f'<text x="{left:.1f}" y="{y + 15:.1f}" font-size="12" font-weight="600" '
        f'fill="{ink}">{escape(cut(box.name, 12.0, room))}</text>'
        f'<text x="{left:.1f}" y="{y + 29:.1f}" font-size="10.5" '
        f'fill="{ink}">{escape(cut(box.detail, 10.5, room))}</text></g>'
    )
