"""How two runs differ: code, parameters, inputs, outputs, times, surroundings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from itertools import compress

from twingraph_nb.picture.collapse import Drawing
from twingraph_nb.picture.progress import seconds_text
from twingraph_nb.plan.compared import compared, compared_html
from twingraph_nb.plan.drawn import diff_html
from twingraph_nb.plan.history import Names, Past, Recorded, by_key, plain, recorded
from twingraph_nb.plan.reasons import source_diff, uses_diff
from twingraph_nb.selection import base_of
from twingraph_nb.source.used import changed_uses, used_text
from twingraph_nb.store import RunRow, Store

__all__ = ["CodeChange", "RunDiff", "TaskChange", "diff_of", "packages_of"]

Pair = tuple[object, object]
"""What it is in the first run, and in the second."""
_SURROUNDINGS = ("python", "version", "host", "notebook")
_MOST_LINES = 200
_MOST_ITEMS = 4
"""Items of a map that are told one by one."""
_GOOD = ("succeeded", "reused")
"""The same, seen from the outside."""
_LEAST_SECONDS, _LEAST_SHARE = 0.01, 0.1
"""Differences in time that are told: of more seconds than that, and of more than this share."""


@dataclass(frozen=True, slots=True)
class CodeChange:
    """A component that is not the same in both runs.

    diff: of its source, and of that of its helpers, unified diffs, or "". facts: platform, policy,
    ports, as (before, after). uses: what of the notebook it uses that is not the same. own: its own
    source is not the same.
    """

    name: str
    diff: str = ""
    facts: Mapping[str, Pair] | None = None
    uses: tuple[str, ...] = ()
    own: bool = True

    def __str__(self) -> str:
        said = ["source"] * self.own + [f"{n} {_arrow(p)}" for n, p in (self.facts or {}).items()]
        return ", ".join([*said, *(f"it uses {one}" for one in self.uses)])


@dataclass(frozen=True, slots=True)
class TaskChange:
    """A task that did not go the same way in both runs.

    inputs, outputs: (before, after) as short texts, by port. bytes: sizes of its kept outputs.
    same: True if its outputs are the same to the byte, None if that is not known. state, seconds:
    (before, after), None where it was not. code: its component's code, platform or policy differs.
    """

    name: str
    state: Pair
    seconds: Pair
    inputs: Mapping[str, Pair]
    outputs: Mapping[str, Pair]
    bytes: Pair
    same: bool | None
    code: bool = False

    @property
    def reason(self) -> str:
        """What differs, in a few words."""
        said = ["code"] * self.code
        said += [f"input {port}" for port in self.inputs]
        said += [f"output {port}" for port in self.outputs]
        if self.same is False and not self.outputs:
            said.append("output, to the byte")
        if not _alike(self.state):
            said.append(_arrow(self.state))
        if self.bytes[0] != self.bytes[1] and None not in self.bytes:
            said.append(f"{_arrow(self.bytes)} bytes")
        if None not in self.seconds:
            one, two = (float(str(each)) for each in self.seconds)
            said += [f"time {seconds_text(one)} -> {seconds_text(two)}"] * _differ(one, two)
        return ", ".join(said)


@dataclass(frozen=True, slots=True, repr=False)
class RunDiff:
    """What differs between two runs; each pair is (in the first, in the second).

    packages: versions of those that both have loaded, where they differ. times: seconds of each
    component's tasks together, of components that ran in both. only_first, only_second: names of
    tasks that the other one lacks. tasks: those that differ in more than their time. equal: how
    many do not. graph: both runs as one.
    """

    first: str
    second: str
    state: Pair
    seconds: Pair
    params: Mapping[str, Pair]
    surroundings: Mapping[str, Pair]
    packages: Mapping[str, Pair]
    times: Mapping[str, tuple[float, float]]
    code: tuple[CodeChange, ...]
    tasks: tuple[TaskChange, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    equal: int
    graph: Drawing = field(default=Drawing((), ()), compare=False)

    def facts(self) -> dict[str, object]:
        """Give all of it as JSON can hold it."""
        return asdict(replace(self, graph=Drawing((), ()))) | {"graph": self._marks()}

    def _marks(self) -> dict[str, str]:
        return {box.name: box.mark for box in self.graph.nodes}

    def json(self) -> str:
        """Give all of it as JSON text."""
        return json.dumps(self.facts(), indent=2)

    def lines(self) -> list[str]:
        """Give it line by line, without the sources."""
        took = [seconds_text(float(str(one))) for one in self.seconds]
        told = [
            f"runs    {self.first} -> {self.second}",
            f"state   {_arrow(self.state)}",
            f"time    {took[0]} -> {took[1]}",
        ]
        told += [f"param   {n}: {_arrow(p, 'not given')}" for n, p in self.params.items()]
        told += [f"where   {name}: {_arrow(pair)}" for name, pair in self.surroundings.items()]
        told += [f"package {name}: {_arrow(pair)}" for name, pair in self.packages.items()]
        told += [
            f"time    {name}: {seconds_text(one)} -> {seconds_text(two)}"
            for name, (one, two) in self.times.items()
            if _differ(one, two)
        ]
        told += [f"code    {change.name}: {change}" for change in self.code]
        shown, more = _first_items([task.name for task in self.tasks])
        for task in compress(self.tasks, shown):
            told += _task_lines(task)
        told += [f"items   {name}: {n:,} more of its items differ" for name, n in more.items()]
        for run, names in ((self.first, self.only_first), (self.second, self.only_second)):
            shown, more = _first_items(names)
            told += [f"only    {name} is only in {run}" for name in compress(names, shown)]
            told += [f"only    {n:,} more items of {name} are in {run}" for name, n in more.items()]
        told.append(f"equal   {self.equal:,} tasks")
        if len(told) > _MOST_LINES:
            left = len(told) - _MOST_LINES
            told = [*told[:_MOST_LINES], f"... and {left:,} lines more: see `--json`"]
        return told

    def __repr__(self) -> str:
        sources = [f"\n{one.diff}" for one in self.code if one.diff]
        return "\n".join([*self.lines(), *sources])

    def _repr_html_(self) -> str:
        sources = "".join(diff_html(one.diff) for one in self.code if one.diff)
        graph = compared_html(self.graph, self._rows()) if self.graph.nodes else ""
        return f"{graph}<pre>{escape(chr(10).join(self.lines()))}</pre>{sources}"

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        """Kind, task and what differs, of each task that is not the same."""
        for kind, rows in (
            ("changed", [(task.name, task.reason) for task in self.tasks]),
            ("removed", [(name, "") for name in self.only_first]),
            ("added", [(name, "") for name in self.only_second]),
        ):
            shown, more = _first_items([name for name, _ in rows])
            yield from ((kind, name, what) for name, what in compress(rows, shown))
            yield from ((kind, name, f"{n:,} more of its items") for name, n in more.items())


def diff_of(store: Store, first: str, second: str) -> RunDiff:
    """Give how two recorded runs differ.

    Args:
        first, second: ids, starts of ids, or "last".
    Raises:
        RunError: one is not known.
        StoreError: its record is damaged.
    """
    rows = [store.run(store.resolve(text)) for text in (first, second)]
    runs = [recorded(row.id, store.events(row.id)) for row in rows]
    names = Names()
    one, two = (dict(by_key(run, names)) for run in runs)
    code = tuple(_code(*runs))
    edited = {change.name for change in code}
    changes = {
        key: _task_change(one[key], two[key], store.sizes, runs[0].component(one[key]) in edited)
        for key in one
        if key in two
    }
    changed = [change for change in changes.values() if change is not None]
    reasons = {key: change.reason for key, change in changes.items() if change is not None}
    before, after = rows
    return RunDiff(
        before.id,
        after.id,
        (before.state, after.state),
        (before.seconds, after.seconds),
        _pairs(before.params, after.params),
        _surroundings(before, after),
        packages_of(before, after),
        _times(*runs),
        code,
        tuple(changed),
        tuple(one[key].added.name for key in one if key not in two),
        tuple(two[key].added.name for key in two if key not in one),
        len(changes) - len(changed),
        compared((runs[0], one), (runs[1], two), reasons),
    )


def _pairs(one: Mapping[str, object], two: Mapping[str, object]) -> dict[str, Pair]:
    """What differs, by name; None where one of them has no such name."""
    return {
        name: (one.get(name), two.get(name))
        for name in {**one, **two}
        if one.get(name) != two.get(name)
    }


def _surroundings(one: RunRow, two: RunRow) -> dict[str, Pair]:
    mine, other = ({name: row.origin.get(name) for name in _SURROUNDINGS} for row in (one, two))
    return _pairs(mine, other)


def _differ(one: float, two: float) -> bool:
    """Tell whether two times differ by enough to be told."""
    return abs(two - one) > max(_LEAST_SECONDS, _LEAST_SHARE * max(one, two))


def packages_of(one: RunRow, two: RunRow) -> dict[str, Pair]:
    """Give versions of packages that differ; what only one has loaded follows from its code."""
    mine, other = (
        dict(
            name.split(" ", 1) for name in row.origin.get("packages", "").split(", ") if " " in name
        )
        for row in (one, two)
    )
    both = mine.keys() & other.keys()
    return _pairs({n: mine[n] for n in sorted(both)}, {n: other[n] for n in sorted(both)})


def _times(one: Recorded, two: Recorded) -> dict[str, tuple[float, float]]:
    mine, other = _seconds(one), _seconds(two)
    return {name: (mine[name], other[name]) for name in mine if name in other}


def _seconds(run: Recorded) -> dict[str, float]:
    found: dict[str, float] = {}
    for task in run.tasks.values():
        if task.seconds is not None and task.added.form == "call":
            name = run.component(task)
            found[name] = found.get(name, 0.0) + task.seconds
    return found


def _code(one: Recorded, two: Recorded) -> list[CodeChange]:
    mine, other = ({used.name: used for used in run.used.values()} for run in (one, two))
    found = []
    for name in mine.keys() & other.keys():
        a, b = mine[name], other[name]
        uses = tuple(used_text(n, a.uses, b.uses) for n in changed_uses(a.uses, b.uses))
        if a.digest == b.digest and not uses:
            continue
        facts = [
            {"platform": c.platform, "language": c.language, **c.policy}
            | {"inputs": dict(c.inputs), "outputs": dict(c.outputs)}
            for c in (a, b)
        ]
        own = source_diff(name, a.source, b.source, (one.id, two.id))
        diffs = filter(None, (own, uses_diff(a.uses, b.uses, (one.id, two.id))))
        pairs = _pairs(facts[0], facts[1])
        found.append(CodeChange(name, "\n".join(diffs), pairs, uses, bool(own)))
    return sorted(found, key=lambda change: change.name)


def _task_change(
    one: Past, two: Past, sizes: Callable[[Mapping[str, str]], int], code: bool
) -> TaskChange | None:
    same = None if one.kept is None or two.kept is None else one.kept == two.kept
    inputs = _pairs(plain(one.added.inputs), plain(two.added.inputs))
    outputs = _pairs(one.outputs or {}, two.outputs or {})
    states = (one.state, two.state)
    if _alike(states) and not (inputs or outputs or code) and same is not False:
        return None
    size = tuple(None if past.kept is None else sizes(past.kept) for past in (one, two))
    return TaskChange(
        one.added.name, states, (one.seconds, two.seconds), inputs, outputs,
        (size[0], size[1]), same, code,
    )  # fmt: skip


def _alike(states: Pair) -> bool:
    return states[0] == states[1] or (states[0] in _GOOD and states[1] in _GOOD)


def _arrow(pair: Pair, absent: str = "nothing") -> str:
    if pair[0] == pair[1]:
        return str(pair[0])
    return " -> ".join(absent if one is None else str(one) for one in pair)


def _first_items(names: Sequence[str]) -> tuple[list[bool], dict[str, int]]:
    """Which of these tasks are told one by one, and how many more items of each map there are."""
    count: Counter[str] = Counter()
    shown = []
    for name in names:
        if is_item := name.endswith("]"):
            count[base_of(name)] += 1
        shown.append(not is_item or count[base_of(name)] <= _MOST_ITEMS)
    return shown, {name: n - _MOST_ITEMS for name, n in count.items() if n > _MOST_ITEMS}


def _task_lines(task: TaskChange) -> list[str]:
    told = []
    if not _alike(task.state):
        told.append(f"task    {task.name}: {_arrow(task.state)}")
    told += [f"input   {task.name}.{n}: {_arrow(p, 'not given')}" for n, p in task.inputs.items()]
    told += [f"output  {task.name}.{n}: {_arrow(p)}" for n, p in task.outputs.items()]
    if task.same is False and not task.outputs:
        told.append(f"output  {task.name}: other values of the same look")
    if task.bytes[0] != task.bytes[1] and None not in task.bytes:
        told.append(f"size    {task.name}: {_arrow(task.bytes)} bytes")
    return told
