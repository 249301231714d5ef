"""The tables, and the steps from each version of them to the next."""

from __future__ import annotations

import sqlite3

from twingraph_nb.errors import StoreError

__all__ = ["APPLICATION", "LATEST", "STEPS", "migrate", "version_of"]

APPLICATION = 0x54474E42  # "TGNB" in the file's header: this is our kind of file

_FIRST = (
    """CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        form TEXT NOT NULL,
        state TEXT NOT NULL,
        parent TEXT,
        started REAL NOT NULL,
        finished REAL,
        seen REAL NOT NULL,
        tasks INTEGER NOT NULL DEFAULT 0,
        done INTEGER NOT NULL DEFAULT 0,
        reused INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        skipped INTEGER NOT NULL DEFAULT 0,
        cancelled INTEGER NOT NULL DEFAULT 0,
        events INTEGER NOT NULL DEFAULT 0,
        error TEXT NOT NULL DEFAULT '',
        incomplete TEXT NOT NULL DEFAULT '',
        params TEXT NOT NULL DEFAULT '{}',
        origin TEXT NOT NULL DEFAULT '{}'
    ) WITHOUT ROWID""",
    "CREATE INDEX runs_by_start ON runs (started)",
    "CREATE INDEX runs_by_parent ON runs (parent, started)",
    # Several batches that were written together share a row; `crc` is zlib.crc32 of the body,
    # because SQLite itself does not notice a flipped byte inside a value.
    """CREATE TABLE events (
        run TEXT NOT NULL,
        seq INTEGER NOT NULL,
        n INTEGER NOT NULL,
        crc INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (run, seq)
    ) WITHOUT ROWID""",
    """CREATE TABLE results (
        digest TEXT PRIMARY KEY,
        component TEXT NOT NULL,
        run TEXT NOT NULL,
        hash TEXT NOT NULL,
        at REAL NOT NULL,
        outputs TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE components (
        digest TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        source TEXT NOT NULL,
        facts TEXT NOT NULL,
        at REAL NOT NULL
    ) WITHOUT ROWID""",
)
_SECOND = (  # so that a value that is used every day outlives the run that made it
    "ALTER TABLE results ADD COLUMN used REAL NOT NULL DEFAULT 0",
    "UPDATE results SET used = at",
)
_THIRD = (
    "ALTER TABLE runs ADD COLUMN resumes TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN arguments TEXT NOT NULL DEFAULT ''",
    # Which run goes on with which; the origin tells whether its process still lives.
    """CREATE TABLE claims (
        run TEXT PRIMARY KEY,
        by TEXT NOT NULL,
        origin TEXT NOT NULL,
        at REAL NOT NULL
    ) WITHOUT ROWID""",
    # What people ask of a run from elsewhere; the process that runs it answers.
    """CREATE TABLE commands (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL,
        kind TEXT NOT NULL,
        facts TEXT NOT NULL,
        who TEXT NOT NULL,
        at REAL NOT NULL,
        answered REAL,
        answer TEXT NOT NULL DEFAULT '',
        refused INTEGER NOT NULL DEFAULT 0
    )""",
    "CREATE INDEX commands_open ON commands (id) WHERE answered IS NULL",
)
STEPS: tuple[tuple[str, ...], ...] = (_FIRST, _SECOND, _THIRD)
"""Statement lists; number i leads from version i to version i + 1. Only ever append."""

LATEST = len(STEPS)


def version_of(connection: sqlite3.Connection, path: object) -> int:
    """Give the schema version of an open file; 0 = empty.

    Raises:
        StoreError: it belongs to a newer version of this package, or to another program.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION and (application or version or tables):
        raise StoreError(
            f"{path} is a database of another program; set TWINGRAPH_HOME to a folder of its own"
        )
    if version > LATEST:
        raise StoreError(
            f"{path} was written by a newer twingraph-nb (schema {version}, this one knows "
            f"{LATEST}): upgrade with `pip install -U twingraph-nb`, or set TWINGRAPH_HOME "
            f"to another folder"
        )
    return version


def migrate(connection: sqlite3.Connection, path: object) -> int:
    """Bring the file to the latest version, all or nothing; gives the version it had.

    Raises:
        StoreError: see `version_of`.
        sqlite3.Error: the file cannot be written.
    """
    before = version_of(connection, path)
    if before == LATEST:
        return before
    connection.execute("BEGIN IMMEDIATE")
    try:
        before = version_of(connection, path)  # another process may have been faster
        for statements in STEPS[before:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {LATEST}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return before
