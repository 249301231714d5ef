"""What people ask of runs from outside the process that runs them, and its answers."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

__all__ = [
    "Answer",
    "Command",
    "Inbox",
    "read_answer",
    "read_commands",
    "write_answer",
    "write_command",
]


@dataclass(frozen=True, slots=True)
class Command:
    """One thing asked: `kind` of `run`, by `who`, at seconds since the epoch."""

    id: int
    run: str
    kind: str
    facts: Mapping[str, object]
    who: str
    at: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command. refused: it was not done; `text` says why."""

    text: str
    refused: bool = False


def write_command(
    connection: sqlite3.Connection, run: str, kind: str, facts: Mapping[str, object], who: str
) -> int:
    """Ask; gives the command's number."""
    made = connection.execute(
        "INSERT INTO commands (run, kind, facts, who, at) VALUES (?, ?, ?, ?, ?)",
        (run, kind, json.dumps(dict(facts)), who, time.time()),
    )
    assert made.lastrowid is not None
    return made.lastrowid


def write_answer(connection: sqlite3.Connection, id: int, answer: Answer) -> None:
    """Say what became of it; the first answer stays."""
    connection.execute(
        "UPDATE commands SET answered = ?, answer = ?, refused = ?"
        " WHERE id = ? AND answered IS NULL",
        (time.time(), answer.text, int(answer.refused), id),
    )


def read_answer(connection: sqlite3.Connection, id: int) -> Answer | None:
    """Give what became of it, or None as long as nobody has answered."""
    row = connection.execute(
        "SELECT answer, refused FROM commands WHERE id = ? AND answered IS NOT NULL", (id,)
    ).fetchone()
    return None if row is None else Answer(str(row[0]), bool(row[1]))


def read_commands(connection: sqlite3.Connection, run: str, kind: str) -> list[Command]:
    """Give what was asked of a run and not refused, oldest first."""
    return [
        Command(id, run, kind, json.loads(facts), who, at)
        for id, facts, who, at in connection.execute(
            "SELECT id, facts, who, at FROM commands"
            " WHERE run = ? AND kind = ? AND refused = 0 ORDER BY id",
            (run, kind),
        )
    ]


class Inbox:
    """Looks for commands that nobody has taken yet; for one thread.

    A look costs some microseconds when nothing was written since the last one.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        self._runs: frozenset[str] = frozenset()
        self._taken: set[int] = set()

    def look(self, runs: Iterable[str]) -> list[Command]:
        """Give what is asked of these runs and was not given before, oldest first.

        Raises:
            sqlite3.Error: the store cannot be read now.
        """
        try:
            return self._look(frozenset(runs))
        except sqlite3.Error:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        connection, self._connection = self._connection, None
        self._version = -1
        if connection is not None:
            connection.close()

    def _look(self, runs: frozenset[str]) -> list[Command]:
        if self._connection is None:
            self._connection = self._connect()
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version and runs == self._runs:
            return []
        self._version, self._runs = version, runs
        found = []
        for id, run, kind, facts, who, at in self._connection.execute(
            "SELECT id, run, kind, facts, who, at FROM commands WHERE answered IS NULL ORDER BY id"
        ):
            if run in runs and id not in self._taken:
                self._taken.add(id)
                found.append(Command(id, run, kind, json.loads(facts), who, at))
        return found
