"""Obeys what people ask of runs from elsewhere: cancel, pause, go on, retry, change a limit."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from functools import partial
from typing import TYPE_CHECKING

from twingraph_nb.errors import StoreError
from twingraph_nb.scheduler.orders import obey
from twingraph_nb.store import Store
from twingraph_nb.store.commands import Answer, Command

if TYPE_CHECKING:
    from twingraph_nb.scheduler.drive import Driver

__all__ = ["Control"]

_LOOK_EVERY = 0.1
"""Seconds between looks for commands while runs go on."""
_log = logging.getLogger(__name__)
_looking = threading.Lock()
"""Held while SQLite works for us here: a child that was forked meanwhile would wait for ever."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_looking.acquire, after_in_parent=_looking.release, after_in_child=_looking.release
    )


class Control:
    """Looks into the store for commands, on a thread of its own, and has the driver obey.

    So a run can be stopped while a cell keeps the kernel busy, from another process too.
    """

    def __init__(self, driver: Driver, store: Store) -> None:
        self._driver, self._store = driver, store
        self._awake, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="twingraph-control", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There may be something to look after."""
        self._awake.set()

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self._awake.set()
        self._thread.join(5.0)

    # -- its thread --------------------------------------------------------------------------

    def _watch(self) -> None:
        inbox = self._store.inbox()
        while not self._over.is_set():
            runs = list(self._driver.runs)
            if not runs:
                self._awake.wait()
                self._awake.clear()
                if not self._driver.runs:
                    self._over.wait(_LOOK_EVERY)  # it is on its way
                continue
            try:
                with _looking:
                    commands = inbox.look(runs)
            except sqlite3.Error:
                commands = []  # locked or damaged: the store itself says so; look again
            for command in commands:
                self._driver.call(partial(self._obey, command))
            self._over.wait(_LOOK_EVERY)
        inbox.close()

    # -- on the scheduler's thread -----------------------------------------------------------

    def _obey(self, command: Command) -> None:
        run = self._driver.runs.get(command.run)
        if run is None and command.kind == "answer":
            return  # it came after the end: it is kept for the run that resumes this one
        try:
            answer = (
                Answer(f"run {command.run} has ended", refused=True)
                if run is None
                else obey(self._driver, run, command.kind, command.facts, command.who)
            )
        except Exception as exc:  # a command of another version must not end the thread
            _log.exception("command %s of run %s", command.kind, command.run)
            answer = Answer(f"{type(exc).__name__}: {exc}", refused=True)
        try:
            self._store.answer(command.id, answer)
        except StoreError:
            pass  # it is done all the same
