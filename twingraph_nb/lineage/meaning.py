"""What a person means by X: the tasks that gave it, and those that were called with it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from gremlin_python.process.graph_traversal import GraphTraversal, GraphTraversalSource
from gremlin_python.process.traversal import P, T, TextP

from twingraph_nb import wire
from twingraph_nb.component import Component, Pipeline
from twingraph_nb.errors import LineageError
from twingraph_nb.graph.run import Run
from twingraph_nb.graph.summary import summary

__all__ = ["Meant", "meant", "text_of"]

_SHORTEST = 4
"""Fewest characters of a hash or digest that may stand for the whole."""
_ENOUGH = 50
"""Most tasks that a text may mean which is no hash and no digest."""
_CUT = re.compile(r"\.\.\.|…|^<")
"""What the text of a value has where it leaves out some of it."""
_PLAIN = (bool, int, float, complex, type(None))


@dataclass(frozen=True, slots=True)
class Meant:
    """The ids of the tasks that are meant.

    makers: they gave it. takers: they were called with it, and it came from no task. gave_alike,
    took_alike: the same of a value that is shown like it. Of a large value only that is recorded.
    """

    makers: tuple[object, ...] = ()
    takers: tuple[object, ...] = ()
    gave_alike: tuple[object, ...] = ()
    took_alike: tuple[object, ...] = ()


def meant(g: GraphTraversalSource, x: object, giver: str = "") -> Meant:
    """Give the tasks that are meant; empty when none are.

    Args:
        x: a task, its hash, the digest of a value or of work (or the start of one), a value, a
            path, or a text such as a file's name that occurs in an output or an input.
        giver: the hash of the task that is known to have given the value.
    Raises:
        LineageError: it is a component, a pipeline or a run.
    """
    if isinstance(x, Component | Pipeline | Run):
        raise _not_one_thing(x)
    text = text_of(x)
    if text is None:
        return _of_value(g, x, giver)
    found = _ids(_named(g, text))
    return Meant(found) if found else _of_text(g, text)


def text_of(x: object) -> str | None:
    """The hash of a task, the text of a path or a text; None for any other value."""
    hash = getattr(x, "hash", None)
    if isinstance(hash, str):
        return hash
    return os.fsdecode(x) if isinstance(x, str | os.PathLike) else None


def _not_one_thing(x: Component | Pipeline | Run) -> LineageError:
    more = (
        "take its result() or one of its tasks"
        if isinstance(x, Run)
        else "who-changed and blast take a component by its name"
    )
    kind = type(x).__name__.lower()
    return LineageError(
        f"{x.name} is a {kind}, and what is meant is a task, a value or a file: {more}"
    )


def _named(g: GraphTraversalSource, text: str) -> list[GraphTraversal]:
    """By a hash or a digest, or the start of one."""
    tries = [g.V(f"task:{text}")]
    if re.fullmatch(r"[0-9a-z]+", text):
        start = TextP.starting_with(text) if len(text) >= _SHORTEST else P.eq(text)
        tries += [
            g.V().has("Task", "Hash", start),
            g.V().has("Artifact", "digest", start).in_("produces").has_label("Task"),
            g.V().has("Task", "digest", start),
        ]
    return tries


def _of_text(g: GraphTraversalSource, text: str) -> Meant:
    """By a whole value, a text within one or the end of a path; if there is none, by any part."""
    quoted = summary(text)
    parts = (quoted, f"/{quoted[1:]}")
    makers = _giving(g, text, quoted) or _ids([_outputs(g, part) for part in parts])
    takers = _called_with(g, text, quoted) or _inputs(g, *parts)
    if makers or takers:
        return Meant(makers, takers)
    inner = repr(text)[1:-1]
    return Meant(_ids([_outputs(g, inner)]), _inputs(g, inner))


def _of_value(g: GraphTraversalSource, value: object, giver: str) -> Meant:
    """By who is known to have given it, by content where that is kept, else by its text."""
    text = summary(value)
    gave = (f"task:{giver}",) if giver else _kept(g, value)
    took = _called_with(g, text)
    if isinstance(value, _PLAIN) or not (hasattr(value, "shape") or _CUT.search(text)):
        return Meant(gave or _giving(g, text), took)
    return Meant(gave, (), () if gave else _giving(g, text), took)


def _kept(g: GraphTraversalSource, value: object) -> tuple[object, ...]:
    """The tasks that gave just this content. The store names it so too."""
    if isinstance(value, _PLAIN):
        return ()  # the text of it says it all
    digest = _content(value)
    if digest is None:
        return ()
    return _ids([g.V(f"value:{digest}").in_("produces").has_label("Task")])


def _content(value: object) -> str | None:
    """The digest that the store gives to a value; None where it cannot be kept."""
    found = hashlib.sha256()
    try:
        for part in wire.pack(value):
            found.update(part)
    except Exception:  # whatever the value's own class raises; it has no digest then
        return None
    return found.hexdigest()


def _giving(g: GraphTraversalSource, *texts: str) -> tuple[object, ...]:
    """The tasks whose output has just one of these texts."""
    return _ids([g.V().has("Task", "Output", P.within(list(dict.fromkeys(texts))))])


def _called_with(g: GraphTraversalSource, *texts: str) -> tuple[object, ...]:
    """The tasks with an input of just one of these texts. In JSON no text holds a bare `:"`."""
    wanted = [f':"{_in_json(text)}"' for text in dict.fromkeys(texts)]
    return _ids([g.V().has("Task", "Input Values", TextP.containing(one)) for one in wanted])


def _outputs(g: GraphTraversalSource, part: str) -> GraphTraversal:
    return g.V().has("Task", "Output", TextP.containing(part)).limit(_ENOUGH)


def _inputs(g: GraphTraversalSource, *parts: str) -> tuple[object, ...]:
    """The tasks with the first of these that is in an input of any."""
    for part in parts:
        asked = g.V().has("Task", "Input Values", TextP.containing(_in_json(part)))
        told = asked.project("id", "inputs").by(T.id).by("Input Values").to_list()
        rows = cast("list[Mapping[str, object]]", told)
        found = [row["id"] for row in rows if _is_within(part, str(row["inputs"]))]
        if found:
            return tuple(found[:_ENOUGH])
    return ()


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _is_within(text: str, inputs: str) -> bool:
    """True when a text is in a value of this JSON object, not in a port's name or a task's hash."""
    try:
        values = json.loads(inputs).values()
    except ValueError:
        return True  # it was too long, and is cut
    return any(text in value and not value.startswith("← ") for value in map(str, values))


def _ids(tries: list[GraphTraversal]) -> tuple[object, ...]:
    """What the first of these finds that finds anything."""
    for found in tries:
        ids = found.dedup().id_().to_list()
        if ids:
            return tuple(cast("list[object]", ids))
    return ()
