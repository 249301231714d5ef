"""Questions that people ask of the graph, each in Gremlin; answers are rows of plain data.

They take any `g` over a graph with the schema of `schema.py`: the embedded one, or a database's.
"""

from __future__ import annotations

import difflib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from gremlin_python.process.graph_traversal import GraphTraversal, GraphTraversalSource, __
from gremlin_python.process.traversal import Order, P, T

from twingraph_nb.amounts import seconds_of
from twingraph_nb.graph.summary import summary
from twingraph_nb.lineage.asking import (
    NothingFound,
    NotMade,
    Row,
    came_from,
    names,
    one,
    or_nothing,
    rows,
    run_meant,
    went_to,
    without_ids,
)
from twingraph_nb.lineage.meaning import meant, text_of

__all__ = [
    "NotMade",
    "NothingFound",
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

_TASK = {
    "name": "name", "state": "state", "output": "Output", "seconds": "seconds",
    "platform": "Compute Platform", "called": "Timestamp", "run": "run", "task": "Hash",
}  # fmt: skip
_FAILURE = {
    "task": "Hash", "name": "name", "run": "run", "finished": "finished", "error": "error",
    "attempts": "attempts", "cell": "error_cell", "line": "error_line",
}  # fmt: skip
_COMPARED = {
    "component": "component", "inputs": "Input Values", "output": "Output", "state": "state",
    "platform": "Compute Platform",
}  # fmt: skip
_OF_A_RUN = {
    "pipeline": "name", "parameters": "params", "state": "state", "commit": "commit",
    "notebook": "notebook",
}  # fmt: skip
_OF_ITS_PLACE = {"python": "python", "packages": "packages", "host": "host"}
_DONE = P.within("succeeded", "reused")
_THING = "task, value or file"


def made_by(g: GraphTraversalSource, x: object, *, giver: str = "") -> list[Row]:
    """What made a thing: the tasks it came from, and all that those were made from.

    Args:
        x: a task, its hash, the digest of a value or of work (or the start of one), a value, a
            path, or a text such as a file's name that occurs in an output.
        giver: the hash of the task that is known to have given the value.
    Returns:
        A row for each task; `role` is "maker", "ancestor", or "look-alike": of a large value
        that is not kept only its text is known, and that of this task's is the same.
    Raises:
        NothingFound: nothing in the graph is meant by it.
        NotMade: tasks took it, and none gave it.
    """
    found = meant(g, x, giver)
    begin = {"maker": found.makers, "look-alike": found.gave_alike}
    if not any(begin.values()):
        took = (*found.takers, *found.took_alike)
        if not took:
            raise NothingFound(_THING, _said(x))
        raise NotMade(_said(x), cast("list[str]", g.V(*took).values("name").dedup().to_list()))
    return _related(g, begin, "ancestor", came_from())


def used_by(g: GraphTraversalSource, x: object, *, giver: str = "") -> list[Row]:
    """What used a thing: every task that took it, or something that was made from it.

    Args:
        x: as for `made_by`; also a text or a value that tasks were called with, such as the path
            of a file that they read.
        giver: as for `made_by`.
    Returns:
        A row for each task; `role` is "maker", "user", or "look-alike": it gave or took a large
        value that is shown the same way.
    Raises:
        NothingFound: nothing in the graph is meant by it.
    """
    found = meant(g, x, giver)
    alike = (*found.gave_alike, *found.took_alike)
    begin = {"maker": found.makers, "user": found.takers, "look-alike": alike}
    if not any(begin.values()):
        raise NothingFound(_THING, _said(x))
    way = __.union(went_to("precedes"), __.in_("reuses"))
    return _related(g, begin, "user", way)


def _said(x: object) -> str:
    text = text_of(x)
    return summary(x) if text is None else text


def _related(
    g: GraphTraversalSource,
    begin: Mapping[str, Sequence[object]],
    role: str,
    way: GraphTraversal,
) -> list[Row]:
    """Rows of these tasks, by role, and of those that one comes to from them."""
    answer: dict[object, Row] = {}
    for first, ids in begin.items():
        for row in rows(g.V(*ids), _TASK) if ids else ():
            answer.setdefault(row["task"], {"role": first, **row})
    ids = [id for some in begin.values() for id in some]
    found = g.V(*ids).repeat(way.dedup()).emit().dedup().order().by(one("Timestamp"))
    for row in rows(found, _TASK):
        answer.setdefault(row["task"], {"role": role, **row})
    return list(answer.values())


def diff(g: GraphTraversalSource, one: str, other: str) -> list[Row]:
    """How two runs differ: environment, parameters, components, inputs, outputs and states.

    Args:
        one, other: ids of runs, starts of ids, or "last".
    Returns:
        A row for each difference: `what` differs, of which task (`name`, "" for the run), and
        the values of both.
    Raises:
        NothingFound: there is no such run.
    """
    runs = [run_meant(g, text) for text in (one, other)]
    found = _differing("", *(_facts_of(g, run) for run in runs))
    tasks = [_tasks_of(g, run) for run in runs]
    for name in dict.fromkeys((*tasks[0], *tasks[1])):
        first, second = (of_run.get(name) for of_run in tasks)
        if first is not None and second is not None:
            found += _differing(name, first, second)
        else:
            told = ("called", "not called") if second is None else ("not called", "called")
            found.append({"what": "task", "name": name, "one": told[0], "other": told[1]})
    return found


def _differing(name: str, first: Row, second: Row) -> list[Row]:
    found: list[Row] = []
    for what, value in first.items():
        other = second[what]
        if value != other and what == "packages":
            value, other = _only(value, other), _only(other, value)
        if value != other:
            found.append({"what": what, "name": name, "one": value, "other": other})
    return found


def _only(packages: object, others: object) -> str:
    """The packages that are not among others, or not in that version."""
    left, right = (str(text).split(", ") for text in (packages, others))
    return ", ".join(one for one in left if one not in right)


def _facts_of(g: GraphTraversalSource, run: str) -> Row:
    vertex = g.V(f"run:{run}")
    told = rows(vertex, _OF_A_RUN)[0]
    places = rows(g.V(f"run:{run}").out("ran_in"), _OF_ITS_PLACE)
    return told | (places[0] if places else dict.fromkeys(_OF_ITS_PLACE, ""))


def _tasks_of(g: GraphTraversalSource, run: str) -> dict[str, Row]:
    """The tasks of a run by name and place: the second `load` is "load 2"."""
    asked = g.V(f"run:{run}").in_("in_run").order().by("number").project("name", *_COMPARED)
    asked = asked.by(one("name")).by(or_nothing(__.out("instance_of").values("digest")))
    for key in list(_COMPARED.values())[1:]:
        asked = asked.by(one(key))
    seen: Counter[str] = Counter()
    found = {}
    for row in cast("list[Row]", asked.to_list()):
        name = str(row.pop("name"))
        seen[name] += 1
        row["inputs"] = without_ids(row["inputs"])
        found[name if seen[name] == 1 else f"{name} {seen[name]}"] = row
    return found


def who_changed(g: GraphTraversalSource, component: str) -> list[Row]:
    """The versions of a component, oldest first: when, by whom, where, and how much changed.

    Raises:
        NothingFound: no component is called so.
    """

    def first_run() -> GraphTraversal:
        return __.in_("instance_of").order().by("Timestamp").limit(1).out("in_run")

    found = (
        _versions(g, component)
        .order()
        .by("first_used")
        .project("digest", "first used", "platform", "source", "run", "who", "where", "commit")
        .by(one("digest"))
        .by(one("first_used"))
        .by(one("platform"))
        .by(one("Source Code"))
        .by(or_nothing(first_run().values("run")))
        .by(or_nothing(first_run().in_("started").values("name")))
        .by(or_nothing(first_run().values("notebook", "host")))
        .by(or_nothing(first_run().values("commit")))
        .to_list()
    )
    answer, before = [], None
    for row in cast("list[Row]", found):
        source = str(row.pop("source"))
        answer.append({**row, "changed": _changed(before, source)})
        before = source
    return answer


def _versions(g: GraphTraversalSource, component: str) -> GraphTraversal:
    if not g.V().has("Component", "name", component).has_next():
        raise NothingFound("component", component, names(g))
    return g.V().has("Component", "name", component).has("first_used")


def _changed(before: str | None, source: str) -> str:
    if before is None:
        return "first version"
    lines = difflib.unified_diff(before.splitlines(), source.splitlines(), lineterm="", n=0)
    signs = Counter(line[0] for line in list(lines)[2:])
    if not signs["+"] and not signs["-"]:
        return "options only"
    return f"+{signs['+']} -{signs['-']} lines"


def stale(g: GraphTraversalSource) -> list[Row]:
    """Results of the latest runs that would come out differently now, and why.

    A result is stale when another version of its component was used last, or when it was made
    from a stale one, be it in another run. Only the latest run of each pipeline and of each
    session's name counts.
    """
    outdated = _outdated(g)
    if not outdated:
        return []
    latest: dict[tuple[object, object], object] = {}
    runs = g.V().has_label("Run").has("name").order().by("started")
    asked = runs.project("id", "form", "name").by(T.id).by(one("form")).by(one("name"))
    for row in cast("list[Row]", asked.to_list()):
        latest[row["form"], row["name"]] = row["id"]
    changed = (
        g.V(*latest.values())
        .in_("in_run")
        .has("state", _DONE)
        .emit()
        .repeat(came_from().dedup())
        .dedup()
        .where(__.out("instance_of").has_id(P.within(*outdated)))
    )
    ids = changed.id_().to_list()
    if not ids:
        return []
    now = __.out("in_run").has_id(P.within(*latest.values()))
    first = rows(g.V(*ids).has("state", _DONE).where(now), _TASK)
    known = {row["task"] for row in first}
    below = g.V(*ids).repeat(went_to().dedup()).emit().dedup().has("state", _DONE).where(now)
    return [{"why": "its component has changed", **row} for row in first] + [
        {"why": "made from a stale result", **row}
        for row in rows(below, _TASK)
        if row["task"] not in known
    ]


def _outdated(g: GraphTraversalSource) -> list[object]:
    """The versions of components that were not the last of their name to be called.

    By their latest call, not their first: a change may have been taken back.
    """
    asked = g.V().has_label("Component").group().by("name").by(__.id_().fold()).next()
    found: list[object] = []
    for ids in cast("Mapping[str, list[object]]", asked).values():
        if len(ids) > 1:
            used = g.V(*ids).project("id", "last").by(T.id)
            told = used.by(or_nothing(__.in_("instance_of").values("Timestamp").max_())).to_list()
            newest = max(cast("list[Row]", told), key=lambda row: str(row["last"]))
            found += [one for one in ids if one != newest["id"]]
    return found


def blast(g: GraphTraversalSource, component: str) -> list[Row]:
    """What a change of a component reaches: what is below it, and how much of each.

    Returns:
        A row for each other component or nested pipeline: its name, how many `tasks` came from
        the one that changes, how many of their `values` are kept, and in which `pipelines`.
    Raises:
        NothingFound: no component is called so.
    """
    below = (
        _versions(g, component)
        .in_("instance_of")
        .repeat(went_to("precedes").dedup())
        .emit()
        .dedup()
        .has("name", P.neq(component))
        .project("name", "values", "pipeline")
        .by(one("name"))
        .by(__.out("produces").count())
        .by(or_nothing(__.out("in_run").out("of_pipeline").values("name")))
    )
    found: dict[str, Row] = {}
    for task in cast("list[Row]", below.to_list()):
        name = str(task["name"])
        row = found.setdefault(name, {"name": name, "tasks": 0, "values": 0, "pipelines": []})
        row["tasks"] = cast(int, row["tasks"]) + 1
        row["values"] = cast(int, row["values"]) + cast(int, task["values"])
        pipelines = cast("list[object]", row["pipelines"])
        if task["pipeline"] and task["pipeline"] not in pipelines:
            pipelines.append(task["pipeline"])
    return list(found.values())


def slowest(g: GraphTraversalSource, limit: int = 20) -> list[Row]:
    """Where the time goes: for each component its tasks, and their seconds.

    Returns:
        At most `limit` rows, most seconds in all first.
    """
    spent = (
        g.V().has_label("Task").has("seconds").group().by("name").by(__.values("seconds").fold())
    )
    found: list[Row] = [
        {
            "name": name,
            "tasks": len(seconds),
            "seconds": sum(seconds),
            "mean": sum(seconds) / len(seconds),
            "longest": max(seconds),
        }
        for name, seconds in cast("Mapping[str, list[float]]", spent.next()).items()
    ]
    return sorted(found, key=lambda row: cast(float, row["seconds"]), reverse=True)[:limit]


def failures(
    g: GraphTraversalSource,
    since: float | str | None = None,
    *,
    now: Callable[[], float] = time.time,
) -> list[Row]:
    """The tasks that failed, newest first, with their errors and places.

    Args:
        since: seconds, or a text such as "7d": only those of that last time.
    Raises:
        ValueError: `since` is no such time.
    """
    failed = g.V().has("Task", "state", "failed")
    if since is not None:
        failed = failed.has("finished", P.gte(now() - seconds_of(since)))
    return rows(failed.order().by("finished", Order.desc), _FAILURE)
