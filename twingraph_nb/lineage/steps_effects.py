"""Steps with side effects: aggregate, cap, sideEffect, inject, tree, subgraph, profile."""

from __future__ import annotations

from typing import Any

from twingraph_nb.lineage.compiler import Scope, StepFunction, marker, step
from twingraph_nb.lineage.containers import MISSING, Bag, Tree
from twingraph_nb.lineage.elements import Edge, Vertex
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.instructions import Instruction
from twingraph_nb.lineage.modulators import bys, itself, only_by
from twingraph_nb.lineage.operators import ASSIGN, joined
from twingraph_nb.lineage.problems import NotSupported, TraversalError
from twingraph_nb.lineage.scoping import objects_of
from twingraph_nb.lineage.steps_reduce import listed, side_effect_of
from twingraph_nb.lineage.traverser import Run, Traverser, Walk

__all__ = ["copy_edge", "copy_vertex"]


def added(run: Run, name: str, values: list[Any]) -> None:
    """Put values into a side effect: into the bag, or combined by the operator it came with."""
    combine = run.reducers.get(name)
    if name not in run.side_effects or combine is ASSIGN:
        run.side_effects[name] = Bag(values)
    elif combine is None or combine is joined:
        held = run.side_effects[name]
        if isinstance(held, Bag):
            held.extend(values)
        else:
            run.side_effects[name] = joined(held, values)
    else:
        for value in values:
            run.side_effects[name] = combine(run.side_effects[name], value)


@step("aggregate", barrier=True)
def aggregate(scope: Scope, spot: Instruction) -> StepFunction:
    if len(spot.args) != 1:
        raise NotSupported(
            "aggregate", "Gremlin 3.8 takes no scope here; write local(aggregate('x')) for lazy"
        )
    name, run = spot.args[0], scope.run
    by = only_by(scope, spot, "Aggregate")
    run.side_effects.setdefault(name, Bag())
    mark = marker(run, spot.labels)

    def function(walk: Walk) -> Walk:
        kept = run.held(walk)
        values = listed(run, ((by(t), t.bulk) for t in kept))
        run.hold(len(values))
        added(run, name, values)
        for t in kept:
            if mark is not None:
                mark(t)
            yield t

    return function


@step("cap", barrier=True)
def cap(scope: Scope, spot: Instruction) -> StepFunction:
    names, run = spot.args, scope.run

    def value(walk: Walk) -> Any:
        for _ in walk:
            pass
        for name in names:
            if name not in run.side_effects:
                raise TraversalError(
                    f"The side-effect key does not exist in the side-effects: {name}"
                )
        if len(names) == 1:
            return run.side_effects[names[0]]
        return {name: run.side_effects[name] for name in names}

    return scope.reduced(spot, value)


@step("sideEffect")
def side_effect(scope: Scope, spot: Instruction) -> StepFunction:
    child = scope.child(spot.args[0], "sideEffect")

    def keeps(t: Traverser) -> bool:
        for _ in child.all(t):
            pass
        return True

    return scope.filtered(spot, keeps)


@step("inject")
def inject(scope: Scope, spot: Instruction) -> StepFunction:
    if "repeat" in scope.parents:
        raise TraversalError("The parent of inject()-step can not be repeat()-step")
    run = scope.run

    def function(walk: Walk) -> Walk:
        for value in spot.args:
            yield run.start(value, spot.labels)
        yield from walk

    def first(walk: Walk) -> Walk:
        for value in spot.args:
            yield run.start(value, spot.labels)

    def inside(walk: Walk) -> Walk:
        yield from walk
        for value in spot.args:
            yield run.start(value, spot.labels)

    if scope.behind:
        return function
    # In a child traversal the traverser was there before what is injected.
    return inside if scope.parents else first


@step("tree", barrier=True)
def tree(scope: Scope, spot: Instruction) -> StepFunction:
    values, run = bys(scope, spot) or [itself], scope.run

    def branch(t: Traverser) -> list[Any]:
        found = []
        for place, obj in enumerate(objects_of(t, spot)):
            value = values[place % len(values)](Traverser(obj, 1, t.path, t.sack, t.loops))
            if value is not MISSING:
                found.append(value)
        return found

    if spot.args:
        name = spot.args[0]
        run.side_effects.setdefault(name, Tree())

        def effect(t: Traverser) -> None:
            side_effect_of(run, name, Tree).grown(branch(t))

        return scope.blocked(spot, effect)

    def value(walk: Walk) -> Tree:
        found = Tree()
        for t in walk:
            found.grown(branch(t))
        return found

    return scope.reduced(spot, value)


def copy_vertex(graph: Graph, vertex: Vertex) -> Vertex:
    """The vertex of another graph, with its properties, made here unless it is."""
    held = graph.vertices.get(vertex.id)
    if held is not None:
        return held
    made = graph.add_vertex(vertex.label, vertex.id)
    for key in list(vertex.content):
        for cell in vertex.cells(key):
            graph.add_property(made, key, cell.value, "list", cell.id, cell.content)
    return made


def copy_edge(graph: Graph, edge: Edge) -> None:
    """The edge of another graph, with its ends, made here unless it is."""
    out, in_ = copy_vertex(graph, edge.out), copy_vertex(graph, edge.in_)
    if edge.id not in graph.edges:
        graph.add_edge(edge.label, out, in_, edge.id, edge.content)


@step("subgraph", barrier=True)
def subgraph(scope: Scope, spot: Instruction) -> StepFunction:
    name, run = spot.args[0], scope.run
    run.side_effects.setdefault(name, Graph())

    def effect(t: Traverser) -> None:
        held: Graph = side_effect_of(run, name, Graph)
        if not isinstance(t.obj, Edge):
            raise TraversalError(f"subgraph() takes edges, and this is {t.obj!r}")
        copy_edge(held, t.obj)

    return scope.blocked(spot, effect)


@step("profile", "call", "program", "io")
def refused(scope: Scope, spot: Instruction) -> StepFunction:
    why = {
        "io": "a query reads and writes no files; load and save the graph in Python",
        "profile": "it has no metrics; time the query itself",
        "call": "no services are registered",
        "program": "there are no vertex programs; use pageRank(), connectedComponent() ...",
    }
    raise NotSupported(spot.name, why[spot.name])
