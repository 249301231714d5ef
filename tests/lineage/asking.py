"""A small graph of our own, and how tests ask it in text."""

from __future__ import annotations

from typing import Any

import pytest

from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.machine import source
from twingraph_nb.lineage.text import parse
from twingraph_nb.lineage.traverser import Limits

__all__ = ["ask", "kitchen", "refusal"]


def kitchen() -> Graph:
    """Three cooks, three dishes: who cooked what (stars), who taught whom (years).

    ann(40) -> bob(25) -> cid(31); ann cooked soup and cake, bob cake, cid cake and rice.
    """
    graph = Graph()
    people = {
        name: graph.add_vertex("cook", name, {"name": name, "age": age})
        for name, age in (("ann", 40), ("bob", 25), ("cid", 31))
    }
    dishes = {
        name: graph.add_vertex("dish", name, {"name": name}) for name in ("soup", "cake", "rice")
    }
    graph.add_edge("taught", people["ann"], people["bob"], "t1", {"years": 2})
    graph.add_edge("taught", people["bob"], people["cid"], "t2", {"years": 5})
    for number, (who, what, stars) in enumerate(
        (
            ("ann", "soup", 0.5),
            ("ann", "cake", 1.0),
            ("bob", "cake", 0.25),
            ("cid", "cake", 0.75),
            ("cid", "rice", 1.0),
        )
    ):
        graph.add_edge("cooked", people[who], dishes[what], f"c{number}", {"stars": stars})
    return graph


def ask(text: str, graph: Graph | None = None, **bindings: Any) -> list[Any]:
    """What a query gives, in the kitchen unless another graph is named."""
    g = source(kitchen() if graph is None else graph, Limits(seconds=20))
    found: list[Any] = parse(text, g, bindings).to_list()
    return found


def refusal(text: str, graph: Graph | None = None) -> str:
    """The error that a query ends with."""
    from twingraph_nb.errors import TwingraphError

    with pytest.raises(TwingraphError) as caught:
        ask(text, graph)
    return str(caught.value)
