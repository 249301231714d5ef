"""The names that Gremlin text may use: steps, tokens, predicates, constants and strategies.

Facts of Gremlin 3.8. Each name may be written as in Java (`outE`), as in Python (`out_e`), and
with the underscore that keeps it apart from a Python keyword (`as_`, `in_`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from enum import Enum

from gremlin_python.process import strategies, traversal
from gremlin_python.process.traversal import P, TextP, TraversalStrategy

__all__ = [
    "CONSTANTS",
    "PREDICATES",
    "SOURCES",
    "SPAWNS",
    "STEPS",
    "STRATEGIES",
    "TERMINALS",
    "TOKENS",
    "TOKEN_CLASSES",
    "Float32",
    "Strategy",
    "snake",
    "spellings",
]


class Float32(float):
    """A number that Gremlin writes with the suffix f: of 32 bits, shown with as few digits."""

    def __new__(cls, value: float | str) -> Float32:
        try:
            return float.__new__(cls, struct.unpack("f", struct.pack("f", float(value)))[0])
        except OverflowError:
            return float.__new__(cls, "inf" if float(value) > 0 else "-inf")

    def __repr__(self) -> str:
        for digits in range(6, 9):
            text = f"{float(self):.{digits}g}"
            if Float32(text) == self:
                return repr(float(text))
        return repr(float(f"{float(self):.9g}"))

    __str__ = __repr__


def snake(name: str) -> str:
    """The name as Python writes it: `groupCount` is `group_count`."""
    return re.sub(r"(?<=[a-z])([A-Z])", lambda match: "_" + match.group().lower(), name)


def spellings(names: Iterable[str]) -> dict[str, str]:
    """Every accepted spelling of these names -> the name."""
    found: dict[str, str] = {}
    for name in names:
        for spelled in (name, snake(name), name + "_", snake(name) + "_"):
            found.setdefault(spelled, name)
    return found


_STEP_NAMES = """
    V E addE addV aggregate all and any as asBool asDate asNumber asString barrier both bothE
    bothV branch by call cap choose coalesce coin combine concat conjoin connectedComponent
    constant count cyclicPath dateAdd dateDiff dedup difference discard disjunct drop element
    elementMap emit fail filter flatMap fold format from group groupCount has hasId hasKey
    hasLabel hasNot hasValue id identity in inE inV index inject intersect is key lTrim label
    length limit local loops map match math max mean merge mergeE mergeV min none not option
    optional or order otherV out outE outV pageRank path peerPressure product profile project
    properties property propertyMap rTrim range read repeat replace reverse sack sample select
    shortestPath sideEffect simplePath skip split subgraph substring sum tail timeLimit times to
    toE toLower toUpper toV tree trim unfold union until value valueMap values where with
    write
