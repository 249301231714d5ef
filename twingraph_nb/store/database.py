"""Opening the file: connections, the check for damage, and what to say when it fails."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from twingraph_nb.errors import StoreError
from twingraph_nb.store.schema import LATEST, migrate, version_of

__all__ = [
    "FILE",
    "Readers",
    "connect",
    "explain",
    "explain_os",
    "inode_of",
    "prepare",
    "prepare_readonly",
]

FILE = "twingraph.db"
BUSY_SECONDS = 5.0  # how long one statement waits for another process' lock
CHECK_BYTES = 32 * 2**20  # larger files are checked at most once a day: about 0.5 s for each GB
CHECK_SECONDS = 86400.0
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """Give a connection in autocommit; may be used by one thread at a time.

    Raises:
        sqlite3.Error: the file cannot be opened.
    """
    mode = "ro" if readonly else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if not readonly:
            if not connection.execute("PRAGMA page_count").fetchone()[0]:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # whole after a kill of the process
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(path: Path) -> str:
    """Make the file ready to be written: folder, tables, damage moved aside.

    Returns:
        A sentence about a damaged file that was moved aside, or "".
    Raises:
        StoreError: that cannot be done; says what to do.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _only_one(path.parent / ".opening"):
            return _prepare(path)
    except OSError as exc:
        raise StoreError(
            f"the folder {path.parent} cannot be used for the event log: "
            f"{exc.strerror or exc}; set TWINGRAPH_HOME to a folder that you may write to"
        ) from exc
    except sqlite3.Error as exc:
        raise StoreError(explain(exc, path)) from exc


def prepare_readonly(path: Path) -> None:
    """See that the file can be read; brings an older one to the latest version first.

    Raises:
        StoreError: there is none, or it cannot be read.
    """
    if not path.exists():
        raise StoreError(f"nothing has been recorded in {path.parent} yet")
    try:
        with contextlib.closing(connect(path, readonly=True)) as connection:
            _check(connection, path)
            version = version_of(connection, path)
        if version != LATEST:
            prepare(path)
    except sqlite3.Error as exc:
        raise StoreError(explain(exc, path)) from exc


def explain(exc: sqlite3.Error, path: Path) -> str:
    """Turn an error of SQLite into a sentence that says what to do."""
    code = _code(exc)
    if code == sqlite3.SQLITE_FULL:
        return f"the disk that holds {path.parent} is full; make room"
    if code in _LOCKED:
        return f"{path} is locked by another process; close the program that holds it"
    if code in _DAMAGED:
        return f"{path} is damaged; move it away or restore it, a new session then starts afresh"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"{path} cannot be written or opened ({exc}); check the rights on {path.parent}"
    if code == sqlite3.SQLITE_IOERR:
        return f"{path} cannot be written ({exc}); check the disk and quota of {path.parent}"
    return f"{path} cannot be used: {exc}"


def inode_of(path: Path) -> int:
    """Give the number of the file on its disk, or 0 if it is not there."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def explain_os(exc: OSError) -> str:
    """Turn an error of the file system into words, with the file it is about."""
    if exc.errno == errno.ENOSPC:
        return "the disk is full; make room"
    return str(exc)


class Readers:
    """Connections for reading, lent to one thread each; opened as needed and kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False
        self._inode = inode_of(path)

    @contextlib.contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection.

        Raises:
            StoreError: the file cannot be read.
        """
        try:
            connection = self._idle_one() or connect(self._path, readonly=True)
        except sqlite3.Error as exc:
            raise StoreError(explain(exc, self._path)) from exc
        try:
            yield connection
        except sqlite3.Error as exc:
            connection.close()
            raise StoreError(explain(exc, self._path)) from exc
        except BaseException:
            self._take_back(connection)
            raise
        else:
            self._take_back(connection)

    def _idle_one(self) -> sqlite3.Connection | None:
        found = inode_of(self._path)
        with self._lock:
            if found == self._inode:
                return self._idle.pop() if self._idle else None
            self._inode = found  # the file was replaced: forget the connections to the old one
            stale, self._idle = self._idle, []
        for connection in stale:
            connection.close()
        return None

    def close(self) -> None:
        """Close what is idle now, and what comes back later."""
        self._closed = True
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()


def _code(exc: sqlite3.Error) -> int:
    return int(getattr(exc, "sqlite_errorcode", 0) or 0) & 0xFF  # extended codes share the byte


def _prepare(path: Path) -> str:
    """With the folder to ourselves."""
    said = ""
    try:
        _open_and_check(path)
    except sqlite3.Error as exc:
        if _code(exc) not in _DAMAGED:
            raise
        aside = _move_aside(path)
        said = f"the event log {path} was damaged; it was moved to {aside} and a new one started"
        _open_and_check(path)
    return said


def _open_and_check(path: Path) -> None:
    with contextlib.closing(connect(path)) as connection:
        migrate(connection, path)
        _check(connection, path)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise sqlite3.DatabaseError if pages are broken."""
    stamp = path.with_name(".checked")
    if path.stat().st_size > CHECK_BYTES and _age(stamp) < CHECK_SECONDS:
        return
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        error = sqlite3.DatabaseError(found)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error
    if path.stat().st_size > CHECK_BYTES:
        with contextlib.suppress(OSError):  # a folder that may only be read is checked each time
            stamp.touch()


def _age(stamp: Path) -> float:
    try:
        return time.time() - stamp.stat().st_mtime
    except OSError:
        return float("inf")


def _move_aside(path: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    number = 1
    while aside.exists():
        aside = path.with_name(f"{path.name}.corrupt-{stamp}-{number}")
        number += 1
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{aside}{suffix}")
    return aside


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold a lock that the operating system frees if we die; no lock on Windows."""
    if os.name == "nt":
        yield
        return
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
