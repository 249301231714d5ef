"""The run of the notebook itself in the store, and the runs its kernel starts below it."""

from __future__ import annotations

import contextlib
import secrets
import sys
import time
from collections.abc import Mapping

from twingraph_nb.errors import LineageError, RunError, StoreError
from twingraph_nb.events import (
    Batch,
    CancelAsked,
    ErrorInfo,
    RunFinished,
    RunStarted,
    RunStateName,
)
from twingraph_nb.graph.summary import summaries
from twingraph_nb.scheduler.resuming import ended
from twingraph_nb.settings import Settings
from twingraph_nb.store import RunRow, Store, identity
from twingraph_nb.store.commands import Answer, Command, Inbox

__all__ = ["NotebookRecord"]


class NotebookRecord:
    """Records one run of a notebook. Without a store everything goes on, and `trouble` says why."""

    def __init__(self, settings: Settings, notebook: str, params: Mapping[str, object]) -> None:
        self.id = secrets.token_hex(6)
        self.notebook = notebook
        self.params: dict[str, str] = {}
        self.resumes = ""
        self.selected = ""  # what of it is to run, in words
        self.told: Mapping[str, str] = {}  # what else the kernel is told by its environment
        self.trouble = ""
        self.started = time.time()
        self.finished = self.started
        self._parent = settings.notebook_run or None  # a notebook may run another one
        self._home = settings.home.expanduser().absolute()  # the kernel runs in another folder
        self._store: Store | None = None
        self._lineage = settings.lineage
        self._arguments = ""
        self._seq = 0
        if not settings.record:
            self.trouble = "not recorded: TWINGRAPH_STORE is off"
            return
        try:
            self._store = Store.open(settings.home)
        except StoreError as exc:
            self.trouble = f"not recorded: {exc}"
        self.take(params)

    def take(self, params: Mapping[str, object]) -> None:
        """Keep the parameters, for the record and for a run that resumes this one."""
        self.params = summaries(params) or {}
        if self._store is not None and params:
            try:
                self._arguments = self._store.put(dict(params), "parameters", self.notebook)
            except StoreError:
                self._arguments = ""  # a resumed run must be given them again

    def resume(self, text: str) -> dict[str, object]:
        """Go on with an earlier run of this notebook; gives the parameters it had.

        Args:
            text: a run's id, the start of one, or "last": the notebook's newest run.
        Raises:
            RunError: it is not known, still runs, or another run resumes it.
        """
        store = self._store
        if store is None:
            raise RunError(f"there is no earlier run to go on with: {self.trouble}")
        try:
            row = ended(store, self._newest(store) if text == "last" else store.resolve(text))
            if row.parent is not None and store.run(row.parent).form == "notebook":
                row = ended(store, row.parent)
            store.claim(row.id, self.id, identity())
            self.resumes = row.id
            if row.form != "notebook" or not row.arguments:
                return {}
            return store.load(row.arguments)  # type: ignore[return-value]
        except StoreError as exc:
            raise RunError(str(exc)) from exc

    def _newest(self, store: Store) -> str:
        """The notebook's newest run; what it ran in a browser counts."""
        for row in store.runs(limit=None):
            if row.parent is None and row.notebook == self.notebook and row.state != "running":
                return row.id
        raise RunError(f"no earlier run of {self.notebook} is recorded that has ended")

    def env(self) -> dict[str, str]:
        """Give what the kernel's environment must hold to be part of this run."""
        return {
            "TWINGRAPH_HOME": str(self._home),
            "TWINGRAPH_RUN": self.id,
            "TWINGRAPH_NOTEBOOK": self.notebook,
            "TWINGRAPH_BATCH": "1",
            "TWINGRAPH_RESUME": self.resumes,
            **self.told,
        }

    def begin(self, name: str) -> None:
        """Say that the notebook has started."""
        self.started = time.time()
        python = ".".join(map(str, sys.version_info[:3]))
        origin = {**identity(), "notebook": self.notebook, "python": python}
        started = RunStarted(
            self.started,
            self.id,
            name,
            "notebook",
            self._parent,
            self.params,
            origin,
            resumes=self.resumes,
            arguments=self._arguments,
            selected=self.selected,
        )
        self._emit(started)

    def finish(self, state: RunStateName, error: ErrorInfo | None = None) -> None:
        """Say how it ended, and see to it that it is on disk."""
        self.finished = time.time()
        self._emit(RunFinished(self.finished, state, error))
        if self._store is not None:
            self._store.flush()
            self.trouble = self.trouble or (self._store.trouble or "")
            self._send(self._store)

    def _send(self, store: Store) -> None:
        """Write this run to the graph database too; the kernel has written its own."""
        if not self._lineage:
            return
        from twingraph_nb.lineage.remote import write_to  # it loads a client: only when asked

        with contextlib.suppress(LineageError):  # the kernel has said so
            write_to(self._lineage, self._home, store, runs=(self.id,)).close()

    def children(self) -> list[RunRow]:
        """Give the runs that the notebook's kernel has started, oldest first."""
        if self._store is None:
            return []
        try:
            rows = self._store.runs(limit=1000, parent=self.id)
        except StoreError as exc:
            self.trouble = str(exc)
            return []
        return sorted(rows, key=lambda row: row.started or 0.0)

    def ids(self) -> list[str]:
        """Give the ids of these runs."""
        return [row.id for row in self.children()]

    def events(self, run: str, start: int = 0) -> list[Batch]:
        """Give the events of a run from number `start` on; empty when they cannot be read."""
        if self._store is None:
            return []
        try:
            return self._store.events(run, start)
        except StoreError as exc:
            self.trouble = str(exc)
            return []

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()

    def inbox(self) -> Inbox | None:
        """Give what looks for what people ask of the notebook itself; for one thread."""
        return self._store.inbox() if self._store is not None else None

    def obeys(self, command: Command) -> str:
        """Take in what was asked of the notebook; gives why it stops, or "" if it does not."""
        assert self._store is not None  # else nobody could have asked
        if command.kind != "cancel":
            said = f"a notebook can be cancelled, but not {command.kind!r}: ask that of its runs"
            self._store.answer(command.id, Answer(said, refused=True))
            return ""
        why = f"stopped by {command.who}"
        self._emit(CancelAsked(time.time(), None, command.who, why))
        self._store.answer(command.id, Answer("its notebook stops"))
        return why

    def _emit(self, event: RunStarted | CancelAsked | RunFinished) -> None:
        if self._store is not None:
            self._store.emit([Batch(self.id, self._seq, [event])])
            self._seq += 1
