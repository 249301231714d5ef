"""Tab completion in ``%%gremlin`` cells and of ``%gremlin`` and ``%lineage`` lines."""

from __future__ import annotations

import re
from collections.abc import Iterable

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

__all__ = ["complete_gremlin"]

_WORD = re.compile(r"[\w-]*$")
_NAME = re.compile(r"[A-Z]\w*$")
_CALL = re.compile(r"""(\w+)\(\s*((?:["'][^"']*["']\s*,\s*)*)["']$""")
"""A call with the texts that it is given, up to the quote of the one that is being written."""
_STRINGS = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""")
_OPTIONS = ("--graph", "--json", "--run", "--table")


@context_matcher(identifier="twingraph.gremlin", priority=200)  # type: ignore[untyped-decorator]
def complete_gremlin(context: CompletionContext) -> SimpleMatcherResult:
    """Give steps behind a dot, names of the graph within quotes, tokens and steps elsewhere."""
    text = context.full_text[: _offset(context)]
    first, newline, body = text.partition("\n")
    words = first.split()
    if not words or words[0] not in ("%%gremlin", "%gremlin", "%lineage"):
        return SimpleMatcherResult(completions=[])
    kind, begin = "keyword", _fragment(text)
    if words[0] == "%lineage":
        found = _of_question(first)
    elif words[0] == "%%gremlin" and not newline:
        found = _starting(begin, _OPTIONS)
    else:
        query = body if newline else first.removeprefix("%gremlin")
        rest = _STRINGS.sub("", query)
        quote = re.search("[\"']", rest)
        if quote is not None:  # a string that has no end yet
            kind, begin = "property", rest[quote.end() :]
            found = _starting(begin, _names(query[: len(query) - len(begin)]))
        else:
            kind, found = "function", _of_query(query)
    return SimpleMatcherResult(
        completions=[SimpleCompletion(text=one, type=kind) for one in found],
        matched_fragment=begin,
        suppress=True,
    )


def _offset(context: CompletionContext) -> int:
    lines = context.full_text.split("\n")
    return sum(len(line) + 1 for line in lines[: context.cursor_line]) + context.cursor_position


def _fragment(text: str) -> str:
    found = _WORD.search(text)
    return found.group() if found else ""


def _starting(begin: str, known: Iterable[str]) -> list[str]:
    return sorted({one for one in known if one.startswith(begin)})


def _of_question(line: str) -> list[str]:
    from twingraph_nb.lineage.spoken import QUESTIONS  # the engine: only when asked

    words = line.split()
    if len(words) > 2 or (len(words) == 2 and line.endswith(" ")):
        return _starting(_fragment(line), ("--since",)) if words[1] == "failures" else []
    return _starting(_fragment(line), (*QUESTIONS, "explore"))


def _names(text: str) -> set[str]:
    """The names of the graph that may stand in the string which begins behind this text."""
    from twingraph_nb.lineage import schema
    from twingraph_nb.lineage.text_names import STEPS
    from twingraph_nb.lineage.unknown import property_names, schema_properties
    from twingraph_nb.lineage_door import graph_so_far

    called = _CALL.search(text)
    step = STEPS.get(called.group(1), "") if called is not None else ""
    if step == "hasLabel":
        return {*schema.VERTICES, *schema.EDGES}
    if step in ("out", "in", "both", "outE", "inE", "bothE"):
        return {*schema.EDGES}
    graph = graph_so_far()
    properties = schema_properties() | (set() if graph is None else property_names(graph))
    first = called is None or not called.group(2)
    if (step == "has" and first) or not step:
        return {*schema.VERTICES, *schema.EDGES, *properties}
    return properties


def _of_query(text: str) -> list[str]:
    from twingraph_nb.lineage.text_names import PREDICATES, SOURCES, SPAWNS, STEPS, TOKENS

    begin = _fragment(text)
    before = text[: len(text) - len(begin)]
    if not before.endswith("."):
        tokens = ("T", "P", "TextP", "Order", "Scope", "asc", "desc", "local", "id", "label", "__")
        return _starting(begin, (*tokens, *PREDICATES.keys(), *_plain(STEPS.values()), "g"))
    owner = _NAME.search(before[:-1])
    if owner is not None and owner.group() in TOKENS:
        return _starting(begin, TOKENS[owner.group()])
    if owner is not None and owner.group() in ("P", "TextP"):
        return _starting(begin, PREDICATES)
    if re.search(r"(^|[^\w])g\.$", before):
        return _starting(begin, (*_plain(SPAWNS.values()), *_plain(SOURCES.values())))
    return _starting(begin, _plain(STEPS.values()))


def _plain(names: Iterable[str]) -> set[str]:
    return set(names)
