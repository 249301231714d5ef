"""What the last call of a query makes of its results: next(), toSet(), iterate() ..."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.containers import key_of
from twingraph_nb.lineage.text import Query

__all__ = ["NoExplanation", "results_of", "taken"]


class NoExplanation(LineageError):
    """A query that ends in explain()."""

    def __init__(self) -> None:
        super().__init__("explain() is not supported: there is nothing to explain in this engine")


def results_of(query: Query) -> list[object]:
    """Run a query and give its results.

    Raises:
        LineageError: it cannot be answered, or asks for what is no result.
    """
    return list(taken(query.traversal, query))


def taken(found: Iterable[object], query: Query) -> Iterator[object]:
    """The results of a text, as its last step asks for them.

    Args:
        found: all there are, each as often as it is there.
    Raises:
        NoExplanation: it asks for what is no result.
        LineageError: it asks for the next one, and there is none.
    """
    terminal, objects = query.terminal, iter(found)
    if terminal == "explain":
        raise NoExplanation()
    if terminal == "iterate":
        for _ in objects:
            pass
    elif terminal == "hasNext":
        yield next(objects, taken) is not taken
    elif terminal == "toSet":
        seen = set()
        for one in objects:
            key = key_of(one)
            if key not in seen:
                seen.add(key)
                yield one
    elif terminal in ("next", "tryNext"):
        yield from _next(objects, query)
    else:
        yield from objects


def _next(objects: Iterator[object], query: Query) -> Iterator[object]:
    for _ in range(1 if query.amount is None else query.amount):
        one = next(objects, taken)
        if one is taken:
            if query.terminal == "next" and query.amount is None:
                raise LineageError("there is no next result")
            return
        yield one
