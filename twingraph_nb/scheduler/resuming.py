"""From the id of an earlier run to what a new one can take over from it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from twingraph_nb.errors import RunError, StoreError
from twingraph_nb.events import Batch
from twingraph_nb.scheduler.calls import Arguments
from twingraph_nb.scheduler.digests import size_of
from twingraph_nb.scheduler.earlier import Earlier
from twingraph_nb.settings import Settings
from twingraph_nb.store import RunRow, Store

__all__ = ["Resuming", "earlier_of", "ended"]

_LISTED = 8  # runs in a message
_MOST_ARGUMENTS = 8 * 2**20
"""Bytes of a pipeline's arguments that are kept, so that another process can resume its run."""
_NOT_KEPT = "-"
Events = Callable[[str], Iterable[Batch]]
"""Gives the record of a run by its id."""


class Resuming:
    """What the runs of a session take over from earlier ones."""

    def __init__(self, store: Store | None, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._lock = threading.Lock()
        self._ours: Earlier | None = None

    def earlier(self, run_id: str, resumes: str, origin: Mapping[str, str]) -> Earlier | None:
        """Give what a new run takes over: from the run it resumes, or from the one that its
        whole session does; None if there is none.

        Raises:
            RunError: the earlier run still runs, or another one resumes it.
        """
        if resumes:
            store = self._recorded()
            resumes = self.row(resumes).id
            store.claim(resumes, run_id, origin)
            return earlier_of(store, resumes, alone=True)
        if not self._settings.resume:
            return None
        with self._lock:  # one for all runs of the session: a task is given away once
            if self._ours is None:
                store = self._recorded()
                about = store.resolve(self._settings.resume)
                if not self._settings.notebook_run:  # else the batch run has done so
                    ended(store, about)
                    store.claim(about, run_id, origin)
                self._ours = earlier_of(store, about)
            return self._ours

    def preview(self, resumes: str, events: Events | None = None) -> Earlier | None:
        """Give what a run would take over if it began now; nothing is claimed or taken.

        Args:
            events: gives the record of a run if the store is not to be asked.
        Raises:
            RunError: the earlier run is not known, or still runs.
        """
        if resumes:
            store = self._recorded()
            return earlier_of(store, ended(store, resumes).id, alone=True, events=events)
        if not self._settings.resume:
            return None
        with self._lock:
            if self._ours is not None:
                return self._ours.copy()
        store = self._recorded()
        return earlier_of(store, store.resolve(self._settings.resume), events=events)

    def row(self, text: str) -> RunRow:
        """Give the run of a pipeline that is to be resumed; of a whole notebook's run the one in
        it that can be meant.

        Raises:
            RunError: it is not known, still runs, or is not a pipeline's.
        """
        store = self._recorded()
        row = ended(store, store.resolve(text))
        if row.form == "pipeline":
            return row
        runs = [one for one in store.runs(None, row.id) if one.form == "pipeline"]
        open_ = [one for one in runs if one.state != "succeeded"]
        if len(runs) == 1 or len(open_) == 1:
            return ended(store, (open_ or runs)[0].id)
        whole = f"run {row.id} is of a whole notebook"
        if runs:
            named = ", ".join(f"{one.id} ({one.name}, {one.state})" for one in runs[:_LISTED])
            whole += f", with runs of several pipelines: name one of {named}; or of all"
        raise RunError(f"{whole}: `twingraph run NOTEBOOK --resume {row.id}`")

    def arguments(self, row: RunRow) -> Arguments:
        """Give what the pipeline of a run was called with.

        Raises:
            RunError: that was not kept.
            StoreError: it cannot be read any more.
        """
        if row.arguments == _NOT_KEPT:
            raise RunError(
                f"the arguments of run {row.id} were not kept (too large, or pickle refused "
                f"them): only the session that started it can resume it"
            )
        if not row.arguments:
            return (), {}
        return self._recorded().load(row.arguments)  # type: ignore[return-value]

    def kept_arguments(self, name: str, arguments: Arguments | None) -> str:
        """Keep the arguments of a pipeline; gives their blob, "" if there are none."""
        if self._store is None or arguments is None or not any(arguments):
            return ""
        if size_of(arguments) > _MOST_ARGUMENTS:
            return _NOT_KEPT
        try:
            return self._store.put(arguments, "arguments", name)
        except StoreError:
            return _NOT_KEPT

    def _recorded(self) -> Store:
        if self._store is None:
            raise RunError("this session is not recorded: there is no earlier run to go on with")
        return self._store


def ended(store: Store, run_id: str) -> RunRow:
    """Give a run that may be resumed.

    Raises:
        RunError: it is not known, or it still runs; says where.
    """
    row = store.run(run_id)
    if row.state == "running":
        raise RunError(
            f"run {run_id} still runs, in process {row.pid} on {row.host or 'another machine'}: "
            f"wait for it, or stop it with `twingraph cancel {run_id}`, then resume it"
        )
    return row


def earlier_of(
    store: Store, run_id: str, *, alone: bool = False, events: Events | None = None
) -> Earlier:
    """Give the finished tasks of a run, and of those which it had resumed itself.

    Args:
        alone: of this run only; else of all that its notebook or process ran.
        events: gives the record of a run if the store is not to be asked.
    Raises:
        RunError: it is not known.
        StoreError: its record is damaged.
    """
    found, read = Earlier(run_id), events or store.each_batch
    queue, seen = [run_id], set()
    while queue:
        row = store.run(queue.pop(0))
        members = [row] if alone else store.family(row.id)
        for one in [row, *members]:
            if one.id in seen:
                continue
            seen.add(one.id)
            if one.form != "notebook":
                found.add(one.id, read(one.id))
            if one.resumes and one.resumes not in seen:
                queue.append(one.resumes)
    return found
