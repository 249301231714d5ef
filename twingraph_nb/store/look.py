"""Many questions at once about what is kept, all answered as of one moment."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable

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
        self._connection, self._folder, self.load = connection, str(blobs.folder), load
        self._there: dict[str, bool] = {}

    def find(self, digest: str, max_age: float | None = None) -> Kept | None:
        """Give the outputs of an equal task, if they are there and at most `max_age` s old."""
        since = float("-inf") if max_age is None else time.time() - max_age
        found = read_result(self._connection, digest, since)
        return found[0] if found is not None and self.has(found[0].outputs.values()) else None

    def has(self, blobs: Iterable[str]) -> bool:
        """True when each of these values is there."""
        return all(map(self._has, blobs))

    def _has(self, blob: str) -> bool:
        there = self._there.get(blob)
        if there is None:
            there = self._there[blob] = os.path.exists(f"{self._folder}/{blob[:2]}/{blob}")
        return there
