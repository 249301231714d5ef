"""A drawing as a static picture: SVG that reads on a light and on a dark page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from twingraph_nb.picture.collapse import Box, Drawing
from twingraph_nb.picture.layout import Lane, columns, lanes, rows
from twingraph_nb.picture.marks import DIFFERENCES, STALE
from twingraph_nb.picture.measure import cut, text_width
from twingraph_nb.picture.palette import EDGE, LOOKS, MUTED, look_of, path_of

__all__ = ["height_of", "img_tag", "render", "size_of"]

FONT: Final = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
NAME_SIZE: Final = 13.0
DETAIL_SIZE: Final = 11.0
PLACE_SIZE: Final = 10.5
BOX_HEIGHT: Final = 40.0
PLACE_HEIGHT: Final = 14.0
"""Pixels by which a box is higher that says where it runs."""
ICON: Final = 14.0
PAD: Final = 10.0
"""Pixels between a box's border, its icon and its text."""
MARGIN: Final = 12.0
COLUMN_GAP: Final = 56.0
ROW_GAP: Final = 14.0
WIDEST: Final = 230.0
"""Pixels of the widest box; longer names are cut, the whole is in the title."""
LEGEND_HEIGHT: Final = 24.0
LANE: Final = 10.0
"""Pixels of height for what passes a column."""

Place = tuple[float, float, float, float]
"""x, y of the upper left corner, width, height."""


def size_of(box: Box, size: float = NAME_SIZE) -> tuple[float, float]:
    """Give width and height in pixels of a box with its icon and all its lines.

    The width has room for what the second line may become while the box stays.

    Args:
        size: of the font of every line, in pixels.
    """
    most = max(10, sum((box.counts or {}).values()))
    room = f"{most} done, {most} running" if box.several or box.form == "map" else "succeeded"
    lines = (box.name, box.brief, room, box.place)
    return _around(max(text_width(line, size) for line in lines)), height_of(box)


def height_of(box: Box) -> float:
    """Give the height in pixels of a box: one line more if it says where it runs."""
    return BOX_HEIGHT + (PLACE_HEIGHT if box.platform else 0.0)


def _fitting(box: Box) -> float:
    """The width of a box in a picture, where its words change no more."""
    lines = (box.name, NAME_SIZE), (box.brief, DETAIL_SIZE), (box.place, PLACE_SIZE)
    return _around(max(text_width(*line) for line in lines))


def _around(words: float) -> float:
    return min(WIDEST, words + ICON + 3.5 * PAD)


def render(drawing: Drawing, *, dark: bool = False) -> str:
    """Give the drawing as one SVG document, with a legend of the states that are there.

    Args:
        dark: the page is known to be dark; the default reads on both.
    """
    places, lanes_of, width, height = _places(drawing)
    muted = "#a3a9b2" if dark else MUTED
    legend, legend_width = _legend(drawing, height - MARGIN / 2, muted)
    width = max(width, legend_width + 2 * MARGIN)
    height += LEGEND_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{escape(FONT)}" role="img">',
        '<defs><marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="{EDGE}"/></marker></defs>',
        *(
            _arrow(places[e.source], lanes_of[e.source, e.target], places[e.target], e.label, muted)
            for e in drawing.edges
        ),
        *(_box(box, places[box.id]) for box in drawing.nodes),
        legend,
        "</svg>",
    ]
    return "".join(parts)


def img_tag(svg: str, *, alt: str = "graph of the run") -> str:
    """Give an ``<img>`` with the picture inside; it survives Jupyter's and GitHub's sanitisers."""
    body = base64.b64encode(svg.encode()).decode()
    return (
        f'<img alt="{escape(alt)}" style="max-width:100%;height:auto" '
        f'src="data:image/svg+xml;base64,{body}"/>'
    )


