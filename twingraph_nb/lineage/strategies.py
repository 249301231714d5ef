"""Strategies of a traversal source: what an execution may see, must refuse, and how it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gremlin_python.process.traversal import Operator, TraversalStrategy

from twingraph_nb.lineage.compiler import Scope
from twingraph_nb.lineage.containers import is_collection
from twingraph_nb.lineage.elements import Edge, Vertex, VertexProperty
from twingraph_nb.lineage.instructions import (
    Instruction,
    every,
    given,
    instructions_of,
    is_traversal,
)
from twingraph_nb.lineage.operators import copied, joined, operator
from twingraph_nb.lineage.problems import NotSupported, ReadOnlyGraph, TraversalError
from twingraph_nb.lineage.signatures import MUTATING, check_source
from twingraph_nb.lineage.traverser import Run, Traverser

__all__ = ["configure", "verify"]

HARMLESS = {
    "AdjacentToIncidentStrategy", "ByModulatorOptimizationStrategy", "ComputerFinalizationStrategy",
    "ComputerVerificationStrategy", "ConnectiveStrategy", "CountStrategy", "EarlyLimitStrategy",
    "ElementIdStrategy", "FilterRankingStrategy", "GraphFilterStrategy", "HaltedTraverserStrategy",
    "IdentityRemovalStrategy", "IncidentToAdjacentStrategy", "InlineFilterStrategy",
    "LambdaRestrictionStrategy", "LazyBarrierStrategy", "MatchAlgorithmStrategy",
    "MatchPredicateStrategy", "MessagePassingReductionStrategy", "OrderLimitStrategy",
    "PathProcessorStrategy", "PathRetractionStrategy", "ProfileStrategy",
    "ReferenceElementStrategy", "RemoteStrategy", "RepeatUnrollStrategy",
    "StandardVerificationStrategy", "TinkerGraphCountStrategy", "TinkerGraphStepStrategy",
}  # fmt: skip
"""Strategies that change how Java computes an answer, and not the answer."""

_EMPTY = {"RequirementsStrategy", "SackStrategy", "SideEffectStrategy"}
"""They carry what `g` was given; with nothing in them they change nothing."""

Configuration = dict[str, Any]


def configure(run: Run, sources: Iterable[list[Any]]) -> dict[str, Configuration]:
    """Set a run up as its source says; the strategies that verify, with their settings."""
    checks: dict[str, Configuration] = {"StandardVerificationStrategy": {}}
    for name, *args in sources:
        check_source(name, [given(value) for value in args])
        if name == "withStrategies":
            for strategy in args:
                _strategy(run, strategy, checks)
        elif name == "withoutStrategies":
            for strategy in args:
                _without(run, strategy, checks)
        elif name == "withSideEffect":
            _side_effect(run, *map(given, args))
        elif name == "withSack":
            _sack(run, *map(given, args))
        elif name == "withBulk":
            run.one_bulk = not (args[0] if args else True)
        elif name == "withPath":
            run.wants_path = True
        else:
            raise NotSupported(name, "it configures no embedded traversal source")
    return checks


def _side_effect(run: Run, name: str, value: Any, combine: Any = None) -> None:
    run.side_effects[name] = copied(value)
    run.seeds[name] = value
    run.reducers[name] = joined if combine is None else operator(combine)


def _sack(run: Run, value: Any, *ways: Any) -> None:
    run.sack = lambda: copied(value)
    if ways:
        if len(ways) > 1 or not isinstance(ways[0], Operator):
            raise NotSupported("withSack", "behind the value it takes one Operator, which merges")
        run.sack_merge = operator(ways[0])


def _name(strategy: Any) -> str:
    if isinstance(strategy, TraversalStrategy):
        return str(strategy.strategy_name)
    text = getattr(strategy, "gremlin_type", None) or getattr(strategy, "__name__", str(strategy))
    return str(text).rpartition(".")[2]


def _strategy(run: Run, strategy: Any, checks: dict[str, Configuration]) -> None:
    name = _name(strategy)
    settings = {k: given(v) for k, v in (getattr(strategy, "configuration", None) or {}).items()}
    if name in ("ReadOnlyStrategy", "EdgeLabelVerificationStrategy",
                "ReservedKeysVerificationStrategy", "VertexProgramRestrictionStrategy",
                "VertexProgramStrategy"):  # fmt: skip
        checks[name] = settings
        run.read_only = run.read_only or name == "ReadOnlyStrategy"
    elif name == "SubgraphStrategy":
        shows = subgraph(run, settings)
        see(run, shows)
        run.crosses = shows
        run.extra_codes += [value for value in settings.values() if is_traversal(value)]
    elif name == "PartitionStrategy":
        _partition(run, settings)
    elif name == "SeedStrategy":
        run.seed = int(settings["seed"])
    elif name == "ProductiveByStrategy":
        run.productive = frozenset(settings.get("productiveKeys") or ())
    elif name == "OptionsStrategy":
        run.options.update(settings)
    elif name not in HARMLESS and (settings or name not in _EMPTY):
        raise NotSupported(name, "this strategy is not known")


def _without(run: Run, strategy: Any, checks: dict[str, Configuration]) -> None:
    name = _name(strategy)
    checks.pop(name, None)
    if name == "ReadOnlyStrategy":
        run.read_only = False
    elif name == "ConnectiveStrategy":
        run.connects = False
    elif name in ("SubgraphStrategy", "PartitionStrategy"):
        run.sees = run.crosses = run.written = None
    elif name == "ProductiveByStrategy":
        run.productive = None


def see(run: Run, test: Callable[[Any], bool]) -> None:
    """Let a run see only what passes this test and all those before."""
    before = run.sees
    run.sees = test if before is None else lambda obj: before(obj) and test(obj)


def subgraph(run: Run, settings: Configuration) -> Callable[[Any], bool]:
    """What a SubgraphStrategy shows. Its criteria look at the whole graph."""
    tests: dict[str, Callable[[Any], bool]] = {}

    def criterion(name: str, obj: Any) -> bool:
        code = settings.get(name)
        if code is None:
            return True
        test = tests.get(name)
        if test is None:
            child = Scope(run).child(code, "SubgraphStrategy")
            test = tests[name] = lambda obj: child.test(Traverser(obj))
        sees, run.sees = run.sees, None
        try:
            return test(obj)
        finally:
            run.sees = sees

    check_ends = settings.get("checkAdjacentVertices", True) is not False

    def shows(obj: Any) -> bool:
        if isinstance(obj, Vertex):
            return criterion("vertices", obj)
        if isinstance(obj, Edge):
            if not criterion("edges", obj):
                return False
            ends = (obj.out, obj.in_)
            return not check_ends or all(criterion("vertices", end) for end in ends)
        if isinstance(obj, VertexProperty):
            return obj.key in run.computed or criterion("vertexProperties", obj)
        return True

    return shows


def _partition(run: Run, settings: Configuration) -> None:
    key = settings.get("partitionKey")
    if not isinstance(key, str):
        raise TraversalError("PartitionStrategy wants the name of the property: partitionKey")
    read = settings.get("readPartitions") or ()
    wanted = set(read if is_collection(read) else [read])
    metas = bool(settings.get("includeMetaProperties"))
    if settings.get("writePartition") is not None:
        run.written = (key, settings["writePartition"])
        run.written_meta = metas

    def shows(obj: Any) -> bool:
        if isinstance(obj, Vertex | Edge):
            return any(value in wanted for value in obj.values(key))
        if isinstance(obj, VertexProperty) and metas:
            return obj.key != key and obj.content.get(key) in wanted
        return True

    see(run, shows)


_REDUCING = {"count", "sum", "min", "max", "mean", "fold", "group", "groupCount", "tree"}
_ADJACENT = {"out", "in", "both", "outE", "inE", "bothE"}


def verify(code: list[Instruction], checks: dict[str, Configuration]) -> None:
    """Refuse a traversal that a strategy forbids.

    Raises:
        ReadOnlyGraph: it changes the graph.
        TraversalError: it is not well-formed, or not allowed by a strategy.
    """
    if "StandardVerificationStrategy" in checks:
        _standard(code)
    if {"VertexProgramRestrictionStrategy", "VertexProgramStrategy"} <= set(checks):
        raise TraversalError("The TraversalSource does not allow the use of a GraphComputer")
    if len(checks) == ("StandardVerificationStrategy" in checks):
        return
    labels = checks.get("EdgeLabelVerificationStrategy", {}).get("throwException")
    reserved = checks.get("ReservedKeysVerificationStrategy", {})
    for spot in every(code):
        if "ReadOnlyStrategy" in checks and spot.name in MUTATING:
            raise ReadOnlyGraph(spot.name)
        if labels and spot.name in _ADJACENT and not spot.args:
            raise TraversalError(
                "The provided traversal contains a vertex step without any specified edge label: "
                f"{spot.name}()"
            )
        if reserved.get("throwException"):
            _reserved(spot, reserved.get("keys") or ("id", "label"))


def _reserved(spot: Instruction, keys: Iterable[str]) -> None:
    if spot.name not in MUTATING:
        return
    used: list[Any] = list(spot.args[:1]) if spot.name == "property" else []
    for part in (spot.args, *spot.options):
        for value in part:
            used += list(value) if isinstance(value, dict) else []
    for key in used:
        if isinstance(key, str) and key in keys:
            raise TraversalError(
                f"The provided traversal contains a {spot.name}() that is setting a property key "
                f"to a reserved word: {key}"
            )


def _standard(code: list[Instruction]) -> None:
    for spot in code:
        if spot.name != "repeat" or spot.body is None:
            continue
        body = instructions_of(spot.body)
        for inner in body:
            plain = inner.name in _REDUCING and not any(
                isinstance(a, str) or getattr(a, "name", "") == "local" for a in inner.args
            )
            if plain or inner.name == "cap":
                raise TraversalError(
                    "The parent of a reducing/supplying barrier can not be repeat()-step: "
                    f"{inner.name}()"
                )
        _standard(body)
