"""``twingraph answer``: what people say to the questions of runs, wherever those are."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from twingraph_nb.errors import RunError, suggestion
from twingraph_nb.events import Batch
from twingraph_nb.graph.summary import without_passwords
from twingraph_nb.question import Pending, Question, Questions, pending, terms
from twingraph_nb.runs.control import PATIENCE, person
from twingraph_nb.settings import Settings
from twingraph_nb.store import RunRow, Store
from twingraph_nb.store.commands import Answer

__all__ = ["Listener", "Open", "add_arguments", "answer", "chosen", "questions", "unasked"]

_LOOK = 0.02
_ENDED = "its run has ended: one that resumes it goes on with the answer, or asks again"


@dataclass(frozen=True, slots=True)
class Open:
    """A question of a run. task: its number in the run."""

    run: RunRow
    task: int
    told: Pending

    @property
    def waits(self) -> bool:
        """True while it may be answered; of an ended run, what was never answered."""
        return self.told.first is None and not (self.told.over and self.run.state == "running")

    @property
    def question(self) -> Question:
        """What is asked."""
        return Question.recorded(self.told.asked)

    def __str__(self) -> str:
        asked = self.told.asked
        said = terms(asked) if self.run.state == "running" else _ENDED
        more = f"; {said}" if said else ""
        return f"{self.task} {self.told.name}: {asked.prompt} ({self.question.wanted}{more})"


def questions(store: Store, run_id: str) -> list[Open]:
    """Give all that a run, or the runs of a notebook, have asked."""
    rows = [store.run(run_id), *store.runs(limit=None, parent=run_id)]
    return [
        Open(row, number, told)
        for row in rows
        if row.form != "notebook"
        for number, told in pending(store.events(row.id)).items()
    ]


def unasked(answers: Iterable[str], logs: Iterable[Iterable[Batch]]) -> str:
    """Say which answers of a file no question of some runs has taken; "" if all were taken.

    Args:
        answers: the names of tasks, or what they ask. logs: the events of each run.
    """
    known: list[str] = []
    for batches in logs:
        asked = Questions()
        asked.take(batches)
        known += [text for one in asked.found.values() for text in (one.name, one.asked.prompt)]
    left = [key for key in answers if without_passwords(key) not in known]
    said = [f"{key!r}{suggestion(key, known)}" for key in left]
    return f"the file of answers has what nothing asked for: {', '.join(said)}" if said else ""


class Listener:
    """Hears what the runs of a notebook ask while they go on.

    events: gives a run's events from a number on.
    """

    def __init__(self, events: Callable[[str, int], Sequence[Batch]]) -> None:
        self._events = events
        self._heard: dict[str, Questions] = {}

    def look(self, rows: Sequence[RunRow]) -> list[str]:
        """Give a line for each question that waits now: what is asked, and how to answer."""
        lines = []
        for row in rows:
            if row.state != "running":
                continue
            heard = self._heard.setdefault(row.id, Questions())
            heard.take(self._events(row.id, heard.read))
            for number, told in heard.found.items():
                one = Open(row, number, told)
                if one.waits:
                    lines.append(
                        f"{one.told.asked.prompt} ({one.question.wanted}): "
                        f"twingraph answer {row.id} {number} ANSWER"
                    )
        return lines


def chosen(asked: Sequence[Open], text: str | None, run_id: str) -> Open:
    """Give the question that is meant: by its task's name or number, or the only one that waits.

    Raises:
        RunError: there is none, it is answered, or several are meant; lists them.
    """
    found = [one for one in asked if one.waits]
    meant = [one for one in found if text in (None, one.told.name, str(one.task))]
    if len(meant) == 1:
        return meant[0]
    for one in asked:
        first = one.told.first
        if not meant and first is not None and text in (one.told.name, str(one.task)):
            raise RunError(
                f"{first.who or 'somebody'} was first, at {_clock(first.at)}, with: {first.text}"
            )
    if not found:
        raise RunError(f"run {run_id} asks nothing that is not answered")
    listed = "".join(f"\n  {one}" for one in meant or found)
    if not meant:
        near = suggestion(str(text), [one.told.name for one in found])
        raise RunError(f"no task {text!r} of run {run_id} asks anything{near}; these do:{listed}")
    raise RunError(f"several tasks of run {run_id} ask; name one by its number:{listed}")


def answer(store: Store, one: Open, value: object, who: str) -> Answer:
    """Give an answer to a run that goes on, or keep it for the run that resumes a dead one.

    Args:
        value: as `Question.read` takes it.
    Raises:
        RunError: the run's process does not react, or another run goes on with it.
    """
    run, facts = one.run, {"task": one.task, "value": value}
    if run.state == "running":
        asked = store.ask(run.id, "answer", facts, who)
        end = time.monotonic() + PATIENCE
        while (said := store.answer_to(asked)) is None and time.monotonic() < end:
            time.sleep(_LOOK)
        if said is not None:
            return said
        if store.run(run.id).state == "running":
            raise RunError(
                f"run {run.id} did not react within {PATIENCE:g} s: is process {run.pid} on "
                f"{run.host or 'its machine'} stopped? It takes the answer when it goes on"
            )
        return _kept(store, one, asked)
    _refuse_if_resumed(store, one)
    try:
        one.question.read(value)
    except ValueError as exc:
        return Answer(f"not an answer to {one.told.asked.prompt!r}: {exc}", refused=True)
    return _kept(store, one, store.ask(run.id, "answer", facts, who))


def _kept(store: Store, one: Open, mine: int) -> Answer:
    """What became of an answer that nobody is there to take: kept, unless another was first."""
    for command in store.commands(one.run.id, "answer"):
        if command.facts.get("task") == one.task and command.id < mine:
            said = Answer(f"{command.who} was first, at {_clock(command.at)}", refused=True)
            store.answer(mine, said)
            return said
    return Answer(f"kept: `twingraph resume {one.run.id}` goes on with it")


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _refuse_if_resumed(store: Store, one: Open) -> None:
    for run_id in (one.run.id, one.run.parent):
        newer = run_id and store.resumed_by(run_id)
        if not newer:
            continue
        try:
            row = store.run(newer)
        except RunError:
            continue  # it has not begun yet
        digest = one.told.asked.digest
        again = [other for other in questions(store, newer) if digest and other.waits]
        if row.state == "running" or digest in [other.told.asked.digest for other in again]:
            raise RunError(f"run {newer} goes on with run {run_id}: answer that one")


# -- the command ----------------------------------------------------------------------------------


def add_arguments(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], place: argparse.ArgumentParser
) -> None:
    """Say what the command takes."""
    parser = commands.add_parser("answer", help="answer what a run asks", parents=[place])
    parser.add_argument("run", metavar="RUN", help="id, the start of an id, or 'last'")
    parser.add_argument(
        "words", nargs="*", metavar="[TASK] VALUE",
        help="the answer; before it the name or number of the task, if several ask",
    )  # fmt: skip
    parser.add_argument("--json", metavar="JSON", help="the answer as JSON, as a form needs it")
    parser.set_defaults(act=_act)


def _act(namespace: argparse.Namespace) -> int:
    words: list[str] = namespace.words
    if len(words) > (1 if namespace.json is not None else 2):
        raise RunError("one answer at a time; put quotes around a text of several words")
    with closing(Store.open(Settings.load().home)) as store:
        run_id = store.resolve(namespace.run)
        found = questions(store, run_id)
        if namespace.json is not None:
            one = chosen(found, words[0] if words else None, run_id)
            said = answer(store, one, _json(namespace.json), person())
        elif words:
            named = words[0] if len(words) == 2 else None
            one = chosen(found, named, run_id)
            said = answer(store, one, words[-1], person())
        else:
            one, said = _prompted(store, found, run_id)
    stream = sys.stderr if said.refused else sys.stdout
    stream.write(f"run {one.run.id}: {said.text}\n")
    return int(said.refused)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise RunError(f"--json {text!r} is not JSON: {exc}") from None


def _prompted(store: Store, found: Sequence[Open], run_id: str) -> tuple[Open, Answer]:
    """Show what is asked and read an answer, until one fits."""
    waiting = [one for one in found if one.waits]
    if not waiting:
        chosen(found, None, run_id)
    for one in waiting:
        sys.stdout.write(f"{one}\n")
    if not sys.stdin.isatty():
        raise RunError("say the answer: twingraph answer RUN [TASK] VALUE")
    one = waiting[0] if len(waiting) == 1 else _until(_which(found, run_id))
    while True:
        said = answer(store, one, _read_line("answer> "), person())
        if not said.refused or "not an answer" not in said.text:
            return one, said
        sys.stdout.write(f"{said.text}\n")


def _which(found: Sequence[Open], run_id: str) -> Callable[[], Open]:
    return lambda: chosen(found, _read_line("which task> "), run_id)


def _until(ask: Callable[[], Open]) -> Open:
    while True:
        try:
            return ask()
        except RunError as exc:
            sys.stdout.write(f"{exc}\n")


def _read_line(prompt: str) -> str:
    try:
        return input(prompt).strip()
    except EOFError:
        raise RunError("nothing was answered") from None
