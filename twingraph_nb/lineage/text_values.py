"""What stands between the brackets of a step: literals, tokens, predicates, child traversals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NoReturn, cast
from uuid import UUID, uuid4

from gremlin_python.process.graph_traversal import GraphTraversal
from gremlin_python.process.traversal import Bytecode, Cardinality, CardinalityValue, P
from gremlin_python.structure.graph import Vertex

from twingraph_nb.errors import suggestion
from twingraph_nb.lineage.text_names import (
    CONSTANTS,
    PREDICATES,
    SOURCES,
    STEPS,
    TERMINALS,
    TOKENS,
)
from twingraph_nb.lineage.text_reader import LAMBDA, Reader
from twingraph_nb.lineage.text_tokens import Token, moment

__all__ = ["DEEPEST", "Values"]

DEEPEST = 80
"""Most brackets within each other; a bound for the parser's stack."""

_LARGEST_RANGE = 100_000
"""Most values of a range such as 1..9."""

_WORDS: dict[str, object] = {
    "true": True,
    "True": True,
    "false": False,
    "False": False,
    "null": None,
    "None": None,
    "NaN": float("nan"),
    "Infinity": float("inf"),
}
_PLACES = ("single", "list", "set")
_BARE = {
    spelled: member
    for members in reversed(TOKENS.values())  # T last, so that it wins
    for spelled, member in members.items()
}
_BARE |= {"from": TOKENS["Direction"]["OUT"], "to": TOKENS["Direction"]["IN"]}


