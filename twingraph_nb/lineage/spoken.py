"""Questions as people write them, on a command line or behind `%lineage`."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import cast

from gremlin_python.process.graph_traversal import GraphTraversalSource

from twingraph_nb.errors import LineageError, suggestion
from twingraph_nb.lineage import questions, schema
from twingraph_nb.lineage.asking import Row
from twingraph_nb.lineage.redact import cut

__all__ = ["QUESTIONS", "QuestionError", "ask", "cells", "words_of"]

_Asked = Callable[..., list[Row]]


def _schema(_: GraphTraversalSource) -> list[Row]:
    """What the graph holds, from the one table of it."""
    told = [("vertex", name, "", "", what) for name, what in schema.VERTICES.items()]
    told += [("edge", e.label, e.out, e.in_, e.meaning) for e in schema.EDGES.values()]
    kinds = {"Task": schema.TASK_PROPERTIES, **schema.OTHER_PROPERTIES}
    kinds["an edge"] = schema.EDGE_PROPERTIES
    for kind, properties in kinds.items():
        told += [(f"of {kind}", name, "", "", what) for name, what in properties.items()]
    head = ("kind", "name", "from", "to", "meaning")
    return [dict(zip(head, row, strict=True)) for row in told]


QUESTIONS: dict[str, tuple[_Asked, tuple[str, ...], str]] = {
    "made-by": (questions.made_by, ("X",), "the tasks that a task, value or file came from"),
    "used-by": (questions.used_by, ("X",), "the tasks that took it, or something made from it"),
    "diff": (questions.diff, ("RUN", "RUN"), "how two runs differ"),
    "who-changed": (questions.who_changed, ("COMPONENT",), "its versions: when, by whom, where"),
    "stale": (questions.stale, (), "results that would come out differently now"),
    "blast": (questions.blast, ("COMPONENT",), "what a change of it reaches"),
    "slowest": (questions.slowest, (), "where the time goes"),
    "failures": (questions.failures, ("[--since AGE]",), "what failed, newest first"),
    "schema": (_schema, (), "what the graph holds: vertices, edges and properties"),
}
"""Question -> its function, what it takes, and what it tells."""

_WIDEST = 100
"""Most characters of a value in a table; the rows themselves have all."""
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT = 12
"""Characters of a digest or a commit in a table."""
_SMALL, _SMALLEST = 1e-3, 1e-6
"""Numbers between these are written out: most are seconds, and tasks take microseconds."""
_LARGE = 1e3
"""Numbers from here on keep their digits."""
_TIMES = ("started", "finished", "first used", "first_used", "last_used")
"""Columns that hold seconds since the epoch; `called` holds a text in UTC."""
_AS_TIME = "%Y-%m-%d %H:%M:%S"


class QuestionError(LineageError):
    """A question that is not known, or is asked with the wrong words."""


def words_of(line: str) -> list[str]:
    """Give the words of a line; quotes hold words together.

    Raises:
        QuestionError: a quote has no end.
    """
    try:
        return shlex.split(line)
    except ValueError as exc:
        raise QuestionError(f"{line!r}: {exc}") from None


def ask(g: GraphTraversalSource, words: Sequence[str], *, more: Sequence[str] = ()) -> list[Row]:
    """Give the answer to a question such as ``["diff", "last", "a1fd"]``.

    Args:
        more: what can be written in its place, to be named in the error.
    Raises:
        QuestionError: it is not known (the nearest is named), or asked with the wrong words.
        LineageError: nothing in the graph is meant.
    """
    name, *given = words if words else [""]
    if name not in QUESTIONS:
        known = (*QUESTIONS, *more)
        listed = ", ".join(known)
        raise QuestionError(
            f"no question is called {name!r}{suggestion(name, known)}; there are: {listed}"
            if name
            else f"ask one of: {listed}"
        )
    function, takes, _ = QUESTIONS[name]
    if name == "failures":
        since = _since(given)
        try:
            return function(g, since)
        except ValueError as exc:
            raise QuestionError(f"--since {exc}, not {since!r}") from None
    if len(given) != len(takes):
        raise QuestionError(f"ask {' '.join((name, *takes))}, not {' '.join(words)!r}")
    return function(g, *given)


def _since(given: list[str]) -> str | None:
    if not given:
        return None
    text = " ".join(given).replace("--since=", "--since ", 1)
    option, _, age = text.partition(" ")
    if option != "--since" or not age.strip():
        raise QuestionError(f"ask failures [--since AGE], not 'failures {text}'")
    return age.strip()


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Give the head of a table and its rows as texts on one line; times are local."""
    head = list(rows[0]) if rows else []
    return head, [[_cell(name, row.get(name, "")) for name in head] for row in rows]


def _cell(name: str, value: object) -> str:
    if name in _TIMES and isinstance(value, int | float):
        return datetime.fromtimestamp(value).strftime(_AS_TIME)
    if name == "called" and value:
        return datetime.fromisoformat(str(value)).astimezone().strftime(_AS_TIME)
    if isinstance(value, float):
        size = abs(value)
        if _SMALLEST <= size < _SMALL:
            return f"{value:.7f}".rstrip("0")
        return f"{value:.10g}" if size >= _LARGE else f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, cast("list[object]", value)))
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return value[:_SHORT]
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return cut(" ".join(text.split()), _WIDEST)
