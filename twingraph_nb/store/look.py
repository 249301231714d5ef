"""Many questions at once about what is kept, all answered as of one moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection

from twingraph_nb.store.blobs import Blobs
from twingraph_nb.store.results import read_result
from twingraph_nb.store.rows import Kept

__all__ = ["Look"]


class Look:
    """Answers as a `Store` does, but on one connection, and notes nothing.

    For one thread at a time.
    """

    def __init__(
        self, connection: sqlite3.Connection, blobs: Blobs, load: Callable[[str], object]
    ) -> None:
        self._connection, self._blobs, self.load = connection, blobs, load

    def find(self, digest: str, max_age: float | None = None) -> Kept | None:
        """Give the outputs of an equal task, if they are there and at most `max_age` s old."""
        found = read_result(self._connection, digest, max_age)
        return found[0] if found is not None and self.has(found[0].outputs.values()) else None

    def has(self, blobs: Collection[str]) -> bool:
        """True when each of these values is there."""
        return self._blobs.has(blobs)
