"""``twingraph cancel|pause|resume|retry|limit``: what is asked of runs that go on elsewhere."""

from __future__ import annotations

import argparse
import getpass
import os
import signal
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

from twingraph_nb.errors import RunError, suggestion
from twingraph_nb.runs import selecting
from twingraph_nb.settings import Settings
from twingraph_nb.store import RunRow, Store

__all__ = ["add_arguments", "person"]

PATIENCE = 5.0  # seconds that a run's process has for its answer
_LOOK = 0.02
_WHAT = {
    "cancel": "stop a run, or one of its tasks",
    "pause": "begin no further task of a run; what runs is let finish",
    "resume": "let a paused run go on; run a notebook again from where an ended run stopped",
    "retry": "begin a task's next attempt now, or its running attempt anew",
    "limit": "change how many tasks of a run, or of one platform, run at once",
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
            parser.add_argument("most", type=int, metavar="N", help="how many; 0 = no limit")
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
        if namespace.command == "cancel" and row.form == "notebook":
            os.kill(row.pid, signal.SIGINT)  # stops its cells too, not only its runs
            sys.stdout.write(f"run {row.id}: its notebook was asked to stop\n")
            return 0
        targets = [one for one in live if one.form != "notebook"]
        refused = [_told(store, one, namespace) for one in targets]
    return int(not refused or all(refused))


def _with_children(store: Store, row: RunRow) -> list[RunRow]:
    return [row, *store.runs(limit=None, parent=row.id)]


def _ended(row: RunRow) -> str:
    return "was interrupted" if row.state == "interrupted" else f"has ended: {row.state}"


def _told(store: Store, row: RunRow, namespace: argparse.Namespace) -> bool:
    """Ask one run, wait for its answer and say it; True if it refused."""
    facts: dict[str, object] = {}
    if getattr(namespace, "task", None) is not None:
        facts["task"] = _number(store, row.id, namespace.task)
    if namespace.command == "limit":
        facts = {"limit": max(0, namespace.most), "name": namespace.platform}
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


def _number(store: Store, run: str, text: str) -> int:
    from twingraph_nb.runs.tables import task_numbers  # loads rich: only when it is needed

    names = task_numbers(store.events(run))
    for number, called in names.items():
        if text in called.answers_to or (len(text) >= 4 and called.hash.startswith(text)):
            return number
    near = suggestion(text, [called.name for called in names.values()])
    raise RunError(f"run {run} has no task {text!r}{near}")


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