"""
STEPS = spellings(_STEP_NAMES.split()) | {"ltrim": "lTrim", "rtrim": "rTrim"}
"""Steps of a traversal."""

SPAWNS = spellings(("V", "E", "addV", "addE", "mergeV", "mergeE", "inject", "call", "union", "io"))
"""What may follow `g`."""

SOURCES = spellings(
    ("withBulk", "withPath", "withSack", "withSideEffect", "withStrategies", "withoutStrategies",
     "withComputer", "with")
)  # fmt: skip
"""How `g` is configured."""

TERMINALS = spellings(
    ("toList", "toSet", "toBulkSet", "next", "tryNext", "hasNext", "iterate", "explain")
)
"""What may end a query; it says how the results are taken, and is no step."""

PREDICATES = {
    spelled: (kind, made)
    for kind, names in (
        (P, "eq neq gt gte lt lte inside outside between within without not typeOf"),
        (
            TextP,
            """containing notContaining startingWith notStartingWith endingWith notEndingWith
            regex notRegex""",
        ),
    )
    for spelled, made in spellings(names.split()).items()
}
"""Predicate as written -> its class and name."""

TOKEN_CLASSES: dict[str, type[Enum]] = {
    kind.__name__: kind
    for kind in (
        traversal.T, traversal.Order, traversal.Scope, traversal.Column, traversal.Pop,
        traversal.Cardinality, traversal.Operator, traversal.Pick, traversal.DT,
        traversal.Merge, traversal.Direction, traversal.Barrier, traversal.GType,
    )
}  # fmt: skip


def _members(kind: type[Enum]) -> dict[str, Enum]:
    members = dict(kind.__members__)
    found: dict[str, Enum] = {}
    for name in sorted(members, key=lambda name: ("_" in name, name)):
        plain = re.sub(r"_([a-z])", lambda match: match.group(1).upper(), name).rstrip("_")
        for spelled in (name, plain, snake(plain), plain + "_"):
            found.setdefault(spelled, members[name])
    if kind is traversal.Order:  # as older queries write them
        found |= {"incr": members["asc"], "decr": members["desc"]}
    return found


TOKENS: dict[str, dict[str, Enum]] = {name: _members(kind) for name, kind in TOKEN_CLASSES.items()}
"""Class of tokens -> how a member may be written -> the member."""

CONSTANTS: dict[str, dict[str, object]] = {
    kind.__name__: {
        spelled: value
        for name, value in vars(kind).items()
        if not name.startswith("_")
        for spelled in (name, name + "_")
    }
    for kind in (
        traversal.WithOptions, traversal.IO, traversal.PageRank, traversal.PeerPressure,
        traversal.ShortestPath, traversal.ConnectedComponent,
    )
}  # fmt: skip
"""Class of named constants -> name -> value."""

_WHERE = "org.apache.tinkerpop.gremlin.process.traversal.strategy."
_COMPUTER = "org.apache.tinkerpop.gremlin.process.computer.traversal.strategy."
_PLACES = {
    _WHERE + "decoration.": """ConnectiveStrategy ElementIdStrategy HaltedTraverserStrategy
        OptionsStrategy PartitionStrategy ReferenceElementStrategy RequirementsStrategy
        SeedStrategy SideEffectStrategy SubgraphStrategy""",
    _COMPUTER + "decoration.": "VertexProgramStrategy",
    _COMPUTER + "finalization.": "ComputerFinalizationStrategy",
    _COMPUTER + "optimization.": "GraphFilterStrategy MessagePassingReductionStrategy",
    _COMPUTER + "verification.": "VertexProgramRestrictionStrategy",
    _WHERE + "finalization.": "MatchAlgorithmStrategy ProfileStrategy",
    _WHERE + "optimization.": """AdjacentToIncidentStrategy ByModulatorOptimizationStrategy
        CountStrategy EarlyLimitStrategy FilterRankingStrategy IdentityRemovalStrategy
        IncidentToAdjacentStrategy InlineFilterStrategy LazyBarrierStrategy
        MatchPredicateStrategy OrderLimitStrategy PathProcessorStrategy PathRetractionStrategy
        ProductiveByStrategy RepeatUnrollStrategy""",
    _WHERE + "verification.": """ComputerVerificationStrategy EdgeLabelVerificationStrategy
        LambdaRestrictionStrategy ReadOnlyStrategy ReservedKeysVerificationStrategy
        StandardVerificationStrategy""",
}
_OPTIONS = {
    "EdgeLabelVerificationStrategy": "logWarning throwException",
    "HaltedTraverserStrategy": "haltedTraverserFactory",
    "MatchAlgorithmStrategy": "matchAlgorithm",
    "PartitionStrategy": "partitionKey writePartition readPartitions includeMetaProperties",
    "ProductiveByStrategy": "productiveKeys",
    "ReservedKeysVerificationStrategy": "logWarning throwException keys",
    "SeedStrategy": "seed",
    "SubgraphStrategy": "vertices edges vertexProperties checkAdjacentVertices",
    "VertexProgramStrategy": "graphComputer workers persist result vertices edges",
}


class Strategy:
    """A traversal strategy as text may name it.

    name: as written. java: its name for a server. options: spelling -> name of what it takes;
    None when it takes anything.
    """

    def __init__(self, name: str, place: str) -> None:
        self.name, self.java = name, place + name
        self.options: dict[str, str] | None = None
        if name != "OptionsStrategy":
            self.options = spellings(_OPTIONS.get(name, "").split())

    def made(self, configuration: dict[str, object]) -> TraversalStrategy:
        """The strategy with this configuration, of gremlinpython's own class where it has one."""
        kind = getattr(strategies, self.name, TraversalStrategy)
        # Not by its constructor: those differ, and one of them warns that it is deprecated.
        strategy = object.__new__(kind)
        TraversalStrategy.__init__(strategy, self.name, configuration, self.java)
        return strategy


STRATEGIES = {
    name: Strategy(name, place) for place, names in _PLACES.items() for name in names.split()
}
