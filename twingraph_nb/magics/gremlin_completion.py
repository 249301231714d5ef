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
    if words[0] == "%lineage":
        found = _of_question(first)
    elif words[0] == "%%gremlin" and not newline:
        found = _starting(first, _OPTIONS)
    else:
        found = _of_query(body if newline else first.removeprefix("%gremlin"))
    return SimpleMatcherResult(
        completions=[SimpleCompletion(text=one) for one in found],
        matched_fragment=_fragment(text),
        suppress=True,
    )


def _offset(context: CompletionContext) -> int:
    lines = context.full_text.split("\n")
    return sum(len(line) + 1 for line in lines[: context.cursor_line]) + context.cursor_position


def _fragment(text: str) -> str:
    found = _WORD.search(text)
    return found.group() if found else ""


def _starting(text: str, known: Iterable[str]) -> list[str]:
    begin = _fragment(text)
    return sorted({one for one in known if one.startswith(begin)})


def _of_question(line: str) -> list[str]:
    from twingraph_nb.lineage.spoken import QUESTIONS  # the engine: only when asked

    words = line.split()
    if len(words) > 2 or (len(words) == 2 and line.endswith(" ")):
        return _starting(line, ("--since",)) if words[1] == "failures" else []
    return _starting(line, (*QUESTIONS, "explore"))


def _of_query(text: str) -> list[str]:
    from twingraph_nb.lineage import schema
    from twingraph_nb.lineage.text_names import PREDICATES, SOURCES, SPAWNS, STEPS, TOKENS
    from twingraph_nb.lineage.unknown import property_names
    from twingraph_nb.lineage_door import graph_so_far

    rest = _STRINGS.sub("", text)
    if '"' in rest or "'" in rest:  # within quotes: a string that has no end yet
        own = ("name", "platform", "version", "language", "params", "commit", "preview")
        graph = graph_so_far()
        there = set() if graph is None else property_names(graph)
        known = (*schema.VERTICES, *schema.EDGES, *schema.TASK_PROPERTIES, *own, *there)
        return _starting(text, known)
    before = text[: len(text) - len(_fragment(text))]
    if not before.endswith("."):
        tokens = ("T", "P", "TextP", "Order", "Scope", "asc", "desc", "local", "id", "label", "__")
        return _starting(text, (*tokens, *PREDICATES.keys(), *_plain(STEPS.values()), "g"))
    owner = _NAME.search(before[:-1])
    if owner is not None and owner.group() in TOKENS:
        return _starting(text, TOKENS[owner.group()])
    if owner is not None and owner.group() in ("P", "TextP"):
        return _starting(text, PREDICATES)
    if re.search(r"(^|[^\w])g\.$", before):
        return _starting(text, (*_plain(SPAWNS.values()), *_plain(SOURCES.values())))
    return _starting(text, _plain(STEPS.values()))


def _plain(names: Iterable[str]) -> set[str]:
    return set(names)
