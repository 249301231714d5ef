"""A part of a graph as a graph of its own: one run and what it touches."""

from __future__ import annotations

from collections.abc import Iterable

from twingraph_nb.lineage.elements import Vertex
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.people import DEEDS

__all__ = ["PEOPLE", "of_run", "of_vertices"]

PEOPLE = ("started", *DEEDS.values())
"""Labels of the edges from people."""

_OF_RUN = ("of_pipeline", "from_notebook", "ran_in", "started_by", "resumes")
_OF_TASK = ("instance_of", "produces", "reuses")
_TO_TASK = ("feeds", "precedes", "gives")
_OF_COMPONENT = ("runs_on", "defined_in", "new_version_of")


def of_run(graph: Graph, run: str) -> Graph:
    """Give a run with its tasks, their components and values, and who and what it ran with.

    What it takes from other runs is in it too: the tasks there, and runs given as a whole.

    Raises:
        LineageError: there is no such run.
    """
    me = graph.vertex(f"run:{run}")
    tasks = me.neighbours("in", "in_run")
    near = [me, *tasks, *me.neighbours("out", *_OF_RUN), *me.neighbours("in", *PEOPLE)]
    near += [one for task in tasks for one in task.neighbours("in", *PEOPLE)]
    near += [one for task in tasks for one in task.neighbours("out", *_OF_TASK)]
    near += [one for task in tasks for one in task.neighbours("in", *_TO_TASK)]
    components = {v.id: v for v in near if v.label == "Component"}.values()
    near += [one for c in components for one in c.neighbours("out", *_OF_COMPONENT)]
    cells = {v.id: v for v in near if v.label == "Cell"}.values()
    near += [one for cell in cells for one in cell.neighbours("out", "in_notebook")]
    return of_vertices(near)


def of_vertices(vertices: Iterable[Vertex]) -> Graph:
    """Give copies of these vertices, and of the edges between them."""
    chosen = {vertex.id: vertex for vertex in vertices}
    made = Graph()
    for id, vertex in chosen.items():
        copy = made.add_vertex(vertex.label, id)
        for key in list(vertex.content):
            for place, value in enumerate(vertex.values(key)):
                if place:
                    made.add_property(copy, key, value, "list")
                else:
                    made.set_property(copy, key, value)
    for vertex in chosen.values():
        for edge in vertex.edges("out"):
            if edge.in_.id in chosen:
                ends = made.vertices[edge.out.id], made.vertices[edge.in_.id]
                made.add_edge(edge.label, *ends, edge.id, dict(edge.content))
    return made
