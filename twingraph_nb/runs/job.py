"""One run of one notebook, from the prepared notebook to its ending; the same for both doors.

`twingraph run` and ``papermill --engine twingraph`` prepare the notebook in their own ways and
meet here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

from papermill.engines import NotebookExecutionManager

from twingraph_nb.errors import NotebookError, TwingraphError
from twingraph_nb.events import ErrorInfo
from twingraph_nb.runs.answers import Listener
from twingraph_nb.runs.client import Client
from twingraph_nb.runs.ending import Ending
from twingraph_nb.runs.parameters import check
from twingraph_nb.runs.record import NotebookRecord
from twingraph_nb.runs.report import write_report
from twingraph_nb.runs.terminal import Terminal, TqdmLine
from twingraph_nb.settings import Settings

__all__ = ["Limits", "carry_out", "run_for_papermill", "settings"]

POLL = 0.25  # seconds between two looks into the store
LOOK = 0.1  # the same, for what people ask

_quiet = logging.getLogger("twingraph_nb.notebook")  # what nbclient logs is told by the ending
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds: of the whole notebook, of one cell, of the kernel's start."""

    notebook: float | None = None
    cell: int | None = None
    start: int = 60


def carry_out(
    manager: NotebookExecutionManager,
    kernel: str,
    record: NotebookRecord,
    terminal: Terminal,
    *,
    limits: Limits,
    cwd: str | None = None,
) -> Ending:
    """Run every cell and wait for every run; the notebook's metadata then names its runs.

    Raises:
        NotebookError: the kernel does not start.
    """
    client = Client(
        manager,
        progress=terminal,
        kernel_name=kernel,
        timeout=limits.cell,
        startup_timeout=limits.start,
        log=_quiet,
    )
    code_cells = sum(c.cell_type == "code" and bool(c.source.strip()) for c in manager.nb.cells)
    name = Path(record.notebook).stem or "notebook"
    record.begin(name)
    terminal.begin(Path(record.notebook).name or name, record.id, record.params, code_cells)
    try:
        with _watched(record, terminal, client), _stoppable(client, limits.notebook):
            ending = client.run({**os.environ, **record.env()}, cwd)
    except NotebookError as exc:
        ending = Ending("failed", ErrorInfo("NotebookError", str(exc)))
        record.finish(ending.state, ending.error)
        terminal.end(ending, record.finished - record.started)
        raise
    record.finish(ending.state, ending.error)
    rows = record.children()
    manager.nb.metadata["twingraph"] = {
        "run": record.id,
        "runs": [row.id for row in rows],
        "version": version("twingraph-nb"),
    }
    terminal.runs(rows)
    terminal.end(ending, record.finished - record.started)
    return ending


def run_for_papermill(
    nb: Any,
    kernel: str,
    output_path: str | None,
    progress_bar: bool,
    options: Mapping[str, Any],
) -> Any:
    """Run a notebook that papermill has prepared; gives it back executed.

    Raises:
        NotebookError: wrong parameters, or an end that no cell shows.
    """
    notebook = str(options.get("input_path") or output_path or "")
    params = dict(nb.metadata.get("papermill", {}).get("parameters") or {})
    language = nb.metadata.get("kernelspec", {}).get("language") or "python"
    check(nb.cells, params, notebook=Path(notebook).name or "the notebook", language=language)
    manager = NotebookExecutionManager(
        nb,
        output_path=output_path,
        progress_bar=progress_bar,
        log_output=bool(options.get("log_output")),
        autosave_cell_every=options.get("autosave_cell_every", 30),
    )
    limits = Limits(None, options.get("execution_timeout"), options.get("start_timeout", 60))
    record = NotebookRecord(settings(), notebook, params)
    manager.notebook_start()
    try:
        ending = carry_out(manager, kernel, record, TqdmLine(manager.pbar), limits=limits)
    finally:
        manager.cleanup_pbar()
        manager.notebook_complete()
    if output_path and "://" not in output_path:
        target = Path(output_path)
        write_report(target.with_name(f"{target.stem}.report.html"), manager.nb, record, ending)
    record.close()
    if ending.state != "succeeded" and ending.cell is None and ending.error is not None:
        raise NotebookError(ending.error.message)
    return manager.nb


def settings() -> Settings:
    """Give the settings of the environment.

    Raises:
        NotebookError: a setting is not what it must be.
    """
    try:
        return Settings.load()
    except ValueError as exc:
        raise NotebookError(str(exc)) from None


@contextlib.contextmanager
def _watched(record: NotebookRecord, terminal: Terminal, client: Client) -> Iterator[None]:
    """Tell the terminal a few times a second what the notebook's runs have done, and obey."""
    over = threading.Event()
    threads = [
        threading.Thread(target=act, args=(record, other, over), name=name, daemon=True)
        for act, other, name in (
            (_tell, terminal, "twingraph-watch"),
            (_obey, client, "twingraph-orders"),
        )
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _tell(record: NotebookRecord, terminal: Terminal, over: threading.Event) -> None:
    listener = Listener(record.events)
    while not over.wait(POLL):
        try:
            rows = record.children()
            terminal.runs(rows)
            terminal.asks(listener.look(rows))
        except TwingraphError:
            continue


def _obey(record: NotebookRecord, client: Client, over: threading.Event) -> None:
    """Stop when somebody asks for it from elsewhere."""
    inbox = record.inbox()
    if inbox is None:
        return
    while not over.wait(LOOK):
        try:
            commands = inbox.look([record.id])
        except sqlite3.Error:
            continue  # locked: look again
        for command in commands:
            if why := record.obeys(command):
                client.stop(why, by_user=True)
    inbox.close()


@contextlib.contextmanager
def _stoppable(client: Client, seconds: float | None) -> Iterator[None]:
    """Ctrl-C, a polite kill and the time limit all stop the notebook in the same way."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        client.stop(f"stopped by {name}", by_user=True)

    clock = None
    if seconds:
        said = f"the notebook did not finish within {seconds:g} s"
        clock = threading.Timer(seconds, client.stop, (said,))
        clock.daemon = True
        clock.start()
    in_main = threading.current_thread() is threading.main_thread()
    kept = {
        number: signal.signal(number, on_signal)
        for number in ((signal.SIGINT, signal.SIGTERM) if in_main else ())
    }
    try:
        yield
    finally:
        if clock is not None:
            clock.cancel()
        for number, handler in kept.items():
            signal.signal(number, handler)
