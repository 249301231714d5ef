"""What is said of a task beside its state: that it is stale, or how it differs between two runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Final

from twingraph_nb.events import ComponentUsed
from twingraph_nb.picture.model import Mark, Screen, Shown
from twingraph_nb.picture.palette import Look
from twingraph_nb.source.text import normalised
from twingraph_nb.source.used import Uses, changed_uses

__all__ = ["DIFFERENCES", "STALE", "kind_of", "said_of", "stale"]

STALE: Final = Look(
    "stale", "#fff4dd", "#4a3000", "#c77700", "△", "M8 2.5L14 13H2zM8 6.5v3M8 11.2v.2", dashed=True
)
"""The outline around the box of a task whose code, or whose input, is not what it is now."""
DIFFERENCES: Final[Mapping[str, Look]] = {
    "changed": Look(
        "changed", "#0072b2", "#ffffff", "#00507d", "≠", "M3 6h10M3 10h10M10.5 3L5.5 13"
    ),
    "added": Look("only in the second", "#00795a", "#ffffff", "#00513c", "+", "M8 3v10M3 8h10"),
    "removed": Look(
        "only in the first", "#b34700", "#ffffff", "#7a3000", "\u2212", "M3 8h10", "rectangle",
        dashed=True,
    ),
    "same": Look("the same", "#f1f2f4", "#3f444b", "#8a8f98", "=", "M3 6h10M3 10h10"),
}  # fmt: skip
"""How tasks look in the picture of two runs. What matters most stands first."""
_ORDER: Final = ("stale", *DIFFERENCES)
_LOST: Final = frozenset({"failed", "skipped", "cancelled"})


def kind_of(screen: Screen, tasks: Iterable[int]) -> str:
    """Give the mark of a box: the one of its tasks that matters most, "" if they have none."""
    marks = screen.marks
    found = {marks[number].kind for number in tasks if number in marks}
    return next((kind for kind in _ORDER if kind in found), "")


def said_of(screen: Screen, tasks: Collection[int]) -> list[str]:
    """Give what the marks of these tasks say, each once, at most a few."""
    marks = screen.marks
    texts = dict.fromkeys(marks[number].text for number in tasks if number in marks)
    return list(texts)[:5]


def stale(screen: Screen, current: Mapping[str, tuple[str, Uses]]) -> dict[int, Mark]:
    """Give the tasks whose values would come out otherwise now, in the order of their calls.

    Those are the tasks of components whose code, or what that uses, has changed, and what got
    values from them.

    Args:
        current: by the name of each component its source, and what that uses, as it is now.
    """
    changed = {
        digest: said
        for digest, part in screen.parts.items()
        if part.facts is not None
        and (now := current.get(part.facts.name)) is not None
        and (said := _change(part.facts, *now, loose=screen.form == "session"))
    }
    if not changed:
        return {}
    found: dict[int, Mark] = {}
    later = _newest(screen, changed) if screen.form == "session" else {}
    for number, task in list(screen.tasks.items()):
        if task.state in _LOST:
            continue
        why, facts = changed.get(task.component), screen.facts_of(task)
        if why is not None and facts is not None and later.get(facts.name, -1) < number:
            _put(screen, found, task, Mark("stale", why))
            continue
        first = next((w[0] for w in task.wires if w[2] and w[0] in found), None)
        if first is not None:
            _put(screen, found, task, Mark("stale", _because(screen, found, first)))
    return dict(sorted(found.items()))


def _change(then: ComponentUsed, source: str, uses: Uses, *, loose: bool) -> str:
    """What has changed of a component since it ran, "" if nothing has.

    Of loose calls only its own code counts: what it uses is told once, before the first of them.
    """
    name, code = then.name, then.source
    if source and code and source != code and _digest(source) != _digest(code):
        return f"the code of {name} has changed since it ran"
    used = [] if loose else changed_uses(then.uses, uses)
    return f"what {name} uses has changed since it ran: {', '.join(used)}" if used else ""


def _put(screen: Screen, found: dict[int, Mark], task: Shown, mark: Mark) -> None:
    """Mark a task, and the groups whose values come from it."""
    found[task.number] = mark
    group = task.group
    while group is not None and group in screen.tasks and group not in found:
        found[group] = Mark("stale", f"{task.name} in it is stale: {mark.text}")
        group = screen.tasks[group].group


def _because(screen: Screen, found: Mapping[int, Mark], first: int) -> str:
    said = found[first].text
    name = screen.tasks[first].name
    return said if said.startswith("made from") else f"made from {name}, which is stale: {said}"


def _newest(screen: Screen, changed: Mapping[str, str]) -> dict[str, int]:
    """The last call of each component with its code as it is now: it stands for those before."""
    found: dict[str, int] = {}
    for number, task in list(screen.tasks.items()):
        facts = screen.facts_of(task)
        if facts is not None and task.component not in changed:
            found[facts.name] = number
    return found


@lru_cache(maxsize=512)
def _digest(text: str) -> str:
    try:
        return normalised(text)
    except SyntaxError:  # of another language
        return text
