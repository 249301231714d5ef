"""Which tasks of a run are to run: `only=`, `to=`, `skip=`, `force=` and `from_=`.

| selector | what it means |
|---|---|
| `to=X` | X runs, with what it needs; nothing else does |
| `only=X` | X runs, and nothing else: what it gets is taken from the store, and must be there |
| `skip=X` | X does not run: an equal task's value is taken, or what gets it is skipped too |
| `force=X` | X runs even if its value is kept, and so does all that gets its value |
| `from_=X` | the same, and all else is reused if it is kept at all, with or without `cache=` |

X is the name of a component, of a pipeline or block inside the pipeline, ``name[3]`` for an item
of a map, or a pattern with ``*`` and ``?``; several are a list. `only` and `to` say what may run,
`force` and `from_` what is not reused, so that they can be combined; `skip` wins over all, and what
`only` gets is taken even if `to` is there too. A selector that fits nothing, or of which another
one leaves nothing, is an error. What a component calls itself belongs to it. A task that only comes
after another one, without its value, does not wait for it if that one does not run.

The clean-up of a block (`attempt`, `group`) belongs to the block: it runs if anything in there
does. If that is only a part of the block, it makes no other task run, and is skipped if what it
gets is left out. A block of which a member is left out cancels none for that; it is left out itself
if its policy cannot do without the member.

A pipeline's function is always called, since its calls make the graph. It may look at a value that
is not selected. Until all that is selected has been called, the value may be needed to get there:
`to` makes it as any run would, `only` takes it from the store or fails. After that it is taken from
the store, or the function ends there, and the run with it.

`selecting.py` has what that means for each call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache

from twingraph_nb.errors import SelectorsClash, UnknownSelector, WiringError

__all__ = ["ANY", "Names", "Selection", "base_of", "fits", "read_selection"]

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

    def check(
        self,
        known: Iterable[str],
        *,
        where: str = "no component is called",
        option: Callable[[str], str] = str,
    ) -> None:
        """See that each selector may fit something that no other one leaves out.

        Args:
            known: names of components and pipelines. where: what an error says of a name that
                is not among them. option: gives a selector's kind as it was written.
        Raises:
            UnknownSelector: one fits none of them; with the nearest that there are.
            SelectorsClash: `skip` names all that another one fits.
        """
        names = list(known)
        for kind, selectors in self.named.items():
            for one in selectors:
                if not _fitting(one, names):
                    raise UnknownSelector(option(kind), one, names, where=where)
        for kind, selectors in replace(self, skip=()).named.items():
            for one in selectors:
                fitting = _fitting(one, names)
                if all(any(fits(s, name, base_of(name)) for s in self.skip) for name in fitting):
                    raise self.clash(kind, one, fitting, "skip", option=option)

    def clash(
        self,
        kind: str,
        one: str,
        matched: Iterable[str],
        *against: str,
        option: Callable[[str], str] = str,
    ) -> SelectorsClash:
        """Give the error that a selector is left out by those of other kinds.

        Args:
            matched: the names it fits.
        """
        named = self.named
        said = [f"{option(k)}={','.join(named[k])}" for k in against if k in named]
        return SelectorsClash(option(kind), one, matched, against=" ".join(said))


ANY = Selection()
"""Selects everything."""


def read_selection(given: Mapping[str, object], option: Callable[[str], str] = str) -> Selection:
    """Give the selection that options ask for: a name, names with commas between, or a list each.

    Args:
        given: by kind; None = not given. option: gives a selector's kind as it was written.
    Raises:
        WiringError: something is no name, or nothing is named although something was meant to be.
    """
    return Selection(
        **{kind: _names(option(kind), value) for kind, value in given.items() if value is not None}
    )


def _names(option: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    several = list(value) if isinstance(value, Iterable) else [value]
    found: list[str] = []
    for one in several:
        name = getattr(one, "name", one)  # a component stands for its name
        if not isinstance(name, str):
            raise WiringError(f"{option}: wants names of components, not {one!r}")
        if name.strip():
            found.append(name.strip())
    if not found:  # such as a list that came out empty: to run all would be a surprise
        raise WiringError(f"{option}: names nothing: leave it out, or say what is meant")
    return tuple(found)


def fits(selector: str, *names: str) -> bool:
    """Tell whether a selector fits one of these names."""
    pattern = _pattern(selector)
    return any(pattern.fullmatch(name) is not None for name in names)


def base_of(selector: str) -> str:
    """Give the name of the component: ``clean`` of ``clean[3]``."""
    return selector.rpartition("[")[0] if selector.endswith("]") else selector


def _fitting(selector: str, names: Iterable[str]) -> list[str]:
    """The names that a selector may fit, as items if it names an item."""
    base = base_of(selector)
    return [name + selector[len(base) :] for name in names if fits(base, name)]


@lru_cache(maxsize=256)
def _pattern(selector: str) -> re.Pattern[str]:
    # Brackets are those of `name[3]`, so fnmatch, where they mean a set, does not do.
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in selector)
    return re.compile("".join(parts), re.DOTALL)
