"""What is drawn of a screen: boxes and arrows, few enough to read.

Above `limit` elements maps and nested pipelines become one box with counters, then equal calls
side by side, then equal calls near each other along the way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from twingraph_nb.events import TaskForm, TaskStateName
from twingraph_nb.picture.layout import columns
from twingraph_nb.picture.marks import DIFFERENCES, kind_of, said_of
from twingraph_nb.picture.model import FINAL, GOOD, STATES, Screen, Shown
from twingraph_nb.picture.progress import seconds_text

__all__ = ["Arrow", "Box", "Drawing", "Outline", "Plan", "draw", "drawing", "folded", "plan"]

TIMES: Final = "\u00d7"
HERE: Final = "local"
"""The platform that is not named in a box."""
_MOST_STRETCHES: Final = 64


@dataclass(frozen=True, slots=True)
class Box:
    """A task, or several as one.

    tasks: their numbers. number: the task or group it stands for, None for equal calls drawn as
    one. counts: plain calls by state, of several tasks. detail: the second line. platform: where
    they run, "" for this kernel alone. mark: what is said beside the state, see `marks.py`.
    """

    id: str
    name: str
    state: TaskStateName
    detail: str
    tasks: tuple[int, ...]
    number: int | None
    form: TaskForm = "call"
    counts: Mapping[str, int] | None = None
    platform: str = ""
    mark: str = ""

    @property
    def several(self) -> bool:
        """True for a box that stands for more than one call."""
        return self.counts is not None

    @property
    def title(self) -> str:
        """Everything there is to say, in one line."""
        where = f" {self.place}" if self.place else ""
        return f"{self.name}{where}: {self.detail}{f', {self.mark}' if self.mark else ''}"

    @property
    def brief(self) -> str:
        """The second line where room is scarce: without what waits if anything else is told."""
        told, _, last = self.detail.rpartition(", ")
        brief = told if self.several and told and last.endswith(" waiting") else self.detail
        return f"{brief} \u00b7 {self.mark}" if self.mark == "stale" else brief

    @property
    def place(self) -> str:
        """Where it runs, as it is written into the box; "" for this kernel alone."""
        return f"on {self.platform}" if self.platform else ""


@dataclass(frozen=True, slots=True)
class Arrow:
    """From box to box, by id. label: the output ports that flow, if they have names."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """Boxes and arrows, ready to be laid out. shape: equal for drawings that differ only
    in state."""

    nodes: tuple[Box, ...]
    edges: tuple[Arrow, ...]
    shape: int = 0


class Outline(NamedTuple):
    """What of a box does not change with the states of its tasks."""

    id: str
    name: str
    number: int | None
    tasks: tuple[int, ...]
    platform: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Which tasks become which box; holds as long as no task is added."""

    boxes: tuple[Outline, ...]
    edges: tuple[Arrow, ...]

    @property
    def size(self) -> int:
        """How many elements will be drawn."""
        return len(self.boxes) + len(self.edges)


def drawing(screen: Screen, limit: int = 300, only: Collection[int] | None = None) -> Drawing:
    """Give what to draw of the screen now: at most about `limit` boxes and arrows.

    Args:
        only: the tasks to draw; all if not given.
    """
    return draw(screen, plan(screen, limit, only))


def plan(screen: Screen, limit: int = 300, only: Collection[int] | None = None) -> Plan:
    """Decide which tasks are drawn as one box. Cost grows with the number of tasks."""
    tasks = [t for n, t in screen.tasks.items() if only is None or n in only]
    links = _links(screen, tasks)
    homes: dict[int, object] = {}
    for homes in _levels(screen, tasks, links):
        if len(set(homes.values())) > limit:
            continue
        made = _plan(screen, tasks, links, homes)
        if made.size <= limit:
            return made
    return _first(_plan(screen, tasks, links, homes), limit)


def folded(
    screen: Screen, made: Drawing | None, limit: int, only: Collection[int] | None = None
) -> Drawing:
    """Give `made`, which may have had more room, if it keeps to `limit` as well; else another."""
    small = made is not None and len(made.nodes) + len(made.edges) <= limit
    return made if made is not None and small else drawing(screen, limit, only)


def draw(screen: Screen, made: Plan) -> Drawing:
    """Give the boxes of a plan with the states they have now."""
    boxes = tuple(_box(screen, outline) for outline in made.boxes)
    if screen.marks:
        boxes = tuple(_marked(screen, box) for box in boxes)
    return Drawing(boxes, made.edges, hash((tuple(box.id for box in made.boxes), made.edges)))


