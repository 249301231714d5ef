"""Which tasks of a run are to run: `only=`, `to=`, `skip=`, `force=` and `from_=`.

| selector | what it means |
|---|---|
| `to=X` | X runs, with what it needs; nothing else does |
| `only=X` | X runs, and nothing else: what it gets is taken from the store, and must be there |
| `skip=X` | X does not run: an equal task's value is taken, or what gets it is skipped too |
| `force=X` | X runs even if its value is kept, and so does all that gets its value |
| `from_=X` | the same, and all else is reused if it is kept at all, with or without `cache=` |

X is the name of a component or of a pipeline inside the pipeline, ``name[3]`` for an item of a map,
or a pattern with ``*`` and ``?``; several are a list. `only` and `to` say what may run, `force` and
`from_` what is not reused, so that they can be combined; `skip` wins over all, and what `only` gets
is taken even if `to` is there too. What a component calls itself belongs to it. A task that only
comes after another one, without its value, does not wait for it if that one does not run.

A pipeline's function is always called, since its calls make the graph. It may look at a value that
is not selected. Until all that is selected has been called, the value may be needed to get there:
`to` makes it as any run would, `only` takes it from the store or fails. After that it is taken from
the store, or the function ends there, and the run with it.

Pure: calls in, roles out. A run, its plan and the plan of a recorded run all ask it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Literal

from twingraph_nb.errors import WiringError, suggestion

__all__ = ["ANY", "Names", "Role", "Selecting", "Selection", "fits", "read_selection"]

Role = Literal["run", "take", "open", "held", "left"]
"""run: it may run. take: only its value is wanted, if it is kept. open: a map or pipeline of whose
tasks each is for itself. held: not wanted so far. left: not wanted."""
Verdict = Literal["run", "end", "fail"]
"""What a look at a value means if it is not kept: it is made, the function ends, an error."""
Names = str | Iterable[str]
"""Names or patterns; in a text with commas between."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What somebody has selected: names and patterns, as the module says."""

    only: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    from_: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.only or self.to or self.skip or self.force or self.from_)

    def __str__(self) -> str:
        return " ".join(f"{kind}={','.join(names)}" for kind, names in self.named.items())

    @property
    def named(self) -> dict[str, tuple[str, ...]]:
        """The selectors that name something, by their names as people write them."""
        return {f.name: names for f in fields(self) if (names := getattr(self, f.name))}

    @property
    def anew(self) -> tuple[str, ...]:
        """What is not reused."""
        return (*self.force, *self.from_)

    def for_calls(self) -> Selection:
        """Give what of it holds for loose calls of a notebook: all but `only` and `to`."""
        return replace(self, only=(), to=())

    def check(self, known: Iterable[str]) -> None:
        """See that each selector may fit something.

        Args:
            known: names of components and pipelines.
        Raises:
            WiringError: one fits none of them; with the nearest that there is.
        """
        names = list(known)
        for kind, selectors in self.named.items():
            for one in selectors:
                if not any(fits(base_of(one), name) for name in names):
                    near = suggestion(base_of(one), names)
                    raise WiringError(f"{kind}: no component is called {one!r}{near}")


ANY = Selection()
"""Selects everything."""


def read_selection(given: Mapping[str, object]) -> Selection:
    """Give the selection that options ask for: a name, names with commas between, or a list each.

    Raises:
        WiringError: something is no name.
    """
    return Selection(**{kind: _names(kind, value) for kind, value in given.items()})


def _names(kind: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    several = list(value) if isinstance(value, Iterable) else [value]
    found: list[str] = []
    for one in several:
        name = getattr(one, "name", one)  # a component stands for its name
        if not isinstance(name, str):
            raise WiringError(f"{kind}: wants names of components, not {one!r}")
        if name.strip():
            found.append(name.strip())
    return tuple(found)


def fits(selector: str, *names: str) -> bool:
    """Tell whether a selector fits one of these names."""
    pattern = _pattern(selector)
    return any(pattern.fullmatch(name) is not None for name in names)


def base_of(selector: str) -> str:
    """Give the name of the component: ``clean`` of ``clean[3]``."""
    return selector.rpartition("[")[0] if selector.endswith("]") else selector


@lru_cache(maxsize=256)
def _pattern(selector: str) -> re.Pattern[str]:
    # Brackets are those of `name[3]`, so fnmatch, where they mean a set, does not do.
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in selector)
    return re.compile("".join(parts), re.DOTALL)