class Values(Reader):
    """Reads the arguments of steps, one token after the other."""

    # -- steps -------------------------------------------------------------------------------

    def chain_one(self, traversal: GraphTraversal) -> None:
        """Read `.name(arguments)` and add it to the traversal."""
        self.expect(".")
        self._add(traversal, self.name("step"))

    def _add(self, traversal: GraphTraversal, name: Token) -> None:
        known = STEPS.get(name.text)
        if known is None:
            self.unknown_step(name)
        if not self.at("("):
            self.fail(f"'(' is missing here: {name.text} is a step, and steps are called")
        traversal.bytecode.add_step(known, *self.arguments())

    def unknown_step(self, name: Token) -> NoReturn:
        """Raise the error for a name that is no step."""
        if name.text in TERMINALS:
            self.fail(f"{name.text}() ends a query; it cannot stand inside one", name)
        if name.text in SOURCES:
            self.fail(f"{name.text}() must come before the first step", name)
        if name.text in ("lambda", "Lambda"):
            self.fail(LAMBDA, name)
        self.fail(f"there is no step {name.text}(){suggestion(name.text, STEPS)}", name)

    def _child(self) -> GraphTraversal:
        """A traversal inside a step, at its first name or at `__`."""
        traversal = GraphTraversal(None, None, Bytecode())
        if self.now.text == "__":
            self.step()
            if not self.at("."):
                self.fail("a step is missing behind __, as in __.out()")
            if self.peek.text == "start":
                self.step()
                self.step()
                self.expect("(")
                self.expect(")")
        else:
            self._add(traversal, self.name("step"))
        return self._chained(traversal)

    def _chained(self, traversal: GraphTraversal) -> GraphTraversal:
        while self.at("."):
            self.chain_one(traversal)
        return traversal

    # -- arguments ---------------------------------------------------------------------------

    def arguments(self) -> list[object]:
        """Read `(a, b, ...)`."""
        self.expect("(")
        return self._until(")")

    def _until(self, end: str) -> list[object]:
        found: list[object] = []
        while not self.at(end):
            found.append(self.argument())
            if self.at(","):
                self.step()
                if self.at(end):
                    self.fail("a value is missing behind this comma")
            elif not self.at(end):
                self.not_closed(end)
        self.step()
        return found

    def argument(self) -> object:
        """Read one value of any kind."""
        self._depth += 1
        if self._depth > DEEPEST:
            self.fail(f"more than {DEEPEST} brackets stand within each other here")
        token = self.now
        if token.kind in ("number", "string"):
            self.step()
            value = self._range(token) if self.at("..") else token.value
        elif token.kind == "name":
            value = self._named(token)
        elif self.at("["):
            value = self._listed()
        elif self.at("{"):
            value = self._braced()
        elif self.at("("):
            self.step()
            value = self.argument()
            self.expect(")")
        else:
            self.fail(LAMBDA if self.at("->") else f"a value is missing before {token.shown}")
        self._depth -= 1
        return value

    def _named(self, token: Token) -> object:
        text, behind = token.text, self.peek
        called = behind.kind == "mark" and behind.text == "("
        if text in _WORDS and not called:
            self.step()
            return _WORDS[text]
        if text == "__":
            return self._child()
        if text == "g" and behind.text == ".":
            self.fail("a traversal inside a step starts with __, not with g")
        if behind.kind == "mark" and behind.text == ".":
            return self._qualified(token)
        if called:
            return self._called(token)
        if text == "new":
            return self._new()
        if text in _BARE:
            self.step()
            return _BARE[text]
        if text in self._bindings and not text.startswith("__"):
            self.step()
            return self._bindings[text]
        if text == "lambda" or behind.text == "->":
            self.fail(LAMBDA)
        near = suggestion(text, [*_BARE, *self._bindings])
        self.fail(f"{text!r} is neither a token of Gremlin nor a variable{near}")

    def _qualified(self, token: Token) -> object:
        """`Order.desc`, `P.gt(1)`, `WithOptions.tokens`."""
        self.step()
        if token.text == "VertexProperty":  # Groovy says VertexProperty.Cardinality.single
            self.expect(".")
            token = self.name("class")
        if token.text in ("P", "TextP"):
            self.expect(".")
            return self._predicate(self.name("predicate"))
        if token.text not in TOKENS and token.text not in CONSTANTS:
            if token.text == "Lambda":
                self.fail(LAMBDA, token)
            near = suggestion(token.text, [*TOKENS, *CONSTANTS, "P", "TextP"])
            self.fail(f"Gremlin has no class {token.text!r}{near}; steps start with __", token)
        self.expect(".")
        name = self.name("token")
        if token.text == "Cardinality" and self.at("("):
            return self._placed(name)
        known: Mapping[str, object] = TOKENS.get(token.text) or CONSTANTS[token.text]
        if name.text not in known:
            near = suggestion(name.text, known)
            self.fail(f"{token.text} has no {name.text!r}{near}", name)
        return known[name.text]

    def _called(self, token: Token) -> object:
        """A name with brackets: a predicate, a literal that is made, or a child traversal."""
        text = token.text
        if text in ("not", "not_"):
            return self._negated()
        if text in PREDICATES:
            return self._predicate(self.step())
        if text.rstrip("_") in _PLACES:
            return self._placed(self.step())
        if text in ("datetime", "DateTime", "UUID"):
            return self._made(self.step())
        if text in ("Vertex", "ReferenceVertex"):
            return self._vertex()
        return self._child()

    def _negated(self) -> object:
        """`not(P)` or `not(traversal)...`: what stands inside decides."""
        self.step()
        given = self.arguments()
        if len(given) == 1 and isinstance(given[0], P):
            return self._joined(P.not_(given[0]))
        return self._chained(GraphTraversal(None, None, Bytecode()).not_(*given))

    def _predicate(self, name: Token) -> P:
        if name.text not in PREDICATES:
            near = suggestion(name.text, PREDICATES)
            self.fail(f"there is no predicate {name.text!r}{near}", name)
        kind, known = PREDICATES[name.text]
        given = self.arguments()
        wanted = 2 if known in ("inside", "outside", "between") else 1
        if known in ("within", "without"):
            several = len(given) == 1 and isinstance(given[0], list | tuple | set | frozenset)
            made = P(known, list(cast("list[object]", given[0])) if several else given)
        elif len(given) != wanted:
            self.fail(f"{name.text}() takes {wanted} value{'s' * (wanted > 1)}", name)
        else:
            made = kind(known, *given)
        return self._joined(made)

    def _joined(self, made: P) -> P:
        """Read `.and(P)`, `.or(P)` and `.negate()` behind a predicate."""
        while self.at("."):
            self.step()
            name = self.name("predicate")
            given = self.arguments()
            word = name.text.rstrip("_")
            if word == "negate" and not given:
                made = P.not_(made)
            elif word in ("and", "or") and len(given) == 1 and isinstance(given[0], P):
                made = made.and_(given[0]) if word == "and" else made.or_(given[0])
            else:
                self.fail(f"behind a predicate stand and(P), or(P) or negate(), not {word}", name)
        return made

    def _placed(self, name: Token) -> object:
        """`single(value)`: a value with the cardinality it is to be kept with."""
        given = self.arguments()
        if name.text not in TOKENS["Cardinality"] or len(given) != 1:
            self.fail("use single(value), list(value) or set(value)", name)
        return CardinalityValue(cast(Cardinality, TOKENS["Cardinality"][name.text]), given[0])

    def _made(self, name: Token) -> object:
        given = self.arguments()
        if not given:
            return uuid4() if name.text == "UUID" else datetime.now(UTC)
        try:
            if len(given) == 1 and isinstance(given[0], str):
                return UUID(given[0]) if name.text == "UUID" else moment(given[0])
        except ValueError:
            pass  # said below, with the place
        example = '"..."' if name.text == "UUID" else '"2024-01-31T12:00:00Z"'
        self.fail(f"{name.text}() takes one text such as {name.text}({example})", name)

    def _vertex(self) -> Vertex:
        name = self.step()
        given = self.arguments()
        if len(given) != 2 or not isinstance(given[1], str):
            self.fail(f"{name.text}() takes an id and a label", name)
        return Vertex(given[0], given[1])

    def _new(self) -> object:
        self.step()
        if self.now.text in ("Vertex", "ReferenceVertex"):
            return self._vertex()
        self.fail(f"'new' makes strategies and vertices only, not {self.now.text!r}")

    # -- collections -------------------------------------------------------------------------

    def _range(self, first: Token) -> list[object]:
        self.expect("..")
        last = self.step()
        low, high = first.value, last.value
        if isinstance(low, str) and isinstance(high, str) and len(low) == len(high) == 1:
            codes = (ord(low), ord(high))
        elif isinstance(low, int) and isinstance(high, int):
            codes = (low, high)
        else:
            self.fail("a range has two whole numbers, or two letters", first)
        if abs(codes[1] - codes[0]) >= _LARGEST_RANGE:
            self.fail(f"a range has at most {_LARGEST_RANGE} values", first)
        way = 1 if codes[0] <= codes[1] else -1
        found = range(codes[0], codes[1] + way, way)
        return [chr(code) for code in found] if isinstance(low, str) else list(found)

    def _listed(self) -> list[object] | dict[object, object]:
        """`[1, 2]`, `[:]` or `[a: 1, (T.id): 2]`."""
        self.step()
        if self.at(":"):
            self.step()
            self.expect("]")
            return {}
        if self._is_key():
            return self._mapped("]")
        return self._until("]")

    def _braced(self) -> set[object] | dict[object, object]:
        """`{1, 2}` is a set; `{'a': 1}` a map, as Python writes it."""
        opening = self.step()
        if self.now.text == "it" or self.peek.text == "->":
            self.fail(LAMBDA, opening)
        if self._is_key():
            return self._mapped("}")
        found = self._until("}")
        try:
            made = {frozen(item) for item in found}
        except TypeError:
            self.fail("a set holds plain values only", opening)
        if len(made) < len(found) and _differ(found):
            self.fail("this set holds values that are equal here: write a list", opening)
        return made

    def _is_key(self) -> bool:
        """Whether what is next is a key with a colon behind it."""
        if self.now.kind in ("name", "string", "number") and self.peek.text == ":":
            return self.peek.kind == "mark"
        if self.now.kind == "end" or self.at("]", "}"):
            return False
        depth = 0
        for place in range(self._next, len(self._tokens)):
            token = self._tokens[place]
            if token.kind == "mark":
                depth += (token.text in "([{") - (token.text in ")]}")
                if depth < 0 or (depth == 0 and token.text == ","):
                    return False
                if depth == 0 and token.text == ":":
                    return True
        return False

    def _mapped(self, end: str) -> dict[object, object]:
        found: dict[object, object] = {}
        while True:
            token = self.now
            key = self._key(groovy=end == "]")
            self.expect(":")
            try:
                found[frozen(key)] = self.argument()
            except TypeError:
                self.fail("a key is a plain value", token)
            if self.at(","):
                self.step()
                continue
            if not self.at(end):
                self.not_closed(end)
            self.step()
            return found

    def _key(self, *, groovy: bool) -> object:
        """A key; since 3.8 each bare word is text in Groovy's maps: `id` too, and not `T.id`."""
        token = self.now
        if groovy and token.kind == "name" and self.peek.text == ":" and self.peek.kind == "mark":
            self.step()
            return token.text
        return self.argument()


def frozen(value: object) -> object:
    """The value as a key of a map or a member of a set.

    Raises:
        TypeError: gremlinpython cannot send it as one.
    """
    if isinstance(value, list):
        return tuple(frozen(item) for item in value)
    if isinstance(value, set):
        return frozenset(value)
    if isinstance(value, dict):
        raise TypeError("a map is no key")
    return value


def _differ(found: list[object]) -> bool:
    kinds = {(type(item), repr(item)) for item in found}
    return len(kinds) > len({frozen(item) for item in found})
