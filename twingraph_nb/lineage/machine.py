"""The embedded Gremlin engine: bytecode in, results out, without a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import Future

from gremlin_python.driver.remote_connection import RemoteConnection, RemoteTraversal
from gremlin_python.process.anonymous_traversal import traversal
from gremlin_python.process.graph_traversal import GraphTraversalSource
from gremlin_python.process.traversal import Bytecode
from gremlin_python.process.traversal import Traverser as Shown

from twingraph_nb.lineage import (
    steps_branch,
    steps_compute,
    steps_convert,
    steps_effects,
    steps_filter,
    steps_graph,
    steps_list,
    steps_map,
    steps_match,
    steps_math,
    steps_merge,
    steps_order,
    steps_reduce,
    steps_text,
    steps_write,
)
from twingraph_nb.lineage.compiler import Scope
from twingraph_nb.lineage.containers import plain
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.instructions import Instruction, arranged, every, instructions_of
from twingraph_nb.lineage.problems import QueryLimit, TraversalError
from twingraph_nb.lineage.strategies import configure, verify
from twingraph_nb.lineage.traverser import FULL, LABELLED, NO_PATH, Limits, Run, Walk

__all__ = ["Connection", "answers", "source"]

STEPS = (
    steps_branch, steps_compute, steps_convert, steps_effects, steps_filter, steps_graph,
    steps_list, steps_map, steps_match, steps_math, steps_merge, steps_order, steps_reduce,
    steps_text, steps_write,
)  # fmt: skip
"""Loaded for what they enter into the table of steps."""

_WANT_PATH = {"path", "simplePath", "cyclicPath", "tree", "otherV"}


def source(graph: Graph, limits: Limits | None = None) -> GraphTraversalSource:
    """A `g` over a graph: gremlinpython's own, whose queries are answered here."""
    made: GraphTraversalSource = traversal().with_(Connection(graph, limits))
    return made


class Connection(RemoteConnection):  # type: ignore[misc, unused-ignore]
    """What gremlinpython asks in place of a server.

    Attributes:
        graph: the graph that answers.
        limits: what each query may use.
    """

    def __init__(
        self, graph: Graph, limits: Limits | None = None, *, in_transaction: bool = False
    ) -> None:
        super().__init__("embedded", "g")
        self.graph = graph
        self.limits = limits or Limits()
        self.in_transaction = in_transaction
        self.closed = False

    def submit(self, bytecode: Bytecode) -> RemoteTraversal:
        """The results of a traversal, computed as they are asked for."""
        return RemoteTraversal(answers(self.graph, bytecode, self.limits))

    def submit_async(self, bytecode: Bytecode) -> Future[RemoteTraversal]:
        """The same as a future, which is done when it is given."""
        future: Future[RemoteTraversal] = Future()
        future.set_result(self.submit(bytecode))
        return future

    def close(self) -> None:
        """End it; the graph stays."""
        self.closed = True

    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def is_session_bound(self) -> bool:
        """Whether it belongs to a transaction."""
        return self.in_transaction

    def create_session(self) -> Connection:
        """A connection for one transaction: what it changes can be rolled back."""
        self.graph.begin()
        return Connection(self.graph, self.limits, in_transaction=True)

    def commit(self) -> None:
        """Keep what the transaction changed."""
        self.graph.commit()

    def rollback(self) -> None:
        """Take back what the transaction changed."""
        self.graph.rollback()

    def remove_session(self, session: Connection) -> None:
        """Forget a transaction that has ended."""
        session.closed = True


def answers(
    graph: Graph, bytecode: Bytecode, limits: Limits, run: Run | None = None
) -> Iterator[Shown]:
    """What a traversal gives, one traverser after the other.

    Args:
        run: the execution, for who wants to stop it; a new one by default.
    Raises:
        LineageError: it is not well-formed, has a step that is not answered here, meets a value
            it cannot work with, or uses more than it may.
    """
    run = Run(graph, limits) if run is None else run
    checks = configure(run, bytecode.source_instructions)
    _options(run)
    code = arranged(bytecode.step_instructions)
    if not code:
        raise TraversalError("this traversal has no steps")
    verify(code, checks)
    run.track = _tracking(run, code)
    try:
        walk = Scope(run).plan(code).walk(iter(()))
    except RecursionError as wrong:
        raise TraversalError("this traversal is nested too deeply") from wrong
    return _results(run, walk)


def _options(run: Run) -> None:
    """`g.with_('evaluationTimeout', milliseconds)` bounds the time, as on a server."""
    timeout = run.options.get("evaluationTimeout")
    if isinstance(timeout, int | float) and timeout > 0:
        run.limits = dataclasses.replace(run.limits, seconds=timeout / 1000)
    run.begin()


def _tracking(run: Run, code: list[Instruction]) -> int:
    """How much of their way the traversers of this traversal must remember."""
    track = FULL if run.wants_path else NO_PATH
    codes = [code, *(instructions_of(extra) for extra in run.extra_codes)]
    for each in codes:
        for spot in every(each):
            if spot.name in _WANT_PATH:
                return FULL
            if spot.labels or spot.name == "match":
                track = max(track, LABELLED)
    return track


def _results(run: Run, walk: Walk) -> Iterator[Shown]:
    limit, count = run.limits.results, 0
    run.resume()
    try:
        for t in walk:
            count += t.bulk
            if limit is not None and count > limit:
                raise QueryLimit(
                    "it gives too many results", limit, "add limit(), or ask for a count()"
                )
            run.pause()
            yield Shown(plain(t.obj), t.bulk)
            run.resume()
    except RecursionError as wrong:
        raise TraversalError(
            "this traversal has too many steps, or is nested too deeply"
        ) from wrong
