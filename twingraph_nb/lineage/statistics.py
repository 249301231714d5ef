"""Numbers about a graph: its size, how it hangs together, its communities and its hubs.

Nodes are numbers from 0, links are pairs of them. networkx is loaded at first use; it is asked
for nothing that would need numpy or scipy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.communities import communities

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["Measures", "NoNetworkx", "Statistics", "measured", "page_rank"]

Link = tuple[int, int]

_DAMPING = 0.85
_CLOSE = 1e-8
"""Sum of changes of all ranks at which they are taken for found."""
_ROUNDS = 100


class NoNetworkx(LineageError):
    """networkx, which counts and groups, is not installed."""

    def __init__(self) -> None:
        super().__init__("statistics of a graph need: pip install 'twingraph-nb[explorer]'")


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is true of a graph as a whole.

    nodes, edges: how many; parallel edges count each. degree: edges at a node, on average.
    most: the largest degree. density: share of all possible directed edges that are there, 0..1,
    parallel ones once. clustering: how often two neighbours of a node are neighbours themselves,
    0..1, without direction. parts: how many pieces hang together by edges in any direction.
    diameter: steps on the longest of all shortest ways, in any direction, in the largest part.
    communities: how many groups were found. modularity: how clearly they are apart, -0.5..1.
    """

    nodes: int
    edges: int
    degree: float
    most: int
    density: float
    clustering: float
    parts: int
    diameter: int
    communities: int
    modularity: float


@dataclass(frozen=True, slots=True)
class Measures:
    """Statistics, and for each node its community (0 = the largest) and its PageRank."""

    statistics: Statistics
    community: tuple[int, ...]
    rank: tuple[float, ...]


def measured(nodes: int, links: Sequence[Link]) -> Measures:
    """Give the measures of a graph of `nodes` nodes.

    2,000 nodes with 4,000 links take less than a second.

    Raises:
        NoNetworkx: it is not installed.
    """
    try:
        import networkx as nx
    except ImportError:
        raise NoNetworkx() from None
    directed = nx.DiGraph()
    directed.add_nodes_from(range(nodes))
    directed.add_edges_from(links)
    simple = directed.to_undirected()
    simple.remove_edges_from(list(nx.selfloop_edges(simple)))
    groups = communities(nodes, links)
    parts = sorted(nx.connected_components(simple), key=len, reverse=True)
    degree = [0] * nodes
    for link in links:
        for end in link:
            degree[end] += 1
    statistics = Statistics(
        nodes=nodes,
        edges=len(links),
        degree=sum(degree) / nodes if nodes else 0.0,
        most=max(degree, default=0),
        density=nx.density(directed),
        clustering=nx.average_clustering(simple) if nodes else 0.0,
        parts=len(parts),
        diameter=_diameter(simple, parts[0]) if parts else 0,
        communities=len(groups),
        modularity=nx.community.modularity(simple, groups) if simple.size() else 0.0,
    )
    community = {node: place for place, group in enumerate(groups) for node in group}
    of_node = tuple(community[node] for node in range(nodes))
    return Measures(statistics, of_node, tuple(page_rank(nodes, links)))


def page_rank(nodes: int, links: Sequence[Link]) -> list[float]:
    """Give each node its PageRank; they sum to 1. Parallel links count each.

    Source: Brin and Page (1998), by power iteration; a node without a way out gives to all.
    """
    if not nodes:
        return []
    ways: list[list[int]] = [[] for _ in range(nodes)]
    for source, target in links:
        ways[source].append(target)
    ranks = [1.0 / nodes] * nodes
    for _ in range(_ROUNDS):
        lost = sum(rank for rank, out in zip(ranks, ways, strict=True) if not out)
        found = [(1.0 - _DAMPING + _DAMPING * lost) / nodes] * nodes
        for rank, out in zip(ranks, ways, strict=True):
            for target in out:
                found[target] += _DAMPING * rank / len(out)
        change = sum(abs(new - old) for new, old in zip(found, ranks, strict=True))
        ranks = found
        if change < _CLOSE:
            break
    return ranks


def _diameter(graph: nx.Graph[int], part: set[int]) -> int:
    """Steps on the longest shortest way of a connected part, exactly.

    Source: iFUB, Crescenzi et al. (2013): from a node in the middle, the outermost nodes are
    looked at first, and two of level i are at most 2 i apart; so a few searches are enough.
    """
    busiest = max(part, key=lambda node: (graph.degree(node), -node))
    starts = (_levels(graph, node) for node in (busiest, _half_way(graph, busiest)))
    levels = min(starts, key=lambda found: (len(found), len(found[-1])))
    longest = len(levels) - 1
    for level in range(longest, 0, -1):
        for node in levels[level]:
            if longest >= 2 * level:
                return longest
            longest = max(longest, len(_levels(graph, node)) - 1)
    return longest


def _half_way(graph: nx.Graph[int], start: int) -> int:
    """A node half way between two that are far apart."""
    end = _levels(graph, start)[-1][0]
    levels = _levels(graph, end)
    node = levels[-1][0]
    for level in reversed(levels[len(levels) // 2 : -1]):
        nearer = set(level)
        node = next(other for other in graph.adj[node] if other in nearer)
    return node


def _levels(graph: nx.Graph[int], start: int) -> list[list[int]]:
    """The nodes that are 0, 1, 2 ... steps away."""
    seen, levels, near = {start}, [[start]], graph.adj
    while True:
        following = []
        for node in levels[-1]:
            for other in near[node]:
                if other not in seen:
                    seen.add(other)
                    following.append(other)
        if not following:
            return levels
        levels.append(following)
