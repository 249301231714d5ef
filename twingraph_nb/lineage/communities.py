"""Groups of nodes with many links inside and few between them; in plain Python, pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["communities"]

Weights = list[dict[int, float]]
"""For each node its neighbours with the weight of the links; itself with twice its loops."""

_LEAST: Final = 1e-9
"""Gain below which a move is rounding, so that two nodes do not change places for ever."""
_ROUNDS: Final = 20
"""Most rounds of moves on a level; later ones change little."""


def communities(nodes: int, links: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Give groups of nodes, the largest first, by links in any direction; parallel ones count once.

    The same graph gives the same groups. Time grows with the links, with hubs too, where
    networkx's functions take minutes.

    Source: the Louvain method, Blondel et al. (2008), nodes in the order in which they are given.
    """
    weights: Weights = [{} for _ in range(nodes)]
    for source, target in links:
        if source != target:
            weights[source][target] = weights[target][source] = 1.0
    groups = [[node] for node in range(nodes)]
    while True:
        home = _moved(weights)
        names = {old: new for new, old in enumerate(dict.fromkeys(home))}
        if len(names) == len(weights):
            return sorted((sorted(group) for group in groups), key=lambda one: (-len(one), one))
        merged: list[list[int]] = [[] for _ in names]
        for node, group in enumerate(groups):
            merged[names[home[node]]] += group
        groups, weights = merged, _together(weights, [names[one] for one in home])


def _moved(weights: Weights) -> list[int]:
    """The group of each node after every node has gone where it gains most."""
    home = list(range(len(weights)))
    degree = [sum(near.values()) for near in weights]
    total = list(degree)  # of the degrees in each group
    whole = sum(degree) or 1.0
    for _ in range(_ROUNDS):
        moves = 0
        for node, near in enumerate(weights):
            own, share = home[node], degree[node] / whole
            total[own] -= degree[node]
            towards = {own: 0.0}
            for other, weight in near.items():
                if other != node:
                    towards[home[other]] = towards.get(home[other], 0.0) + weight
            best, most = own, towards[own] - share * total[own] + _LEAST
            for group, weight in towards.items():
                gain = weight - share * total[group]
                if gain > most:
                    best, most = group, gain
            total[best] += degree[node]
            home[node] = best
            moves += best != own
        if not moves:
            break
    return home


def _together(weights: Weights, home: Sequence[int]) -> Weights:
    """The graph of the groups."""
    merged: Weights = [{} for _ in range(max(home) + 1)]
    for node, near in enumerate(weights):
        into = merged[home[node]]
        for other, weight in near.items():
            into[home[other]] = into.get(home[other], 0.0) + weight
    return merged
