"""Numbers of graphs, against networkx and against graphs whose numbers are known."""

from __future__ import annotations

import sys

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networkx.algorithms.link_analysis.pagerank_alg import _pagerank_python

from twingraph_nb.lineage.communities import communities
from twingraph_nb.lineage.statistics import NoNetworkx, Statistics, measured, page_rank

Links = list[tuple[int, int]]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, Links]:
    """Up to 25 nodes with any links, loops and parallel ones too."""
    nodes = draw(st.integers(1, 25))
    node = st.integers(0, nodes - 1)
    return nodes, draw(st.lists(st.tuples(node, node), max_size=60))


def undirected(nodes: int, links: Links) -> nx.Graph[int]:
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(link for link in links if link[0] != link[1])
    return graph


def test_numbers_of_a_diamond_are_known() -> None:
    found = measured(4, [(0, 1), (0, 2), (1, 3), (2, 3)])
    assert found.statistics == Statistics(
        nodes=4, edges=4, degree=2.0, most=2, density=4 / 12, clustering=0.0, parts=1,
        diameter=2, communities=2, modularity=0.0,
    )  # fmt: skip
    assert found.rank[3] == max(found.rank)


def test_two_cliques_with_a_bridge_are_two_communities() -> None:
    clique = [(a, b) for a in range(5) for b in range(a)]
    links = [*clique, *((a + 5, b + 5) for a, b in clique), (0, 5)]
    found = measured(10, links)
    assert found.community == (0,) * 5 + (1,) * 5
    said = found.statistics
    assert (said.communities, said.diameter, said.parts) == (2, 3, 1)
    assert said.modularity == pytest.approx(0.4524, abs=1e-4)  # 20/21 - 1/2


def test_a_graph_without_links_or_nodes_has_numbers_too() -> None:
    assert measured(0, []).statistics.nodes == 0
    alone = measured(3, [(1, 1)])
    assert (alone.statistics.parts, alone.statistics.diameter, alone.community) == (3, 0, (0, 1, 2))


@given(graphs())
def test_numbers_are_those_of_networkx(case: tuple[int, Links]) -> None:
    nodes, links = case
    graph = undirected(nodes, links)
    said = measured(nodes, links).statistics
    largest = max(nx.connected_components(graph), key=len)
    assert said.diameter in {
        nx.diameter(graph.subgraph(part))
        for part in nx.connected_components(graph)
        if len(part) == len(largest)
    }
    assert said.parts == nx.number_connected_components(graph)
    assert said.clustering == pytest.approx(nx.average_clustering(graph))


@given(graphs())
def test_ranks_are_those_of_networkx(case: tuple[int, Links]) -> None:
    nodes, links = case
    graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(links)
    theirs = _pagerank_python(graph, tol=1e-10, max_iter=1000)
    assert page_rank(nodes, links) == pytest.approx([theirs[n] for n in range(nodes)], abs=1e-6)


@given(graphs())
def test_every_node_is_in_one_community_and_they_are_no_worse_than_none(
    case: tuple[int, Links],
) -> None:
    nodes, links = case
    groups = communities(nodes, links)
    assert sorted(node for group in groups for node in group) == list(range(nodes))
    graph = undirected(nodes, links)
    if graph.size():
        alone = nx.community.modularity(graph, [{node} for node in graph])
        assert nx.community.modularity(graph, groups) >= alone


@pytest.mark.parametrize(
    "graph", [nx.karate_club_graph(), nx.les_miserables_graph(), nx.florentine_families_graph()]
)
def test_communities_are_about_as_good_as_those_of_networkx(graph: nx.Graph[object]) -> None:
    plain = nx.convert_node_labels_to_integers(graph)
    nx.set_edge_attributes(plain, 1.0, "weight")
    theirs = nx.community.modularity(plain, nx.community.louvain_communities(plain, seed=1))
    ours = nx.community.modularity(plain, communities(len(plain), list(plain.edges())))
    assert ours >= 0.95 * theirs


def test_a_hub_of_thousands_does_not_take_minutes() -> None:
    links = [(0, n) for n in range(1, 1999)] + [(n, 1999) for n in range(1, 1999)]
    said = measured(2000, links).statistics
    assert (said.diameter, said.most) == (2, 1998)


def test_without_networkx_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(NoNetworkx, match=r"twingraph-nb\[explorer\]"):
        measured(1, [])