def _places(
    drawing: Drawing,
) -> tuple[dict[str, Place], dict[tuple[str, str], list[Place]], float, float]:
    """Where each box goes, the lanes of each edge, and the size of the whole."""
    boxes = {box.id: box for box in drawing.nodes}
    edges = [(edge.source, edge.target) for edge in drawing.edges]
    standing = columns(list(boxes), edges)
    ways, parts = lanes(edges, standing)
    column: dict[str | Lane, int] = dict(standing.items())
    column.update((lane, lane[1]) for way in ways.values() for lane in way)
    sizes: dict[str | Lane, tuple[float, float]] = dict.fromkeys(column, (0.0, LANE))
    sizes.update((id, (_fitting(box), height_of(box))) for id, box in boxes.items())
    layers = rows(list(column), parts, column)
    used = [sum(sizes[id][1] + ROW_GAP for id in layer) - ROW_GAP for layer in layers]
    height = MARGIN * 2 + max(used, default=0.0)
    places: dict[str | Lane, Place] = {}
    x = MARGIN
    for layer, tall in zip(layers, used, strict=True):
        wide = max(sizes[id][0] for id in layer)
        y = (height - tall) / 2
        for id in layer:
            own, high = sizes[id] if isinstance(id, str) else (wide, LANE)
            places[id] = (x + (wide - own) / 2, y, own, high)
            y += high + ROW_GAP
        x += wide + COLUMN_GAP
    width = x - COLUMN_GAP + MARGIN if layers else 2 * MARGIN
    routes = {edge: [places[lane] for lane in way] for edge, way in ways.items()}
    return {id: places[id] for id in boxes}, routes, width, height


def _box(box: Box, place: Place) -> str:
    x, y, width, height = place
    look = DIFFERENCES.get(box.mark) or look_of(box.state)
    room = width - ICON - 3 * PAD + 2
    left = x + ICON + 2 * PAD
    dashes = ' stroke-dasharray="4 3"' if look.dashed else ""
    return (
        f"<g><title>{escape(box.title)}</title>"
        f"{_behind(box, place)}{_around_stale(box, place)}"
        f'<path d="{_outline(look.shape, place)}" fill="{look.fill}" stroke="{look.border}" '
        f'stroke-width="{2.5 if box.state == "running" else 1.5}"{dashes}/>'
        f'<g transform="translate({x + PAD:.1f} {y + (height - ICON) / 2:.1f}) '
        f'scale({ICON / 16})">{path_of(look, look.text)}</g>'
        f'<text x="{left:.1f}" y="{y + 17:.1f}" font-size="{NAME_SIZE}" font-weight="600" '
        f'fill="{look.text}">{escape(cut(box.name, NAME_SIZE, room))}</text>'
        f'<text x="{left:.1f}" y="{y + 32:.1f}" font-size="{DETAIL_SIZE}" '
        f'fill="{look.text}">{escape(cut(box.brief, DETAIL_SIZE, room))}</text>'
        f"{_place(box, left, y + BOX_HEIGHT + 5, room)}</g>"
    )


def _place(box: Box, x: float, y: float, room: float) -> str:
    """The third line, of a box that does not run in this kernel."""
    if not box.platform:
        return ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{PLACE_SIZE}" '
        f'fill="{look_of(box.state).text}">{escape(cut(box.place, PLACE_SIZE, room))}</text>'
    )


def _around_stale(box: Box, place: Place) -> str:
    """An outline around a box whose values are not what they would be now."""
    if box.mark != "stale":
        return ""
    x, y, width, height = place
    return (
        f'<path d="{_outline("round-rectangle", (x - 4, y - 4, width + 8, height + 8))}" '
        f'fill="none" stroke="{STALE.border}" stroke-width="2.5" stroke-dasharray="5 3"/>'
    )


def _behind(box: Box, place: Place) -> str:
    """A second outline behind a box that stands for several tasks."""
    if not box.several:
        return ""
    x, y, width, height = place
    look = look_of(box.state)
    return (
        f'<path d="{_outline("round-rectangle", (x + 4, y + 4, width, height))}" '
        f'fill="{look.fill}" fill-opacity="0.45" stroke="{look.border}" stroke-width="1"/>'
    )


