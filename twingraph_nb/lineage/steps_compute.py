"""Steps over the whole graph: pageRank, peerPressure, connectedComponent, shortestPath.

What they compute is seen by the rest of the same traversal and is not written into the graph.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from gremlin_python.process.traversal import Direction
from gremlin_python.structure.graph import Path

from twingraph_nb.lineage.compiler import Scope, StepFunction, step
from twingraph_nb.lineage.containers import MISSING
from twingraph_nb.lineage.elements import Edge, Vertex
from twingraph_nb.lineage.instructions import Instruction, is_traversal
from twingraph_nb.lineage.problems import TraversalError
from twingraph_nb.lineage.traverser import Run, Traverser, Walk

__all__ = ["page_ranks", "paths_from"]

Others = dict[Vertex, list[tuple[Edge, Vertex]]]
_ALPHA, _EPSILON, _ROUNDS, _VOTES = 0.85, 1e-5, 20, 30
"""As TinkerPop has them: damping, convergence, rounds of pageRank() and of peerPressure()."""
_PROGRAMS = {"pageRank", "peerPressure", "connectedComponent"}


def neighbourhood(scope: Scope, spot: Instruction, default: str) -> Callable[[], Others]:
    """What finds, for each vertex that can be seen, its edges and the vertices behind them."""
    run = scope.run
    code = spot.option(f"~tinkerpop.{spot.name}.edges")
    child = scope.child(code, spot.name) if is_traversal(code) else None
    side: Any = code.name.lower() if isinstance(code, Direction) else default

    def edges_of(vertex: Vertex) -> Iterable[Edge]:
        if child is None:
            found = vertex.edges(side)
            return found if run.sees is None else filter(run.sees, found)
        return [edge for edge in child.objects(Traverser(vertex)) if isinstance(edge, Edge)]

    def found() -> Others:
        others: Others = {}
        for vertex in list(run.graph.vertices.values()):
            if run.sees is not None and not run.sees(vertex):
                continue
            edges = list(edges_of(vertex))
            run.tick(len(edges) + 1)
            others[vertex] = [
                (edge, edge.in_ if edge.out is vertex else edge.out) for edge in edges
            ]
        return others

    return found


def computed(
    scope: Scope,
    spot: Instruction,
    name: str,
    work: Callable[[dict[Vertex, float] | None], dict[Vertex, Any]],
) -> StepFunction:
    """A step that gives every vertex a value under a name, for the rest of this traversal."""
    run = scope.run
    name = spot.option(f"~tinkerpop.{spot.name}.propertyName", name)
    before = [one for one in scope.behind[1:] if one.name not in _PROGRAMS]
    if run.sees is None:
        run.sees = _everything

    def function(walk: Walk) -> Walk:
        kept = run.held(walk)
        counts: dict[Vertex, float] = {}
        for t in kept:
            if not isinstance(t.obj, Vertex):
                raise TraversalError(f"{spot.name}() goes on from vertices, not {t.obj!r}")
            counts[t.obj] = counts.get(t.obj, 0.0) + t.bulk
        run.computed[name] = work(counts if before else None)
        yield from kept

    mark = scope.filtered(spot, lambda t: True)
    return lambda walk: mark(function(walk))


def _everything(obj: Any) -> bool:
    return True


@step("pageRank", barrier=True)
def page_rank(scope: Scope, spot: Instruction) -> StepFunction:
    alpha = float(spot.args[0]) if spot.args else _ALPHA
    rounds = int(spot.option("~tinkerpop.pageRank.times", _ROUNDS))
    others, run = neighbourhood(scope, spot, "out"), scope.run

    def work(counts: dict[Vertex, float] | None) -> dict[Vertex, Any]:
        return page_ranks(run, others(), counts, alpha=alpha, rounds=rounds)

    return computed(scope, spot, "gremlin.pageRankVertexProgram.pageRank", work)


def page_ranks(
    run: Run, others: Others, first: dict[Vertex, float] | None, *, alpha: float, rounds: int
) -> dict[Vertex, float]:
    """The rank of each vertex, by Page and Brin (1998), with the energy of dead ends spread."""
    ranks: dict[Vertex, float] = {}
    got = dict.fromkeys(others, 0.0) if first is None else dict(first)
    energy = 1.0 if first is None else 0.0
    for _ in range(rounds + 1):
        error, left, sent = 0.0, energy, dict.fromkeys(others, 0.0)
        for vertex, ways in others.items():
            run.tick(len(ways) + 1)
            rank = got.get(vertex, 0.0) + energy / len(others)
            error += abs(rank - ranks.get(vertex, 0.0))
            ranks[vertex] = rank
            left -= energy / len(others)
            left += (1.0 - alpha) * rank
            if not ways:
                left += alpha * rank
            for _, other in ways:
                if other in sent:
                    sent[other] += alpha * rank / len(ways)
        got, energy = sent, max(left, 0.0)
        if error < _EPSILON:
            break
    return ranks


@step("peerPressure", barrier=True)
def peer_pressure(scope: Scope, spot: Instruction) -> StepFunction:
    rounds = int(spot.option("~tinkerpop.peerPressure.times", _VOTES))
    others, run = neighbourhood(scope, spot, "out"), scope.run

    def work(counts: dict[Vertex, float] | None) -> dict[Vertex, Any]:
        ways = others()
        strength = {v: 1.0 if counts is None else counts.get(v, 0.0) for v in ways}
        clusters = {vertex: vertex.id for vertex in ways}
        for _ in range(rounds):
            fresh = _voted(run, ways, clusters, strength)
            if fresh == clusters:
                break
            clusters = fresh
        return clusters

    return computed(scope, spot, "gremlin.peerPressureVertexProgram.cluster", work)


def _voted(
    run: Run, others: Others, clusters: dict[Vertex, Any], strength: dict[Vertex, float]
) -> dict[Vertex, Any]:
    votes: dict[Vertex, dict[Any, float]] = {v: {clusters[v]: strength[v]} for v in others}
    for vertex, ways in others.items():
        run.tick(len(ways) + 1)
        for _, other in ways:
            if other in votes:
                box = votes[other]
                box[clusters[vertex]] = box.get(clusters[vertex], 0.0) + strength[vertex]
    return {v: _winner(v, box) for v, box in votes.items()}


def _winner(vertex: Vertex, box: dict[Any, float]) -> Any:
    most = max(box.values())
    # Nobody with a voice has voted: the vertex stays by itself.
    return min((one for one in box if box[one] == most), key=str) if most > 0 else vertex.id


@step("connectedComponent", barrier=True)
def connected_component(scope: Scope, spot: Instruction) -> StepFunction:
    others, run = neighbourhood(scope, spot, "both"), scope.run

    def work(counts: dict[Vertex, float] | None) -> dict[Vertex, Any]:
        ways = others()
        names = {vertex: str(vertex.id) for vertex in ways}
        todo = list(ways)
        while todo:
            vertex = todo.pop()
            run.tick()
            for _, other in ways[vertex]:
                if names.get(other, "") > names[vertex]:
                    names[other] = names[vertex]
                    todo.append(other)
        return names

    return computed(scope, spot, "gremlin.connectedComponentVertexProgram.component", work)


@step("shortestPath", barrier=True)
def shortest_path(scope: Scope, spot: Instruction) -> StepFunction:
    option = {
        key: spot.option(f"~tinkerpop.shortestPath.{key}")
        for key in ("target", "distance", "maxDistance", "includeEdges")
    }
    others, run = neighbourhood(scope, spot, "both"), scope.run
    target = scope.child(option["target"], "shortestPath") if option["target"] else None
    length = _length(scope, option["distance"])
    most = None if option["maxDistance"] is None else float(option["maxDistance"])

    def function(walk: Walk) -> Walk:
        ways = others()
        for t in walk:
            if not isinstance(t.obj, Vertex):
                raise TraversalError(f"shortestPath() goes on from vertices, not {t.obj!r}")
            for vertex, path in paths_from(run, ways, t.obj, length, most):
                if target is None or target.test(Traverser(vertex)):
                    shown = path if option["includeEdges"] else path[::2]
                    for _ in range(t.bulk):
                        yield run.start(Path([set() for _ in shown], shown), spot.labels)

    return function


def _length(scope: Scope, distance: Any) -> Callable[[Edge], float]:
    if distance is None:
        return lambda edge: 1.0
    child = scope.child(distance, "shortestPath") if is_traversal(distance) else None

    def length(edge: Edge) -> float:
        found: Any = edge.value(distance) if child is None else child.first(Traverser(edge))
        if found is None or found is MISSING or isinstance(found, bool | str):
            raise TraversalError(f"shortestPath(): {edge!r} has no length: {found!r}")
        if found < 0:
            raise TraversalError(f"shortestPath(): the length of {edge!r} is negative: {found}")
        return float(found)

    return length


def paths_from(
    run: Run, others: Others, start: Vertex, length: Callable[[Edge], float], most: float | None
) -> Iterable[tuple[Vertex, list[Any]]]:
    """All shortest paths from a vertex, by Dijkstra (1959): each end with vertices and edges."""
    best: dict[Vertex, float] = {start: 0.0}
    back: dict[Vertex, list[tuple[Edge, Vertex]]] = {start: []}
    queue: list[tuple[float, int, Vertex]] = [(0.0, 0, start)]
    number = 0
    while queue:
        distance, _, vertex = heapq.heappop(queue)
        if distance > best[vertex]:
            continue
        for edge, other in others.get(vertex, ()):
            run.tick()
            far = distance + length(edge)
            if other not in others or (most is not None and far > most):
                continue
            if far < best.get(other, float("inf")):
                best[other], back[other] = far, [(edge, vertex)]
                number += 1
                heapq.heappush(queue, (far, number, other))
            elif far == best[other] and other is not start:
                back[other].append((edge, vertex))
    for vertex in best:
        for path in _unrolled(run, back, vertex):
            yield vertex, path


def _unrolled(
    run: Run, back: dict[Vertex, list[tuple[Edge, Vertex]]], end: Vertex
) -> Iterable[list[Any]]:
    stack: list[list[Any]] = [[end]]
    while stack:
        run.tick()
        path = stack.pop()
        before = back[path[0]]
        if not before:
            yield path
        for edge, vertex in before:
            if vertex not in path:
                stack.append([vertex, edge, *path])
