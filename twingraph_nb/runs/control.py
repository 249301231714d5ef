"""``twingraph cancel|pause|resume|retry|limit``: what is asked of runs that go on elsewhere."""

from __future__ import annotations

import argparse
import getpass
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from twingraph_nb.errors import RunError, suggestion
from twingraph_nb.runs import selecting
from twingraph_nb.settings import Settings
from twingraph_nb.store import RunRow, Store

if TYPE_CHECKING:
    from twingraph_nb.runs.tables import Called

__all__ = ["add_arguments", "person"]

PATIENCE = 5.0  # seconds that a run's process has for its answer
_LOOK = 0.02
_LISTED = 8
_LEAST_OF_A_HASH = 4  # characters
_WHAT = {
    "cancel": "stop a run, or one of its tasks",
    "pause": "begin no further task of a run; what runs is let finish",
    "resume": "let a paused run go on; run a notebook again from where an ended run stopped",
    "retry": "begin a task's next attempt now, or its running attempt anew",
    "limit": "change how many tasks of a run or platform run at once, or a limit by name",
}


def person() -> str:
    """Give who asks, as the log says it: user@machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        name = str(os.getuid()) if hasattr(os, "getuid") else "somebody"
    return f"{name}@{socket.gethostname()}"


def add_arguments(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], place: argparse.ArgumentParser
) -> None:
    """Say what these commands take."""
    for kind, what in _WHAT.items():
        parser = commands.add_parser(kind, help=what, parents=[place])
        parser.add_argument("run", metavar="RUN", help="id, the start of an id, or 'last'")
        if kind in ("cancel", "retry"):
            parser.add_argument(
                "task", metavar="TASK", nargs="?" if kind == "cancel" else None,
                help="name, number or hash of a task",
            )  # fmt: skip
        if kind == "limit":
            parser.add_argument(
                "most", metavar="N|NAME:N", help="how many, 0 = no limit; or a limit by name, as "
                "components write it (openai:30/min), for all runs of the session",
            )  # fmt: skip
            parser.add_argument("--platform", default="", metavar="NAME", help="of this platform")
        if kind == "resume":
            parser.add_argument("-o", "--out", metavar="DIR", help="see `twingraph run`")
            selecting.add_arguments(parser)
        parser.set_defaults(act=_act)


def _act(namespace: argparse.Namespace) -> int:
    home = Settings.load().home
    with closing(Store.open(home)) as store:
        row = store.run(store.resolve(namespace.run))
        live = [one for one in _with_children(store, row) if one.state == "running"]
        if namespace.command == "resume" and row.state != "running":
            return _resume(store, row, namespace)
        if namespace.command == "resume" and selecting.selected_by(namespace):
            raise RunError(f"run {row.id} goes on: what it runs was chosen when it began")
        if not live:
            raise RunError(
                f"run {row.id} is not running (it {_ended(row)}); "
                f"`twingraph resume {row.id}` goes on with it"
            )
        asked = [_told(store, *one, namespace) for one in _targets(store, row, live, namespace)]
    return int(all(asked))


def _targets(
    store: Store, row: RunRow, live: Sequence[RunRow], namespace: argparse.Namespace
) -> list[tuple[RunRow, int | None]]:
    """The runs that are asked, and the number of the task in each that is meant.

    Raises:
        RunError: there are none, or several have the task.
    """
    runs = [one for one in live if one.form != "notebook"]
    if (task := getattr(namespace, "task", None)) is None:
        if namespace.command == "cancel" and row.form == "notebook":
            return [(row, None)]  # its cells stop too, not only its runs
        if not runs:
            raise RunError(f"notebook run {row.id} goes on, but none of its runs does now")
        return [(one, None) for one in runs]
    from twingraph_nb.runs.tables import task_numbers  # loads rich: only when it is needed

    named = {one.id: task_numbers(store.events(one.id)) for one in runs}
    found = [(one, number) for one in runs for number in _meant(named[one.id], task)]
    if not found:
        near = suggestion(
            task, [called.name for names in named.values() for called in names.values()]
        )
        raise RunError(f"run {row.id} has no task {task!r}{near}")
    if len(found) > 1:
        listed = ", ".join(f"{number} of run {one.id}" for one, number in found[:_LISTED])
        raise RunError(f"several tasks are called {task!r}: name a run and a number, {listed}")
    return [found[0]]


def _meant(names: Mapping[int, Called], text: str) -> list[int]:
    """The numbers of the tasks that a text names; of a map the map, and none of its items."""
    exact = [number for number, called in names.items() if text in (str(number), called.name)]
    items = [number for number, called in names.items() if text in called.answers_to]
    hashed = [number for number, called in names.items() if called.hash.startswith(text)]
    return exact or items or (hashed if len(text) >= _LEAST_OF_A_HASH else [])


def _with_children(store: Store, row: RunRow) -> list[RunRow]:
    return [row, *store.runs(limit=None, parent=row.id)]


def _ended(row: RunRow) -> str:
    return "was interrupted" if row.state == "interrupted" else f"has ended: {row.state}"


def _told(store: Store, row: RunRow, task: int | None, namespace: argparse.Namespace) -> bool:
    """Ask one run, wait for its answer and say it; True if it refused."""
    facts: dict[str, object] = {} if task is None else {"task": task}
    if namespace.command == "limit":
        facts = _limit(namespace)
    kind = "continue" if namespace.command == "resume" else namespace.command
    asked = store.ask(row.id, kind, facts, person())
    end = time.monotonic() + PATIENCE
    while (answer := store.answer_to(asked)) is None and time.monotonic() < end:
        time.sleep(_LOOK)
    if answer is None:
        raise RunError(
            f"run {row.id} did not answer within {PATIENCE:g} s: is process {row.pid} on "
            f"{row.host or 'its machine'} stopped? It will obey when it goes on"
        )
    (sys.stderr if answer.refused else sys.stdout).write(f"run {row.id}: {answer.text}\n")
    return answer.refused


def _limit(namespace: argparse.Namespace) -> dict[str, object]:
    most, platform = namespace.most, namespace.platform
    if most.isdecimal():
        return {"limit": int(most), "name": platform}
    if platform or ":" not in most:
        raise RunError(f"limit: wants a number, or a limit by name as openai:30/min, not {most!r}")
    return {"named": most}


def _resume(store: Store, row: RunRow, namespace: argparse.Namespace) -> int:
    """Run the notebook of an ended run again; what it finished is taken over."""
    if row.parent is not None:
        row = store.run(row.parent)
    if not row.notebook or not Path(row.notebook).is_file():
        raise RunError(
            f"run {row.id} is not of a notebook that is there"
            f"{f' ({row.notebook})' if row.notebook else ''}: run its script again with "
            f"TWINGRAPH_RESUME={row.id}, or use `%twingraph resume {row.id}` where its pipeline "
            f"is defined"
        )
    from twingraph_nb.runs import batch

    words = [row.notebook, "--resume", row.id, *(["-o", namespace.out] if namespace.out else [])]
    words += selecting.words_of(selecting.selected_by(namespace))
    parser = argparse.ArgumentParser()
    batch.add_arguments(parser)
    return batch.main(parser.parse_args(words))
