"""What a selection means for each call of a run: a role, which changes as more calls are made.

Pure: calls in, roles out. A run, its plan and the plan of a recorded run all ask it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from twingraph_nb.errors import UnknownSelector
from twingraph_nb.selection import Selection, base_of, fits

__all__ = ["PART", "Role", "Selecting"]

PART = "part of it is left out"
"""Why a group is left out that is not left out as a whole."""

Role = Literal["run", "take", "open", "held", "left"]
"""run: it may run. take: only its value is wanted, if it is kept. open: a map or pipeline of whose
tasks each is for itself. held: not wanted so far. left: not wanted."""
Verdict = Literal["run", "end", "fail"]
"""What a look at a value means if it is not kept: it is made, the function ends, an error."""
Selector = tuple[str, str]
"""Kind and name."""
_SOME = ("only", "to")
_ANEW = ("force", "from_")
_TOLD = 100
"""Names that an error may be about; the others of a long run are not kept for it."""


class _Node:
    """What is known of one task.

    needs: (number, is its value needed or only its end). deep: what it needs has been asked for as
    well. closed: it is a block that has been left. behind: it is called for the clean-up of a
    block. begun: it, or something in it, runs.
    """

    __slots__ = (
        "begun", "behind", "closed", "deep", "form", "group", "members", "needs", "role", "skipped",
    )  # fmt: skip

    def __init__(
        self, form: str, needs: Sequence[tuple[int, bool]], group: int | None, *, behind: bool
    ) -> None:
        self.form, self.needs, self.group, self.behind = form, needs, group, behind
        self.members: list[int] = []
        self.role: Role = "held"
        self.deep = self.skipped = self.closed = self.begun = False

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
        self._known: dict[tuple[str, bool], frozenset[Selector]] = {}
        self._all = [(kind, one) for kind, ones in chosen.named.items() for one in ones]
        self._met: dict[Selector, list[int]] = {}
        self._told: dict[Selector, set[str]] = {}
        self._lacking = set(self._all)
        self._unreached = {one for one in self._all if one[0] in _SOME}
        self._items = any(one.endswith("]") for _, one in self._all)
        self._more = False  # blocks have functions that may still call something, or never do

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

    def closed(self, number: int) -> bool:
        """Tell whether it is a block that has been left."""
        return self._nodes[number].closed

    def behind(self, number: int) -> bool:
        """Tell whether it belongs to the clean-up of a block, or to what catches its error."""
        return self._nodes[number].behind

    @property
    def reached(self) -> bool:
        """True when all that `only` and `to` name has been called."""
        return not self._unreached

    def why(self, number: int) -> str:
        """Say why a task is left out."""
        node = self._nodes[number]
        if node.behind and node.role != "take":
            return "nothing in its block runs"
        if node.skipped:
            return f"skip={','.join(self.chosen.skip)}, and its value is not kept"
        kept = " and its value is not kept" if node.role == "take" else ""
        return f"not selected by {Selection(self.chosen.only, self.chosen.to)}{kept}"

    def orders(self, number: int, other: int) -> bool:
        """Tell whether a task waits for the end of another one whose value it does not need:
        not for one that does not run."""
        one, first = self._nodes[number], self._nodes[other]
        alone = self._partial and one.role == "run" and not one.deep
        return first.role != "take" and not (alone and first.role in ("held", "open", "left"))

    def check(self, names: Iterable[str], extra: Iterable[str] = ()) -> None:
        """See that all that was selected has been called, and that it may run.

        Args:
            names: of components and pipelines that were. extra: of tasks that may still be.
        Raises:
            UnknownSelector: something was not; with the nearest that was.
            SelectorsClash: of what a selector fits, others leave nothing.
        """
        if self._lenient:
            return
        later = list(extra)
        for kind, one in self._all:
            surely = kind in _SOME or not self._more
            if not surely or any(fits(one, name) for name in later):
                continue
            if (kind, one) in self._lacking:
                raise UnknownSelector(kind, one, names, where="no task is called")
            met = [self._nodes[number] for number in self._met.get((kind, one), ())]
            if kind != "skip" and met and all(node.skipped for node in met):
                raise self.chosen.clash(kind, one, self._told[kind, one], "skip")
            if kind in _ANEW and not any(node.role == "run" or node.begun for node in met):
                raise self.chosen.clash(kind, one, self._told[kind, one], *_SOME)

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
        above = None if group is None else self._nodes.get(group)
        behind = above is not None and (above.closed or above.behind)
        node = self._nodes[number] = _Node(form, needs, group, behind=behind)
        kinds = self._fitting(number, name, component or name, behind)
        if above is not None:
            above.members.append(number)
        changed: list[int] = []
        if above is not None and above.form == "call":
            node.role = "run"
        elif above is not None and above.closed and above.skipped and "skip" not in kinds:
            node.skipped = True  # held: there is nothing to clean up
        elif "skip" in kinds or (above is not None and above.skipped):
            node.role, node.skipped = "take", True
        elif not self._partial:
            node.role = "run"
        elif behind and above is not None:
            changed = self._cleans(number, above)
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

    def close(self, number: int, *, more: bool) -> None:
        """A block has been left: what it calls from now on is its clean-up.

        Args:
            more: it has functions that may call something.
        """
        self._nodes[number].closed = True
        self._more = self._more or more

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
                for inside in node.members:
                    if not self._nodes[inside].behind:
                        todo.append(inside)
                    elif self._nodes[inside].role == "run":
                        changed += self._alone(inside)
                if node.form == "map":  # over values that are not there yet
                    todo += [need for need, value in node.needs if value]
        return sorted(changed)

    def end(self) -> list[int]:
        """No further call comes: gives what is wanted now, since nothing was selected here."""
        self.over = True
        wanted = [one for one in self._all if one[0] in _SOME]
        met = any(one not in self._lacking for one in wanted)
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

    def _fitting(self, number: int, name: str, component: str, behind: bool) -> set[str]:
        """The kinds of the selectors that fit a call. A clean-up belongs to its block: it is not
        run for itself."""
        key = (name if self._items else component, behind)
        found = self._known.get(key)
        if found is None:
            found = frozenset(
                (kind, one)
                for kind, one in self._all
                if fits(one, name, component) and not (behind and kind in _SOME)
            )
            self._lacking -= found
            self._unreached -= found
            if not self._items:
                self._known[key] = found
        for one in found:
            self._met.setdefault(one, []).append(number)
            told = self._told.setdefault(one, set())
            if len(told) < _TOLD:
                told.add(name)
        return {kind for kind, _ in found}

    def _opens(self, name: str) -> bool:
        """Tell whether items of a map are selected; with its call they count as reached."""
        found = {
            (kind, one)
            for kind, one in self._all
            if kind in _SOME and one.endswith("]") and fits(base_of(one), name)
        }
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
        return self._with_clean_ups(changed)

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
        return self._with_clean_ups(changed)

    # -- clean-ups of blocks -----------------------------------------------------------------

    def _cleans(self, number: int, above: _Node) -> list[int]:
        """A call for the clean-up of a block runs if anything in the block does. Of a block that
        is selected as a whole it is a part like others. Of another one it makes nothing else run,
        for what that would be depends on how long the block takes."""
        if above.role != "run" and not above.begun:
            return []
        block: _Node | None = above
        while block is not None and block.behind:
            block = None if block.group is None else self._nodes.get(block.group)
        if block is None or block.role == "open":
            self._nodes[number].role = "run"
            return []
        return self._want([number]) if block.role == "run" and block.deep else self._alone(number)

    def _with_clean_ups(self, changed: list[int]) -> list[int]:
        """Those that run now, with the clean-ups of the blocks that they are in."""
        found = set(changed)
        for one in changed:
            up = self._nodes.get(one) if self._nodes[one].role == "run" else None
            while up is not None and not up.begun:
                up.begun = True
                for member in up.members if up.closed else ():
                    node = self._nodes[member]
                    if node.behind and node.role == "held":
                        node.role = "run"
                        found.add(member)
                up = None if up.group is None else self._nodes.get(up.group)
        return sorted(found)