def _marked(screen: Screen, box: Box) -> Box:
    """The box with what is said beside its state, or in place of it."""
    kind = kind_of(screen, box.tasks)
    if kind not in DIFFERENCES:
        return replace(box, mark=kind)
    said = said_of(screen, box.tasks)
    return replace(box, mark=kind, detail=said[0] if len(said) == 1 else DIFFERENCES[kind].word)


# -- edges between tasks, with groups opened -------------------------------------------------------

_Link = tuple[int, int, str]


def _links(screen: Screen, tasks: Sequence[Shown]) -> list[_Link]:
    """Every edge: a group's inputs go to the items that have none, its last items go to it."""
    shown = {task.number for task in tasks}
    links: dict[tuple[int, int], list[str]] = {}
    for task in tasks:
        items = [screen.tasks[n] for n in task.items or () if n in shown]
        roots = [item.number for item in items if not item.wires and task.form != "call"]
        targets = roots if items and task.form != "call" else [task.number]
        for source, port, _ in task.wires:
            if source in shown and source != task.number:
                for target in targets:
                    ports = links.setdefault((source, target), [])
                    named = port not in ("", "value") and len(targets) == 1
                    if named and port not in ports:
                        ports.append(port)
        used = {wire[0] for item in items for wire in item.wires}
        for item in items:
            if item.number not in used:
                links.setdefault((item.number, task.number), [])
    return [(source, target, ", ".join(ports)) for (source, target), ports in links.items()]


# -- levels of collapsing -------------------------------------------------------------------------


