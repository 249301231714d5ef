"""How two runs differ: code, parameters, inputs, outputs, times, surroundings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from html import escape

from twingraph_nb.picture.progress import seconds_text
from twingraph_nb.plan.drawn import diff_html
from twingraph_nb.plan.history import TOP, Names, Past, Recorded, plain, recorded
from twingraph_nb.plan.reasons import source_diff
from twingraph_nb.store import RunRow, Store

__all__ = ["CodeChange", "RunDiff", "TaskChange", "diff_of"]

Pair = tuple[object, object]
"""What it is in the first run, and in the second."""
_SURROUNDINGS = ("python", "version", "host", "notebook")
_MOST_LINES = 200


@dataclass(frozen=True, slots=True)
class CodeChange:
    """A component that is not the same in both runs.

    diff: of its source, a unified diff, or "". facts: platform, policy, ports, as (before, after).
    """

    name: str
    diff: str = ""
    facts: Mapping[str, Pair] | None = None


@dataclass(frozen=True, slots=True)
class TaskChange:
    """A task that did not go the same way in both runs.

    inputs, outputs: (before, after) as short texts, by port. bytes: sizes of its kept outputs.
    same: True if its outputs are the same to the byte, None if that is not known. state, seconds:
    (before, after), None where it was not.
    """

    name: str
    state: Pair
    seconds: Pair
    inputs: Mapping[str, Pair]
    outputs: Mapping[str, Pair]
    bytes: Pair
    same: bool | None


@dataclass(frozen=True, slots=True, repr=False)
class RunDiff:
    """What differs between two runs; each pair is (in the first, in the second).

    only_first, only_second: names of tasks that the other one lacks. tasks: those that differ in
    more than their time. equal: how many do not.
    """

    first: str
    second: str
    state: Pair
    seconds: Pair
    params: Mapping[str, Pair]
    surroundings: Mapping[str, Pair]
    code: tuple[CodeChange, ...]
    tasks: tuple[TaskChange, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    equal: int

    def facts(self) -> dict[str, object]:
        """Give all of it as JSON can hold it."""
        return asdict(self)

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
        told += [f"param   {name}: {_arrow(pair)}" for name, pair in self.params.items()]
        told += [f"where   {name}: {_arrow(pair)}" for name, pair in self.surroundings.items()]
        for change in self.code:
            what = [f"{name} {_arrow(pair)}" for name, pair in (change.facts or {}).items()]
            told.append(
                f"code    {change.name}: {', '.join(['source'] * bool(change.diff) + what)}"
            )
        for task in self.tasks:
            told += _task_lines(task)
        told += [f"only    {name} is only in {self.first}" for name in self.only_first]
        told += [f"only    {name} is only in {self.second}" for name in self.only_second]
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
        return f"<pre>{escape(chr(10).join(self.lines()))}</pre>{sources}"


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
    one, two = (_by_key(run, names) for run in runs)
    changed = [_task_change(one[key], two[key], store.sizes) for key in one if key in two]
    before, after = rows
    return RunDiff(
        before.id,
        after.id,
        (before.state, after.state),
        (before.seconds, after.seconds),
        _pairs(before.params, after.params),
        _surroundings(before, after),
        tuple(_code(*runs)),
        tuple(change for change in changed if change is not None),
        tuple(one[key].added.name for key in one if key not in two),
        tuple(two[key].added.name for key in two if key not in one),
        sum(change is None for change in changed),
    )


def _by_key(run: Recorded, names: Names) -> dict[tuple[int, str, int], Past]:
    places: dict[int | None, int] = {None: TOP}
    found = {}
    for number, task in run.tasks.items():
        key = names.key(places.get(task.added.group, TOP), task.added.name)
        places[number] = names.place(key)
        found[key] = task
    names.again()
    return found


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


def _code(one: Recorded, two: Recorded) -> list[CodeChange]:
    mine, other = ({used.name: used for used in run.used.values()} for run in (one, two))
    found = []
    for name in mine.keys() & other.keys():
        a, b = mine[name], other[name]
        if a.digest == b.digest:
            continue
        facts = [
            {"platform": c.platform, "language": c.language, **c.policy}
            | {"inputs": dict(c.inputs), "outputs": dict(c.outputs)}
            for c in (a, b)
        ]
        diff = source_diff(name, a.source, b.source, (one.id, two.id))
        found.append(CodeChange(name, diff, _pairs(facts[0], facts[1])))
    return sorted(found, key=lambda change: change.name)


def _task_change(
    one: Past, two: Past, sizes: Callable[[Mapping[str, str]], int]
) -> TaskChange | None:
    same = None if one.kept is None or two.kept is None else one.kept == two.kept
    inputs = _pairs(plain(one.added.inputs), plain(two.added.inputs))
    outputs = _pairs(one.outputs or {}, two.outputs or {})
    good = ("succeeded", "reused")  # the same, seen from the outside
    alike = one.state == two.state or (one.state in good and two.state in good)
    if alike and not inputs and not outputs and same is not False:
        return None
    size = tuple(None if past.kept is None else sizes(past.kept) for past in (one, two))
    return TaskChange(
        one.added.name, (one.state, two.state), (one.seconds, two.seconds), inputs, outputs,
        (size[0], size[1]), same,
    )  # fmt: skip


def _arrow(pair: Pair) -> str:
    if pair[0] == pair[1]:
        return str(pair[0])
    return " -> ".join("nothing" if one is None else str(one) for one in pair)


def _task_lines(task: TaskChange) -> list[str]:
    told = []
    if task.state[0] != task.state[1]:
        told.append(f"task    {task.name}: {_arrow(task.state)}")
    for kind, ports in (("input", task.inputs), ("output", task.outputs)):
        told += [f"{kind:<7} {task.name}.{port}: {_arrow(pair)}" for port, pair in ports.items()]
    if task.same is False and not task.outputs:
        told.append(f"output  {task.name}: other values of the same look")
    if task.bytes[0] != task.bytes[1] and None not in task.bytes:
        told.append(f"size    {task.name}: {_arrow(task.bytes)} bytes")
    return told
