"""Runs that somebody wants out of the graph. Their record in the store stays."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["Forgotten"]

_FILE = "lineage-forgotten"


class Forgotten:
    """The list of a store's folder; several processes may add to it."""

    def __init__(self, home: Path) -> None:
        self._path = home.expanduser() / _FILE
        self._seen: tuple[int, int] | None = None  # size and time of change
        self._runs: frozenset[str] = frozenset()

    def runs(self) -> frozenset[str]:
        """Give the ids of the runs; read again only when the list has changed."""
        try:
            status = os.stat(self._path)
        except OSError:  # nobody has forgotten anything yet
            return frozenset()
        now = (status.st_size, status.st_mtime_ns)
        if now != self._seen:
            text = self._path.read_text(encoding="utf-8", errors="replace")
            self._seen, self._runs = now, frozenset(text.split())
        return self._runs

    def add(self, run: str) -> None:
        """Put a run on the list.

        Raises:
            OSError: the list cannot be written.
        """
        if run not in self.runs():
            with self._path.open("a", encoding="utf-8") as file:  # one write: whole lines only
                file.write(f"{run}\n")
