"""What each step may be called with, so that a wrong argument is refused and never ignored."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gremlin_python.process import traversal as words

from twingraph_nb.errors import suggestion
from twingraph_nb.lineage.numbers import is_number
from twingraph_nb.lineage.problems import TraversalError

if TYPE_CHECKING:
    from twingraph_nb.lineage.instructions import Instruction

__all__ = ["MUTATING", "check", "check_source"]

MUTATING = {"addV", "addE", "property", "drop", "mergeV", "mergeE"}
"""Steps that change the graph. A with() behind them is allowed and, since 3.8, means nothing."""

_LETTERS: tuple[tuple[type, str], ...] = (
    (words.P, "p"), (words.T, "k"), (words.Scope, "c"), (words.Operator, "o"), (words.Pop, "q"),
    (words.Column, "l"), (words.Direction, "d"), (words.Order, "r"), (words.Cardinality, "a"),
    (words.GType, "g"), (words.DT, "y"), (words.Barrier, "x"), (words.Bytecode, "t"),
)  # fmt: skip
"""Class of an argument -> its letter; see `letter` for plain values."""

_MACROS = {"S": "[sz]", "V": "[sznfbmjek]", "N": "n", "F": "[nf]", "T": "t", "P": "[psznfbmjek]"}
"""S: a name or null. V: a value. N: a whole number. F: a number. T: a traversal. P: a test."""

_FORMS: dict[str, str] = {
    "V": "V*", "E": "V*",
    "out": "S*", "in": "S*", "both": "S*", "outE": "S*", "inE": "S*", "bothE": "S*",
    "toE": "dS*", "to": "dS*", "toV": "d", "properties": "S*", "values": "S*",
    "propertyMap": "S*", "elementMap": "S*", "valueMap": "b?S*",
    "has": "[skz]|[skz][Pt]|SS[Pt]", "hasLabel": "P+", "hasKey": "P+", "hasValue": "P+",
    "hasId": "P+", "hasNot": "S", "is": "P", "filter": "T|p", "where": "T|p|sp", "not": "T",
    "and": "T*", "or": "T*", "any": "P", "all": "P", "none": "P", "dedup": "c?S*", "coin": "F",
    "sample": "c?N", "range": "c?NN", "limit": "c?N", "skip": "c?N", "tail": "c?N?", "order": "c?",
    "barrier": "[nx]?", "timeLimit": "N", "tree": "s?", "count": "c?", "sum": "c?", "min": "c?",
    "max": "c?", "mean": "c?", "fold": "|Vo", "group": "s?", "groupCount": "s?", "cap": "s+",
    "aggregate": "c?s", "subgraph": "s", "inject": "V*", "sideEffect": "T", "map": "T",
    "flatMap": "T", "local": "T", "optional": "T", "coalesce": "T*", "union": "T*",
    "choose": "[tpk]|[tp]TT?", "branch": "[tk]", "constant": "V", "sack": "o?", "loops": "s?",
    "math": "s", "select": "q?(s+|t|l)", "project": "s+", "concat": "(T|S|j)*", "split": "c?S",
    "substring": "c?NN?", "replace": "c?SS", "trim": "c?", "lTrim": "c?", "rTrim": "c?",
    "length": "c?", "toUpper": "c?", "toLower": "c?", "asString": "c?", "asNumber": "g?",
    "dateAdd": "yN", "dateDiff": "T|V", "conjoin": "S", "combine": "T|V", "merge": "T|V",
    "intersect": "T|V", "difference": "T|V", "disjunct": "T|V", "product": "T|V", "format": "s",
    "addV": "[tsz]?", "addE": "[tsz]", "property": "a?[mz]|[az]?[sktz].([sk].)*",
    "mergeV": "[tmz]?", "mergeE": "[tmz]?",
    "fail": "S?", "match": "T+", "pageRank": "F?", "call": ".*", "io": ".*", "program": ".*",
    "repeat": "", "start": "",
}  # fmt: skip
"""Step -> the letters of its arguments, as a regular expression; a step not here takes none."""

_BY = {
    "order", "group", "groupCount", "dedup", "path", "simplePath", "cyclicPath", "tree", "select",
    "project", "sample", "aggregate", "valueMap", "propertyMap", "math", "format", "sack", "where",
}  # fmt: skip
_OPTION = {"choose", "branch", "mergeV", "mergeE"}
_ANYTHING = {"call", "io", *MUTATING}
"""Steps whose with() may say anything: it is refused with the step, or means nothing."""
_TOKENS = {"~tinkerpop.valueMap.tokens": "[nb]?"}
_OVER_GRAPH = {"edges": "t|d", "propertyName": "s"}
_WITH: dict[str, dict[str, str]] = {
    "valueMap": _TOKENS, "propertyMap": _TOKENS, "index": {"~tinkerpop.index.indexer": "n"},
    **{
        step: {f"~tinkerpop.{step}.{option}": form for option, form in known.items()}
        for step, known in {
            "pageRank": {**_OVER_GRAPH, "times": "n"},
            "peerPressure": {**_OVER_GRAPH, "times": "n"},
            "connectedComponent": _OVER_GRAPH,
            "shortestPath": {
                "edges": "t|d", "target": "t", "distance": "t|s", "maxDistance": "[nf]",
                "includeEdges": "b?",
            },
        }.items()
    },
}  # fmt: skip
"""Step -> the options that with() may name -> the letters of what may follow the name."""

_ORDERED = "([tsklz]r?|r)?"
"""Of the by() of order()."""
_OPTIONS = {"mergeV": "e[tmz]a?", "mergeE": "e[tmz]a?"}
_CASE = "[^aqcx]?t"
"""Of the option() of choose() and branch()."""
_SOURCES = {
    "withBulk": "b?", "withPath": "", "withSack": ".{1,3}", "withSideEffect": "s.o?",
    "withStrategies": ".*", "withoutStrategies": ".*",
}  # fmt: skip

_COMPILED: dict[str, re.Pattern[str]] = {}
_ALLOWED: set[tuple[object, ...]] = set()
"""(step, classes of its arguments) that were found right; what is allowed depends on no more. For
a modulator its name follows the step; a with() depends on more."""
_FEW = 5


def letter(value: Any) -> str:
    """The letter of an argument's kind."""
    if isinstance(value, str):
        return "s"
    if value is None:
        return "z"
    if isinstance(value, bool):
        return "b"
    if is_number(value):
        return "n" if isinstance(value, int) else "f"
    if isinstance(value, Mapping):
        return "m"
    if isinstance(value, list | tuple | set | frozenset):
        # A traversal that was already arranged is a list too; only those hold instructions.
        return "t" if type(value).__name__ == "Steps" else "j"
    for kind, found in _LETTERS:
        if isinstance(value, kind):
            return found
    return "e"


