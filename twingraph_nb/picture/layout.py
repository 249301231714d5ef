"""Where each box of the static picture goes: layers from left to right."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

__all__ = ["Lane", "columns", "lanes", "rows"]

K = TypeVar("K", bound=Hashable)
Lane = tuple[str, int]
"""Where edges of a node pass a column: the node, the column."""

_SWEEPS = 4
"""Passes of the barycenter rule; more changes little on graphs of this size."""


def columns(nodes: Sequence[K], edges: Iterable[tuple[K, K]]) -> dict[K, int]:
    """Give each node the column it is drawn in: the longest path from any source.

    Args:
        nodes: n nodes, each once.
        edges: (from, to) among them; an edge that closes a cycle is left out.
    Returns:
        n entries, node -> column, 0 at the left; a node stands right of all before it.
    Source: longest-path layering, first step of Sugiyama et al. (1981).
    """
    after: dict[K, list[K]] = {node: [] for node in nodes}
    before = dict.fromkeys(nodes, 0)
    for source, target in edges:
        after[source].append(target)
        before[target] += 1
    column = dict.fromkeys(nodes, 0)
    ready = [node for node in nodes if not before[node]]
    left = dict.fromkeys(node for node in nodes if before[node])
    while ready or left:
        if not ready:  # a cycle: start it at the node that was called first
            first = next(iter(left))
            del left[first]
            ready.append(first)
        node = ready.pop()
        for target in after[node]:
            if target not in left:
                continue
            column[target] = max(column[target], column[node] + 1)
            before[target] -= 1
            if not before[target]:
                del left[target]
                ready.append(target)
    return column


def lanes(
    edges: Iterable[tuple[str, str]], column: Mapping[str, int]
) -> tuple[dict[tuple[str, str], list[Lane]], list[tuple[str | Lane, str | Lane]]]:
    """Lead edges that skip columns through lanes of their own, so that no box hides them.

    Args:
        column: node -> column, as `columns` gives it.
    Returns:
        edge -> its lanes from left to right, each named (source, column), so that edges of one
        source share them; and all edges taken apart at their lanes, each part once.
    Source: the dummy vertices of Sugiyama et al. (1981).
    """
    ways = {
        (source, target): [(source, at) for at in range(column[source] + 1, column[target])]
        for source, target in edges
    }
    parts: dict[tuple[str | Lane, str | Lane], None] = {}
    for (source, target), way in ways.items():
        parts.update(dict.fromkeys(pairwise([source, *way, target])))
    return ways, list(parts)


def rows(
    nodes: Sequence[K], edges: Sequence[tuple[K, K]], column: Mapping[K, int]
) -> list[list[K]]:
    """Give the nodes of each column from top to bottom, so that few edges cross.

    Source: the barycenter rule of Sugiyama et al. (1981), a few sweeps.
    """
    layers: list[list[K]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for node in nodes:
        layers[column[node]].append(node)
    before: dict[K, list[K]] = {node: [] for node in nodes}
    after: dict[K, list[K]] = {node: [] for node in nodes}
    for source, target in edges:
        before[target].append(source)
        after[source].append(target)
    place = {node: _spread(i, layer) for layer in layers for i, node in enumerate(layer)}
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        near = before if forward else after
        for layer in layers if forward else reversed(layers):
            weight = {node: _middle(near[node], place, place[node]) for node in layer}
            layer.sort(key=weight.__getitem__)
            place.update((node, _spread(i, layer)) for i, node in enumerate(layer))
    return layers


def _spread(index: int, layer: Sequence[object]) -> float:
    """Places are centred, so that a long and a short column compare."""
    return index - (len(layer) - 1) / 2


def _middle(near: Sequence[K], place: Mapping[K, float], own: float) -> float:
    return sum(place[node] for node in near) / len(near) if near else own
