"""Questions that people ask of the graph, each a Gremlin traversal; answers are plain rows.

They take any `g` over a graph with the schema of `schema.py`: the embedded one, or a database's.
"""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

from gremlin_python.process.graph_traversal import GraphTraversal, GraphTraversalSource, __
from gremlin_python.process.traversal import Order, P, T, TextP

from twingraph_nb.amounts import seconds_of
from twingraph_nb.errors import suggestion
from twingraph_nb.graph.summary import summary
from twingraph_nb.lineage.problems import NothingFound

__all__ = [
    "Row",
    "blast",
    "diff",
    "failures",
    "made_by",
    "slowest",
    "stale",
    "used_by",
    "who_changed",
]

Row = dict[str, object]
"""A row of an answer; every row of an answer has the same keys, in the same order."""

_SHORTEST = 4
"""Fewest characters of a hash or digest that may stand for the whole."""
_ENOUGH = 50
"""Most tasks that a text which is no hash and no digest may mean."""
_UP = ("feeds", "precedes")
_REFERENCE = re.compile(r"← [0-9a-z]+")
_TASK = {
    "task": "Hash", "name": "name", "state": "state", "run": "run", "called": "Timestamp",
    "seconds": "seconds", "platform": "Compute Platform", "output": "Output",
}  # fmt: skip


def made_by(g: GraphTraversalSource, x: object) -> list[Row]:
    """What made a thing: the tasks it came from, and all that those were made from.

    Args:
        x: a task, its hash, the digest of a value or of work (or the start of one), a value, or
            a text such as a file's name that occurs in an output.
    Returns:
        A row for each task; `role` is "maker" or "ancestor".
    Raises:
        NothingFound: nothing in the graph is meant by it.
    """
    return _related(g, x, "maker", "ancestor", __.union(__.in_(*_UP), __.out("reuses")))


def used_by(g: GraphTraversalSource, x: object) -> list[Row]:
    """What used a thing: every task that took it, or something that was made from it.

    Args:
        x: as for `made_by`.
    Returns:
        A row for each task; `role` is "maker" or "user".
    Raises:
        NothingFound: nothing in the graph is meant by it.
    """
    return _related(g, x, "maker", "user", __.union(__.out(*_UP), __.in_("reuses")))


def diff(g: GraphTraversalSource, one: str, other: str) -> list[Row]:
    """How two runs differ: environment, parameters, components, inputs, outputs and states.

    Args:
        one, other: ids of runs, starts of ids, or "last".
    Returns:
        A row for each difference: `what` differs, of which task (`name`), and both values.
    Raises:
        NothingFound: there is no such run.
    """
    runs = [_run(g, text) for text in (one, other)]
    rows = _differing("", *(_run_facts(g, run) for run in runs))
    tasks = [_tasks_of(g, run) for run in runs]
    for name in [*tasks[0], *(name for name in tasks[1] if name not in tasks[0])]:
        first, second = (found.get(name) for found in tasks)
        if first is None or second is None:
            there, gone = ("", "not called"), ("not called", "")
            a, b = there if second is None else gone
            rows.append({"what": "task", "name": name, "one": a, "other": b})
        else:
            rows += _differing(name, first, second)
    return rows


def who_changed(g: GraphTraversalSource, component: str) -> list[Row]:
    """The versions of a component, oldest first: when, by whom, where, and how much changed.

    Raises:
        NothingFound: no component is called so.
    """
    first_task = __.in_("instance_of").order().by("Timestamp").limit(1).out("in_run")
    found = (
        g.V()
        .has("Component", "name", component)
        .order()
        .by("first_used")
        .project("digest", "first used", "platform", "source", "run", "who", "where", "commit")
        .by(_one("digest"))
        .by(_one("first_used"))
        .by(_one("platform"))
        .by(_one("Source Code"))
        .by(_or_none(first_task.clone().values("run")))
        .by(_or_none(first_task.clone().in_("started").values("name")))
        .by(_or_none(first_task.clone().values("notebook", "host")))
        .by(_or_none(first_task.clone().values("commit")))
        .to_list()
    )
    if not found:
        raise NothingFound(f"component {component!r}{suggestion(component, _names(g))}")
    rows, before = [], ""
    for row in cast("list[Row]", found):
        source = str(row.pop("source"))
        rows.append({**row, "changed": _changed(before, source) if before else "first version"})
        before = source
    return rows


def stale(g: GraphTraversalSource) -> list[Row]:
    """Results of the latest runs that would be different now, and why.

    A result is stale when its component has a newer version, or when it was made from a stale
    one. Only the latest run of each pipeline and session counts.
    """
    runs = g.V().has_label("Run").has("name").order().by("started", Order.desc)
    latest: dict[tuple[object, ...], object] = {}
    for id, form, name in runs.project("id", "form", "name").by(T.id).by("form").by("name"):
        pass
    return []


def blast(g: GraphTraversalSource, component: str) -> list[Row]:
    """What a change of a component reaches: the components below it, and how much of each.

    Raises:
        NothingFound: no component is called so.
    """
    if not g.V().has("Component", "name", component).has_next():
        raise NothingFound(f"component {component!r}{suggestion(component, _names(g))}")
    below = (
        g.V()
        .has("Component", "name", component)
        .in_("instance_of")
        .repeat(__.out(*_UP).dedup())
        .emit()
        .dedup()
    )
    return []


def slowest(g: GraphTraversalSource, limit: int = 20) -> list[Row]:
    """Where the time goes: for each component its tasks, and their seconds.

    Returns:
        At most `limit` rows, most seconds in all first.
    """
    spent = g.V().has_label("Task").has("seconds").group().by("name").by(
        __.values("seconds").fold()
    )
    rows: list[Row] = [
        {
            "name": name,
            "tasks": len(seconds),
            "seconds": sum(seconds),
            "mean": sum(seconds) / len(seconds),
            "longest": max(seconds),
        }
        for name, seconds in cast("Mapping[str, list[float]]", spent.next()).items()
    ]
    return sorted(rows, key=lambda row: cast(float, row["seconds"]), reverse=True)[:limit]


def failures(
    g: GraphTraversalSource,
    since: float | str | None = None,
    *,
    now: Callable[[], float] = time.time,
) -> list[Row]:
    """The tasks that failed, newest first, with their errors and places.

    Args:
        since: seconds, or a text such as "7d": only those of that last time.
    """
    failed = g.V().has("Task", "state", "failed")
    if since is not None:
        failed = failed.has("finished", P.gte(now() - seconds_of(since)))
    told = {"task": "Hash", "name": "name", "run": "run", "finished": "finished",
            "error": "error", "attempts": "attempts", "cell": "error_cell",
            "line": "error_line"}  # fmt: skip
    return _rows(failed.order().by("finished", Order.desc), told)
