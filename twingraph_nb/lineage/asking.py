"""What the questions share: finding what a person means, and rows of plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

from gremlin_python.process.graph_traversal import GraphTraversal, GraphTraversalSource, __
from gremlin_python.process.traversal import Order, TextP

from twingraph_nb.errors import LineageError, suggestion

__all__ = [
    "NotMade",
    "NothingFound",
    "NothingRan",
    "Row",
    "came_from",
    "names",
    "one",
    "or_nothing",
    "rows",
    "run_meant",
    "went_to",
    "without_ids",
]

Row = dict[str, object]
"""A row of an answer; every row of an answer has the same keys, in the same order."""

_NAMED = 3
"""Most tasks that an error names."""
_REFERENCE = re.compile(r"← [0-9a-z]+")


class NothingFound(LineageError):
    """Nothing in the graph is meant by what was asked for."""

    def __init__(self, kind: str, name: str, known: Sequence[str] = ()) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"the graph has no {kind} {name!r}{suggestion(name, known)}")


class NothingRan(LineageError):
    """There is no run in the graph at all."""

    def __init__(self) -> None:
        super().__init__("nothing has run yet: the graph of this folder of runs is empty")


class NotMade(LineageError):
    """No task gave what was asked for, but some took it."""

    def __init__(self, text: str, taken_by: Sequence[str]) -> None:
        self.text, self.taken_by = text, tuple(taken_by)
        said = ", ".join(taken_by[:_NAMED]) + (" ..." if len(taken_by) > _NAMED else "")
        super().__init__(f"no task gave {text!r}; {said} took it: ask used-by")


def came_from() -> GraphTraversal:
    """From tasks to those that their values were made from, one step back.

    A map counts as one task. All tasks inside of a nested pipeline, of a component that calls
    others, and of a run that was given as a whole, count as what its value was made from.
    """
    return __.union(
        __.in_("feeds", "precedes"),
        __.out("reuses"),
        __.not_(__.has("form", "map")).in_("part_of"),
        __.in_("gives").in_("in_run"),
    )


def went_to(*more: str) -> GraphTraversal:
    """From tasks to those whose values were made from theirs, one step on: the way back.

    Args:
        more: labels of edges that are followed too, such as "precedes".
    """
    return __.union(__.out("feeds", *more), __.out("part_of"), __.out("in_run").out("gives"))


def one(key: str) -> GraphTraversal:
    """The first value of a property, or "" so that a row keeps its shape."""
    return or_nothing(__.values(key).limit(1))


def or_nothing(found: GraphTraversal) -> GraphTraversal:
    """What a traversal gives first, or ""."""
    return __.coalesce(found, __.constant(""))


def rows(found: GraphTraversal, told: Mapping[str, str]) -> list[Row]:
    """A row for each element: column -> property."""
    asked = found.project(*told)
    for key in told.values():
        asked = asked.by(one(key))
    return cast("list[Row]", asked.to_list())


def names(g: GraphTraversalSource, label: str = "Component") -> list[str]:
    """The names of all vertices of a label."""
    return cast("list[str]", g.V().has_label(label).values("name").dedup().to_list())


def run_meant(g: GraphTraversalSource, text: str) -> str:
    """The id of a run from its id, the start of one, or "last".

    Raises:
        NothingFound: there is no such run, or several.
    """
    runs = g.V().has_label("Run").has("name")
    if text == "last":
        found = runs.order().by("started", Order.desc).limit(1).values("run").to_list()
    else:
        found = runs.has("run", TextP.starting_with(text)).values("run").limit(2).to_list()
        if text in found:
            found = [text]
    if text == "last" and not found:
        raise NothingRan()
    if len(found) != 1:
        raise NothingFound("run" if not found else "single run that starts with", text)
    return str(found[0])


def without_ids(text: object) -> str:
    """The text of inputs without the hashes of this very run."""
    return _REFERENCE.sub("←", str(text))
