"""The one thread of a process that writes to the store."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from twingraph_nb.errors import StoreError
from twingraph_nb.events import Batch, RunFinished, RunStarted
from twingraph_nb.store.database import connect, explain, inode_of
from twingraph_nb.store.projection import Live
from twingraph_nb.store.schema import migrate
from twingraph_nb.store.work import Errand, Work

__all__ = ["Writer"]

GATHER_SECONDS = 0.05  # between transactions, so that events of many small tasks share one
RETRY_SECONDS = 1.0  # after a transaction that failed
HELD_EVENTS = 200_000  # kept in memory while nothing can be written: some 50 MB
TAKEN_EVENTS = 20_000  # in one transaction at most, so that other processes get their turn
_DEFECTS = (  # of what was put: trying again does not help
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
)
_log = logging.getLogger(__name__)


class Writer:
    """Writes what is put, in order, in transactions of its own thread; never raises to who puts.

    trouble: why nothing can be written right now, or "". on_trouble: called on the writer's
    thread with each new value of it.
    """

    def __init__(self, path: Path) -> None:
        self.trouble = ""
        self.on_trouble: Callable[[str], object] | None = None
        self._path = path
        self._queue: deque[Batch] = deque()
        self._errands: deque[Errand] = deque()
        self._put = 0  # events so far that went into the queue
        self._taken = self._written = 0  # and how many the thread took out and wrote
        self._lives: dict[str, Live] = {}
        self._work = Work()
        self._awake = self._stopping = False
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._inode = inode_of(path)
        self._thread = threading.Thread(target=self._run, name="twingraph-store", daemon=True)
        self._thread.start()

    def put(self, batches: Sequence[Batch]) -> None:
        """Take the batches; a microsecond or two, on whatever thread."""
        if self._put - self._written >= HELD_EVENTS or self._stopping:
            batches = _ends(batches)
        for batch in batches:
            self._put += len(batch.events)
        self._queue.extend(batches)
        if not self._awake:
            self._awake = True
            self._wake.set()

    @property
    def behind(self) -> int:
        """How many events wait to be written."""
        return self._put - self._written

    def send(self, act: Callable[[sqlite3.Connection], object], *, hurry: bool = True) -> Errand:
        """Have something done in a transaction, after all that was put before; or refused.

        Args:
            hurry: somebody waits for it, so do not gather events first.
        """
        errand = Errand(act, after=self._put)
        if self._stopping or self.trouble:
            errand.finish(self.trouble or "the store is closed")
            return errand
        self._errands.append(errand)
        self._awake = True
        if hurry:
            self._hurry.set()
        self._wake.set()
        return errand

    def stop(self, timeout: float) -> None:
        """Write what can be written within `timeout` seconds, then end."""
        self._stopping = True
        self._hurry.set()
        self._wake.set()
        self._thread.join(timeout)

    # -- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while self._wait_for_work():
            self._prepare()
            if self._write():
                self._written = self._taken
                self._tell("")
            elif self._stopping:
                break
            else:
                self._hurry.clear()
                self._hurry.wait(RETRY_SECONDS)
        self._close_connection()
        self._refuse_errands("the store is closed")

    def _wait_for_work(self) -> bool:
        """Wait until something is there; False when all is written and the end was asked for."""
        if not self._work.empty:
            return True
        while not (self._queue or self._errands):
            if self._stopping:
                return False
            self._awake = False
            # Whoever puts looks at _awake after filling the queue, so one of us sees the other.
            if not (self._queue or self._errands or self._stopping):
                self._wake.wait()
            self._wake.clear()
            self._awake = True
        if not self._stopping and self._hurry.wait(GATHER_SECONDS):
            self._hurry.clear()
        return True

    def _prepare(self) -> None:
        """Fill the next transaction, unless the last one has yet to succeed."""
        if not self._work.empty:
            return
        batches: list[Batch] = []
        enough = self._taken + TAKEN_EVENTS
        while self._queue and self._taken < enough:
            batches.append(self._queue.popleft())
            self._taken += len(batches[-1].events)
        self._work.take(batches, self._lives)
        while self._errands and self._errands[0].after <= self._taken:
            self._work.errands.append(self._errands.popleft())

    def _write(self) -> bool:
        try:
            self._work.write(self._open())
        except (sqlite3.Error, OSError, StoreError) as exc:
            if not isinstance(exc, _DEFECTS):
                self._fail(explain(exc, self._path) if isinstance(exc, sqlite3.Error) else str(exc))
                return False
            self._salvage()
        except Exception:
            _log.exception("the store's writer")
            self._salvage()
        done, self._work = self._work, Work()
        for errand in done.errands:
            errand.finish()
        return True

    def _fail(self, why: str) -> None:
        self._close_connection()
        self._tell(f"runs are not being recorded: {why}")
        self._refuse_errands(why)

    def _salvage(self) -> None:
        """Something in the transaction can never be written: write the rest."""
        for part in self._work.parts():
            try:
                part.write(self._open())
            except Exception as exc:
                part.give_up(f"{type(exc).__name__}: {exc}")
            for errand in part.errands:
                errand.finish()
        self._work = Work()

    def _refuse_errands(self, why: str) -> None:
        """Nobody shall wait for what cannot be written soon; the events stay."""
        errands, self._work.errands = self._work.errands, []
        while self._errands:
            errands.append(self._errands.popleft())
        for errand in errands:
            errand.finish(why)

    def _open(self) -> sqlite3.Connection:
        """Give the connection; a new one after a failure, or when the file was replaced."""
        found = inode_of(self._path)
        if found != self._inode:
            self._close_connection()
        if self._connection is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            connection = connect(self._path)
            try:
                fresh = migrate(connection, self._path) == 0
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            if fresh or inode_of(self._path) != self._inode:
                self._work.start_over(self._lives)
            self._inode = inode_of(self._path)
        return self._connection

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _tell(self, trouble: str) -> None:
        if trouble == self.trouble:
            return
        self.trouble = trouble
        if self.on_trouble is not None:
            try:
                self.on_trouble(trouble)
            except Exception:
                _log.exception("on_trouble")


def _ends(batches: Sequence[Batch]) -> list[Batch]:
    """The starts and ends of runs only; their numbers show later that something is missing."""
    return [
        Batch(batch.run, number, (event,))
        for batch in batches
        for number, event in enumerate(batch.events, batch.seq)
        if isinstance(event, (RunStarted, RunFinished))
    ]
