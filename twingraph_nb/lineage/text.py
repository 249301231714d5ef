"""Text of a Gremlin query to a traversal: parsed by this grammar, never evaluated as code.

Understands what TinkerPop's gremlin-language does, and the spelling of Python beside it:
`g.V().has('name', 'marko').as('a').out()`, `g.V().as_('a').in_()`, `__.out()` or `out()` within
a step, `P.gt(1)` or `gt(1)`, `T.id` or `id`, `1L`, `[a: 1, (T.id): 2]`, `{1, 2}`,
`datetime("2024-01-01")`, `new SubgraphStrategy(vertices: hasLabel("Task"))`. Only the names in
`text_names` mean anything, and each becomes an entry of the bytecode: nothing is looked up in
Python, called by name, or imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from gremlin_python.process.graph_traversal import GraphTraversal, GraphTraversalSource
from gremlin_python.process.traversal import TraversalStrategy
from gremlin_python.statics import GremlinType

from twingraph_nb.errors import suggestion
from twingraph_nb.lineage.text_names import SOURCES, SPAWNS, STEPS, STRATEGIES, TERMINALS
from twingraph_nb.lineage.text_tokens import QuerySyntaxError
from twingraph_nb.lineage.text_values import Values

__all__ = ["Query", "QuerySyntaxError", "parse", "read_query"]


@dataclass(frozen=True, slots=True)
class Query:
    """A query that was read.

    traversal: not yet run. terminal: how its results are asked for, as Java names it ("toList",
    "next" ...), or "". amount: of `next(amount)`, or None.
    """

    traversal: GraphTraversal
    terminal: str = ""
    amount: int | None = None


def parse(
    text: str, g: GraphTraversalSource, bindings: Mapping[str, object] | None = None
) -> GraphTraversal:
    """Give the traversal that a text describes; it has not been run.

    Args:
        text: one query, which starts with `g`. A last step such as `.toList()` is accepted.
        g: where it starts from.
        bindings: name -> value of the variables that the text may use. A name that Gremlin
            knows itself (`id`, `desc`) always means Gremlin's.
    Raises:
        QuerySyntaxError: the text is no query; says where and why.
    """
    return read_query(text, g, bindings).traversal


def read_query(
    text: str, g: GraphTraversalSource, bindings: Mapping[str, object] | None = None
) -> Query:
    """Give the traversal that a text describes, and how it asks for the results.

    Raises:
        QuerySyntaxError: the text is no query; says where and why.
    """
    return _Queries(text, bindings or {}).query(g)


class _Queries(Values):
    """Reads the outermost chain, which configures and starts with `g`."""

    def query(self, g: GraphTraversalSource) -> Query:
        """The one query of the text."""
        if self.now.kind == "end":
            self.fail("the query is empty: it starts with g, as in g.V().count()")
        if self.now.text != "g":
            self.fail(f"a query starts with g, not with {self.now.text!r}")
        self.step()
        traversal = self.chained(self._spawned(g))
        query = Query(traversal)
        if self.at("."):
            query = self._ended(traversal)
        while self.at(";"):
            self.step()
        if self.now.kind != "end":
            self.fail(f"the query should end here, before {self.now.text!r}: ask one at a time")
        return query

    def _spawned(self, g: GraphTraversalSource) -> GraphTraversal:
        """Read what configures the source, and the first step."""
        source = cast(GraphTraversalSource, g.get_graph_traversal_source())
        while True:
            if self.now.kind == "end":
                self.fail("g alone asks for nothing: go on as in g.V()")
            self.expect(".")
            name = self.name("step")
            if name.text in SOURCES:
                self._configure(source, SOURCES[name.text])
                continue
            if name.text not in SPAWNS:
                near = suggestion(name.text, [*SPAWNS, *SOURCES])
                starts = ", ".join(sorted(set(SPAWNS.values())))
                self.fail(
                    f"g.{name.text}() does not start a traversal{near}; these do: {starts}", name
                )
            traversal = source.get_graph_traversal()
            traversal.bytecode.add_step(SPAWNS[name.text], *self.arguments())
            return cast(GraphTraversal, traversal)

    def _configure(self, source: GraphTraversalSource, name: str) -> None:
        code = source.bytecode
        if name in ("withStrategies", "withoutStrategies"):
            code.add_source(name, *self._strategies(made=name == "withStrategies"))
        elif name == "withComputer":
            at = self.now
            if self.arguments():
                self.fail("withComputer() takes nothing here", at)
            code.add_source("withStrategies", self._strategy("VertexProgramStrategy", {}))
        elif name == "with":
            self._option(source)
        else:
            code.add_source(name, *self.arguments())

    def _option(self, source: GraphTraversalSource) -> None:
        """`g.with(key, value)`: one OptionsStrategy holds them all."""
        at = self.now
        given = self.arguments()
        if not 1 <= len(given) <= 2 or not isinstance(given[0], str):
            self.fail("with() takes the name of an option, and its value", at)
        options: dict[str, object] = {}
        kept = []
        for instruction in source.bytecode.source_instructions:
            strategy = instruction[1] if len(instruction) == 2 else None
            if getattr(strategy, "strategy_name", "") == "OptionsStrategy":
                options |= strategy.configuration  # type: ignore[union-attr]
            else:
                kept.append(instruction)
        options[given[0]] = given[1] if len(given) == 2 else True
        source.bytecode.source_instructions = kept
        source.bytecode.add_source("withStrategies", self._strategy("OptionsStrategy", options))

    def _strategies(self, *, made: bool) -> list[object]:
        """Read the strategies of `withStrategies(...)`, or the classes for `withoutStrategies`."""
        self.expect("(")
        found: list[object] = []
        while not self.at(")"):
            if self.now.text == "new":
                self.step()
            name = self.name("strategy")
            if name.text not in STRATEGIES:
                near = suggestion(name.text, STRATEGIES)
                self.fail(f"there is no strategy {name.text!r}{near}", name)
            options = self._options(name.text) if self.at("(") else {}
            found.append(
                self._strategy(name.text, options)
                if made
                else GremlinType(STRATEGIES[name.text].java)
            )
            if self.at(","):
                self.step()
            elif not self.at(")"):
                self.not_closed(")")
        self.step()
        return found

    def _strategy(self, name: str, options: dict[str, object]) -> TraversalStrategy:
        """A strategy of a name that is known."""
        return STRATEGIES[name].made(options)

    def _options(self, strategy: str) -> dict[str, object]:
        known = STRATEGIES[strategy].options
        self.expect("(")
        found: dict[str, object] = {}
        while not self.at(")"):
            name = self.name("option")
            if known is not None and name.text not in known:
                near = suggestion(name.text, known)
                self.fail(f"{strategy} has no option {name.text!r}{near}", name)
            if not self.at("="):
                self.expect(":")
            else:
                self.step()
            found[name.text if known is None else known[name.text]] = self.argument()
            if self.at(","):
                self.step()
            elif not self.at(")"):
                self.not_closed(")")
        self.step()
        return found

    def _ended(self, traversal: GraphTraversal) -> Query:
        """Read the terminal step, at whose dot we are."""
        self.expect(".")
        name = self.name("step")
        if name.text not in TERMINALS:
            self.unknown_step(name)
        given = self.arguments()
        terminal = TERMINALS[name.text]
        amount = given[0] if given else None
        if given and (terminal != "next" or len(given) > 1 or type(amount) is not int):
            self.fail(f"{name.text}() takes nothing here", name)
        if self.at("."):
            self.fail(f"nothing can follow {name.text}(): it gives the results", self.now)
        return Query(traversal, terminal, cast("int | None", amount))

    def chained(self, traversal: GraphTraversal) -> GraphTraversal:
        """Read the steps that follow, up to a terminal one."""
        while self.at(".") and not (self.peek.text in TERMINALS and self.peek.text not in STEPS):
            super().chain_one(traversal)
        return traversal