def _outline(shape: str, place: Place) -> str:
    x, y, w, h = place
    if shape in ("rectangle", "cut-rectangle"):
        c = 8.0 if shape == "cut-rectangle" else 0.0
        corners = [
            (c, 0), (w - c, 0), (w, c), (w, h - c), (w - c, h), (c, h), (0, h - c), (0, c)
        ]  # fmt: skip
        return "M" + "L".join(f"{x + a:.1f} {y + b:.1f}" for a, b in corners) + "z"
    r = BOX_HEIGHT / 2 if shape == "barrel" else 8.0
    return (
        f"M{x + r:.1f} {y:.1f}h{w - 2 * r:.1f}a{r} {r} 0 0 1 {r} {r}v{h - 2 * r:.1f}"
        f"a{r} {r} 0 0 1 -{r} {r}h-{w - 2 * r:.1f}a{r} {r} 0 0 1 -{r} -{r}v-{h - 2 * r:.1f}"
        f"a{r} {r} 0 0 1 {r} -{r}z"
    )


def _arrow(source: Place, way: Sequence[Place], target: Place, label: str, muted: str) -> str:
    x, y = source[0] + source[2], source[1] + source[3] / 2
    path, gap = f"M{x:.1f} {y:.1f}", 0.0
    for place in (*way, target):
        left, middle = place[0] - (1.5 if place is target else 0.0), place[1] + place[3] / 2
        bend = max(24.0, abs(left - x) / 2) if left > x else 60.0
        path += f"C{x + bend:.1f} {y:.1f} {left - bend:.1f} {middle:.1f} {left:.1f} {middle:.1f}"
        if not gap:
            gap, text_x, text_y = left - x, (x + left) / 2, (y + middle) / 2 - 4
        x, y = place[0] + place[2], middle
        path += f"H{x:.1f}" if place is not target else ""
    drawn = f'<path d="{path}" fill="none" stroke="{EDGE}" stroke-width="1.5" marker-end="url(#a)"'
    if not label:
        return drawn + "/>"
    return (
        f"{drawn}><title>{escape(label)}</title></path>"
        f'<text x="{text_x:.1f}" y="{text_y:.1f}" font-size="9" '
        f'text-anchor="middle" fill="{muted}">{escape(cut(label, 9.0, gap - 4))}</text>'
    )


def _legend(drawing: Drawing, top: float, muted: str) -> tuple[str, float]:
    """The icons of the states that are there, with their words; and how wide that is."""
    there = _states(drawing.nodes)
    marks = {box.mark for box in drawing.nodes}
    different = not marks.isdisjoint(DIFFERENCES)  # then the colours tell of that alone
    looks = [] if different else [look for state, look in LOOKS.items() if state in there]
    looks += [STALE] * ("stale" in marks)
    looks += [look for kind, look in DIFFERENCES.items() if kind in marks]
    x = MARGIN
    parts = []
    for look in looks:
        size = 14.0
        parts.append(
            f'<rect x="{x:.1f}" y="{top + 3:.1f}" width="{size}" height="{size}" rx="3" '
            f'fill="{look.fill}" stroke="{look.border}"/>'
            f'<g transform="translate({x + 2:.1f} {top + 5:.1f}) scale(0.625)">'
            f"{path_of(look, look.text)}</g>"
            f'<text x="{x + size + 5:.1f}" y="{top + 14:.1f}" font-size="{DETAIL_SIZE}" '
            f'fill="{muted}">{look.word}</text>'
        )
        x += size + 5 + text_width(look.word, DETAIL_SIZE) + 14
    return "".join(parts), x - MARGIN


def _states(boxes: Sequence[Box]) -> Mapping[str, bool]:
    there: dict[str, bool] = {}
    for box in boxes:
        there[box.state] = True
        for state, count in (box.counts or {}).items():
            if count:
                there[state] = True
    return there