class _Node:
    """What is known of one task. needs: (number, is its value needed or only its end). deep: what
    it needs has been asked for as well."""

    __slots__ = ("deep", "form", "members", "needs", "role", "skipped")

    def __init__(self, form: str, needs: Sequence[tuple[int, bool]]) -> None:
        self.form, self.needs = form, needs
        self.members: list[int] = []
        self.role: Role = "held"
        self.deep = self.skipped = False

    @property
    def free(self) -> bool:
        """True as long as it may have another role: an open map is open for good, for its items
        come at any time."""
        return self.role == "held" or (self.role == "open" and self.form != "map")


class Selecting:
    """The roles of the tasks of one run, as they are called.

    lenient: it is for several runs, of which each need not have what is selected.
    """

    def __init__(self, chosen: Selection, *, lenient: bool = False) -> None:
        self.chosen, self._lenient = chosen, lenient
        self.over = False
        self._partial = bool(chosen.only or chosen.to)
        self._nodes: dict[int, _Node] = {}
        self._kinds: dict[str, frozenset[str]] = {}
        self._lacking = {(kind, one) for kind, ones in chosen.named.items() for one in ones}
        self._unreached = {one for one in self._lacking if one[0] in ("only", "to")}
        self._wanted = [(k, one) for k, one in sorted(self._lacking) if k in ("only", "to")]
        self._items = any(one.endswith("]") for _, one in self._lacking)

    # -- what is known -----------------------------------------------------------------------

    def role(self, number: int) -> Role:
        """Give the role of a task so far."""
        return self._nodes[number].role

    def calls(self, number: int) -> bool:
        """Tell whether a map or pipeline will call its tasks, unless what it needs fails."""
        node = self._nodes[number]
        asked = node.role == "take" and (node.deep or node.form == "pipeline")
        return asked or node.role in ("run", "open")

    def skipped(self, number: int) -> bool:
        """Tell whether somebody asked that it does not run."""
        return self._nodes[number].skipped

    @property
    def reached(self) -> bool:
        """True when all that `only` and `to` name has been called."""
        return not self._unreached

    def why(self, number: int) -> str:
        """Say why a task is left out."""
        if self._nodes[number].skipped:
            return f"skip={','.join(self.chosen.skip)}, and its value is not kept"
        kept = " and its value is not kept" if self._nodes[number].role == "take" else ""
        return f"not selected by {Selection(self.chosen.only, self.chosen.to)}{kept}"

    def orders(self, number: int, other: int) -> bool:
        """Tell whether a task waits for the end of another one whose value it does not need:
        not for one that does not run."""
        one, first = self._nodes[number], self._nodes[other]
        alone = self._partial and one.role == "run" and not one.deep
        return first.role != "take" and not (alone and first.role in ("held", "open"))

    def check(self, names: Iterable[str], extra: Iterable[str] = ()) -> None:
        """See that all that was selected has been called.

        Args:
            names: of components and pipelines that were. extra: of tasks that may still be.
        Raises:
            WiringError: something was not; with the nearest that was.
        """
        known, later = sorted(set(names)), list(extra)
        for kind, one in sorted(self._lacking):
            if not self._lenient and not any(fits(one, name) for name in later):
                near = suggestion(base_of(one), known)
                raise WiringError(f"{kind}: no task is called {one!r}{near}")

    # -- what happens; each gives the numbers whose role has changed, in the order of the calls ---

    def added(
        self,
        number: int,
        name: str,
        component: str,
        form: str,
        needs: Sequence[tuple[int, bool]],
        group: int | None,
    ) -> list[int]:
        """Take in a call; gives the earlier ones whose roles it has changed.

        Args:
            component: the name of its component, "" of a pipeline. needs: see `_Node`; of this
                run only. group: the map, pipeline or component that it is called from.
        """
        kinds = self._met(name, component or name)
        node = self._nodes[number] = _Node(form, needs)
        above = None if group is None else self._nodes.get(group)
        if above is not None:
            above.members.append(number)
        changed: list[int] = []
        if above is not None and above.form == "call":
            node.role = "run"
        elif "skip" in kinds or (above is not None and above.skipped):
            node.role, node.skipped = "take", True
        elif not self._partial:
            node.role = "run"
        elif "to" in kinds or (above is not None and above.role == "run" and above.deep):
            changed = self._want([number])
        elif "only" in kinds or (above is not None and above.role == "run"):
            changed = self._alone(number)
        elif above is not None and above.role == "take":
            node.role = "take"
        elif above is not None and above.form == "map" and above.role == "open":
            node.role = "left"  # nobody else can get at an item
        elif form == "pipeline" or (form == "map" and self._opens(name)):
            node.role = "open"
            changed = self._wants_of(node)
        return [one for one in changed if one != number]

    def look(self, number: int) -> tuple[list[int], Verdict]:
        """A pipeline's function looks at the value of a task."""
        node = self._nodes[number]
        if node.role == "run":
            return [], "run"
        if self.chosen.to and not self.reached and not node.skipped:
            return self._want([number]), "run"
        taken = self.take(number)
        return taken, "end" if node.skipped or self.reached else "fail"

    def take(self, number: int) -> list[int]:
        """The value of a task is wanted, if it is kept; of a group, the values of all in it."""
        changed, todo = [], [number]
        while todo:
            one = todo.pop()
            node = self._nodes[one]
            if node.free or (node.role == "take" and not node.deep):
                node.role, node.deep = "take", True
                changed.append(one)
                todo += node.members
                if node.form == "map":  # over values that are not there yet
                    todo += [need for need, value in node.needs if value]
        return sorted(changed)

    def end(self) -> list[int]:
        """No further call comes: gives what is wanted now, since nothing was selected here."""
        self.over = True
        met = any(one not in self._lacking for one in self._wanted)
        if met or not (self._lenient and self._partial):
            return []
        self._partial = False
        held = [n for n, node in self._nodes.items() if node.role in ("held", "open")]
        for number in held:
            self._nodes[number].role = "run"
        return held

    def left(self) -> list[int]:
        """Give what nobody wants, the last call first."""
        held = [n for n, node in self._nodes.items() if node.role == "held"]
        for number in held:
            self._nodes[number].role = "left"
        return held[::-1]

    # -- inside ------------------------------------------------------------------------------

    def _met(self, name: str, component: str) -> frozenset[str]:
        """What selects this call."""
        key = name if self._items else component
        found = self._kinds.get(key)
        if found is None:
            met = [
                (kind, one)
                for kind, selectors in self.chosen.named.items()
                for one in selectors
                if fits(one, name, component)
            ]
            self._lacking.difference_update(met)
            self._unreached.difference_update(met)
            found = frozenset(kind for kind, _ in met)
            if not self._items:
                self._kinds[key] = found
        return found

    def _opens(self, name: str) -> bool:
        """Tell whether items of a map are selected; with its call they count as reached."""
        found = {w for w in self._wanted if w[1].endswith("]") and fits(base_of(w[1]), name)}
        self._unreached -= found
        return bool(found)

    def _wants_of(self, node: _Node) -> list[int]:
        """What is needed to find out what is in an open group."""
        if self.chosen.to:
            return self._want([need for need, _ in node.needs])
        return [one for need, value in node.needs if value for one in self.take(need)]

    def _want(self, numbers: list[int]) -> list[int]:
        """These run, with all they need."""
        changed, todo = [], list(numbers)
        while todo:
            one = todo.pop()
            node = self._nodes[one]
            if not node.free and (node.role != "run" or node.deep):
                continue
            if node.role != "run":
                changed.append(one)
            node.role, node.deep = "run", True
            todo += [need for need, _ in node.needs]
            todo += node.members
        return sorted(changed)

    def _alone(self, number: int) -> list[int]:
        """It runs, with what is in it if it is a group; the values it gets are taken."""
        changed, todo = [], [number]
        while todo:
            one = todo.pop()
            node = self._nodes[one]
            if node.free:
                node.role = "run"
                changed.append(one)
            for need, value in node.needs:
                if value:
                    changed += self.take(need)
            todo += node.members
        return sorted(changed)