def check(spot: Instruction) -> None:
    """Refuse a step that was called with what it cannot take.

    Raises:
        TraversalError: it says which step, and with what.
    """
    name = spot.name
    kinds = (name, *map(type, spot.args))
    if kinds not in _ALLOWED:
        _check_arguments(spot, kinds)
    if spot.bys or spot.options or spot.withs or spot.labels or spot.is_sided:
        _check_modulators(spot)


def _check_arguments(spot: Instruction, kinds: tuple[object, ...]) -> None:
    name = spot.name
    if (spot.args or name in _FORMS) and not _pattern(name).fullmatch(
        "".join(map(letter, spot.args))
    ):
        raise TraversalError(f"{name}() cannot be called with {_shown(spot.args)}")
    if len(kinds) <= _FEW:
        _ALLOWED.add(kinds)


def check_source(name: str, args: list[Any]) -> None:
    """Refuse a configuration of `g` with what it cannot take.

    Raises:
        TraversalError: it says which, and with what.
    """
    form = _SOURCES.get(name, ".*")
    if not re.fullmatch(form, "".join(map(letter, args))):
        raise TraversalError(f"{name}() cannot be called with {_shown(args)}")


def _check_modulators(spot: Instruction) -> None:
    for label in spot.labels:
        if not isinstance(label, str):
            raise TraversalError(f"as() takes names, not {label!r}")
    for given in spot.bys:
        _check_modulator(spot.name, "by", given, _BY)
    for given in spot.options:
        _check_modulator(spot.name, "option", given, _OPTION)
    for given in spot.withs:
        _check_modulator(spot.name, "with", given, _WITH.keys() | _ANYTHING)
    for word, side in (("from", spot.origin), ("to", spot.target)):
        if side is not None:
            _check_modulator(spot.name, word, side, (spot.name,))


def _check_modulator(name: str, word: str, given: list[Any], known: Collection[str]) -> None:
    kinds = (name, word, *map(type, given))
    if word != "with" and kinds in _ALLOWED:
        return
    if name not in known:
        raise TraversalError(f"{word}() cannot follow {name}()")
    form, letters = _form_of(name, word, given), "".join(map(letter, given))
    if not re.fullmatch(form, letters):
        raise TraversalError(f"{word}() behind {name}() cannot be called with {_shown(given)}")
    if word != "with" and len(kinds) <= _FEW:
        _ALLOWED.add(kinds)


def _form_of(name: str, word: str, given: list[Any]) -> str:
    """The letters that a modulator of a step may be called with."""
    if word == "by" and name == "order":
        return _ORDERED
    if word == "option":
        return _OPTIONS.get(name, _CASE)
    if word == "by":
        return "[tsklz]?"
    if word != "with":
        return "." if name == "addE" else "s"
    if name in _ANYTHING:
        return ".*"
    option = given[0] if given and isinstance(given[0], str) else ""
    form = _WITH[name].get(option)
    if form is None:
        near = suggestion(option, _WITH[name])
        raise TraversalError(f"{name}() has no option {option!r}{near}")
    return f"s({form})"


def _pattern(name: str) -> re.Pattern[str]:
    found = _COMPILED.get(name)
    if found is None:
        form = _FORMS.get(name, "")
        for macro, letters in _MACROS.items():
            inside = letters.strip("[]")
            form = re.sub(rf"(\[[^\]]*){macro}", rf"\g<1>{inside}", form).replace(macro, letters)
        found = _COMPILED[name] = re.compile(form)
    return found


def _shown(args: Iterable[Any]) -> str:
    texts = [_name(value) for value in args]
    return f"({', '.join(texts)})" if texts else "no argument"


def _name(value: Any) -> str:
    return "a traversal" if letter(value) == "t" else repr(value)
