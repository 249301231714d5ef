"""What walks through a traversal, and what one execution shares: its side effects and limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from gremlin_python.structure.graph import Path

from twingraph_nb.lineage.chance import Chance
from twingraph_nb.lineage.containers import key_of
from twingraph_nb.lineage.elements import Element
from twingraph_nb.lineage.graph import Graph
from twingraph_nb.lineage.problems import QueryLimit, QueryStopped, TimeLimit

__all__ = ["FULL", "LABELLED", "NO_PATH", "Limits", "Node", "Run", "Traverser", "Walk", "history"]

NO_PATH, LABELLED, FULL = range(3)
"""How much of its way a traverser remembers: nothing, labelled objects, or everything."""

Node: TypeAlias = "tuple[Node | None, Any, tuple[str, ...]]"
"""One place of a path: the place before it, the object, its labels."""

_BETWEEN_LOOKS = 2000
"""Objects visited between two looks at the clock."""


class Traverser:
    """An object on its way, standing for `bulk` equal ones."""

    __slots__ = ("bulk", "loops", "obj", "path", "sack")

    def __init__(
        self,
        obj: Any,
        bulk: int = 1,
        path: Node | None = None,
        sack: Any = None,
        loops: tuple[tuple[str | None, int], ...] = (),
    ) -> None:
        self.obj = obj
        self.bulk = bulk
        self.path = path
        self.sack = sack
        self.loops = loops


Walk = Iterator[Traverser]
"""Traversers between two steps."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a query may use.

    seconds: of the wall clock. results: that it gives. held: traversers that it keeps at once, in
    barriers, loops and results. made: characters and items that its steps put together into texts
    and lists. The last two bound the memory. None is no limit.
    """

    seconds: float | None = 60.0
    results: int | None = 1_000_000
    held: int | None = 2_000_000
    made: int | None = 100_000_000


class Run:
    """One execution: the graph, the side effects, the sack's settings, the limits.

    Attributes:
        sees: whether an element is visible (a strategy's view), or None when all are.
        crosses: whether out() and in() may go over an edge; None when over all.
        track: how much of their way traversers remember.
    """

    def __init__(self, graph: Graph, limits: Limits) -> None:
        self.graph = graph
        self.limits = limits
        self.track = NO_PATH
        self.side_effects: dict[str, Any] = {}
        self.reducers: dict[str, Callable[[Any, Any], Any]] = {}
        self.sees: Callable[[Any], bool] | None = None
        self.crosses: Callable[[Any], bool] | None = None
        self.written: tuple[str, object] | None = None
        self.written_meta = False
        self.sack: Callable[[], Any] | None = None
        self.sack_split: Callable[[Any], Any] | None = None
        self.sack_merge: Callable[[Any, Any], Any] | None = None
        self.one_bulk = False
        self.productive: frozenset[str] | None = None
        self.read_only = False
        self.wants_path = False
        self.extra_codes: list[Any] = []
        self.options: dict[str, object] = {}
        self.connects = True
        self.seed: int | None = None
        self.doing = ""
        self.seeds: dict[str, Any] = {}
        self.computed: dict[str, dict[Any, Any]] = {}
        self.groups: dict[str, list[Any]] = {}
        self._left = _BETWEEN_LOOKS
        self._held = 0
        self._made = 0
        self._spare: float | None = limits.seconds
        self._until: float | None = None
        self._stopped = False

    def begin(self) -> None:
        """Start the clock; only time that is spent here counts, not what the asker takes."""
        self._spare = self.limits.seconds
        self.resume()

    def pause(self) -> None:
        """Stop the clock while a result is with the asker."""
        if self._until is not None:
            self._spare, self._until = self._until - time.monotonic(), None

    def resume(self) -> None:
        """Let the clock go on."""
        if self._spare is not None:
            self._until = time.monotonic() + self._spare

    def stop(self) -> None:
        """End it at the next look at the clock; from any thread."""
        self._stopped = True

    def chance(self) -> Chance:
        """What a step draws from: its own, and always the same with a seed."""
        return Chance(self.seed)

    def tick(self, visited: int = 1) -> None:
        """Count visited objects, and look at the clock now and then.

        Raises:
            TimeLimit: the time is up.
            QueryStopped: nobody waits for it any more.
        """
        self._left -= visited
        if self._left < 0:
            self._left = _BETWEEN_LOOKS
            if self._stopped:
                raise QueryStopped()
            if self._until is not None and time.monotonic() > self._until:
                raise TimeLimit(
                    f"its time was up{self.doing}",
                    f"{self.limits.seconds:g} s",
                    "narrow it with has() and limit(), end repeat() with times() or until(), "
                    "or give more seconds",
                )

    def hold(self, count: int = 1) -> None:
        """Count traversers that are kept.

        Raises:
            QueryLimit: these are too many.
        """
        self._held += count
        if self.limits.held is not None and self._held > self.limits.held:
            raise QueryLimit(
                f"it holds too many objects at once{self.doing}",
                self.limits.held,
                "narrow it with has(), dedup() or limit(), end repeat() with times() or until(), "
                "or allow more",
            )

    def make(self, size: int) -> None:
        """Count the size of a text or a list that a step is about to put together.

        Raises:
            QueryLimit: with all before, this is too much.
        """
        self._made += size
        if self.limits.made is not None and self._made > self.limits.made:
            raise QueryLimit(
                f"it puts too long texts or lists together{self.doing}",
                self.limits.made,
                "end repeat() with times() or until(), or allow more",
            )

    def drop(self, count: int) -> None:
        """Count traversers that are no longer kept."""
        self._held -= count

    def held(self, walk: Iterable[Traverser]) -> list[Traverser]:
        """All traversers of a walk, counted."""
        found = []
        for t in walk:
            found.append(t)
            if not len(found) % _BETWEEN_LOOKS:
                self.hold(_BETWEEN_LOOKS)
                self.tick()
        self._held -= len(found) // _BETWEEN_LOOKS * _BETWEEN_LOOKS
        return found

    def start(self, obj: Any, labels: tuple[str, ...] = ()) -> Traverser:
        """A traverser at the beginning of its way."""
        sack = self.sack() if self.sack is not None else None
        path = (None, obj, labels) if self.track == FULL or (labels and self.track) else None
        return Traverser(obj, 1, path, sack)

    def merged(self, walk: Iterable[Traverser]) -> list[Traverser]:
        """The traversers with equal ones made one, where their paths and sacks allow."""
        found: dict[Any, Traverser] = {}
        mix = self.sack_merge
        for t in walk:
            obj = t.obj
            key: Any = id(obj) if isinstance(obj, Element) else key_of(obj)
            if t.path is not None:
                key = (key, id(t.path))
            if t.sack is not None and mix is None:
                key = (key, type(t.sack), str(t.sack))
            if t.loops:
                key = (key, t.loops)
            held = found.get(key)
            if held is None:
                found[key] = t
                continue
            if mix is not None:
                held.sack = mix(held.sack, t.sack)
            if not self.one_bulk:
                held.bulk += t.bulk
        return list(found.values())


def history(node: Node | None) -> Path:
    """The path as gremlinpython shows it, from its first place on."""
    labels, objects = [], []
    while node is not None:
        objects.append(node[1])
        labels.append(set(node[2]))
        node = node[0]
    return Path(labels[::-1], objects[::-1])
