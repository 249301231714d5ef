"""The store of one home folder: events in, runs, results and values out."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from twingraph_nb import wire
from twingraph_nb.errors import RunError, StoreError
from twingraph_nb.events import Batch
from twingraph_nb.store.blobs import Blobs, DamagedBlob
from twingraph_nb.store.claims import family, read_claim, write_claim
from twingraph_nb.store.commands import (
    Answer,
    Command,
    Inbox,
    read_answer,
    read_commands,
    write_answer,
    write_command,
)
from twingraph_nb.store.database import (
    FILE,
    Readers,
    connect,
    explain_os,
    prepare,
    prepare_readonly,
)
from twingraph_nb.store.lengths import Lengths, RunLength
from twingraph_nb.store.log import each_batch, read_events, read_run, read_runs, resolve_run
from twingraph_nb.store.look import Look
from twingraph_nb.store.results import (
    forget_blob,
    note_used,
    read_component,
    read_last_source,
    read_result,
    write_result,
)
from twingraph_nb.store.rows import Freed, Kept, RunRow
from twingraph_nb.store.sweep import (
    Sweep,
    give_back,
    plan_sweep,
    remove_components,
    remove_results,
    remove_run,
)
from twingraph_nb.store.writer import Writer

__all__ = ["Store"]

KEEP_SECONDS = 30.0  # how long to wait until a result is written
USED_SECONDS = 3600.0  # how exactly it is known when a result was last used


class Store:
    """The event log and the kept values of a home folder. Safe to use from any thread.

    home: the folder. notes: what a person should know about how it was opened.
    """

    def __init__(self, home: Path, *, readonly: bool, notes: tuple[str, ...] = ()) -> None:
        self.home, self.notes = home, notes
        self._pid = os.getpid()
        self._blobs = Blobs(home / "blobs")
        self._readers = Readers(home / FILE)
        self._lengths = Lengths()
        self._writer = None if readonly else Writer(home / FILE)

    @classmethod
    def open(cls, home: Path, *, readonly: bool = False) -> Store:
        """Open the store of a folder, which is made if need be.

        Args:
            home: the folder; several processes may use it at once.
            readonly: for looking only; sees what others write meanwhile.
        Raises:
            StoreError: it cannot be used; says why and what to do. A damaged file is moved
                aside, and a new one started, unless `readonly`; `notes` then says so.
        """
        home = home.expanduser().absolute()
        if readonly:
            prepare_readonly(home / FILE)
            return cls(home, readonly=True)
        note = prepare(home / FILE)
        return cls(home, readonly=False, notes=(note,) if note else ())

    @staticmethod
    def exists(home: Path) -> bool:
        """True when something has been recorded in this folder."""
        return (home.expanduser() / FILE).exists()

    # -- writing -----------------------------------------------------------------------------

    def emit(self, batches: Sequence[Batch]) -> None:
        """Take events; they are on their way to the disk within some 20 ms."""
        if self._writer is not None:
            self._writer.put(batches)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was emitted is written; False if it is not, within `timeout` s."""
        if self._writer is None or self._pid != os.getpid():
            return False
        try:
            self._writer.send(lambda connection: None).wait(timeout)
        except StoreError:
            return False
        return True

    def close(self, timeout: float = 5.0) -> None:
        """Write what is left, for up to `timeout` seconds, and let go of the file."""
        if self._pid != os.getpid():
            return  # a fork: thread and connections belong to the parent
        self._readers.close()
        if self._writer is not None:  # last, because only a connection that writes cleans up
            self._writer.stop(timeout)

    @property
    def behind(self) -> int:
        """How many events wait to be written; 0 while nothing can be."""
        writer = self._writer
        return 0 if writer is None or writer.trouble else writer.behind

    @property
    def trouble(self) -> str:
        """Why events are not being recorded right now; "" when all is well."""
        return "" if self._writer is None else self._writer.trouble

    @property
    def on_trouble(self) -> Callable[[str], object] | None:
        """Called on the writer's thread with each new value of `trouble`."""
        return None if self._writer is None else self._writer.on_trouble

    @on_trouble.setter
    def on_trouble(self, callback: Callable[[str], object] | None) -> None:
        if self._writer is not None:
            self._writer.on_trouble = callback

    # -- the log -----------------------------------------------------------------------------

    def runs(self, limit: int | None = 50, parent: str | None = None) -> list[RunRow]:
        """Give runs, newest first; with `parent` only those that this run started."""
        with self._readers.lend() as connection:
            return read_runs(connection, limit, parent)

    def lengths(self) -> Sequence[RunLength]:
        """Give all runs, oldest first; the same object as before if nothing has changed."""
        with self._readers.lend() as connection:
            return self._lengths.look(connection)

    def run(self, run_id: str) -> RunRow:
        """Give one run.

        Raises:
            RunError: it is not known.
        """
        with self._readers.lend() as connection:
            return read_run(connection, run_id)

    def events(self, run_id: str, start: int = 0) -> list[Batch]:
        """Give what is written of a run's events, from number `start` on, without gaps.

        Raises:
            StoreError: the record is damaged.
        """
        with self._readers.lend() as connection:
            return read_events(connection, run_id, start)

    def each_batch(self, run_id: str) -> Iterator[Batch]:
        """Give the same piece by piece: of a run of millions of tasks, it does not fit in memory.

        Raises:
            StoreError: the record is damaged.
        """
        with self._readers.lend() as connection:
            yield from each_batch(connection, run_id)

    def resolve(self, text: str) -> str:
        """Give the id of a run from its start, or from "last".

        Raises:
            RunError: no run is meant, or several.
        """
        with self._readers.lend() as connection:
            return resolve_run(connection, text)

    # -- going on with runs, and telling them what to do -------------------------------------

    def family(self, run_id: str) -> list[RunRow]:
        """Give the runs whose finished tasks count when this one is resumed, oldest first."""
        with self._readers.lend() as connection:
            rows = read_runs(connection, None)
            return family(connection, read_run(connection, run_id), rows[::-1])

    def claim(self, run_id: str, by: str, origin: Mapping[str, str]) -> None:
        """Note that the run `by` goes on with this one.

        Raises:
            RunError: another one does; names it, and the process that runs it.
            StoreError: nothing can be written.
        """
        errors: list[RunError] = []

        def act(connection: sqlite3.Connection) -> None:
            try:
                write_claim(connection, run_id, by, origin)
            except RunError as exc:  # is the asker's, not the writer's
                errors.append(exc)

        self._writing().send(act).wait(KEEP_SECONDS)
        if errors:
            raise errors[0]

    def ask(self, run_id: str, kind: str, facts: Mapping[str, object], who: str) -> int:
        """Ask something of a run, wherever it runs; gives the number of the question.

        Raises:
            StoreError: nothing can be written.
        """
        act = partial(write_command, run=run_id, kind=kind, facts=facts, who=who)
        return self._writing().send(act).wait(KEEP_SECONDS)  # type: ignore[return-value]

    def answer(self, command: int, answer: Answer) -> None:
        """Say what became of a command; does not wait."""
        self._writing().send(partial(write_answer, id=command, answer=answer))

    def answer_to(self, command: int) -> Answer | None:
        """Give what became of a command, or None as long as nobody has answered."""
        with self._readers.lend() as connection:
            return read_answer(connection, command)

    def commands(self, run_id: str, kind: str) -> list[Command]:
        """Give what was asked of a run and not refused, oldest first."""
        with self._readers.lend() as connection:
            return read_commands(connection, run_id, kind)

    def resumed_by(self, run_id: str) -> str | None:
        """Give the run that went on with this one last, or None."""
        with self._readers.lend() as connection:
            return read_claim(connection, run_id)

    def inbox(self) -> Inbox:
        """Give what looks for commands; for one thread."""
        return Inbox(partial(connect, self.home / FILE, readonly=True))

    # -- values ------------------------------------------------------------------------------

    def put(self, value: object, name: str, of: str) -> str:
        """Keep one value that no result names; gives its blob. `gc` leaves a run's arguments.

        Raises:
            StoreError: it cannot be pickled or written; names it.
        """
        return self._put(value, name, of)

    def find(self, digest: str, max_age: float | None = None) -> Kept | None:
        """Give the outputs of an equal task, if they are there and at most `max_age` s old."""
        with self._readers.lend() as connection:
            found = read_result(connection, digest, max_age)
        if found is None or not self._blobs.has(found[0].outputs.values()):
            return None
        now = time.time()
        if self._writer is not None and now - found[1] > USED_SECONDS:
            self._writer.send(partial(note_used, digest=digest, at=now), hurry=False)
        return found[0]

    def keep(
        self,
        digest: str,
        component: str,
        run: str,
        hash: str,
        outputs: Mapping[str, object],
    ) -> dict[str, str]:
        """Keep the outputs of a task; gives the blob of each port. May take long: not on a loop.

        Raises:
            StoreError: a value cannot be pickled (names its port), or nothing can be written.
        """
        writer = self._writing()
        blobs = {port: self._put(value, port, component) for port, value in outputs.items()}
        kept = Kept(digest, component, run, hash, time.time(), blobs)
        writer.send(partial(write_result, kept=kept)).wait(KEEP_SECONDS)
        return blobs

    @contextlib.contextmanager
    def looking(self) -> Iterator[Look]:
        """Lend what answers many questions fast, all as of now. Not for long: the log grows."""
        with self._readers.lend() as connection:
            connection.execute("BEGIN")
            try:
                yield Look(connection, self._blobs, self.load)
            finally:
                connection.execute("COMMIT")

    def has(self, blobs: Collection[str]) -> bool:
        """True when each of these values is there."""
        return self._blobs.has(blobs)

    def sizes(self, outputs: Mapping[str, str]) -> int:
        """Give how many bytes kept outputs take together; 0 for what is not there."""
        return sum(self._blobs.size(blob) for blob in outputs.values())

    def load(self, blob: str) -> object:
        """Give a kept value.

        Raises:
            StoreError: it is missing or damaged, and is forgotten then; or its class is not
                there to read it.
        """
        try:
            content = self._blobs.get(blob)
        except DamagedBlob:
            self._blobs.remove(blob)
            if self._writer is not None:
                self._writer.send(partial(forget_blob, blob=blob))
            raise
        except OSError as exc:
            raise StoreError(f"kept value {blob[:12]} cannot be read: {explain_os(exc)}") from exc
        try:
            return wire.unpack(content)
        except Exception as exc:  # whatever the value's own class raises
            raise StoreError(
                f"kept value {blob[:12]} cannot be read here: {type(exc).__name__}: {exc}; "
                f"import or define its class first"
            ) from exc

    def component_source(self, digest: str) -> str | None:
        """Give the source of a component as it was when a run used it; None if not known."""
        facts = self.component(digest)
        return None if facts is None else str(facts["source"])

    def component(self, digest: str) -> Mapping[str, object] | None:
        """Give name, source and the other facts of a component, as events say them, or None."""
        with self._readers.lend() as connection:
            return read_component(connection, digest)

    def last_source(self, name: str) -> str | None:
        """Give the source of the version of a component that was used last; None if not known."""
        with self._readers.lend() as connection:
            return read_last_source(connection, name)

    # -- cleaning up -------------------------------------------------------------------------

    def gc(self, older_than: float, *, keep_last: int = 0, dry_run: bool = False) -> Freed:
        """Remove runs that ended long ago, and the values that nothing names any more.

        A running run stays, and so does what it started or was started by.

        Args:
            older_than: seconds since its end, or since a result was last used.
            keep_last: so many of the newest runs stay in any case.
            dry_run: only say what would go.
        Returns:
            Counts, and bytes of events and blobs.
        Raises:
            StoreError: nothing can be written.
        """
        before = time.time() - older_than
        with self._readers.lend() as connection:
            sweep = plan_sweep(connection, before, keep_last)
        if not dry_run:
            self._remove(sweep, before)
        blobs = list(self._blobs.unreferenced(sweep.wanted))
        if not dry_run:
            for path, _ in blobs:
                path.unlink(missing_ok=True)
        size = sweep.bytes + sum(size for _, size in blobs)
        return Freed(len(sweep.runs), sweep.events, len(sweep.results), len(blobs), size)

    def _remove(self, sweep: Sweep, before: float) -> None:
        writer = self._writing()
        for run in sweep.runs:  # a transaction each, so that other processes get their turn
            writer.send(partial(remove_run, run=run)).wait(None)
        writer.send(partial(remove_results, digests=sweep.results, before=before)).wait(None)
        writer.send(partial(remove_components, before=sweep.components_before)).wait(None)
        while writer.send(give_back).wait(None):
            pass

    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreError(f"the store of {self.home} was opened for reading only")
        return self._writer

    def _put(self, value: object, port: str, component: str) -> str:
        try:
            parts = wire.pack(value)
        except Exception as exc:  # whatever the value's own class raises
            raise StoreError(
                f"output {port!r} of {component} cannot be kept, because pickle refuses "
                f"{wire.culprit(value, port)}: {exc}"
            ) from exc
        try:
            return self._blobs.put(parts)
        except OSError as exc:
            raise StoreError(
                f"output {port!r} of {component} cannot be kept: {explain_os(exc)}"
            ) from exc
