"""How far each run has come to each graph database, in a small file beside the store."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cursor", "Cursors"]

_FILE = "lineage-remote.sqlite"
_BUSY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Cursor:
    """sent: how many events of the run are there for sure. over: nothing more will come."""

    sent: int = 0
    over: bool = False


class Cursors:
    """The runs that are to be at a database, for one thread; other processes may add to them.

    The file saves work and says what is left to do; it is not trusted. Without it, or with an old
    one, things are written again, which changes nothing.
    """

    def __init__(self, home: Path | None, address: str) -> None:
        """Read the file; where it cannot be used, or without a folder, they are in memory."""
        self._address = address
        self._known: dict[str, Cursor] = {}
        self._connection: sqlite3.Connection | None = None
        if home is not None:
            with contextlib.suppress(sqlite3.Error, OSError):
                self._connection = self._opened(home.expanduser() / _FILE)
                self._read(self._connection)

    @staticmethod
    def _opened(path: Path) -> sqlite3.Connection:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS runs (address TEXT, run TEXT, sent INTEGER NOT NULL,"
            " over INTEGER NOT NULL, PRIMARY KEY (address, run)) WITHOUT ROWID"
        )
        return connection

    def _read(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute(
            "SELECT run, sent, over FROM runs WHERE address = ?", (self._address,)
        )
        self._known = {run: Cursor(sent, bool(over)) for run, sent, over in rows}

    def __contains__(self, run: str) -> bool:
        return run in self._known

    def runs(self) -> dict[str, Cursor]:
        """The runs that are there in part or as a whole, oldest first; ids begin with a time."""
        return dict(sorted(self._known.items()))

    def of(self, run: str) -> Cursor:
        """How far a run has come."""
        return self._known.get(run, Cursor())

    def note(self, run: str, sent: int = 0, *, over: bool = False) -> None:
        """Remember how far a run has come; with nothing sent, that it is to be sent at all."""
        self._known[run] = Cursor(sent, over)
        self._write(
            "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)", (self._address, run, sent, int(over))
        )

    def forget(self, run: str) -> None:
        """This run is no longer to be there."""
        self._known.pop(run, None)
        self._write("DELETE FROM runs WHERE address = ? AND run = ?", (self._address, run))

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):  # then it is written again one day
                self._connection.execute(statement, values)