def _levels(
    screen: Screen, tasks: Sequence[Shown], links: Sequence[_Link]
) -> Iterable[dict[int, object]]:
    """Give, from fine to coarse, the box that each task belongs to."""
    homes: dict[int, object] = {task.number: task.number for task in tasks}
    yield homes
    if any(task.group is not None for task in tasks):
        homes = {task.number: _outermost(screen, task, "map") for task in tasks}
        yield homes
        homes = {task.number: _outermost(screen, task) for task in tasks}
        yield homes
    name = {task.number: _base_name(screen.tasks[_number(homes[task.number])]) for task in tasks}
    homes = _siblings(homes, links, name)
    yield homes
    column = columns(list(dict.fromkeys(homes.values())), _between(homes, links))
    last = max(column.values(), default=0) + 1
    stretches = min(last, _MOST_STRETCHES)
    while stretches:
        yield {n: (name[n], column[homes[n]] * stretches // last) for n in homes}
        stretches //= 2


def _outermost(screen: Screen, task: Shown, form: str = "") -> int:
    """The outermost group (of that form) around a task, or the task itself."""
    found = at = task
    while at.group is not None and at.group in screen.tasks:
        at = screen.tasks[at.group]
        if not form or at.form == form:
            found = at
    return found.number


def _siblings(
    homes: Mapping[int, object], links: Sequence[_Link], name: Mapping[int, str]
) -> dict[int, object]:
    """Boxes of one name that need the same boxes become one."""
    edges = _between(homes, links)
    boxes = list(dict.fromkeys(homes.values()))
    needs: dict[object, list[object]] = {box: [] for box in boxes}
    for source, target in edges:
        needs[target].append(source)
    column = columns(boxes, edges)
    called = {homes[number]: name[number] for number in homes}
    merged: dict[object, object] = {}
    for box in sorted(boxes, key=column.__getitem__):
        merged[box] = (called[box], frozenset(hash(merged.get(n)) for n in needs[box]))
    return {number: merged[home] for number, home in homes.items()}


def _between(homes: Mapping[int, object], links: Sequence[_Link]) -> list[tuple[object, object]]:
    pairs = ((homes[source], homes[target]) for source, target, _ in links)
    return list(dict.fromkeys(pair for pair in pairs if pair[0] != pair[1]))


def _plan(
    screen: Screen, tasks: Sequence[Shown], links: Sequence[_Link], homes: Mapping[int, object]
) -> Plan:
    members: dict[object, list[int]] = {}
    for task in tasks:
        members.setdefault(homes[task.number], []).append(task.number)
    ids: dict[object, str] = {}
    boxes = []
    for home, numbers in members.items():
        number = home if isinstance(home, int) else numbers[0] if len(numbers) == 1 else None
        first = screen.tasks[numbers[0] if number is None else number]
        name = first.name if number is not None else _base_name(first)
        # A map keeps its id when its items come, so that the page need not draw it anew.
        ids[home] = f"g{first.number}" if number is None else f"t{first.number}"
        where = _platform(screen, numbers)
        boxes.append(Outline(ids[home], name, number, tuple(numbers), where))
    labels: dict[tuple[str, str], list[str]] = {}
    for source, target, label in links:
        if homes[source] != homes[target]:
            ports = labels.setdefault((ids[homes[source]], ids[homes[target]]), [])
            if label and label not in ports:
                ports.append(label)
    edges = tuple(Arrow(a, b, ", ".join(ports)) for (a, b), ports in labels.items())
    return Plan(tuple(boxes), edges)


def _first(made: Plan, limit: int) -> Plan:
    """Draw what fits, and all other tasks as one box: hundreds of different components."""
    room = max(1, limit // 2)
    if len(made.boxes) > room:
        rest = tuple(number for box in made.boxes[room:] for number in box.tasks)
        more = Outline("rest", f"{len(made.boxes) - room} more components", None, rest, "")
        boxes: tuple[Outline, ...] = (*made.boxes[:room], more)
    else:
        boxes = made.boxes
    kept = {box.id for box in boxes}
    edges = [edge for edge in made.edges if edge.source in kept and edge.target in kept]
    return Plan(boxes, tuple(edges[: max(0, limit - len(boxes))]))


def _base_name(task: Shown) -> str:
    """The component's name, without the place in a map."""
    return task.name.split("[", 1)[0] if task.index is not None else task.name


def _platform(screen: Screen, numbers: Iterable[int]) -> str:
    """Where the tasks run, in the order they were called; "" if that is nowhere but here."""
    parts = dict.fromkeys(screen.tasks[number].component for number in numbers)
    facts = [part.facts for name in parts if (part := screen.parts.get(name)) is not None]
    found = dict.fromkeys(fact.platform for fact in facts if fact is not None)
    return "" if found.keys() <= {HERE} else ", ".join(found)


def _number(home: object) -> int:
    assert isinstance(home, int)  # before siblings are merged a home is a task
    return home


# -- one box now ----------------------------------------------------------------------------------


def _box(screen: Screen, outline: Outline) -> Box:
    id, name, number, numbers, where = outline
    own = screen.tasks[number] if number is not None else None
    if own is not None and len(numbers) == 1:
        count = len(own.items) if own.items and not own.folded else own.count
        label = f"{name} {TIMES} {count}" if own.form == "map" and count is not None else name
        detail = _detail(screen, own)
        return Box(id, label, own.state, detail, numbers, number, own.form, None, where)
    counts: dict[str, int] = dict.fromkeys(STATES, 0)
    for n in numbers:
        task = screen.tasks[n]
        if task.form == "call" and task is not own:
            counts[task.state] += 1
        for folded, number_of in task.folded.items() if task.folded else ():
            counts[folded] += number_of
    state = own.state if own is not None and own.state in FINAL - GOOD else _state_of(counts)
    if own is not None and own.state in GOOD and state != "reused":
        state = own.state
    total = sum(counts.values())
    label = f"{name} {TIMES} {max(total, own.count or 0) if own is not None else total}"
    form: TaskForm = own.form if own is not None else "call"
    return Box(id, label, state, _counted(counts), numbers, number, form, counts, where)


def _state_of(counts: Mapping[str, int]) -> TaskStateName:
    """The one state that says most about several tasks."""
    there: Callable[[str], int] = counts.__getitem__
    order: tuple[TaskStateName, ...] = ("failed", "running", "retrying")
    for state in order:
        if there(state):
            return state
    if there("waiting") or there("ready"):
        started = any(there(state) for state in FINAL)
        return "running" if started else "ready" if there("ready") else "waiting"
    order = ("cancelled", "skipped", "succeeded", "reused")
    return next((state for state in order if there(state)), "waiting")


def _counted(counts: Mapping[str, int]) -> str:
    # What matters most stands first: a narrow box cuts the end.
    said = [f"{counts['failed']} failed"] if counts["failed"] else []
    said += [f"{counts['succeeded']} done"] if counts["succeeded"] else []
    for state in ("reused", "running", "retrying", "skipped", "cancelled"):
        if counts[state]:
            said.append(f"{counts[state]} {state}")
    open_ = counts["waiting"] + counts["ready"]
    if open_:
        said.append(f"{open_} waiting")
    return ", ".join(said) or "empty"


def _detail(screen: Screen, task: Shown) -> str:
    """The second line of one task."""
    if task.state == "running" and task.fraction is not None:
        return f"{task.fraction:.0%}"
    if task.state == "running" and task.chunks:
        return f"{task.chunks} chunks"
    if task.state == "running" and task.attempt > 1:
        return f"attempt {task.attempt}"
    if task.state == "retrying":
        part = screen.parts.get(task.component)
        return f"retry {task.attempt + 1}/{part.retries + 1 if part else '?'}"
    if task.state == "failed" and task.error is not None:
        return task.error.type.rsplit(".", 1)[-1]
    if task.state == "succeeded" and (took := task.elapsed(task.finished or 0.0)) is not None:
        stood_in = ", by fallback" if task.error is not None else ""
        return f"{seconds_text(took)}{stood_in}"
    return task.state
